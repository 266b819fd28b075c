"""The recipe of ``denoise``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.image import Ngff
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.tasks.common.halves import check_pair
from volengine.tasks.segment.recipe import VOXEL_TOLERANCE, Match, SegmentRecipe


@dataclass(frozen=True)
class DenoiseRecipe(Recipe):
    """How to denoise.

    Parameters
    ----------
    model
        A model whose answers are grey values: one that ``train`` made with targets (``--pair``, ``--target``); its
        file, or ``NAME@FOLDER`` of a shared one.
    other
        The other half of the tomogram. Both halves are denoised, and the result is the mean of both.
    pair
        For several tomograms: a text in the names of their files (or else of their folders), and the text that stands
        there in the name of the other half: ``even,odd`` pairs ``TS_01_even.mrc`` with ``TS_01_odd.mrc``, and
        ``even/TS_01.mrc`` with ``odd/TS_01.mrc``.
    units
        ``grey``: the grey values of the tomogram: the answers are multiplied by its standard deviation, and its mean is
        added (if the model was trained with ``target_normalisation: volume``). ``model``: the answers as they are.
    network_files
        Your own architecture that the model uses: ``FILE.py:Class`` or ``package.module:Class``. This Python code is
        run.
    patch
        Voxels z, y, x that the network predicts at once; or ``slice``: whole slices. Default: the model's.
    overlap
        Share of a patch that neighbouring patches have in common, from 0 to below 1. Default: the model's.
    window
        Blend window: ``gaussian``, ``hann``, ``constant`` or ``crop``. Default: the model's.
    edge
        Voxels outside of the volume: ``reflect``, ``edge`` or ``zero``. Default: the model's.
    exact
        For purely convolutional networks: patches do not overlap and see their whole receptive field.
    tta
        Test-time augmentation: number of views of each patch, or ``flips`` or ``flips4``. Default: 1.
    batch
        Patches per call of the network; 0: chosen for the device.
    precision
        ``float32``, ``tf32``, ``bfloat16`` or ``float16`` (GPU).
    backend
        The library that computes the network: ``torch``, ``openvino`` or ``onnxruntime``.
    dtype
        Type of the result: ``float32`` or ``float16``.
    match
        What to do with a tomogram whose voxel size differs from the model's: ``none`` refuses it; ``xy`` and
        ``isotropic`` resample it, and the answer back.
    match_tolerance
        Relative difference of voxel sizes up to which an axis is not resampled.
    any_voxel_size
        Accept tomograms whose voxel size differs from the model's, and do not resample them.
    ngff
        OME-Zarr version of the written stores: ``0.5``, ``0.6`` or ``0.4``.
    levels
        Number of resolution levels; default: until no axis is longer than 128 voxels.
    roi
        Only this part of the volume is denoised: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm. The network also sees what
        lies around it, and statistics are those of the whole volume.

    Examples
    --------
    >>> DenoiseRecipe(model="clean.safetensors", pair=("even", "odd")).units
    'grey'
    """

    model: str
    other: str = ""
    pair: tuple[str, str] | None = None
    units: Literal["grey", "model"] = "grey"
    network_files: tuple[str, ...] = ()
    patch: tuple[int, int, int] | Literal["slice"] | None = None
    overlap: float | None = None
    window: Literal["gaussian", "hann", "constant", "crop"] | None = None
    edge: Literal["reflect", "edge", "zero"] | None = None
    exact: bool = False
    tta: int | Literal["flips", "flips4"] | None = None
    batch: int = 0
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    backend: Literal["torch", "openvino", "onnxruntime"] = "torch"
    dtype: Literal["float32", "float16"] = "float32"
    match: Match | None = None
    match_tolerance: float = VOXEL_TOLERANCE
    any_voxel_size: bool = False
    ngff: Ngff = "0.5"
    levels: int | None = None
    roi: str = ""

    def check(self) -> None:
        check_roi(self.roi)
        if not self.model.strip():
            raise InputError("denoise needs a --model.")
        if self.other and self.pair:
            raise InputError("Give --other (the other half) or --pair (how the names of halves differ), not both.")
        if self.pair is not None:
            check_pair(self.pair)
        self.predicting()

    def predicting(self) -> SegmentRecipe:
        """The recipe with which the network is applied to each half; float32, so that the mean is rounded once."""
        same = {f.name for f in fields(SegmentRecipe)} & {f.name for f in fields(self)} - {"dtype", "levels"}
        return SegmentRecipe(models=(self.model,), dtype="float32", **{name: getattr(self, name) for name in same})
