"""Teaching: models of the project, what one answers on a slice, and trainings on all that is annotated.

=======================================  ==================================================================
``models/NAME.safetensors``              a model, from a training or put there by hand
``models/NAME.safetensors.training``     what ``volengine train`` keeps of a training
``training/NAME``                        what it was trained on: ``volengine annotate export`` of that moment
=======================================  ==================================================================
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
import shlex
import shutil
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import write_atomic
from volengine.core.block import Table
from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError, MissingError, VolengineError
from volengine.core.feature_colours import colour_of_feature, hexadecimal
from volengine.core.model import ModelFacts
from volengine.core.roi import roi_text
from volengine.core.yaml_recipes import read_yaml, yaml_text
from volengine.engine.options import RunOptions
from volengine.io.annotations.folder import check_name
from volengine.io.open import open_volume
from volengine.nets.facts_apart import facts_apart
from volengine.nets.training.place import folder_of
from volengine.tasks.annotate.export_all import export_all
from volengine.tasks.segment.preview import preview_segment
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.teach.scores import predicted
from volengine.tasks.train.parts import split
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.volumes import region_of
from volengine.web.workbench.annotating import Annotating, slice_box
from volengine.web.workbench.jobs import Job, Jobs
from volengine.web.workbench.project import Project
from volengine.web.workbench.slices import axis_number

MODELS = (".safetensors", ".scnm", ".ckpt", ".h5", ".hdf5", ".keras", ".onnx")
"""Endings of the files that are listed."""
MOST_MODELS = 1000
MEMORY = "3GB"
"""What a prediction of a slice may take."""
KEPT_TABLES = 64
"""Tomograms whose statistics are kept."""
FIELDS = ("network", "epochs", "steps", "batch", "patience", "learning_rate", "seed")
"""Fields of the recipe that the page may set."""
LEAST_PATCH = 32
"""Side in the plane of the smallest patch that is tried, where tomograms are small."""
KEPT_ROWS = ("epoch", "loss", "validation_loss", "validation_dice", "seconds", "learning_rate")
VOXEL_SIZES: dict[str, dict[str, Any]] = {
    "refuse": {},
    "xy": {"match": "xy"},
    "isotropic": {"match": "isotropic"},
    "any": {"any_voxel_size": True},
}
"""What to do where a model's voxel size differs: fields of the recipe by what the page says."""


class _Tables(OrderedDict[str, Table]):
    """Tables of statistics; those that were not used for the longest time are given up."""

    def __getitem__(self, key: str) -> Table:
        self.move_to_end(key)
        return super().__getitem__(key)

    def __setitem__(self, key: str, table: Table) -> None:
        super().__setitem__(key, table)
        while len(self) > KEPT_TABLES:
            self.popitem(last=False)


