"""Runs of a project that are started in the page: which recipe, which tomograms, where; and how far they are.

A run writes into the project itself: ``tomograms``, ``predictions``, ``gated``, ``picks`` and ``run`` in its folder, as
``volengine run recipe.yaml tomograms.txt --out PROJECT`` does. Recipe and tomograms are kept with the job as they were,
so that it can be started again and goes on.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from volengine.core.atomic import write_atomic
from volengine.core.errors import InputError, MissingError, VolengineError
from volengine.core.json_text import shown
from volengine.core.yaml_recipes import parse_yaml
from volengine.engine.census import Census, census
from volengine.engine.cluster_recipe import Kind
from volengine.engine.driver_lock import check_free
from volengine.engine.options import RunOptions
from volengine.io.annotations.folder import check_name
from volengine.nets.checkpoint import load_facts
from volengine.nets.shipped import SHIPPED, model_file
from volengine.tasks.collection.manifest import Collection, file_name_of
from volengine.tasks.report.given import FOLDER as REPORT
from volengine.tasks.run import RunRecipe
from volengine.web.workbench.jobs import Job, Jobs, contents
from volengine.web.workbench.notes import read_lists, text_of_list
from volengine.web.workbench.project import Project

KIND = "run"
CLUSTERS = tuple(name for name in get_args(Kind) if name not in ("local", "ssh", "kubernetes"))
"""Clusters that can be named without a description; others need a file, which is given on the command line."""
ENDING = ".yaml"
LARGEST_RECIPE = 200_000
MOST_WORKERS = 1024
NAME = re.compile(r"[\w+-]+")
"""A model's name, and no path, pattern or ``NAME@PLACE``."""
MOST_SHOWN = 50
"""Volumes of a state that are listed."""


