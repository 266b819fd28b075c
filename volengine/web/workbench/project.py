"""The tomograms of a project, and where the project keeps what is made in the page.

==============================  ========================================================
``annotations/NAME.annotations``  the annotations of a tomogram
``annotations/notes.json``        tags and notes
``lists/NAME.txt``                selections, as verbs take them
``recipes/NAME.yaml``             recipes that were tuned
``.workbench``                    thumbnails, which can be made again
==============================  ========================================================
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from volengine.core.errors import InputError, MissingError, VolengineError
from volengine.core.feature_colours import colour_of_feature, hexadecimal
from volengine.core.paths import PathLike, path_text
from volengine.core.text import counted
from volengine.core.volume import Volume
from volengine.engine.ledger import RunFolder
from volengine.io.annotations.folder import ENDING
from volengine.io.copick.config import is_project
from volengine.io.listing import ARRAY_FILES
from volengine.io.names import VOLUME_SUFFIXES, same_tomogram, split_group, suffix_of
from volengine.io.open import OpenVolume, open_volume
from volengine.io.stores import local_path, located
from volengine.tasks.collection.manifest import file_name_of
from volengine.tasks.common.named import feature_in, feature_of
from volengine.tasks.common.output_folders import FOLDERS, sources_of
from volengine.web.view.find import Thing, Tomogram, find, identity_for, natural
from volengine.web.workbench.recipe import WorkbenchRecipe

BESIDE = ".volengine"
"""End of the folder beside the configuration of a copick project; nothing is written into the project itself."""

PREDICTED = ("predictions", "gated", "")
"""Folders in which predictions and labels lie."""
GATED = " (gated)"
"""Behind the name of a feature: its prediction after the rules."""
WRITTEN = (
    *("annotations", "answers", "curated", "jobs", "lists", "models", "recipes", "run", "shared-models", "training"),
    *(".workbench", ".workbench/thumbnails"),
)
"""Folders that the page writes into."""
OPENED = 64
"""Tomograms whose metadata are kept."""
DOUBT_S = 5.0
"""Seconds after which a tomogram is opened again of which something could not be shown."""
RAW = frozenset(VOLUME_SUFFIXES) - {".zarr"}
"""Endings of tomograms that a run converts."""
IDENTITY = 40
"""Digits of an identity."""


@dataclass(frozen=True)
class Prediction:
    """A prediction of a tomogram: a key for addresses, its feature (and folder, where two differ by it), its volume."""

    key: str
    name: str
    feature: str
    colour: str
    volume: OpenVolume


@dataclass(frozen=True)
class Opened:
    """A tomogram that was opened: its volume, its predictions of the same voxels, and what else is to be known."""

    volume: OpenVolume
    predictions: tuple[Prediction, ...]
    notes: tuple[str, ...]
    stamps: tuple[str, ...] = ()


class Project:
    """A folder of tomograms or results, the manifest of a collection, or a copick project.

    Parameters
    ----------
    path
        The folder, the manifest, or the configuration of the copick project; of the latter, what is made in the page is
        kept in a folder beside the configuration, ``NAME.volengine``.
    recipe
        How tomograms are opened.

    Raises
    ------
    MissingError
        There is no such folder, or no tomogram in it.
    InputError
        It is a URL, or neither folder nor manifest.
    """

    def __init__(self, path: PathLike, recipe: WorkbenchRecipe | None = None):
        text = path_text(path)
        if "://" in text:
            raise InputError(f"{text}: a project is a folder or a manifest on a disk; annotations are written there.")
        place = Path(text)
        if not place.exists():
            raise MissingError(f"{text}: no such folder or manifest.")
        copick = is_project(place)
        if place.is_file() and not copick and place.suffix.lower() not in (".csv", ".star", ".yaml", ".yml"):
            raise InputError(
                f"{text}: give a folder of tomograms or results, the manifest of a collection, or the configuration "
                "of a copick project."
            )
        self.recipe = WorkbenchRecipe.of(recipe)
        self.path = place
        beside = place.with_name(place.stem + BESIDE) if copick else place.parent
        self.folder = (place if place.is_dir() else beside).absolute()
        self.check_links()
        stamp = self._folders()
        every = self._find()
        self._stamp = stamp if _settled(stamp) else []
        self.notes = [note for one in every for note in one.notes]
        self.tomograms: list[Tomogram] = [one for one in every if any(t.role == "volume" for t in one.things)]
        if not self.tomograms:
            raise MissingError(" ".join([f"{text}: no tomogram was found there.", *self.notes[:3]]))
        if copick and os.access(place.parent, os.W_OK):
            self.folder.mkdir(exist_ok=True)
        self._opened: OrderedDict[int, Opened] = OrderedDict()
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._doubted: dict[int, float] = {}

    def check_links(self) -> None:
        """Refuse folders that the page writes into and that lead out of the project, unless links are followed.

        Raises
        ------
        InputError
            One of them is a link to a place elsewhere.
        """
        for name in WRITTEN:
            self._refuse_link(self.folder / name)

    def _refuse_link(self, place: Path) -> None:
        if not self.recipe.links and place.is_symlink() and not self._here(place):
            raise InputError(
                f"{place} is a link that leads out of the project. Put a folder there, or follow links: --links."
            )

    def refresh(self) -> None:
        """Look for what has come since: results of a run, further tomograms.

        A tomogram keeps its number as long as the project is open. Nothing is looked for while the folders that hold
        results are as they were.
        """
        with self._refreshing:
            stamp = self._folders()
            if stamp == self._stamp:
                return
            try:
                every = self._find()
            except (VolengineError, OSError):  # something is being moved; what was there is still shown
                return
            known = {one.name: number for number, one in enumerate(self.tomograms)}
            tomograms = list(self.tomograms)
            for one in every:
                if one.name in known:
                    tomograms[known[one.name]] = one
                elif any(thing.role == "volume" for thing in one.things):
                    tomograms.append(one)
            with self._lock:
                self._opened.clear()
                self.tomograms, self._stamp = tomograms, stamp if _settled(stamp) else []

    def _folders(self) -> list[int]:
        """When the folders that may hold results, and a manifest, were changed."""
        found = []
        for place in (self.path, *(self.folder / name for name in ("", *FOLDERS, "picks", "surfaces", "truth"))):
            try:
                found.append(place.stat().st_mtime_ns)
            except OSError:
                found.append(0)
        return found

    def _find(self) -> list[Tomogram]:
        """What the project has: beside what :func:`find` sees of it, files that wait for a run, and its results."""
        every = find([path_text(self.path)], links=self.recipe.links)
        more: list[Tomogram] = []
        if not self.path.is_dir():
            if (self.folder / "run" / "plans").is_dir():  # the results of the manifest's run
                more = [one for one in find([str(self.folder)], links=self.recipe.links) if one.folder is not None]
        else:
            for file in sorted(self.path.glob("[!.]*")):
                if suffix_of(file.name) in RAW and "__" not in file.name and file.is_file() and self._here(file):
                    more.append(Tomogram(file_name_of(file.name), [Thing(str(file), "volume", "")]))
        by_name = {one.name: one for one in every}
        for one in more:
            name = same_tomogram(one.name, by_name)
            if name is None:
                if self.path.is_dir():
                    every.append(one)
                continue
            there = by_name[name]
            there.folder = there.folder or one.folder
            there.things += [thing for thing in one.things if thing not in there.things]
        return sorted(every, key=lambda one: natural(one.name))

    def _here(self, file: Path) -> bool:
        return self.recipe.links or file.resolve().is_relative_to(self.folder.resolve())

    def __len__(self) -> int:
        return len(self.tomograms)

    @property
    def name(self) -> str:
        """Name of the folder, or of the configuration of a copick project."""
        return self.folder.name.removesuffix(BESIDE)

    @property
    def writable(self) -> bool:
        """Whether annotations can be written."""
        return os.access(self.folder, os.W_OK)

    def tomogram(self, number: int) -> Tomogram:
        """A tomogram by its number.

        Raises
        ------
        MissingError
            There is none of this number.
        """
        if not 0 <= number < len(self.tomograms):
            raise MissingError(
                f"The project has {counted(len(self.tomograms), 'tomogram')}; there is no number {number}."
            )
        return self.tomograms[number]

    def annotations(self, number: int) -> Path:
        """The folder of a tomogram's annotations, which need not be there.

        Raises
        ------
        InputError
            The tomogram has a name that is none of a file (tables of picks may say anything); or there is a link out
            of the project.
        """
        name = self.tomogram(number).name
        if name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
            raise InputError(f"{name!r}: a tomogram of this name cannot be annotated; rename it.")
        place = self.folder / "annotations" / f"{name}{ENDING}"
        self._refuse_link(place)
        return place

    def base(self, number: int) -> OpenVolume:
        """A tomogram itself, from its metadata.

        Raises
        ------
        VolengineError
            It cannot be opened, or there are predictions alone.
        """
        tomogram = self.tomogram(number)
        error: VolengineError | None = None
        for thing in _likely(tomogram):
            try:
                volume = self._open(thing)
            except VolengineError as problem:
                error = error or problem
                continue
            if is_tomogram(volume):
                return volume
        if tomogram.folder is not None and (found := sources_of(tomogram.folder, tomogram.name)):
            return found[0]
        raise error or MissingError(f"{tomogram.name}: its predictions are here, but not the tomogram itself.")

    def source(self, number: int) -> str:
        """What a run of this tomogram reads: its file, what an earlier run has read, or its store; absolute.

        So a run that is started anew with another recipe keeps what does not change.

        Raises
        ------
        MissingError
            There are predictions alone.
        """
        tomogram = self.tomogram(number)
        raw = [one.path for one in tomogram.things if one.role == "volume" and suffix_of(one.path) in RAW]
        for path in (*raw, *self._read_before(tomogram.name)):
            if self._here(Path(path)):
                return os.path.abspath(path)  # noqa: PTH100  # links stay
        likely = [one for one in _likely(tomogram) if one.folder not in ("predictions", "gated")]
        if not likely:
            raise MissingError(f"{tomogram.name}: its predictions are here, but not the tomogram itself.")
        path = likely[0].path
        return path if "://" in path else os.path.abspath(path)  # noqa: PTH100

    def _read_before(self, name: str) -> list[str]:
        """The file that a run of the project has read as this tomogram, if it is there."""
        try:
            plan = RunFolder(self.folder / "run").plan(name).read_json("plan.json")
            read = [one["volume"] for stage in plan["stages"] for one in stage["arrays"].values()]
            found = [local_path(one.url) for one in map(Volume.from_json, read) if one.name == name]
        except (VolengineError, OSError, KeyError, TypeError, AttributeError):
            return []
        return [str(path) for path in found if path is not None and suffix_of(str(path)) in RAW and Path(path).exists()]

    def opened(self, number: int) -> Opened:
        """A tomogram with its predictions; errors as of :meth:`base`. What was written anew is opened anew."""
        with self._lock:
            if time.monotonic() - self._doubted.get(number, time.monotonic()) > DOUBT_S:
                self._opened.pop(number, None)
                del self._doubted[number]
            kept = self._opened.get(number)
            if kept is not None:
                self._opened.move_to_end(number)
        if kept is not None and _stamps(kept) == kept.stamps:
            return kept
        made = self._made(number)
        with self._lock:
            self._opened[number] = made
            if made.notes:  # what could not be shown may be being written
                self._doubted[number] = time.monotonic()
            while len(self._opened) > OPENED:
                self._opened.popitem(last=False)
        return made

    def _made(self, number: int) -> Opened:
        volume, predictions, notes = self.base(number), [], list(self.tomogram(number).notes)
        for thing in self.tomogram(number).things:
            if thing.role != "volume" or located(thing.path) == volume.url:
                continue
            try:
                one = self._open(thing)
            except (VolengineError, OSError) as error:
                notes.append(f"Not shown: {error}")
                continue
            if one.kind == "labels" or is_tomogram(one):
                continue
            if one.shape != volume.shape:
                notes.append(f"Not shown: {thing.path} has the shape {one.shape}, the tomogram {volume.shape}.")
                continue
            feature = feature_of(one) or one.name
            name = f"{feature}{GATED}" if thing.folder == "gated" else feature
            key = sha256(one.where.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            predictions.append(Prediction(key, name, feature, f"#{hexadecimal(colour_of_feature(feature))}", one))
        return _stamped(Opened(volume, tuple(predictions), tuple(notes)))

    def features(self, number: int) -> dict[str, Thing]:
        """The features of which a tomogram has a prediction or labels, by the names of the files alone."""
        found: dict[str, Thing] = {}
        for thing in self.tomogram(number).things:
            if thing.role == "volume" and thing.folder in PREDICTED:
                feature = feature_in(file_name_of(split_group(thing.path)[0]))
                if feature:
                    found.setdefault(f"{feature}{GATED}" if thing.folder == "gated" else feature, thing)
        return found

    def feature(self, number: int, name: str) -> OpenVolume:
        """The prediction or the labels of a feature of a tomogram, a name of :meth:`features`.

        Raises
        ------
        MissingError
            There is none, or it is no prediction.
        """
        thing = self.features(number).get(name)
        volume = None if thing is None else self._open(thing)
        if volume is None or (volume.kind != "labels" and is_tomogram(volume)):
            raise MissingError(f"{self.tomogram(number).name}: there is no prediction of {name!r:.80}.")
        return volume

    def _open(self, thing: Thing) -> OpenVolume:
        size = self.recipe.voxel_size
        how = identity_for(thing.path)
        try:
            return open_volume(thing.path, channel=self.recipe.channel, identity=how)
        except InputError as error:
            if size is None or type(error) is not InputError:
                raise
            return open_volume(thing.path, voxel_size=size, channel=self.recipe.channel, identity=how)

    def prediction(self, number: int, key: str) -> Prediction:
        """A prediction of a tomogram by its key.

        Raises
        ------
        MissingError
            There is none.
        """
        found = next((one for one in self.opened(number).predictions if one.key == key), None)
        if found is None:
            raise MissingError(f"{self.tomogram(number).name}: there is no such prediction; load the page again.")
        return found


def _stamps(opened: Opened) -> tuple[str, ...]:
    """When the files of the volumes were written: the file itself, of a store the array's folder and metadata."""
    found = []
    for volume in (opened.volume, *(one.volume for one in opened.predictions)):
        place = local_path(volume.url)
        files = [] if place is None else [place]
        if place is not None and place.is_dir():
            files = [place / volume.path / name for name in ("", *ARRAY_FILES)]
        found.append(" ".join(_state(file) for file in files))
    return tuple(found)


