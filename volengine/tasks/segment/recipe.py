"""The recipe of ``segment``, and the checks that need no voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from volengine.core.boxes import Index3
from volengine.core.errors import InputError, PlanError
from volengine.core.image import Ngff
from volengine.core.lattice import EdgeRule
from volengine.core.model import ModelFacts, Window
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.core.volume import Volume
from volengine.ops.quantise import ProbabilityType, Rounding

VOXEL_TOLERANCE = 0.05
"""Relative difference between the voxel sizes of model and tomogram above which a model is refused (as in Ais)."""

Match = Literal["none", "xy", "isotropic"]


@dataclass(frozen=True)
class SegmentRecipe(Recipe):
    """How to predict.

    Parameters
    ----------
    models
        Model files: native ``.safetensors``, Ais's ``.scnm``, membrain-seg's ``.ckpt``; or the name of a model that
        comes with the package: ``cytoplasm``; or ``NAME@FOLDER``, ``NAME@https://...``, a model that was shared
        (``volengine models share``). A single one needs no list. ``fold_*.safetensors`` stands for all files with such
        a name.
    ensemble
        Average the predictions of models that have a feature in common (matched by its name), instead of refusing them.
        Each model predicts in its own way (patch, normalisation, voxel size). All count alike; what is averaged says
        ``mean_of``. The mean is rounded once.
    network_files
        Your own architectures that models use: ``FILE.py:Class`` or ``package.module:Class``. This Python code is run.
        An architecture that only the model file names is never run.
    patch
        Voxels z, y, x that the network predicts at once; or ``slice``: whole slices with 32 or more voxels of context
        on each side, as in Ais. Default: the model's; of a 2D
        model that was trained on boxes: ``slice``, unless ``overlap``, ``window``, ``margin_vox`` or ``exact`` asks for
        patches.
    overlap
        Share of a patch that neighbouring patches have in common, from 0 to below 1. Default: the model's.
    window
        Blend window: ``gaussian``, ``hann``, ``constant`` or ``crop``. Default: the model's.
    edge
        Voxels outside of the volume: ``reflect``, ``edge`` or ``zero``. Default: the model's.
    margin_vox
        Voxels by which the volume is extended at its faces before the patches are laid out (along z only for 3D
        models).
    exact
        For purely convolutional networks: patches do not overlap and see their whole receptive field, so that the
        prediction equals that of the whole volume at once. Larger patches take more memory and less time. Default
        patch: the model's, but at least three times the receptive field's radius.
    tta
        Test-time augmentation: number of views of each patch, 1 to 8 (quarter turns, then flipped), up to 16 for 3D;
        ``flips``: flips along all axes (8 views in 3D); ``flips4``: half of these. Networks that see an even number of
        slices are not flipped along z. Default: 1.
    tta_of
        What is flipped or turned: each ``patch``, or the whole ``volume`` (1 or flips only). Flips of the volume change
        the places of its patches where the last patch of an axis is moved back into the volume. Default: the patch.
    mean_of
        What is averaged over views, patches and the models of an ensemble: ``probabilities``, or the ``logits`` before
        the network's sigmoid. Default: probabilities.
    answer
        What is written: ``probabilities``, or the averaged ``logits`` (float types only).
    uncertainty
        Write for each feature a further volume, ``FEATURE uncertainty``: the standard deviation of the probability over
        all views and patches that cover a voxel, and all models of an ensemble, weighted as in the blend (divided by
        their number, not by one less).
    batch
        Patches per call of the network; 0: chosen for the device.
    precision
        ``float32``, ``tf32``, ``bfloat16`` or ``float16`` (GPU).
    channels_last
        Use the channels-last memory order for the network.
    compile
        Use ``torch.compile``.
    backend
        The library that computes the networks: ``torch``; or, on CPUs only and in float32, ``openvino`` or
        ``onnxruntime`` (extras of these names), which are faster for some networks. Probabilities differ from PyTorch's
        by less than 1e-5. Its version is part of what a result is: another one computes it anew.
    dtype
        Type of the predictions: ``uint8`` (255 is 1.0), ``float16`` or ``float32``.
    rounding
        How probabilities become uint8: ``nearest`` (half to even) or ``truncate`` (as Ais does).
    compat
        Predict as another program does; fields that are given take precedence. ``membrain``: membrain-seg (windows of
        160 voxels, overlap 0.5, zeros outside, the volume mirrored 8 ways, mean of logits). ``ais``: Ais's command line
        (whole slices, mirrored outside to a multiple of 32 voxels plus 64, truncation to uint8).
    match
        What to do with a tomogram whose voxel size differs from the model's: ``none`` refuses it. The others resample
        it to the model's voxel size, and the prediction back onto the tomogram's grid: ``xy`` within the slices only,
        with Ais's filter (linear after a Gaussian); ``isotropic`` along z as well, with a windowed sinc, close to
        MemBrain's cropping of the Fourier transform. Default: none; with ``compat`` ais: xy.
    match_tolerance
        Relative difference of voxel sizes up to which an axis is not resampled.
    any_voxel_size
        Accept tomograms whose voxel size differs from the model's, and do not resample them.
    invert
        The tomogram has the opposite contrast of those that the models were trained on: molecules are bright instead of
        dark. The networks then see the negated tomogram; the stored one is not changed.
    ngff
        OME-Zarr version of the written stores: ``0.5``, ``0.6`` or ``0.4``.
    levels
        Number of resolution levels; default: until no axis is longer than 128 voxels.
    roi
        Only this part of the volume is predicted: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``,
        or one unit for all numbers, at the end). The stop is not included, and an empty end is that of the volume. The
        networks also see what lies around it, and statistics are those of the whole volume.

    Examples
    --------
    >>> recipe = SegmentRecipe(models=("ribosome.safetensors",), overlap=0.25, tta="flips")
    >>> recipe.dtype
    'uint8'
    """

    models: tuple[str, ...]
    ensemble: bool = False
    network_files: tuple[str, ...] = ()
    patch: tuple[int, int, int] | Literal["slice"] | None = None
    overlap: float | None = None
    window: Literal["gaussian", "hann", "constant", "crop"] | None = None
    edge: Literal["reflect", "edge", "zero"] | None = None
    margin_vox: int = 0
    exact: bool = False
    tta: int | Literal["flips", "flips4"] | None = None
    tta_of: Literal["patch", "volume"] | None = None
    mean_of: Literal["probabilities", "logits"] | None = None
    answer: Literal["probabilities", "logits"] = "probabilities"
    uncertainty: bool = False
    batch: int = 0
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    backend: Literal["torch", "openvino", "onnxruntime"] = "torch"
    dtype: ProbabilityType = "uint8"
    rounding: Rounding = "nearest"
    compat: Literal["", "ais", "membrain"] = ""
    match: Match | None = None
    match_tolerance: float = VOXEL_TOLERANCE
    any_voxel_size: bool = False
    invert: bool = False
    ngff: Ngff = "0.5"
    levels: int | None = None
    roi: str = ""

    def check(self) -> None:
        check_roi(self.roi)
        if not self.models:
            raise InputError("segment needs at least one model.")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise InputError(f"--overlap must be at least 0 and below 1, not {self.overlap}.")
        if isinstance(self.patch, tuple) and min(self.patch) < 1:
            raise InputError(f"--patch must be positive, not {self.patch}.")
        if self.margin_vox < 0 or self.batch < 0:
            raise InputError(f"--margin-vox {self.margin_vox} and --batch {self.batch} must not be negative.")
        if isinstance(self.tta, int) and not 1 <= self.tta <= 16:
            raise InputError(f"--tta is {self.tta}; it must be from 1 to 16, or flips.")
        if self.exact and (self.overlap or self.margin_vox or self.patch == "slice" or self.window):
            raise InputError("--exact needs no --overlap, --window, --margin-vox or whole slices: leave them out.")
        if self.exact and self.edge:
            raise InputError(
                f"--exact ends at the volume's faces, where the network pads as on the whole volume: leave out --edge "
                f"{self.edge}, or --exact."
            )
        if self.answer == "logits" and (self.dtype == "uint8" or self.resolved().mean_of == "probabilities"):
            raise InputError("--answer logits needs --dtype float32 or float16, and not --mean-of probabilities.")
        if self.compat == "ais" and self.dtype != "uint8":
            raise InputError(f"--compat ais writes uint8, not {self.dtype}.")
        if self.resolved().tta_of == "volume" and self.resolved().tta not in (1, "flips", "flips4"):
            raise InputError(f"--tta-of volume mirrors only: --tta must be 1, flips or flips4, not {self.tta}.")
        if self.exact and (self.resolved().tta_of == "volume" or self.compat):
            raise InputError("--exact lays out patches in its own way: leave out --tta-of volume and --compat.")
        if self.any_voxel_size and self.match not in (None, "none"):
            raise InputError(f"--match {self.match} and --any-voxel-size contradict each other: leave one out.")
        if not 0 <= self.match_tolerance < 1:
            raise InputError(f"--match-tolerance must be at least 0 and below 1, not {self.match_tolerance}.")
        if self.levels is not None and self.levels < 1:
            raise InputError(f"--levels must be 1 or more, not {self.levels}.")
        if self.backend != "torch" and (self.precision != "float32" or self.compile):
            wrong = "--compile" if self.compile else f"--precision {self.precision}"
            raise InputError(f"--backend {self.backend} computes in float32 by its own graph; leave out {wrong}.")
        if self.dtype != "uint8" and self.rounding != "nearest":
            raise InputError(f"--rounding {self.rounding} is for uint8, not for {self.dtype}.")

    @property
    def says_patches(self) -> bool:
        """Whether it says how patches lie, so that a model that prefers whole slices is applied to patches."""
        given = (self.resolved().patch, self.overlap, self.window)
        return self.exact or self.margin_vox > 0 or any(value is not None for value in given)

    def resolved(self) -> Resolved:
        """Fill in the fields that the recipe leaves open: from ``compat``, else with the defaults."""
        values: dict[str, Any] = dict(_PRESETS[self.compat])
        if self.answer == "logits":
            values["mean_of"] = "logits"
        given = {key: getattr(self, key) for key in values}
        values |= {key: value for key, value in given.items() if value is not None}
        if self.any_voxel_size:
            values["match"] = "none"
        truncate = self.compat == "ais" or self.rounding == "truncate"
        return Resolved(**values, rounding="truncate" if truncate else "nearest")


@dataclass(frozen=True)
class Resolved:
    """The values of a :class:`SegmentRecipe` after ``compat`` has filled them in; ``None`` means the model's value.

    The fields have the same meaning as in the recipe.
    """

    patch: Index3 | Literal["slice"] | None
    overlap: float | None
    window: Window | None
    edge: EdgeRule | None
    tta: int | Literal["flips", "flips4"]
    tta_of: Literal["patch", "volume"]
    mean_of: Literal["probabilities", "logits"]
    match: Match
    rounding: Rounding


_PLAIN: dict[str, Any] = {
    "patch": None,
    "overlap": None,
    "window": None,
    "edge": None,
    "tta": 1,
    "tta_of": "patch",
    "mean_of": "probabilities",
    "match": "none",
}
_PRESETS: dict[str, dict[str, Any]] = {
    "": _PLAIN,
    "ais": {**_PLAIN, "patch": "slice", "edge": "reflect", "match": "xy"},
    "membrain": {
        "patch": (160, 160, 160),
        "overlap": 0.5,
        "window": "gaussian",
        "edge": "zero",
        "tta": "flips",
        "tta_of": "volume",
        "mean_of": "logits",
        "match": "none",
    },
}


def check_voxel_size(volume: Volume, path: str, facts: ModelFacts, tolerance: float, axes: str = "zyx") -> None:
    """Refuse a model that was trained at another voxel size than the volume's.

    Parameters
    ----------
    volume, path, facts
        The volume, the path of the model (for the message), and the model's facts.
    tolerance
        Largest relative difference that is accepted.
    axes
        Axes that are compared; a network that sees single slices ignores z.

    Raises
    ------
    InputError
        The voxel sizes differ by more; the message has both numbers and the options that allow it.
    """
    minded = "zyx" if facts.volumetric or facts.context > 1 else "yx"
    for axis, v, m in zip("zyx", volume.voxel_size, facts.voxel_size, strict=True):
        low, high = facts.voxel_range or (m, m)
        nearest = min(max(v, low), high)
        if axis in minded and axis in axes and abs(v / nearest - 1) > tolerance:
            how = "isotropic" if minded == "zyx" else "xy"
            trained = f"{low:g} to {high:g}" if low < high else f"{m:g}"
            raise InputError(
                f"{path} was trained at {trained} angstrom per voxel, but {volume.url} has {v:g} along {axis} "
                f"({v / nearest - 1:+.0%}). Resample it on the way with --match {how}, give its true --voxel-size when "
                "converting, or take it as it is with --any-voxel-size."
            )


def fit_stride(patch: Index3, stride: Index3, model: str) -> None:
    """Refuse a patch whose sides are not multiples of the network's stride (its total pooling)."""
    for axis, p, s in zip("zyx", patch, stride, strict=True):
        if p % s:
            raise PlanError(
                f"The patch {patch} is not a multiple of {model}'s stride {stride} on axis {axis}; "
                f"use {max(p // s, 1) * s} or {(p // s + 1) * s}."
            )