class Teaching:
    """What the section Teach works with.

    Parameters
    ----------
    project, annotating, jobs
        The project, its annotations and its jobs.
    """

    def __init__(self, project: Project, annotating: Annotating, jobs: Jobs):
        self.project, self.annotating, self.jobs = project, annotating, jobs
        self.folder, self.exports = project.folder / "models", project.folder / "training"
        self._facts: dict[str, tuple[tuple[int, int], ModelFacts | str]] = {}
        self._tables = _Tables()
        self._starting = threading.Lock()

    # -- models ------------------------------------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        """The models of the project, the newest last; one that cannot be read says why."""
        found: list[dict[str, Any]] = []
        for name, path in sorted(self.files().items(), key=lambda one: (one[1].stat().st_mtime_ns, one[0])):
            facts = self._facts_of(path)
            if isinstance(facts, str):
                found.append({"name": name, "wrong": facts})
                continue
            features = [
                {"name": one, "colour": f"#{hexadecimal(colour_of_feature(one))}"}
                for one in facts.features
                if one in predicted(facts)
            ]
            size = [float(side) for side in facts.voxel_size]
            found.append({"name": name, "features": features, "voxel_size": size, "network": facts.network})
        return found

    def files(self) -> dict[str, Path]:
        """The model files by name; only files of this folder, so that no name leads elsewhere."""
        try:
            with os.scandir(self.folder) as entries:
                own = [one for one in entries if one.is_file(follow_symlinks=self.project.recipe.links)]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        named = [one.name for one in own if Path(one.name).suffix.lower() in MODELS and not one.name.startswith(".")]
        return {name: self.folder / name for name in sorted(named)[:MOST_MODELS]}

    def model(self, name: Any) -> Path:
        """A model by the name of its file.

        Raises
        ------
        MissingError
            There is none in the project.
        """
        found = self.files().get(name) if isinstance(name, str) else None
        if found is None:
            raise MissingError(f"There is no model {name!s:.80} in {self.folder}.")
        return found

    def _facts_of(self, path: Path) -> ModelFacts | str:
        about = path.stat()
        stamp, known = (about.st_mtime_ns, about.st_size), self._facts.get(path.name)
        if known is None or known[0] != stamp:
            try:
                known = stamp, facts_apart(path)
            except VolengineError as error:
                known = stamp, str(error)
            self._facts[path.name] = known
        return known[1]

    # -- the slice in view -------------------------------------------------------------------------------------

    def answer(self, number: int, query: Mapping[str, str], axis: str, index: int) -> tuple[NDArray[np.uint16], str]:
        """What a model answers on a slice, with the numbers that ``volengine segment`` writes there.

        Parameters
        ----------
        number
            Of the tomogram.
        query
            ``model`` and ``feature``; ``sizes``, if voxel sizes differ: a key of :data:`VOXEL_SIZES`.
        axis, index
            The slice.

        Returns
        -------
        NDArray
            (rows, columns): 65535 is probability 1. A prediction has 8 bits, each value of which is 257 times here.
        str
            The command that predicts it.

        Raises
        ------
        InputError, MissingError
            There is no such model, feature or slice, or the model does not fit the tomogram.
        """
        path, sizes = self.model(query.get("model")), query.get("sizes", "refuse")
        if sizes not in VOXEL_SIZES:
            raise InputError(f"sizes is {sizes:.20}; it is {', '.join(VOXEL_SIZES)}.")
        source, across = self.project.opened(number).volume, axis_number(axis)
        box = slice_box(source.shape, across, index)
        recipe = SegmentRecipe(models=(str(path),), roi=roi_text(box), **VOXEL_SIZES[sizes])
        found = preview_segment(source, recipe, RunOptions(memory_limit=MEMORY, progress=False), self._tables)
        values = found.get(query.get("feature", ""))
        if values is None:
            raise MissingError(f"{path.name} predicts {', '.join(found)}.")
        command = ["volengine", "segment", source.place, "--models", str(path), "--roi", recipe.roi]
        command += ["--match", recipe.match] if recipe.match else ["--any-voxel-size"] if recipe.any_voxel_size else []
        return np.take(values, 0, across).astype(np.uint16) * 257, shlex.join(
            [*command, "--out", str(self.project.folder / "tried")]
        )

    # -- training ----------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What can be trained: by feature the tomograms and boxes that there are, networks, models."""
        boxes: dict[str, list[int]] = {}
        unread = []
        for number in range(len(self.project)):
            try:
                counts = self.annotating.counts(number)
            except VolengineError as error:
                unread.append(str(error))
                continue
            for name, count in counts.items():
                if count["boxes"]:
                    boxes.setdefault(name, []).append(count["boxes"])
        return {
            "features": [
                {
                    "name": name,
                    "colour": f"#{hexadecimal(colour_of_feature(name))}",
                    "tomograms": len(counts),
                    "boxes": sum(counts),
                }
                for name, counts in sorted(boxes.items())
            ],
            "networks": _networks(),
            "models": self.models(),
            "unread": unread,
        }

    def start(self, given: Mapping[str, Any]) -> Job:
        """Export what is annotated, and start a training on it.

        Parameters
        ----------
        given
            ``name`` of the model, ``features``; ``start``, a model to go on from, or ``network``; other :data:`FIELDS`.

        Raises
        ------
        InputError
            Something is refused, by the recipe of the training or before; nothing is left of it then.
        """
        unknown = set(given) - {"name", "features", "start", *FIELDS}
        if unknown:
            raise InputError(f"A training has no {sorted(unknown)[0]!r:.40}.")
        name, features = check_name(given.get("name"), "model"), given.get("features")
        if given.get("network") not in (None, "", *_networks()):  # another one would be somebody's Python code
            raise InputError(f"{given['network']!s:.80} is no network of volengine.")
        if not isinstance(features, list) or not features or not all(isinstance(one, str) for one in features):
            raise InputError("Choose one or more features.")
        self._check_writable()
        with self._starting:
            out, folder = self.folder / f"{name}.safetensors", self.exports / name
            taken = next((one for one in (out, folder_of(out), folder) if os.path.lexists(one)), None)
            if taken is not None:
                raise InputError(f"{taken} is there; give another name.")
            try:
                recipe = self._recipe(folder, features, given)
                self.folder.mkdir(exist_ok=True)
                return self._job(name, recipe.epochs, recipe.features)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)  # it was not there before
                raise

    def _check_writable(self) -> None:
        if not self.project.writable:
            raise InputError(f"{self.project.folder}: cannot be written to, so it can only be looked at.")
        for folder in (self.folder, self.exports):
            if folder.is_symlink() and not self.project.recipe.links:
                raise InputError(f"{folder}: is a link that leads out of the project, and is not followed.")

    def _recipe(self, folder: Path, features: Sequence[str], given: Mapping[str, Any]) -> TrainRecipe:
        """Export the annotations, and write the recipe of a training on them."""
        numbers = [number for number in range(len(self.project)) if self.annotating.there(number)]
        made = export_all([self.project.annotations(number) for number in numbers], folder, features)
        values = read_yaml(made.recipe)
        fields = {key: given[key] for key in FIELDS if given.get(key) not in (None, "")}
        if given.get("start"):
            path = self.model(given["start"])
            values |= {**_like(path, self._facts_of(path)), "start": str(path)}
            fields.pop("network", None)
        elif "network" in fields:
            values |= _patch(str(fields["network"]), values)
        recipe = TrainRecipe.from_json({**values, **fields}, "training")
        values["patch"] = list(_fitting(recipe, (recipe.patch,) if recipe.start else _smaller(recipe)))
        write_atomic(folder / "recipe.yaml", yaml_text({**values, **fields}), durable=True)
        return recipe.with_(patch=index3(values["patch"]))

    def _job(self, name: str, epochs: int, features: Sequence[str]) -> Job:
        arguments = ["train", str(self.exports / name / "recipe.yaml"), "--out", f"{self.folder / name}.safetensors"]
        facts = {"model": name, "epochs": epochs, "features": list(features)}
        return self.jobs.start("train", f"Train {name}", arguments, facts=facts)

    def stop(self, number: int) -> Job:
        """Stop a training in order, as Ctrl-C does; a second time at once. Errors are those of :meth:`Jobs.stop`."""
        self._name(self.jobs.job(number))
        return self.jobs.stop(number)

    def again(self, number: int) -> Job:
        """Go on with a training that has ended before its last epoch.

        Raises
        ------
        InputError
            It is no training of this page, or one of this model is under way.
        """
        job, name = self.jobs.job(number), self._name(self.jobs.job(number))
        self._check_writable()
        with self._starting:
            if any(one.going and one.kind == "train" and one.facts.get("model") == name for one in self.jobs.every()):
                raise InputError(f"{name} is being trained.")
            return self._job(name, int(job.facts.get("epochs", 0)), [str(f) for f in job.facts.get("features", [])])

    def _name(self, job: Job) -> str:
        if job.kind != "train":
            raise InputError(f"Job {job.number} is no training.")
        return check_name(job.facts.get("model"), "model")

    def trainings(self) -> list[dict[str, Any]]:
        """The trainings of the project, the newest first, of each model the last job; as :meth:`training`."""
        found: dict[str, dict[str, Any]] = {}
        for job in self.jobs.every():
            name = job.facts.get("model")
            if job.kind == "train" and isinstance(name, str) and name not in found:
                with contextlib.suppress(VolengineError):
                    found[name] = self._told(job)
        return list(found.values())

    def _told(self, job: Job) -> dict[str, Any]:
        name = self._name(job)
        out = self.folder / f"{name}.safetensors"
        rows = history(folder_of(out) / "history.csv")
        epochs = job.facts.get("epochs")
        left = None
        if job.going and isinstance(epochs, int) and rows:
            seconds = [taken for row in rows[-5:] if (taken := row.get("seconds"))]
            left = (epochs - len(rows)) * sum(seconds) / len(seconds) if seconds else None
        picture = folder_of(out) / "validation.png"
        stamp = picture.stat().st_mtime_ns if picture.is_file() else 0
        return {
            "job": job.number,
            "model": name,
            "state": job.state,
            "why": job.why,
            "epochs": epochs,
            "rows": rows,
            "left_s": left,
            "picture": str(stamp) if stamp else "",
            "there": out.is_file(),
            "log": job.log_tail(12) if job.state in ("failed", "killed") or not rows else "",
            "commands": self._commands(job, name),
        }

    def _commands(self, job: Job, name: str) -> list[str]:
        """What trains the same again or goes on, and what exports what is annotated now; for a shell that is anywhere.

        The first one is not that of the job, whose paths would be those of the project's old place if it was moved.
        """
        there = shlex.join(["cd", str(self.project.folder)])
        out = ["--out", f"models/{name}.safetensors"]
        train = shlex.join(["volengine", "train", f"training/{name}/recipe.yaml", *out])
        features = ",".join(map(str, job.facts.get("features", [])))
        export = shlex.join(["--features", features, "--out", f"training/{name}", "--overwrite"])
        return [f"{there}\n{train}", f"{there}\nvolengine annotate export annotations/*.annotations {export}"]

    def picture(self, number: int) -> bytes:
        """The picture of validation patches that a training has written last (PNG).

        Raises
        ------
        MissingError
            There is none yet.
        """
        path = folder_of(self.folder / f"{self._name(self.jobs.job(number))}.safetensors") / "validation.png"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise MissingError("There is no picture yet.") from None


