"""The recipe of ``convert``: what is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.image import Ngff
from volengine.core.recipe import Recipe
from volengine.io.omezarr.codecs import check_codec


@dataclass(frozen=True)
class ConvertRecipe(Recipe):
    """What to write.

    Parameters
    ----------
    voxel_size
        Voxel size in angstrom, one number or z, y, x; overrides the file's. The origin, which counts the file's
        voxels, is scaled with it.
    chunk
        Size of a chunk, the smallest part that can be read, in voxels z, y, x; default: chosen by the volume's size.
    shard
        Size of a shard, the smallest part that is written, in voxels z, y, x: whole chunks; default: chosen by the
        volume's size.
    ngff
        OME-Zarr version: ``0.5`` (Zarr v3, sharded), ``0.6`` (the same with coordinate systems) or ``0.4`` (Zarr v2).
    levels
        Number of resolution levels; default: until no axis is longer than 128 voxels.
    codec
        How chunks are compressed, see ``volengine.io.omezarr.codecs``; ``auto`` chooses by dtype and kind.
    kind
        ``intensity`` or ``probability`` (levels are means) or ``labels`` (levels are modes).
    name
        The tomogram's name; default: the file's name without its ending.
    threshold
        Into a copick project: the probability above which a voxel belongs to the mask. Probabilities are not written
        into a project without it; masks of 0 and 1 need none.
    tilts
        File with the tilt series of the tomogram, whose angles, dose and defocus the store keeps (.mdoc, .rawtlt, .tlt,
        .aln, .star of RELION 5, .tomostar, .xml of Warp), or a folder in which one has the tomogram's name.
    montage
        The sources are montages of SerialEM (MRC stacks of pieces), or lists of tiles (.yaml): place and blend their
        pieces. Each section becomes a store of its own.
    pieces
        Of a montage: file with the coordinates of its pieces (.pl; x y section on each line); default: those of its
        .mdoc or extended header.
    montage_section
        Only this section of the montage; default: all.
    montage_shifts
        Where pieces lie: ``none`` at their coordinates, ``mdoc`` where SerialEM has aligned them, ``correlate`` moved
        by whole voxels so that their overlaps agree.
    montage_max_shift
        With ``correlate``: by how many voxels a piece may be moved along y and x; default: a tenth of its shorter side.
    montage_fill
        Value of voxels that no piece covers; default: the mean that the header states.

    Examples
    --------
    >>> ConvertRecipe(voxel_size=10.0, chunk=(64, 64, 64), shard=(128, 128, 128)).codec
    'auto'
    """

    voxel_size: float | tuple[float, float, float] | None = None
    chunk: tuple[int, int, int] | None = None
    shard: tuple[int, int, int] | None = None
    ngff: Ngff = "0.5"
    levels: int | None = None
    codec: str = "auto"
    kind: Literal["intensity", "probability", "labels"] = "intensity"
    name: str | None = None
    tilts: str = ""
    threshold: float | None = None
    montage: bool = False
    pieces: str = ""
    montage_section: int | None = None
    montage_shifts: Literal["none", "mdoc", "correlate"] = "none"
    montage_max_shift: int | None = None
    montage_fill: float | None = None

    def check(self) -> None:
        sizes = self.voxel_size if isinstance(self.voxel_size, tuple) else (self.voxel_size,)
        if any(v is not None and v <= 0 for v in sizes):
            raise InputError(f"--voxel-size must be positive (angstrom), not {self.voxel_size}.")
        if any(s is not None and min(s) < 1 for s in (self.chunk, self.shard)):
            raise InputError(f"Chunk {self.chunk} and shard {self.shard} must be positive.")
        if self.levels is not None and self.levels < 1:
            raise InputError(f"--levels must be 1 or more, not {self.levels}.")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is a probability from 0 to below 1, not {self.threshold:g}.")
        self._check_montage()
        check_codec(self.codec)

    def _check_montage(self) -> None:
        given = {
            "--pieces": self.pieces,
            "--montage-section": self.montage_section is not None,
            "--montage-shifts": self.montage_shifts != "none",
            "--montage-max-shift": self.montage_max_shift is not None,
            "--montage-fill": self.montage_fill is not None,
        }
        if not self.montage:
            if named := [name for name, value in given.items() if value]:
                raise InputError(f"{', '.join(named)}: is about montages; give --montage, too.")
            return
        if self.kind == "labels" or self.threshold is not None:
            raise InputError("--montage blends pieces, and labels cannot be blended; --kind must be another one.")
        if self.tilts:
            raise InputError("--tilts belongs to tomograms; the sections of a montage keep the angles of its .mdoc.")
        if self.montage_fill is not None and not math.isfinite(self.montage_fill):
            raise InputError(f"--montage-fill must be a finite number, not {self.montage_fill}.")
        if self.montage_max_shift is not None and self.montage_shifts != "correlate":
            raise InputError("--montage-max-shift is for --montage-shifts correlate.")
        if self.montage_max_shift is not None and self.montage_max_shift < 1:
            raise InputError(f"--montage-max-shift must be 1 or more voxels, not {self.montage_max_shift}.")
