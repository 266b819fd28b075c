"""Where results go in a copick project: into its overlay, under the names by which copick finds them.

``--out config.json``, or ``--out config.json#user=me,session=2,picks=ribosome`` (masks: ``seg=membrane``; labels of
several objects: ``seg=NAME-multilabel``). The user is ``volengine`` and the
session ``0``, which are copick's words for results of a tool. A run must exist, and the configuration must know the
object, because copick refuses others. The static root is never written into, and files of other users and sessions are
other files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from volengine.core.errors import InputError
from volengine.core.volume import Vector3
from volengine.io.copick.choice import SHOWN, parse_choice
from volengine.io.copick.config import RUNS, Project, clean_name, is_project, read_project
from volengine.io.copick.contents import MULTILABEL, runs_of
from volengine.io.names import project_and_choice, same_tomogram

USER, SESSION = "volengine", "0"
"""The user of what volengine writes, and the session of tools."""


@dataclass(frozen=True)
class Target:
    """A project that results are written into.

    Parameters
    ----------
    project
        The project.
    address
        As it was given, for messages.
    user, session
        Who writes, and in which session.
    name
        The object; empty: that of each result. Of labels of several objects any name, with ``-multilabel`` behind it.
    run
        The run; empty: that of each tomogram.
    kind
        The key of the object: ``picks`` or ``seg``.
    """

    project: Project
    address: str
    user: str
    session: str
    name: str = ""
    run: str = ""
    kind: str = "picks"

    @classmethod
    def of(cls, address: str, kind: str = "picks") -> Target:
        """The target that an address names: ``config.json``, or ``config.json#user=...,session=...,picks=...``.

        Parameters
        ----------
        address
            The address.
        kind
            The key of the object that results have: ``picks`` or ``seg``, which takes ``run=`` as well.

        Raises
        ------
        MissingError, FormatError
            The project does not exist, or its configuration is damaged.
        InputError
            The address chooses something that results do not have.
        """
        where, text = project_and_choice(address)
        words = [part for part in text.split(",") if part.strip()]
        keys = {part.partition("=")[0].strip().lower() for part in words}
        own = ["user", "session", *(["run"] if kind == "seg" else [])]
        if wrong := sorted(keys - {*own, kind}):
            said = ", ".join(f"{key}=" for key in own)
            raise InputError(f"{address}: to write, give {said} and {kind}=, and not {wrong[0]}=.")
        choice = parse_choice(where, text if kind in keys else f"{text},{kind}=*")
        name = "" if choice[kind] == "*" else choice[kind]
        given = {"user": choice.get("user", USER), "session": choice.get("session", SESSION)}
        for key, value in {**given, kind: name}.items():
            if value and value != clean_name(value):
                raise InputError(
                    f"{address}: {key} is {value!r}; copick has no _, blanks or signs of paths in it: "
                    f"{clean_name(value)!r}."
                )
        return cls(read_project(where), address, given["user"], given["session"], name, choice.get("run", ""), kind)

    def picks_file(self, tomogram: str, feature: str) -> Path:
        """The file of the picks of a tomogram.

        Parameters
        ----------
        tomogram
            Its name, which must be that of a run as far as :func:`~volengine.io.names.same_tomogram` compares.
        feature
            The feature of the picks, if the target names no object.

        Raises
        ------
        InputError
            There is no such run, or no such object; or the static root has a file of this name.
        """
        name = f"{self.user}_{self.session}_{self.object_of(feature)}.json"
        return self._in_overlay(Path(RUNS) / self.run_of(tomogram) / "Picks" / name)

    def instances_store(self, tomogram: str, feature: str, voxel_size: Vector3) -> str:
        """The store of a volume that numbers the objects of a tomogram; the parameters are those of ``picks_file``.

        Raises
        ------
        InputError
            Also if voxels are no cubes, because copick names stores by one voxel size.
        """
        size = is_cube(voxel_size, self.address)
        name = f"{size:.3f}_{self.user}_{self.session}_{self.object_of(feature)}.zarr"
        return str(self._in_overlay(Path(RUNS) / self.run_of(tomogram) / "InstanceSegmentations" / name))

    def _in_overlay(self, place: Path) -> Path:
        """A place in the overlay, unless the static root has the same one: then nobody could tell the two apart."""
        project = self.project
        path = project.overlay / place
        if project.static is not None and not _same(project.static, project.overlay):
            static = project.static / place
            if static.exists():
                raise InputError(
                    f"{static} exists, in the static root of {self.address}, which is never written into; a second one "
                    "of this name in the overlay would make the project ambiguous. Choose another user= or session=."
                )
        return path

    @property
    def multilabel(self) -> bool:
        """Whether the result has several objects."""
        return self.name.endswith(MULTILABEL)

    def segmentation_store(self, tomogram: str, feature: str, spacing: float) -> Path:
        """The store of a mask, or of labels of several objects.

        Parameters
        ----------
        tomogram, feature
            As for :meth:`picks_file`.
        spacing
            Voxel size, angstrom.

        Raises
        ------
        InputError
            There is no such run, or no such object; or the static root has a segmentation of the same name.
        """
        name = self.name if self.multilabel else self.object_of(feature)
        run = self.run_of(tomogram)
        inside = Path(RUNS, run, "Segmentations", f"{spacing:.3f}_{self.user}_{self.session}_{name}.zarr")
        static = self.project.static
        if static is not None and (static / inside).exists():
            raise InputError(f"{static / inside} exists, in the static root; choose another user= or session=.")
        return self.project.overlay / inside

    def run_of(self, tomogram: str) -> str:
        """The run of a tomogram, or that of the address; ``InputError`` if there is none."""
        runs = runs_of(self.project)
        if self.run:
            tomogram, run = self.run, self.run if self.run in runs else None
        else:
            run = same_tomogram(tomogram, runs)
        if run is None:
            more = f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
            there = ", ".join(runs[:SHOWN]) + more if runs else "none"
            raise InputError(
                f"{self.address}: the project has no run {tomogram!r}; there are {there}. Make it with copick (copick "
                "add tomogram), or name the tomogram as its run."
            )
        return run

    def object_of(self, feature: str) -> str:
        """The object of a feature; ``InputError`` if the project's configuration does not know it."""
        known = [one.name for one in self.project.objects]
        name = self.name or (clean_name(feature) if feature else "")
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]}?" if near else ""
            several = f" Labels of several objects have a name with {MULTILABEL} behind it." * (self.kind == "seg")
            raise InputError(
                f"{self.address}: the project's pickable_objects have no {name!r}, but {_listed(known)}.{hint} Choose "
                f"one with {self.kind}=NAME behind #, or add it to the configuration (copick add object), or copick "
                f"does not show it.{several}"
            )
        return name