def history(path: Path) -> list[dict[str, float | None]]:
    """The epochs of a training from its table, ``history.csv``; none if there is no table yet.

    Numbers that are not finite become ``None``, which JSON has.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [{name: _number(row[name]) for name in row if name and _told_of(name)} for row in read]


def _told_of(name: str) -> bool:
    return name in KEPT_ROWS or name.startswith("validation_dice_")


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _networks() -> list[str]:
    """The networks that a training may begin with: those of volengine and of installed packages, by their names."""
    from volengine.nets import registry

    return [name for name in registry.names() if name not in registry.IMPORTED and not registry.is_own(name)]


def _like(path: Path, facts: ModelFacts | str) -> dict[str, Any]:
    """Fields of a training that goes on from a model: those that its network and its input have."""
    if isinstance(facts, str):
        raise InputError(facts)
    if facts.network not in (*_networks(), "graph"):
        raise InputError(f"{path.name} has a network of its own, {facts.network!s:.80}; train it with the command.")
    if facts.activation != "sigmoid":
        raise InputError(f"{path.name} does not answer with a probability for each feature; go on from another one.")
    return {
        "network": facts.network,
        "arguments": facts.arguments,
        "patch": list(facts.patch),
        "context": facts.context,
        "normalisation": facts.normalisation,
    }


def _patch(network: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The patch for a network of the page's choice: as the annotations suggest, if these are for its dimensions."""
    from volengine.tasks.models.networks import networks

    flat = networks((network,))[0].dimensions == 2
    known: Index3 | None = values.get("patch")
    if known is not None and (known[0] == 1) == flat:
        return {}
    return {"patch": [1, 128, 128] if flat else [32, 32, 32]}


