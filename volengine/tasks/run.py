"""run: apply a recipe (convert, filter, segment, interact, pick) to a collection of tomograms.

All steps of a tomogram form one plan. A run that was stopped continues where it stopped. If only the last steps of a
recipe change, the results of the earlier steps are kept: predictions need a GPU, whereas rules and picks are cheap and
are tuned many times.

Outputs, in the folder ``out``::

    tomograms/NAME.ome.zarr               the converted tomogram; label volumes of the picks are in it
    filtered/NAME.ome.zarr                the filtered tomogram, which is segmented; then the labels are in this one
    predictions/NAME__FEATURE.ome.zarr    the prediction of each feature
    gated/NAME__FEATURE.ome.zarr          the features that the rules have changed
    picks/NAME__FEATURE.star              the picks of each feature of the recipe's pick step
    run/                                  plans, ledger, log, report
    run/report/index.html                 pages that show what was found
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts, place_key
from volengine.core.recipe import Recipe
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.log import remark
from volengine.engine.memory import HEADROOM
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Made, Plan, join
from volengine.engine.report import RunReport
from volengine.engine.run import Job, Then, run_jobs
from volengine.io.names import suffix_of
from volengine.io.open import open_volume
from volengine.io.stores import local_path, located
from volengine.tasks.collection.changed import Row, row_of
from volengine.tasks.collection.columns import convert_recipe, filter_recipe, pick_recipes, segment_recipe
from volengine.tasks.collection.forms import is_manifest
from volengine.tasks.collection.manifest import Collection, Entry, file_name_of, is_file
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import Request, Verb, jobs_of
from volengine.tasks.common.layout import feature_named, file_name, join_url
from volengine.tasks.common.older import STORES, TABLES, older_named
from volengine.tasks.convert.plan import plan_convert
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.filter.description import FilterOutputs
from volengine.tasks.filter.plan import plan_filter
from volengine.tasks.filter.recipe import FilterRecipe
from volengine.tasks.interact.plan import plan_interact
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.pick.description import PickOutputs
from volengine.tasks.pick.plan import plan_pick
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.report.verb import after_run
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe


@dataclass(frozen=True)
class RunRecipe(Recipe):
    """The steps of a run; a step that the recipe leaves out is not done.

    Parameters
    ----------
    convert
        How to convert inputs that are not OME-Zarr.
    filter
        Which filters to apply to the tomogram before it is segmented.
    segment
        Which models to apply, and how.
    interact
        Competition and interactions between the features, in the order given.
    pick
        What to pick; one entry per feature.

    Examples
    --------
    >>> recipe = RunRecipe.from_json({
    ...     "segment": {"models": ["ribosome.safetensors"]},
    ...     "pick": [{"feature": "ribosome", "spacing_nm": 20}],
    ... })
    >>> recipe.pick[0].spacing_nm
    20.0
    """

    convert: ConvertRecipe = field(default_factory=ConvertRecipe)
    filter: FilterRecipe | None = None
    segment: SegmentRecipe | None = None
    interact: InteractRecipe | None = None
    pick: tuple[PickRecipe, ...] = ()

    def check(self) -> None:
        if self.convert.montage:
            raise InputError("run takes tomograms; place the pieces of montages first (volengine convert --montage).")
        if self.segment is None and (self.interact is not None or self.pick):
            raise InputError("interact and pick work on predictions: the recipe needs a segment step.")
        if self.filter is not None and not self.filter.steps:
            raise InputError("filter: the recipe has no steps; give some, or leave filter out.")
        if self.filter is not None and self.filter.voxel_size is not None:
            raise InputError("filter: voxel_size is that of a source; in a run give it to convert.")
        self._check_rois()
        names = [p.feature for p in self.pick]
        if any(not name for name in names):
            raise InputError("Each entry of pick needs the name of its feature.")
        if len(set(map(place_key, names))) < len(names):
            raise InputError(
                f"pick names a feature twice, or two that differ only by capital letters or how Unicode composes them: "
                f"{', '.join(names)}."
            )

    def _check_rois(self) -> None:
        """Refuse a part of a tomogram from a step whose results another one reads as if nothing lay around them."""
        later = (("segment", self.segment), ("interact", self.interact), ("pick", self.pick))
        after = {
            "filter": (self.filter, [n for n, s in later if s]),
            "segment": (self.segment, [n for n, s in (("interact", self.interact), ("pick", self.pick)) if s]),
            "interact": (self.interact, ["pick"] if self.pick else []),
        }
        for name, (step, readers) in after.items():
            if step is not None and step.roi and readers:
                raise InputError(
                    f"{name}: roi {step.roi}: what lies around the part would be missing for {' and '.join(readers)}. "
                    f"Give roi to {readers[-1]}, the last step, instead; or to convert, to work on the part alone."
                )


def run(
    inputs: PathsLike,
    out: PathLike,
    recipe: RunRecipe,
    options: RunOptions | None = None,
    *,
    check: bool = True,
    report: bool = True,
) -> RunReport:
    """Apply a recipe to a collection of tomograms.

    If a tomogram fails, the others continue.

    Parameters
    ----------
    inputs
        Files, stores, folders, globs or ``.txt`` lists; or the manifest of a collection (``.csv``, ``.star``,
        ``.yaml``), whose tomograms have parameters of their own.
    out
        Folder for all outputs: ``tomograms``, ``predictions``, ``gated``, ``picks`` and ``run``.
    recipe, options
        What to do, and how to run.
    check
        Raise an error at the end if a tomogram failed; the error lists the failed ones.
    report
        Make pages of what was found, ``run/report/index.html`` in ``out``, on the workers of the run
        (:mod:`volengine.tasks.report.verb`). With ``part`` none are made: call :func:`volengine.report` when all parts
        have ended.

    Returns
    -------
    RunReport
        What was done per tomogram and stage, and how long it took.

    Raises
    ------
    RunError
        With ``check``: a tomogram failed.
    InputError, MissingError
        An input does not exist, or is not a volume.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.RunRecipe.from_json({
    ...     "segment": {"models": ["ribosome.safetensors"]},
    ...     "pick": [{"feature": "ribosome", "threshold": 0.9}],
    ... })
    >>> done = volengine.run(["TS_01.mrc"], "out", recipe)
    >>> len(done.failures), volengine.open_volume("out/predictions/TS_01__ribosome.ome.zarr").kind
    (0, 'probability')
    """
    recipe, options = RunRecipe.of(recipe), options or RunOptions()
    jobs, run_dir, _ = run_jobs_of(path_texts(inputs), path_text(out), recipe, options)
    result = run_jobs(jobs, run_dir, options, then=pages_of_run(run_dir, options, remark) if report else None)
    return result.check() if check else result


def pages_of_run(run_dir: str, options: RunOptions, say: Callable[[str], None]) -> Then | None:
    """What makes the pages of a run at its end; ``None`` for a part of a run, which does not know the others' end."""
    return None if options.part is not None else after_run(run_dir, say)


