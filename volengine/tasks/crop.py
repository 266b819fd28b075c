"""crop: a part of a volume as a volume of its own, an OME-Zarr image with its pyramid or an MRC or OME-TIFF file.

The part begins at its own first voxel, and its origin says where that is: origin of the whole + first voxel × voxel
size. Voxels are copied as they are. An OME-Zarr image keeps kind, facts and history of the volume; the history's last
step says which part of what shape it is. What comes after works on the part as if nothing lay around it; the ``roi`` of
the other verbs sees what lies around.
"""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.io.names import MRC_SUFFIXES, TIFF_SUFFIXES, suffix_of
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.convert.plan import plan_copy
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.export import ExportRecipe, export


@dataclass(frozen=True)
class CropRecipe(Recipe):
    """Which part of a volume is written.

    Parameters
    ----------
    roi
        The part: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``, or one unit for all numbers, at
        the end). The stop is not included, and an empty end is that of the volume.
    voxel_size
        Voxel size in angstrom, one number or z, y, x; overrides the file's.
    name
        Name of the tomogram in an OME-Zarr image; default: that of the volume.

    Examples
    --------
    >>> CropRecipe(roi="10:20,:,:").roi
    '10:20,:,:'
    """

    roi: str
    voxel_size: float | tuple[float, float, float] | None = None
    name: str | None = None

    def check(self) -> None:
        if not self.roi.strip():
            raise InputError("crop needs a --roi: z0:z1,y0:y1,x0:x1.")
        check_roi(self.roi)


def request(source: str, out: str, recipe: CropRecipe, options: RunOptions) -> Request[Volume, ConvertRecipe, str]:
    """Open the volume (metadata only); the planner is that of ``convert``, with the volume's own kind."""
    volume = open_volume(source, voxel_size=recipe.voxel_size, name=recipe.name, identity=options.identity)
    how = ConvertRecipe(voxel_size=recipe.voxel_size, kind=volume.kind, name=recipe.name, roi=recipe.roi)
    return Request(volume.name, volume, how, out)


def plan_crop(source: Volume, recipe: ConvertRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stage that copies the part and makes its pyramid, as ``convert`` does."""
    return plan_copy(source, recipe, out, folder, options, "crop")


CROP = Verb("crop", request, plan_crop, endings=(".zarr",))


def crop(source: PathLike, out: PathLike, recipe: CropRecipe, options: RunOptions | None = None) -> OpenVolume:
    """Write a part of a volume as a volume of its own.

    Parameters
    ----------
    source
        Any file or store that :func:`volengine.open_volume` opens; ``store.ome.zarr#labels/core`` are labels in one.
    out
        The store (``.zarr``), MRC file (``.mrc``, ``.rec``, ``.map`` ...) or OME-TIFF file (``.tif``) to write.
    recipe, options
        Which part, and how to run. Of the options files take ``overwrite``, ``anonymous`` and ``progress``.

    Returns
    -------
    OpenVolume
        The part; its origin is that of its first voxel (an OME-TIFF file has none).

    Raises
    ------
    InputError
        The part leaves the volume or is empty, ``out`` has another ending, or it exists and was not made by this call.

    Examples
    --------
    >>> import volengine
    >>> part = volengine.crop("TS_01.ome.zarr", "part.ome.zarr", volengine.CropRecipe(roi="4:12,:,8:24"))
    >>> part.shape, part.origin
    ((8, 32, 16), (40.0, 0.0, 80.0))
    """
    source, out, recipe = path_text(source), path_text(out), CropRecipe.of(recipe)
    options = options or RunOptions()
    if suffix_of(out) in (*MRC_SUFFIXES, *TIFF_SUFFIXES):
        if recipe.name:
            raise InputError(f"{out}: --name is kept in OME-Zarr images; the name of a file is its own.")
        how = ExportRecipe(
            voxel_size=recipe.voxel_size, overwrite=options.overwrite, anonymous=options.anonymous, roi=recipe.roi
        )
        return export(source, out, how, progress=options.progress)
    if not CROP.is_product(out):
        known = ", ".join((".zarr", *MRC_SUFFIXES, *TIFF_SUFFIXES))
        raise InputError(f"{out}: crop writes OME-Zarr, MRC and OME-TIFF; the ending must be one of {known}.")
    plan = run_one(CROP, source, out, recipe, options)
    return open_volume(plan.images[0].url)