def _smaller(recipe: TrainRecipe) -> list[Index3]:
    """The patch of a recipe, and smaller ones that its network can take, down to :data:`LEAST_PATCH` in the plane."""
    from volengine.tasks.models.networks import networks

    stride = networks((recipe.network,))[0].stride
    depth, _, side = recipe.patch
    depths = [depth // 2**k for k in range(3) if depth // 2**k >= 2 * stride[0]] if depth > 1 else [1]
    sides = [n for n in range(side, LEAST_PATCH - 1, -8) if n % max(stride[1:]) == 0] if depth == 1 else [side]
    return [recipe.patch, *((z, n, n) for n in sides for z in depths if (z, n, n) != recipe.patch)]


def _fitting(recipe: TrainRecipe, patches: Sequence[Index3]) -> Index3:
    """The first patch for which all tomograms have a part to train on and, where one is kept, one for validation.

    Raises
    ------
    InputError
        None of them fits.
    """
    opened = [(sample, open_volume(sample.volume, voxel_size=sample.voxel_size)) for sample in recipe.samples]
    why = ""
    for patch in patches:
        rules = recipe.with_(patch=patch).rules()
        try:
            for sample, volume in opened:
                split(region_of(sample, volume), rules, volume, sample.use)
        except InputError as error:
            why = why or str(error)
        else:
            return patch
    least = patches[-1]
    ways = "go on from another model, or " if recipe.start else "begin with a 2D network, or " if least[0] > 1 else ""
    raise InputError(f"Patches of {' x '.join(map(str, least))} voxels do not fit: {ways}take larger tomograms. {why}")