def run_jobs_of(
    inputs: Sequence[str], out: str, recipe: RunRecipe, options: RunOptions
) -> tuple[list[Job], str, list[str]]:
    """Make one job for each tomogram of the inputs, or of a manifest.

    Returns
    -------
    list of Job, str, list of str
        The jobs, the run folder, and the names of the tomograms that the manifest leaves out.

    Raises
    ------
    InputError
        A manifest is given together with other inputs, leaves out everything, or has a value that the recipe refuses.
    """
    if not any(map(is_manifest, inputs)):
        jobs, run_dir = jobs_of(RUN, expand(inputs), out, recipe, options)
        return [_with_row(job, {}) for job in jobs], run_dir, []
    if len(inputs) > 1:
        raise InputError(f"{' '.join(inputs)[:200]}: a manifest is given alone; add the others to it (collection add).")
    found = Collection.read(inputs[0])
    skipped = [entry.name for entry in found.skipped()]
    at_work = found.at_work()
    if not at_work:
        raise InputError(f"{inputs[0]}: there is nothing to do: it has {len(found.entries)} tomograms, all left out.")
    recipes = {entry.name: _recipe_of(entry, recipe) for entry in at_work}
    jobs, run_dir = jobs_of(RUN, {entry.name: entry.source for entry in at_work}, out, recipe, options, recipes)
    rows = {entry.name: row_of(entry) for entry in at_work}
    return [_with_row(job, rows[job.name]) for job in jobs], run_dir, skipped


def _with_row(job: Job, row: Row) -> Job:
    """A job whose plan says which parameters its tomogram has in a manifest; there may be none."""

    def plan() -> Plan:
        made = job.plan()
        return replace(made, origin={**made.origin, "row": row})

    return replace(job, plan=plan)


