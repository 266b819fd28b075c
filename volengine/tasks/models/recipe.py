"""Recipes of ``models``: facts that the export or import of a model needs and its file does not state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.model import Normalisation
from volengine.core.recipe import Recipe

Format = Literal["onnx", "bioimage", "scnm"]
ENDINGS: dict[str, Format] = {".onnx": "onnx", ".scnm": "scnm", ".bioimage.zip": "bioimage"}
"""The format of each ending of the file to write."""


@dataclass(frozen=True)
class ModelExportRecipe(Recipe):
    """How to write a model for other programs.

    Parameters
    ----------
    format
        ``onnx``, ``bioimage`` (a zip for the BioImage Model Zoo) or ``scnm`` (Ais). Default: by the ending ``.onnx``,
        ``.bioimage.zip`` or ``.scnm``.
    feature
        Ais: the feature to write, if the model has several; a model of Ais has one.
    normalisation
        Normalisation to state in the file instead of the model's own, if the other program does not have that one.
    network_file
        Your own architecture, if the model has one: ``FILE.py:Class``. This Python code is run.
    title
        BioImage: the model's name. Default: its features.
    description
        BioImage: one or two sentences. Default: made from the facts.
    authors
        BioImage: who made the model, with commas. Default: nobody is named.
    licence
        BioImage: SPDX name of the licence, for example CC-BY-4.0. Default: none, so nobody else may use the model.
    """

    format: Literal["onnx", "bioimage", "scnm"] | None = None
    feature: str | None = None
    normalisation: Normalisation | None = None
    network_file: str | None = None
    title: str | None = None
    description: str | None = None
    authors: tuple[str, ...] = ()
    licence: str | None = None

    def format_of(self, out: str) -> Format:
        """The format to write: the recipe's, else that of the file's ending.

        Raises
        ------
        InputError
            Neither gives a format, or a field belongs to another format.
        """
        named = (form for ending, form in ENDINGS.items() if out.lower().endswith(ending))
        found: Format | None = self.format or next(named, None)
        if found is None:
            raise InputError(f"{out}: its ending is none of {', '.join(ENDINGS)}; rename it, or give --format.")
        for name in ("title", "description", "authors", "licence"):
            if found != "bioimage" and getattr(self, name):
                raise InputError(f"--{name} is for the BioImage Model Zoo; {out} is to be written as {found}.")
        if found != "scnm" and self.feature:
            raise InputError(f"--feature is for Ais, whose models have one; {out} is written with all features.")
        return found


@dataclass(frozen=True)
class ModelImportRecipe(Recipe):
    """Facts about a model that its file does not state.

    Parameters
    ----------
    voxel_size
        Voxel size in angstrom; needed for Keras files and for ONNX files of other programs; otherwise it overrides the
        file's.
    features
        Names of the channels, with commas; needed for the same files as the voxel size.
    patch
        Patch in voxels z,y,x. Default: the patch that the model was trained on.
    normalisation
        Normalisation of the input: none, per_slice, per_patch, volume or global_mad. Default: the file's, else volume.
    axes
        Order of the network's axes. For a Keras file of a 3D network, zyx by default; for an ONNX file one letter per
        axis, for example bczyx or byxc (b patches, c channels or slices), PyTorch's order by default.
    activation
        For ONNX: the function that turns outputs into predictions: sigmoid, softmax or none. Default: the last layer of
        the network.
    architecture
        For weights of easymode (.h5): its name of the network, for example unet-membrain-groupnorm. Default: that of
        easymode's JSON file beside them.
    """

    voxel_size: float | None = None
    features: tuple[str, ...] = ()
    patch: tuple[int, int, int] | None = None
    normalisation: Normalisation | None = None
    axes: str | None = None
    activation: Literal["sigmoid", "softmax", "none"] | None = None
    architecture: str | None = None

    def check(self) -> None:
        if self.voxel_size is not None and not self.voxel_size > 0:
            raise InputError(f"--voxel-size must be positive (angstrom), not {self.voxel_size}.")


@dataclass(frozen=True)
class ModelShareRecipe(Recipe):
    """How models are put into a folder for others.

    Parameters
    ----------
    name
        Name by which others call the model. Default: the name of its file.
    licence
        For the model's card: SPDX name of the licence, for example CC-BY-4.0. Default: a line to fill in.
    authors
        For the model's card: who made the model, with commas. Default: a line to fill in.
    overwrite
        Replace another model of the same name, and a card that was changed by hand.

    Examples
    --------
    >>> ModelShareRecipe(name="ribosome-v2").overwrite
    False
    """

    name: str | None = None
    licence: str | None = None
    authors: tuple[str, ...] = ()
    overwrite: bool = False
