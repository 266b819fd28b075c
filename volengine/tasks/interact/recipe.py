"""The recipe of ``interact``: rules between features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from volengine.core.errors import InputError
from volengine.core.image import Ngff
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.core.rules import Compete, parse_rules, rules_to_json
from volengine.ops.stored import check_scale


@dataclass(frozen=True)
class InteractRecipe(Recipe):
    """Rules between features, in the order in which they act.

    Parameters
    ----------
    rules
        A list of ``compete: {emit, absorb}`` and ``interact: {child, parent, kind, radius_nm, threshold, shape}``, or
        of the objects of ``volengine.core.rules``, which they become.
    scale
        Values of all predictions are divided by it: 255 for probabilities that are stored as 0 to 255 in floating-point
        numbers, 100 for percent. It also says that the volumes are predictions, if their metadata say otherwise.
    compat
        ``ais``: Ais's numbers bit for bit (discs, strict comparison, radius in whole voxels; at most one competition,
        before the interactions).
    ngff
        OME-Zarr version of the written stores: ``0.5``, ``0.6`` or ``0.4``.
    roi
        Only this part of the volume is written: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``, or
        one unit for all numbers, at the end). The stop is not included, and an empty end is that of the volume. The
        rules also see what lies around it.

    Examples
    --------
    >>> recipe = InteractRecipe.from_json({"rules": [
    ...     {"compete": {"emit": ["membrane", "ribosome"], "absorb": ["membrane", "ribosome"]}},
    ...     {"interact": {"child": "ribosome", "parent": "membrane", "kind": "avoid", "radius_nm": 10, "shape": "3d"}},
    ... ]})
    >>> recipe.rules[1].kind
    'avoid'
    """

    rules: tuple[Any, ...]
    scale: float | None = None
    compat: Literal["", "ais"] = ""
    ngff: Ngff = "0.5"
    roi: str = ""

    def check(self) -> None:
        check_roi(self.roi)
        if not self.rules:
            raise InputError("interact needs at least one rule.")
        check_scale(self.scale)
        object.__setattr__(self, "rules", parse_rules(self.rules, "InteractRecipe.rules"))
        if self.compat == "ais" and any(isinstance(rule, Compete) for rule in self.rules[1:]):
            raise InputError(
                "compat 'ais': Ais competes once, before all interactions; put 'compete' first, or leave compat out."
            )

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "rules": rules_to_json(self.rules)}