def is_cube(voxel_size: Vector3, address: str) -> float:
    """The side of voxels, angstrom; ``InputError`` if they are no cubes."""
    if max(voxel_size) - min(voxel_size) >= 5e-4:
        said = " x ".join(f"{v:g}" for v in voxel_size)
        raise InputError(f"{address}: the voxels have {said} angstrom; copick's are cubes.")
    return voxel_size[0]


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") or "none"


def is_target(out: str) -> bool:
    """Whether an output is a project: an address, or the configuration of one."""
    return bool(project_and_choice(out)[1]) or is_project(out)


def check_own(path: Path) -> None:
    """Refuse a file of picks that another program, or a person, has written.

    Raises
    ------
    InputError
        The file exists, and lacks what volengine writes.
    """
    if not path.exists():
        return
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or "volengine" not in data:
        raise InputError(
            f"{path} exists, and volengine has not written it; choose another user= or session=, or remove it."
        )


def check_own_store(path: Path) -> None:
    """Refuse a store that another program, or a person, has written, whatever the name says.

    Raises
    ------
    InputError
        Something exists there, and lacks what volengine writes.
    """
    if not path.exists():
        return
    try:
        data = json.loads((path / ".zattrs").read_bytes())
    except (OSError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or "volengine" not in data:
        raise InputError(
            f"{path} exists, and volengine has not written it; choose another user= or session=, or remove it."
        )
