"""One call of ``stats``: what it counts, what is counted already, and the tables that it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.core.volume import Volume
from volengine.tasks.common.layout import feature_named, file_name, join_url
from volengine.tasks.stats.inputs import SourceObjects, Sources, objects_of_volume, read_groups, tomograms_of
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tables import Stats, count_tomograms, tables_of
from volengine.tasks.stats.truth import counting

TRUTH = "truth__"
"""Begins the names of the truth's plans, so that they are not those of the inputs."""


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A label volume that is counted.

    Parameters
    ----------
    key
        Name of its plan.
    volume, recipe
        What is counted, and how.
    file
        Where its objects are kept (``.npz``), in the run folder.
    """

    key: str
    volume: Volume
    recipe: StatsRecipe
    file: str

    @property
    def counted(self) -> bool:
        """Whether the objects are there."""
        return Path(self.file).is_file()

    def objects(self) -> SourceObjects:
        """The objects that were counted.

        Raises
        ------
        MissingError, FormatError
            They are not counted yet; the file is damaged.
        """
        path = Path(self.file)
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in ("class", "position_vox", "voxels")}
        except FileNotFoundError:
            raise MissingError(f"{path}: {self.volume.name} is not counted yet; run the same command again.") from None
        except (OSError, ValueError, KeyError) as error:
            raise FormatError(f"{path} is damaged ({error}); delete the run folder and count again.") from error
        return objects_of_volume(self.volume, found, self.recipe)


@dataclass(frozen=True, eq=False)
class StatsCase:
    """What one call counts, and where it puts it.

    Parameters
    ----------
    sources, truth
        What was found at the paths; ``truth`` is ``None`` without one.
    groups
        Group by tomogram, or ``None``.
    recipe
        What is counted.
    out, run_dir
        The folder of the tables, and the run folder, in which the counts of the volumes are.
    """

    sources: Sources
    truth: Sources | None
    groups: Mapping[str, str] | None
    recipe: StatsRecipe
    out: str
    run_dir: str

    @classmethod
    def find(
        cls,
        inputs: PathsLike,
        out: str,
        recipe: StatsRecipe,
        run_dir: str,
        *,
        truth: PathsLike = (),
        groups: PathLike | None = None,
    ) -> StatsCase:
        """Open what the paths name: tables of picks are read, of volumes the metadata."""
        if "://" in out:
            raise InputError(f"--out {out}: tables and plots are written to a folder of this machine.")
        sources, known = Sources.find(path_texts(inputs), recipe), None
        if truth := path_texts(truth):
            known = Sources.find(truth, recipe.of_truth(), "truth")
        named = read_groups(path_text(groups)) if groups is not None else None
        _check_split(sources, recipe)
        return cls(sources, known, named, recipe, out, run_dir)

    def volumes(self) -> dict[str, LabelVolume]:
        """All label volumes, those of the truth too, by the names of their plans.

        Raises
        ------
        InputError
            Two of them have the same name.
        """
        found: dict[str, LabelVolume] = {}
        for one in (*self._volumes(), *self._true_volumes()):
            if one.key in found:
                raise InputError(f"Two inputs have the same name {one.key!r}; names must be unique in a run.")
            found[one.key] = one
        return found

    def _volumes(self) -> list[LabelVolume]:
        return [self._volume(v, self.recipe) for v in self.sources.volumes]

    def _true_volumes(self) -> list[LabelVolume]:
        recipe = self.recipe.of_truth()
        return [self._volume(v, recipe, TRUTH) for v in (self.truth.volumes if self.truth else ())]

    def _volume(self, volume: Volume, recipe: StatsRecipe, before: str = "") -> LabelVolume:
        key = before + _key(volume)
        return LabelVolume(key, volume, recipe, join_url(self.run_dir, "counted", f"{key}.npz"))

    @property
    def complete(self) -> bool:
        """Whether all volumes are counted: of several parts of a run the last one finds them so."""
        return all(one.counted for one in self.volumes().values())

    def finish(self) -> Stats:
        """Join what was counted, and write the tables and plots."""
        recipe = self.recipe
        found = tomograms_of([*self.sources.picks, *(one.objects() for one in self._volumes())])
        counted = count_tomograms(found.values(), recipe, self.groups)
        tables = tables_of(counted, grouped=self.groups is not None)
        if self.truth is not None:
            known = tomograms_of([*self.truth.picks, *(one.objects() for one in self._true_volumes())])
            tables["counting"] = counting(found, known, recipe.radius_nm, () if recipe.ids else recipe.classes)
        result = Stats(tables, {"recipe": recipe.to_json(), "tomograms": [c.name for c in counted]})
        result.write(self.out)
        if recipe.plots:
            from volengine.tasks.stats.plots import write_plots

            write_plots(self.out, counted, recipe)
        return result


def _key(volume: Volume) -> str:
    """A volume's own name, and that of the labels inside of a store."""
    group = volume.path.rpartition("/")[0].removeprefix("labels/")
    return volume.name + (f"__{file_name(feature_named(group))}" if group else "")


def _check_split(sources: Sources, recipe: StatsRecipe) -> None:
    """A misspelled class must not pass for one that needs no watershed."""
    atlases = [v for v in sources.volumes if recipe.labels_of(v) == "atlas"]
    for name in recipe.split:
        splits = [recipe.with_(split=(name,)).rules_of(v).split for v in atlases]
        if not any(splits):
            known = sorted({n for v in atlases for n in recipe.names_of(v).values()})
            raise InputError(
                f"--split {name}: no atlas has this class; there are {', '.join(known) or 'none with names'}."
            )
