"""The picks of one tomogram in a file, as parameters of stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.picks import Picks
from volengine.core.volume import Vector3
from volengine.io.stores import located
from volengine.io.surfaces import SurfaceFacts
from volengine.tasks.common.set_read import grid_of_picks


@dataclass(frozen=True)
class TableOf:
    """The picks of one tomogram in a file.

    Parameters
    ----------
    path, name
        The file, and how it names the tomogram.
    own
        Whether they are read on the grid that the file states, which is not that of the surfaces.
    offset
        Place of that grid's first voxel on the grid of the surfaces, angstrom, z, y, x.
    """

    path: str
    name: str
    own: bool = False
    offset: Vector3 = (0.0, 0.0, 0.0)

    def read(self, facts: SurfaceFacts) -> Picks:
        """Read the picks."""
        from volengine.io.picks import read_all

        return read_all(self.path, **({} if self.own else grid_of_picks(facts)))[self.name]

    def places(self, facts: SurfaceFacts) -> NDArray[np.float64]:
        """Places of the picks on the grid of the surfaces, (n, 3) angstrom."""
        found: NDArray[np.float64] = self.read(facts).place + np.asarray(self.offset)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"path": located(self.path), "name": self.name, "own": self.own, "offset": list(self.offset)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TableOf:
        """Make one from JSON values."""
        z, y, x = values["offset"]
        return cls(values["path"], values["name"], values["own"], (z, y, x))