class Running:
    """The runs of a project.

    Parameters
    ----------
    project, jobs
        The project, and its jobs.
    """

    def __init__(self, project: Project, jobs: Jobs):
        self.project, self.jobs = project, jobs
        self.recipes = project.folder / "recipes"
        self.lists = project.folder / "lists"

    # -- what can be chosen ------------------------------------------------------------------------------------

    def choices(self) -> dict[str, Any]:
        """What a run can be made of: recipes with what is wrong with them, lists, clusters."""
        recipes = []
        for name in self._recipe_names():
            try:
                recipe = self._checked(self.recipe_text(name), name)
                recipes.append({"name": name, "steps": steps_of(recipe)})
            except (VolengineError, OSError) as error:
                recipes.append({"name": name, "error": str(error)})
        wrong: list[str] = []
        collected = self.project.path.is_dir()
        lists = {name: len(lines) for name, lines in read_lists(self.lists, wrong).items()}
        return {
            "recipes": recipes,
            "lists": lists if collected else {},
            "unread": wrong,
            "clusters": list(CLUSTERS),
            "manifest": None if collected else self.project.path.name,
            "sources": [self._source(number) for number in range(len(self.project) if collected else 0)],
            "folder": shlex.quote(str(self.project.folder)),
        }

    def _source(self, number: int) -> str | None:
        """What a run of a tomogram reads; ``None`` where there is nothing to read."""
        try:
            return self.project.source(number)
        except MissingError:
            return None

    def _recipe_names(self) -> list[str]:
        if self.recipes.is_symlink():
            return []
        return sorted(file.stem for file in self.recipes.glob(f"[!.]*{ENDING}") if not file.is_symlink())

    def recipe_text(self, name: Any) -> str:
        """The text of a recipe of the project.

        Raises
        ------
        MissingError
            There is none of this name.
        """
        if name not in self._recipe_names():
            raise MissingError(f"There is no recipe {shown(name)} in {self.recipes}.")
        return _decoded(contents(self.recipes / f"{name}{ENDING}", LARGEST_RECIPE + 1), str(name))

    def keep_recipe(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write a recipe that was given as text, if it is one.

        Parameters
        ----------
        given
            ``name``, ``text`` (YAML), and ``replace``.

        Raises
        ------
        InputError
            It is no recipe, names files beyond the project, or there is one of this name.
        """
        self._writable()
        name, text = check_name(given.get("name"), "recipe"), given.get("text")
        if not isinstance(text, str) or not text.strip():
            raise InputError("A recipe is a text in YAML.")
        recipe = self._checked(text, name)
        self._within(recipe)
        self._named(recipe)
        if self.recipes.is_symlink():
            raise InputError(f"{self.recipes}: is a link; recipes of a project are kept in it.")
        file = self.recipes / f"{name}{ENDING}"
        if file.exists() and given.get("replace") is not True:
            raise InputError(f"{file}: there is a recipe of this name; replace it, or give another name.")
        write_atomic(file, text, durable=True)
        return {"name": name, "file": str(file), "steps": steps_of(recipe)}

    def _checked(self, text: str, name: str) -> RunRecipe:
        """The recipe that a text says; code of the user's own is not run from a page."""
        if len(text) > LARGEST_RECIPE:
            raise InputError(f"{name}: has more than {LARGEST_RECIPE} letters; it is no recipe.")
        value = parse_yaml(text, name)
        if not isinstance(value, dict):
            raise InputError(f"{name}: a recipe is names and values, not {shown(value)}.")
        recipe = RunRecipe.from_json(value, where=name)
        if recipe.segment is not None and recipe.segment.network_files:
            raise InputError(f"{name}: network_files runs code; start this recipe on the command line: volengine run.")
        return recipe

    def _within(self, recipe: RunRecipe) -> None:
        """Refuse a recipe of the page that names something beyond the project."""
        for text in _texts(recipe.to_json()):
            plain = "/" not in text and "\\" not in text and not text.startswith("~")
            if plain and not (self.project.folder / text).is_symlink():
                continue
            place = (self.project.folder / text).resolve()
            if "://" in text or text.startswith("~") or not place.is_relative_to(self.project.folder.resolve()):
                raise InputError(
                    f"{text[:200]}: lies beyond the project. In a recipe of the page files are those of the project: "
                    f"copy it to {self.project.folder / 'models'} and write models/NAME; or write the recipe into "
                    f"{self.recipes} yourself."
                )

    def _named(self, recipe: RunRecipe) -> None:
        """Refuse names of models that are none, and features that none of the models predicts.

        A model file that is not there yet, or that only a program of its own reads, is checked when the run begins.
        """
        if recipe.segment is None:
            return
        folder, features = self.project.folder, set[str]()
        known = recipe.segment.backend == "torch" and not recipe.segment.uncertainty
        for text in recipe.segment.models:
            file = folder / text
            if not file.exists() and text in SHIPPED:
                file = model_file(text)
            elif not file.exists() and NAME.fullmatch(text):
                names = [*SHIPPED, *(f"models/{one.name}" for one in folder.glob("models/[!.]*.safetensors"))]
                raise InputError(
                    f"segment: there is no model {text!r}; there are {', '.join(names)}.{_near(text, names)}"
                )
            if file.suffix == ".safetensors" and file.is_file():
                features.update(load_facts(file).features)
            else:
                known = False
        rules = recipe.interact.rules if recipe.interact is not None else ()
        asked = [("pick", one.feature) for one in recipe.pick]
        asked += [("interact", name) for rule in rules for name in rule.features]
        for step, name in asked:
            if known and name not in features:
                found = sorted(features)
                raise InputError(
                    f"{step}: there is no feature {name!r}; the models predict {', '.join(found)}.{_near(name, found)}"
                )

    # -- starting ----------------------------------------------------------------------------------------------

    def start(self, given: Mapping[str, Any]) -> Job:
        """Start a run as a job.

        Parameters
        ----------
        given
            ``recipe``: name of one of the project; ``tomograms``: ``"all"``, the name of a list (``{"list": NAME}``) or
            numbers; ``workers``: processes of this machine or of the ``cluster``, which is one of :data:`CLUSTERS`.

        Raises
        ------
        InputError
            Something of it is none, nothing is chosen, or a run of the project is at work.
        """
        name = given.get("recipe")
        text = self.recipe_text(name)
        numbers = self._numbers(given.get("tomograms", "all"))
        return self._start(str(name), text, numbers, given.get("workers", 0), given.get("cluster"))

    def again(self, number: int) -> Job:
        """Start a run again with the recipe and the tomograms that it had; what is done is not done twice.

        Raises
        ------
        MissingError, InputError
            There is no such job, it is at work, is no run, or its tomograms are not there any more.
        """
        job = self.jobs.job(number)
        if job.kind != KIND:
            raise InputError(f"Job {number} is no run; it is started where it came from.")
        facts = job.facts
        text = _decoded(contents(job.folder / "recipe.yaml", LARGEST_RECIPE + 1), "recipe.yaml")
        chosen = facts.get("tomograms")
        numbers = None
        if isinstance(chosen, list):
            known = {one.name: at for at, one in enumerate(self.project.tomograms)}
            gone = [str(name) for name in chosen if str(name) not in known]
            if gone:
                raise InputError(f"These tomograms of the run are not in the project any more: {', '.join(gone[:9])}.")
            numbers = [known[str(name)] for name in chosen]
        return self._start(str(facts.get("recipe")), text, numbers, facts.get("workers", 0), facts.get("cluster"))

    def _numbers(self, chosen: Any) -> list[int] | None:
        """The numbers of the tomograms that were chosen; ``None`` for all."""
        if chosen == "all":
            return None
        if not self.project.path.is_dir():
            raise InputError("A manifest is run as a whole: leave tomograms out by their state (volengine collection).")
        if isinstance(chosen, Mapping):
            lines = read_lists(self.lists).get(str(chosen.get("list")))
            if lines is None:
                raise MissingError(f"There is no list {shown(chosen.get('list'))} in {self.lists}.")
            places = {thing.path: at for at, one in enumerate(self.project.tomograms) for thing in one.things}
            places = {os.path.abspath(path): at for path, at in places.items()}  # noqa: PTH100  # links stay
            strange = [line for line in lines if line not in places]
            if strange:
                raise InputError(f"{strange[0]}: is in the list, but not in the project. Save the list again.")
            return sorted({places[line] for line in lines})
        if not isinstance(chosen, list) or not all(type(one) is int for one in chosen):
            raise InputError("tomograms is 'all', a list, or the numbers of tomograms.")
        for one in chosen:
            self.project.tomogram(one)
        return sorted(set(chosen))

    def _start(self, name: str, text: str, numbers: list[int] | None, workers: Any, cluster: Any) -> Job:
        self._writable()
        recipe = self._checked(text, name)
        if not steps_of(recipe):
            raise InputError(f"{name}: the recipe has no steps.")
        options = _options(workers, cluster)
        out = str(self.project.folder)
        self._free()
        files = {"recipe.yaml": text}
        tomograms: list[str] | None = None
        if self.project.path.is_dir():
            every = range(len(self.project)) if numbers is None else numbers
            tomograms = [self.project.tomogram(number).name for number in every]
            sources = [self.project.source(number) for number in every]
            files["tomograms.txt"] = text_of_list(sources)
            names, given = [file_name_of(one) for one in sources], "{job}/tomograms.txt"
        else:
            given = str(self.project.path.absolute())
            entries = Collection.read(given).at_work()
            names, sources = [entry.name for entry in entries], [entry.source for entry in entries]
        facts = {
            "recipe": name,
            "names": names,
            "sources": sources,
            "tomograms": tomograms,
            "workers": options.workers,
            "cluster": options.cluster,
        }
        more = ["--workers", str(options.workers)] if options.workers else []
        more += ["--cluster", options.cluster] if options.cluster else []
        arguments = ["run", "{job}/recipe.yaml", given, "--out", out, *more, "--no-progress"]
        title = f"{name}: {len(names)} tomogram{'s' if len(names) != 1 else ''}"
        return self.jobs.start(KIND, title, arguments, files, facts)

    def _free(self) -> None:
        """Refuse a second run at a time, as the engine would a moment later."""
        going = next((job for job in self.jobs.every() if job.kind == KIND and job.going), None)
        if going is not None:
            raise InputError(f"Job {going.number} runs in this project already; wait for it, or stop it.")
        check_free(self.project.folder / "run")

    def _writable(self) -> None:
        if not self.project.writable:
            raise InputError(f"{self.project.folder} cannot be written to.")

    # -- watching ----------------------------------------------------------------------------------------------

    def progress(self, job: Job) -> dict[str, Any] | None:
        """How far a run is, as ``volengine status`` says it; ``None`` if nothing is known.

        Returns
        -------
        dict
            ``total``, ``counts`` by state, ``left_s``, ``per_hour`` (volumes that this job has finished), ``failed``
            and ``running``: at most 50 volumes each; ``report``: the page of the run, where it is there.
        """
        if job.kind != KIND:
            return None
        folder = self.project.folder / "run"
        names, sources = job.facts.get("names"), job.facts.get("sources")
        if not isinstance(names, list) or not isinstance(sources, list):
            return None
        try:
            begun = {one.name for one in census(folder).of("failed")}  # what cannot be opened is named by its path
            named = zip(map(str, names), map(str, sources), strict=True)
            found = census(folder, [source if source in begun else name for name, source in named])
        except (VolengineError, OSError, ValueError):
            return None
        report = folder / REPORT / "index.html"
        return {
            "total": found.total,
            "counts": found.counts(),
            "left_s": found.left_s if job.going else None,
            "per_hour": _per_hour(found, job),
            "failed": [{"name": one.name, "why": one.why} for one in found.of("failed")[:MOST_SHOWN]],
            "running": [
                {"name": one.name, "done": one.done, "units": one.units, "stage": one.stage}
                for one in found.of("running")[:MOST_SHOWN]
            ],
            "report": str(report) if report.is_file() else None,
        }


def steps_of(recipe: RunRecipe) -> list[str]:
    """What a recipe does, in words.

    >>> steps_of(RunRecipe.from_json({"segment": {"models": ["a"]}, "pick": [{"feature": "ribosome"}]}))
    ['segment', 'pick ribosome']
    """
    steps = [name for name in ("filter", "segment", "interact") if getattr(recipe, name) is not None]
    return [*steps, *(f"pick {pick.feature}" for pick in recipe.pick)]


def _near(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _options(workers: Any, cluster: Any) -> RunOptions:
    if type(workers) is not int or not 0 <= workers <= MOST_WORKERS:
        raise InputError(f"workers is {shown(workers)}; it is a whole number up to {MOST_WORKERS}.")
    if cluster is not None and cluster not in CLUSTERS:
        raise InputError(f"cluster is {shown(cluster)}; it is one of {', '.join(CLUSTERS)}.")
    return RunOptions(workers=workers, cluster=cluster)


def _per_hour(found: Census, job: Job) -> float | None:
    """Volumes an hour that were finished since a job began."""
    if job.started is None:
        return None
    done = [one for one in found.of("finished") if one.ended is not None and one.ended >= job.started]
    spent = (job.ended or time.time()) - job.started
    return round(len(done) / spent * 3600, 1) if done and spent > 0 else None


def _texts(value: Any) -> Iterator[str]:
    """All texts in JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _decoded(data: bytes | None, name: str) -> str:
    if data is None:
        raise MissingError(f"{name}: is not there any more.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: is no text in UTF-8.") from None
