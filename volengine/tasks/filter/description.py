"""Facts that the planner and the kernels of ``filter`` share; a stage carries them in its parameters, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from volengine.core.boxes import Index3, index3
from volengine.ops.filters.spectra import Shells
from volengine.ops.filters.transforms import SpectralGrid

STATISTICS_SLICES = 64
"""Slices per block in the stages that compute means and standard deviations."""

VoxelType = Literal["float32", "int16", "int8"]


def grid_to_json(grid: SpectralGrid) -> dict[str, Any]:
    """A grid as JSON values."""
    return asdict(grid)


def grid_from_json(data: Mapping[str, Any]) -> SpectralGrid:
    """A grid of JSON values."""
    z, y, x = data["voxel_size"]
    inner, out_inner = (None if data[key] is None else index3(data[key]) for key in ("inner", "out_inner"))
    return SpectralGrid(index3(data["shape"]), index3(data["out_shape"]), (z, y, x), inner, out_inner, data["faces"])


def shells_to_json(shells: Shells) -> dict[str, Any]:
    """Shells as JSON values, without their grid."""
    return {key: value for key, value in asdict(shells).items() if key != "grid"}


def shells_from_json(data: Mapping[str, Any], grid: SpectralGrid) -> Shells:
    """Shells of JSON values."""
    tilts = data["tilts"]
    return Shells(grid, **{**data, "tilts": None if tilts is None else (tilts[0], tilts[1])})


@dataclass(frozen=True)
class Stored:
    """How the result is stored.

    Parameters
    ----------
    dtype
        Type of the voxels.
    scale
        Of integers: values are multiplied by it and rounded.
    factors
        Factors of the levels of the pyramid.
    """

    dtype: VoxelType
    scale: float | None
    factors: tuple[Index3, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stored:
        """Make it of JSON values."""
        return cls(data["dtype"], data["scale"], tuple(index3(f) for f in data["factors"]))


@dataclass(frozen=True)
class FilterOutputs:
    """Where the products go: the store, and the table of the spectrum; a product that is not wanted is empty."""

    store: str = ""
    table: str = ""