def _state(file: Path) -> str:
    try:
        told = file.stat()
    except OSError:
        return "gone"
    return f"{told.st_mtime_ns}-{told.st_ino}-{told.st_size}"


def _stamped(opened: Opened) -> Opened:
    """The same with identities that change when files are written anew: a store's is of its metadata, which may not."""
    stamps = _stamps(opened)
    tomogram, *others = (
        replace(one, identity=sha256(f"{one.identity} {stamp}".encode()).hexdigest()[:IDENTITY]) if stamp else one
        for one, stamp in zip((opened.volume, *(p.volume for p in opened.predictions)), stamps, strict=True)
    )
    predictions = tuple(replace(p, volume=one) for p, one in zip(opened.predictions, others, strict=True))
    return Opened(tomogram, predictions, opened.notes, stamps)


def _settled(stamp: list[int]) -> bool:
    """Whether folders were changed long enough ago that a further change would be seen by its time."""
    return time.time_ns() - max(stamp) > 2_000_000_000


def is_tomogram(volume: OpenVolume) -> bool:
    """Whether a volume is a tomogram, by its metadata and its name."""
    return volume.kind == "intensity" and not feature_of(volume)


def _likely(tomogram: Tomogram) -> list[Thing]:
    """The volumes of a tomogram, those first whose names are not those of predictions."""
    volumes = [one for one in tomogram.things if one.role == "volume"]
    return sorted(volumes, key=lambda one: "__" in Path(one.path).name or one.folder in ("predictions", "gated"))
