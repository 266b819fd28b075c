"""The surfaces of ``stats --surface``: found from paths, and matched to the tomograms of the particles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path

import numpy as np

from volengine.core.errors import InputError, MissingError
from volengine.core.text import counted
from volengine.core.units import NM_TO_ANGSTROM
from volengine.io.names import same_tomogram, tomogram_key
from volengine.io.surfaces import ENDING, FACTS, SurfaceSet, open_surfaces
from volengine.tasks.common.lying import Lattice
from volengine.tasks.common.named import tomogram_in
from volengine.tasks.common.origins import SIZE_TOLERANCE, origins_note


@dataclass(frozen=True)
class Grid:
    """What is known of a tomogram from the sources of its particles.

    Its sides, nm; what they state of its box; and how many particles of the classes that count there are.
    """

    extent_nm: tuple[float, float, float] | None
    box: Lattice
    particles: int


@dataclass(frozen=True, eq=False)
class SetsFound:
    """The sets of surfaces of each tomogram, by its name, with a name for each set; and notes on them.

    A tomogram without particles, of which the only set has no surfaces, has no sets here.
    """

    sets: Mapping[str, Sequence[tuple[str, SurfaceSet]]]
    notes: tuple[str, ...]


def find_sets(paths: Iterable[str]) -> list[SurfaceSet]:
    """Open the sets of surfaces that paths name: sets, mesh files, folders of either, globs; sorted, each once."""
    found: list[Path] = []
    for item in paths:
        if has_magic(item) and not Path(item).exists():
            matches = sorted(glob(item))  # noqa: PTH207
            if not matches:
                raise MissingError(f"--surface {item}: nothing matches.")
            found += [Path(match) for match in matches]
            continue
        path = Path(item)
        inner = sorted(path.glob(f"*{ENDING}")) if path.is_dir() and not (path / FACTS).is_file() else []
        found += inner or [path]
    return [open_surfaces(path) for path in sorted(dict.fromkeys(found))]


def match_sets(sets: Sequence[SurfaceSet], tomograms: Mapping[str, Grid], *, any_origin: bool) -> SetsFound:
    """Find the tomogram of each set of surfaces, and check that they fit.

    Parameters
    ----------
    sets
        The sets. A mesh file alone is of the tomogram of its name, ``TS_01__membrane.ply``; if there is one tomogram
        and one such file, of that.
    tomograms
        The tomograms of the particles.
    any_origin
        Accept two origins that differ.

    Raises
    ------
    InputError
        A tomogram has no surface, or a surface no tomogram; sizes or origins differ; no set holds a surface.
    """
    found: dict[str, list[SurfaceSet]] = {name: [] for name in tomograms}
    notes: list[str] = []
    empty: dict[str, SurfaceSet] = {}
    if not any(map(len, sets)):
        places = ", ".join(str(one.path) for one in sets[:8])
        raise InputError(f"--surface: there is no surface in {places}, so nothing can be measured on any.")
    for one in sets:
        if not len(one):
            name = _tomogram_of(one, tomograms) or ""
            empty[name] = one
            notes.append(f"{one.path.name} has no surfaces.")
            continue
        whose = _whose(one, tomograms, alone=len(sets) == 1)
        grid = tomograms[whose]
        if one.facts.voxel_size is None:  # mesh files state nothing, and hold positions
            facts = replace(one.facts, origin=grid.box[1], voxel_size=grid.box[2])
            one = replace(one, facts=facts)
            notes.append(
                f"{one.path.name} states no voxel size and no origin: its positions are taken as those of {whose}, in "
                "angstrom."
            )
        notes += _checked(one, grid, whose, any_origin)
        found[whose].append(one)
    for name, some in found.items():
        count = tomograms[name].particles
        if not some and name in empty and count:
            raise InputError(
                f"{empty[name].path} has no surfaces, and there {'is' if count == 1 else 'are'} "
                f"{counted(count, 'particle')} of tomogram {name!r}. Give their surface, or choose the tomograms with "
                "--volume."
            )
        if not some and name not in empty:
            raise InputError(
                f"No --surface is of tomogram {name!r}, of which {counted(count, 'particle')} "
                f"{'is' if count == 1 else 'are'} given; there are surfaces of "
                f"{', '.join(sorted({s.facts.tomogram or s.path.stem for s in sets if len(s)}))}. Give its surface (or "
                "its set without any), or choose the tomograms with --volume."
            )
    labelled = {name: _labelled(some, name) for name, some in found.items()}
    return SetsFound(labelled, tuple(dict.fromkeys(notes)))


def _labelled(sets: Sequence[SurfaceSet], tomogram: str) -> list[tuple[str, SurfaceSet]]:
    """A name for each set of a tomogram: its feature, or, if two have the same, the names of their files; sorted."""
    features = [one.facts.feature for one in sets]
    alone = all(features) and len(set(features)) == len(features)
    labels = features if alone else [one.path.stem for one in sets]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(
                f"--surface: two sets of tomogram {tomogram!r} are called {label!r}; rename the folder of one of them."
            )
    return sorted(zip(labels, sets, strict=True), key=lambda pair: pair[0])


def _whose(one: SurfaceSet, tomograms: Mapping[str, Grid], *, alone: bool) -> str:
    fit = _tomogram_of(one, tomograms)
    if fit is not None:
        return fit
    if alone and len(tomograms) == 1 and one.facts.voxel_size is None:
        return next(iter(tomograms))
    raise InputError(
        f"{one.path} is of tomogram {_name(one)!r}, of which there are no particles; there are particles of "
        f"{', '.join(list(tomograms)[:8])}. A tomogram whose particles were looked for and not found needs an empty "
        "table of picks; leave away other surfaces."
    )


def _name(one: SurfaceSet) -> str:
    """The tomogram that a set or its file names."""
    return tomogram_key(tomogram_in(one.facts.tomogram or one.path.stem, one.facts.feature))


def _tomogram_of(one: SurfaceSet, tomograms: Mapping[str, Grid]) -> str | None:
    """The one of the tomograms that a set names."""
    name = _name(one)
    base = name if one.facts.feature else name.partition("__")[0]
    return same_tomogram(name, tomograms) or same_tomogram(base, tomograms)


def _checked(one: SurfaceSet, grid: Grid, name: str, any_origin: bool) -> list[str]:
    """Refuse a set whose tomogram has another size or voxel size; say where origins differ."""
    facts, (where, _, voxel_size, _) = one.facts, grid.box
    if facts.voxel_size is None:
        return []
    size = np.asarray(facts.voxel_size)
    if (np.abs(size / np.asarray(voxel_size) - 1) > SIZE_TOLERANCE).any():
        raise InputError(
            f"{one.path} was made in tomogram {name!r} with voxels of {_triple(size)} angstrom (z, y, x), and {where} "
            f"has voxels of {_triple(voxel_size)}: is one of them wrong? Else convert the picks to the tomogram "
            "of the surface: volengine picks convert."
        )
    if facts.shape is not None and grid.extent_nm is not None:
        extent = np.asarray(facts.shape) * size / NM_TO_ANGSTROM
        apart = np.abs(extent - np.asarray(grid.extent_nm))
        if (apart > SIZE_TOLERANCE * extent + 2 * size.max() / NM_TO_ANGSTROM).any():
            raise InputError(
                f"Tomogram {name!r} measures {_triple(extent)} nm (z, y, x) in {one.path.name} and "
                f"{_triple(grid.extent_nm)} nm in {where}; is one of them a part of it, or another tomogram?"
            )
    note = origins_note((one.path.name, facts.origin, facts.voxel_size), grid.box[:3], accept=any_origin)
    return [note] if note and any(facts.origin) and any(grid.box[1]) else []


def _triple(values: Iterable[float]) -> str:
    return " x ".join(f"{v:.5g}" for v in values)