def _recipe_of(entry: Entry, recipe: RunRecipe) -> RunRecipe:
    """The recipe of one tomogram of a collection."""
    convert = convert_recipe(recipe.convert, entry.parameters)
    if not is_file(entry.source) or entry.name != file_name_of(entry.source):
        convert = convert.with_(name=entry.name)
    segment = segment_recipe(recipe.segment, entry.parameters)
    filters = filter_recipe(recipe.filter, entry.parameters)
    return recipe.with_(
        convert=convert, filter=filters, segment=segment, pick=pick_recipes(recipe.pick, entry.parameters)
    )


def request(source: str, out: str, recipe: RunRecipe, options: RunOptions) -> Request[Volume, RunRecipe, str]:
    """Open a tomogram (metadata only), for the planner."""
    volume = open_volume(
        source, voxel_size=recipe.convert.voxel_size, name=recipe.convert.name, identity=options.identity
    )
    return Request(volume.name, volume, recipe, out)


def plan_run(source: Volume, recipe: RunRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan all steps of one tomogram as one plan; reads metadata only.

    Raises
    ------
    InputError
        A pick step names a feature that no model predicts, or the recipe leaves nothing to do.
    """
    from volengine.io.picks import ending_of

    parts: list[Plan] = []
    gates: list[Plan] = []
    tomogram, labels_in = source, None
    if suffix_of(source.url) in ("", ".zarr"):
        if recipe.convert.roi:
            raise InputError(
                f"{source.url} is an OME-Zarr image already and is not converted, so convert: roi {recipe.convert.roi} "
                "would be left out; write the part with volengine crop first, or give roi to the last step."
            )
    else:
        store = join_url(out, "tomograms", f"{source.name}.ome.zarr")
        parts.append(plan_convert(source, recipe.convert, store, folder, options))
        tomogram, labels_in = parts[0].images[0].volume(), store
    if recipe.filter is not None:
        store = join_url(out, "filtered", f"{source.name}.ome.zarr")
        table = join_url(out, "filtered", f"{source.name}__spectrum.tsv")
        parts.append(plan_filter(tomogram, recipe.filter, FilterOutputs(store, table), folder, options))
        tomogram, labels_in = parts[-1].images[-1].volume(), store
    if recipe.segment is not None:
        parts.append(plan_segment(tomogram, recipe.segment, join_url(out, "predictions"), folder, options))
        predictions = _made(parts[-1])
        options = _after(parts[-1], options)
        if recipe.interact is not None:
            parts.append(plan_interact(predictions, recipe.interact, join_url(out, "gated"), folder, options))
            gates.append(parts[-1])
            predictions |= _made(parts[-1])
        for pick in recipe.pick:
            if pick.feature not in predictions:
                raise InputError(
                    f"pick: there is no feature {pick.feature!r}; the models predict {', '.join(sorted(predictions))}."
                )
            prediction = predictions[pick.feature]
            name = f"{source.name}__{file_name(pick.feature)}{ending_of(pick.format)}"
            ngff = recipe.convert.ngff if labels_in else recipe.segment.ngff
            table = join_url(out, "picks", name)
            store = f"{table}.ome.zarr" if pick.roi else labels_in or prediction.url
            outputs = PickOutputs(table, store, ngff)
            parts.append(plan_pick(prediction, pick, outputs, folder, options))
    if not parts:
        raise InputError(f"{source.url}: nothing to do: it is an OME-Zarr image already, and the recipe has no step.")
    plan = join(source.name, parts, recipe.to_json())
    gated = [spec.url for part in gates for spec in part.images]
    forget = Call(
        "volengine.tasks.run:forget_gated",
        {"folder": join_url(out, "gated"), "tomogram": source.name, "kept": gated, "plan_folder": str(folder.path)},
    )
    tables = [table for call in plan.finish for table in call.writes]
    older = [older_named(join_url(out, "picks"), source.name, tables, TABLES)]
    filtered = Call(
        "volengine.tasks.run:forget_filtered",
        {
            "store": join_url(out, "filtered", f"{source.name}.ome.zarr"),
            "kept": [source.url, *(spec.url for spec in plan.images)],
            "plan_folder": str(folder.path),
        },
    )
    older.append(older_named(join_url(out, "filtered"), source.name, tables, (".tsv",)))
    if recipe.segment is None:  # else its own plan names them
        older.append(older_named(join_url(out, "predictions"), source.name, (), STORES))
    labels = Call(
        "volengine.tasks.run:forget_labels",
        {
            "stores": sorted({spec.url for spec in plan.images if not spec.scratch}),
            "kept": [[spec.url, spec.group] for spec in plan.images if spec.kind == "labels" and not spec.scratch],
            "plan_folder": str(folder.path),
        },
    )
    return replace(plan, finish=(*plan.finish, forget, filtered, labels, *older))


def forget_gated(plan: Plan, tables: Any, folder: str, tomogram: str, kept: Sequence[str], plan_folder: str) -> Made:
    """Delete the gated predictions that an earlier recipe of this run has left; the engine calls this at the end.

    Without rules, or with rules that change other features, they would be taken for results of the new recipe. Stores
    of other runs are left alone.

    Parameters
    ----------
    plan, tables
        Not used.
    folder
        Folder or URL of the gated predictions.
    tomogram
        The tomogram's name.
    kept
        The stores that the plan itself has written.
    plan_folder
        Folder of the plan, whose token the run's own stores carry.
    """
    from volengine.io.omezarr.image import remove, store_token
    from volengine.io.omezarr.read import children

    if local_path(folder) is not None and not Path(folder).is_dir():
        return Made()
    token, said = PlanFolder(plan_folder).token(), []
    for name in children(folder, ""):
        url = join_url(folder, name)
        feature = name.removesuffix(".ome.zarr").removeprefix(f"{tomogram}__")
        if name != f"{tomogram}__{feature}.ome.zarr" or located(url) in kept or url in kept:
            continue
        if store_token(url, "") == token:
            remove(url, "")
            said.append(f"{url}: removed, because no rule of this recipe changes {feature_named(feature)!r}")
    return Made(said=tuple(said))


def forget_filtered(plan: Plan, tables: Any, store: str, kept: Sequence[str], plan_folder: str) -> Made:
    """Delete the filtered tomogram that an earlier recipe of this run has left; the engine calls this at the end.

    Without filters, it would be taken for what the predictions were made from. A store of another run is left alone;
    one with labels that the run has not made, for example drawn by hand, is named and left as it is.

    Parameters
    ----------
    plan, tables
        Not used.
    store
        Path or URL of the filtered tomogram.
    kept
        What the plan reads, and the stores that it has written.
    plan_folder
        Folder of the plan, whose token the run's own stores carry.
    """
    from volengine.io.omezarr.image import list_groups, remove, store_token

    if {store, located(store)} & {place for url in kept for place in (url, located(url))}:
        return Made()
    token = PlanFolder(plan_folder).token()
    if store_token(store, "") != token:
        return Made()
    groups = [info.group for info in list_groups(store) if info.group.startswith("labels/")]
    others = [group for group in groups if store_token(store, group) != token]
    if others:
        return Made(
            said=(f"{store}: not made by this recipe, and left as it is, because it holds {', '.join(others)}",)
        )
    remove(store, "")
    return Made(said=(f"{store}: removed, because this recipe does not filter",))


def forget_labels(plan: Plan, tables: Any, stores: Sequence[str], kept: Sequence[Any], plan_folder: str) -> Made:
    """Delete the label images that an earlier recipe of this run has left; the engine calls this at the end.

    Viewers and ``stats`` would take them for results of the new recipe. Label images of other runs are left alone.

    Parameters
    ----------
    plan, tables
        Not used.
    stores
        The stores that the plan writes.
    kept
        URL and group of the label images that it has written.
    plan_folder
        Folder of the plan, whose token the run's own images carry.
    """
    from volengine.io.omezarr.image import list_groups, remove, store_token
    from volengine.io.omezarr.nodes import read_node

    token, said = PlanFolder(plan_folder).token(), []
    for url in stores:
        if read_node(url, "labels") is None:
            continue
        for group in (info.group for info in list_groups(url) if info.group.startswith("labels/")):
            if [url, group] not in [list(one) for one in kept] and store_token(url, group) == token:
                remove(url, group)
                said.append(f"{url}#{group}: removed, because this recipe does not pick it")
    return Made(said=tuple(said))


RUN = Verb("run", request, plan_run, run_name="run")


def _after(plan: Plan, options: RunOptions) -> RunOptions:
    """Options for the steps that follow a plan: less memory, because workers keep its libraries and weights loaded."""
    kept = max(stage.fixed_bytes for stage in plan.stages)
    return options.with_(memory_limit=max(1, int(options.limit_bytes() - kept / HEADROOM)))


def _made(plan: Plan) -> dict[str, Volume]:
    """The predictions that a plan writes, by feature."""
    images = (spec.volume() for spec in plan.images if not spec.scratch)
    return {str(v.facts["feature"]): v for v in images}
