"""What a recipe asks of the physics that it cannot do well; what no simulation can do at all is refused by the recipes.

>>> from volengine.tasks.simulate.recipe import SimulateRecipe
>>> limits_of(SimulateRecipe.from_json({"specimen": {"voxel_size": 40}}))
['voxels of 40 A are outside of 4 to 20 A, for which the simulation is meant: they blur small particles away']
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from volengine.tasks.simulate.recipe import SimulateRecipe

VOXEL_A = (4.0, 20.0)
DOSE_E_PER_A2 = (10.0, 300.0)
DEFOCUS_UM = (0.2, 15.0)
ICE_NM = (10.0, 400.0)
"""Values that tomograms have. Beyond 400 nm real series are near failure (Purnell et al. 2025)."""
FEWEST_PER_CENT = 2.0
"""Share of the electrons, per cent, that must come through the ice at the highest tilt for an image to show much."""


def limits_of(recipe: SimulateRecipe) -> list[str]:
    """The limits of the physics that a recipe passes, one sentence each, with the value and the limit."""
    return list(_found(recipe))


def _found(recipe: SimulateRecipe) -> Iterator[str]:
    voxel = recipe.specimen.voxel_size
    if not VOXEL_A[0] <= voxel <= VOXEL_A[1]:
        why = "atoms are points without a shape" if voxel < 10 else "they blur small particles away"
        yield f"voxels of {voxel:g} A are {_outside(VOXEL_A, 'A')}, for which the simulation is meant: {why}"
    dose = recipe.dose.total_e_per_a2
    if dose and not DOSE_E_PER_A2[0] <= dose <= DOSE_E_PER_A2[1]:
        yield f"a dose of {dose:g} e/A^2 is {_outside(DOSE_E_PER_A2, 'e/A^2')}, as tilt series have"
    defocus = recipe.exposure.optics.defocus_um
    if not DEFOCUS_UM[0] <= abs(defocus) <= DEFOCUS_UM[1]:
        yield f"a defocus of {defocus:g} um is {_outside(DEFOCUS_UM, 'um')}, as tilt series have"
    if defocus < 0:
        yield f"a defocus of {defocus:g} um is overfocus (underfocus is positive): molecules will be bright"
    yield from _of_ice(recipe)


def _of_ice(recipe: SimulateRecipe) -> Iterator[str]:
    thick = recipe.specimen.ice.mean_a(recipe.specimen.size_a[0]) / 10
    exposure = recipe.exposure
    if not ICE_NM[0] <= thick <= ICE_NM[1]:
        yield f"ice of {thick:g} nm is {_outside(ICE_NM, 'nm')}, as tomograms have"
    steepest = max(abs(angle) for angle in recipe.tilts.nominal_deg())
    path = 10 * thick / math.cos(math.radians(steepest))
    path = min(path, exposure.max_path_imfp * exposure.imfp_a)
    through = 100 * math.exp(-exposure.scatter * path / exposure.imfp_a)
    if through < FEWEST_PER_CENT:
        yield (
            f"at {steepest:g} degrees {through:.2g} % of the electrons come through {thick:g} nm of ice without losing "
            f"energy (less than {FEWEST_PER_CENT:g} %): such an image is nearly noise alone"
        )


def _outside(limits: tuple[float, float], unit: str) -> str:
    return f"outside of {limits[0]:g} to {limits[1]:g} {unit}"
