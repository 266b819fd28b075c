"""sweep: try many settings of rules and picks on predictions, and compare what they find.

Rules and picks are cheap beside a network, and are tuned many times. The predictions are read as they are; each list of
rules is applied once, and each feature picked once for each setting that differs for it, as plans of the engine:
blocks, workers, resume. The picks of a setting are those that ``volengine run`` gives with its recipe.

Outputs, in the folder ``out``::

    sweep.csv               a row for each setting and feature
    sweep.tomograms.csv     the number of picks of each setting, feature and tomogram
    sweep.svg, sweep.png    precision and recall, or without a truth the numbers of picks
    settings/001.yaml       the recipe of each setting, for ``volengine run``
    settings/001.png        a slice with the picks
    best.yaml               the recipe of the highest mean F1, with a truth
    picks/FEATURE-KEY/      the tables of picks
    rules/KEY/              the predictions that rules have changed
    rules.run, picks.run    the run folders
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from volengine import __version__ as version
from volengine.core.atomic import flush
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.core.volume import Volume
from volengine.core.yaml_recipes import yaml_text
from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.io.open import open_volume
from volengine.ops.figures import figure_files
from volengine.tasks.common.grids import known_of
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.own_files import OwnFiles
from volengine.tasks.interact.verb import predictions_of
from volengine.tasks.picture.recipe import PictureRecipe
from volengine.tasks.picture.verb import picture
from volengine.tasks.run import RunRecipe
from volengine.tasks.sweep.answers import (
    PICKS,
    RULES,
    Answer,
    Predictions,
    check_features,
    picks_jobs,
    rules_jobs,
)
from volengine.tasks.sweep.compare import Swept, check_truth, compare, csv_text, found_by
from volengine.tasks.sweep.figure import figure_of
from volengine.tasks.sweep.recipe import SweepRecipe
from volengine.tasks.sweep.settings import Varied, combined, setting, stated

TABLES = ("sweep.csv", "sweep.tomograms.csv", "sweep.svg", "sweep.png")
BEST = "best.yaml"

LIST = "sweep.json"
"""Lists the files with their SHA-256, and what was asked."""


def sweep(
    predictions: PathsLike,
    out: PathLike,
    run_recipe: RunRecipe,
    recipe: SweepRecipe,
    options: RunOptions | None = None,
    *,
    progress: bool = True,
) -> Swept:
    """Try settings of rules and picks on predictions, and compare what they find.

    Parameters
    ----------
    predictions
        Predictions of one or more tomograms: stores, files, folders, globs, ``.txt`` lists, as ``segment`` and ``run``
        write them (``TOMOGRAM__FEATURE``).
    out
        Folder for the tables, recipes and pictures. A second sweep in it computes only what is new, and replaces the
        tables and recipes of the first.
    run_recipe
        The recipe of ``run`` whose fields are varied. Its steps before the rules are not done.
    recipe
        What is tried, and how the answers are compared.
    options
        How to run.
    progress
        Show progress bars.

    Returns
    -------
    Swept
        What each setting has found.

    Raises
    ------
    InputError
        A setting is refused, a prediction is missing or cannot be read, the truth lacks a tomogram, or a file in
        ``out`` is not the sweep's.
    RunError
        Rules or picks of a tomogram failed; then nothing is compared.

    Examples
    --------
    >>> import volengine
    >>> run_recipe = volengine.RunRecipe.from_json({
    ...     "segment": {"models": ["ribosome.safetensors"]}, "pick": [{"feature": "ribosome"}],
    ... })
    >>> recipe = volengine.SweepRecipe(vary=["pick.ribosome.threshold=0.5,0.9"], pictures=False)
    >>> found = volengine.sweep("predictions", "tried", run_recipe, recipe, progress=False)
    >>> [row["pick.ribosome.threshold"] for row in found.rows]
    [0.5, 0.9]
    """
    run_recipe, recipe, options = RunRecipe.of(run_recipe), SweepRecipe.of(recipe), options or RunOptions()
    where = path_text(out)
    _check(where, run_recipe, options)
    every = combined([Varied.parse(text) for text in recipe.vary])
    recipes = [setting(run_recipe, values) for values in every]
    settings = [(values, Answer.of(one)) for values, one in zip(every, recipes, strict=True)]
    answers = list(dict.fromkeys(one for _, these in settings for one in these))
    tomograms = _tomograms(path_texts(predictions), options)
    check_features(run_recipe, tomograms)
    grids = {name: next(iter(known_of([*given.values()]).values())) for name, given in tomograms.items()}
    if recipe.truth:
        check_truth(recipe.truth, answers, tomograms, grids)
    if recipe.tomogram and recipe.pictures:
        open_volume(recipe.tomogram)  # which says what is wrong with it
    own = OwnFiles(Path(where), LIST, "a sweep", options.overwrite)
    own.check(_names(len(settings), recipe))

    jobs = rules_jobs(answers, tomograms, where, options)
    if jobs:
        run_jobs(jobs, RULES.run_dir(where, options), options).check()
    run_jobs(picks_jobs(answers, tomograms, where, options), PICKS.run_dir(where, options), options).check()

    notes: list[str] = []
    shown = tqdm(
        answers, unit="answer", desc="compare", disable=None if progress and len(answers) >= 10 else True
    )  # None: no bar unless on a terminal
    found = {one: found_by(one, where, grids, recipe.truth, recipe.radius_nm, notes) for one in shown}
    swept = compare(settings, found, where)
    _write(own, swept, recipes, settings, tomograms, recipe, notes, progress=progress)
    facts = {"vary": list(recipe.vary), "truth": recipe.truth, "radius_nm": recipe.radius_nm}
    notes += own.finish({**facts, "tomograms": sorted(tomograms), "recipe": run_recipe.to_json()})
    return Swept(swept.names, swept.rows, swept.tomograms, swept.best, tuple(dict.fromkeys(notes)))


def _check(out: str, recipe: RunRecipe, options: RunOptions) -> None:
    if "://" in out:
        raise InputError(f"--out {out}: tables, recipes and pictures are compared in a folder of this machine.")
    if not recipe.pick:
        raise InputError("sweep compares picks; the recipe has no pick step.")
    if options.dry_run or options.part or options.run_dir:
        raise InputError("sweep has two runs, of rules and of picks: --dry-run, --part and --run-dir are not for it.")


def _tomograms(sources: Sequence[str], options: RunOptions) -> dict[str, dict[str, Volume]]:
    """The predictions of each tomogram, by feature; one that cannot be read is refused."""
    found: dict[str, dict[str, Volume]] = {}
    for name, given in predictions_of(expand(sources), options.identity).items():
        if isinstance(given, InputError):
            raise given
        for feature, volume in given:
            other = found.setdefault(name, {}).setdefault(feature, volume)
            if other is not volume:
                raise InputError(f"{other.url} and {volume.url} both predict {feature!r} of {name}; give one of them.")
    return found


def _names(number: int, recipe: SweepRecipe) -> list[str]:
    """The files that will be written."""
    kinds = (".yaml", ".png") if recipe.pictures else (".yaml",)
    best = [BEST] if recipe.truth else []
    return [*TABLES, *best, *(_of_setting(k, kind) for k in range(1, number + 1) for kind in kinds)]


def _of_setting(number: int, ending: str) -> str:
    return f"settings/{number:03d}{ending}"


def _write(
    own: OwnFiles,
    swept: Swept,
    recipes: Sequence[RunRecipe],
    settings: Sequence[tuple[Mapping[str, Any], Sequence[Answer]]],
    tomograms: Mapping[str, Predictions],
    recipe: SweepRecipe,
    notes: list[str],
    *,
    progress: bool,
) -> None:
    own.begin(_names(len(settings), recipe))
    texts = [
        f"# volengine {version} sweep: {', '.join(f'{k}={v}' for k, v in values.items())}\n{yaml_text(stated(one))}"
        for one, (values, _) in zip(recipes, settings, strict=True)
    ]
    for number, text in enumerate(texts, 1):
        own.write(_of_setting(number, ".yaml"), text)
    own.write("sweep.csv", swept.csv())
    own.write("sweep.tomograms.csv", csv_text(swept.tomograms))
    for kind, data in figure_files(figure_of(swept, scored=bool(recipe.truth))).items():
        own.write(f"sweep.{kind}", data)
    if swept.best is not None:
        own.write(BEST, texts[swept.best - 1])
    if recipe.pictures:
        name, given = next(iter(tomograms.items()))
        numbered = tqdm(list(enumerate(settings, 1)), unit="picture", disable=None if progress else True)
        for number, (_, answers) in numbered:
            own.write(_of_setting(number, ".png"), _drawn(name, given, answers, recipe, own.folder, notes))
    flush([own.folder])


def _drawn(
    name: str, given: Predictions, answers: Sequence[Answer], recipe: SweepRecipe, folder: Path, notes: list[str]
) -> bytes:
    """A slice of a tomogram with the picks of a setting."""
    import tempfile

    look = PictureRecipe(
        slice=(recipe.slice,),
        overlay=tuple(one.table(str(folder), name) for one in answers),
        radius_nm=recipe.pick_radius_nm,
        tomogram=name,
    )
    source = recipe.tomogram or given[answers[0].pick.feature].url
    with tempfile.TemporaryDirectory() as aside:
        return picture(source, Path(aside) / "slice.png", look, notes=notes).read_bytes()
