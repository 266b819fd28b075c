"""Write models as archives of Ais (``.scnm``): a Keras model and its metadata, so that Ais can open them.

A model of Ais predicts probabilities of one feature, and has one of two normalisations: by slice, or ``global_mad``. Of
a network with several features one is written. The function that turns logits into probabilities becomes the last layer
of the network.

>>> from pathlib import Path
>>> from volengine.nets.checkpoint import load_model
>>> module, facts = load_model("membrane.safetensors")
>>> content = scnm_bytes(module, facts.with_(normalisation="per_slice"), feature="membrane")
>>> size = Path("membrane.scnm").write_bytes(content)
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from volengine.core.errors import InputError
from volengine.core.model import ModelFacts

if TYPE_CHECKING:
    import torch
    from torch import nn

    from volengine.nets.architectures.trace import Description

NORMALISATIONS = {"per_slice": None, "global_mad": "global_mad"}
"""For each normalisation that Ais has, its name in Ais's metadata."""
TOLD = {"threshold": "threshold", "colour": "colour", "tta": "tta", "emit": "emits", "absorb": "absorbs"}
"""For each entry of Ais's metadata the corresponding fact of a model."""
MAX_VIEWS = 8
DEFAULTS: dict[str, Any] = {
    "colour": [0.26, 0.53, 0.96],
    "compiled": False,
    "filament_diameter": None,
    "model_enum": 0,
    "epochs": 50,
    "batch_size": 32,
    "active": True,
    "blend": False,
    "show": True,
    "alpha": 0.75,
    "threshold": 0.5,
    "active_tab": 0,
    "n_copies": 10,
    "info": "",
    "info_short": "",
    "excess_negative": -100,
    "emit": False,
    "absorb": False,
    "loss": 0.0,
    "z_jitter": 0,
    "tta": 1,
}
"""Further entries that Ais needs in the metadata, with Ais's own defaults."""


def scnm_bytes(module: nn.Module, facts: ModelFacts, feature: str = "") -> bytes:
    """Write a model as the bytes of an archive of Ais.

    Parameters
    ----------
    module, facts
        The network and its facts, which include its threshold, colour and part in competition. Other metadata of a
        model that was imported from Ais is kept.
    feature
        The feature to write, if there are several; its name becomes the model's title.

    Raises
    ------
    InputError
        The model has no such feature, a normalisation that Ais does not have, pixels that are not square, or a layer
        that Keras does not have.
    """
    from volengine.nets.formats.keras.write import write_keras

    number = _feature(facts, feature)
    _refuse_what_ais_has_not(facts)
    layers, state = with_probability(module, facts, number)
    box = max(facts.patch[1:])
    depth = facts.patch[0] if facts.volumetric else facts.context
    shape = [box, box, depth, 1] if facts.volumetric else [box, box, depth]
    title = facts.features[number]
    metadata = {
        **DEFAULTS,
        **_told_by_ais(facts),
        **_told_by_facts(facts),
        "title": title,
        "apix": facts.voxel_size[1],
        "box_size": box,
        "model_depth": depth,
        "arch": f"volengine {facts.network}",
        "overlap": facts.overlap,
        "n_parameters": sum(t.numel() for t in state.values()),
        "normalization": NORMALISATIONS[facts.normalisation],
    }
    base = "".join(c if c.isalnum() or c in "-_" else "_" for c in title)
    members = {
        f"{base}_weights.h5": write_keras(layers, state, shape, axes="yxz"),
        f"{base}_metadata.json": json.dumps(metadata).encode(),
    }
    return _tar(members)


def with_probability(module: nn.Module, facts: ModelFacts, number: int | None = None) -> Description:
    """Describe the network with its activation as last layer, for one feature or (``None``) for all."""

    from volengine.nets.architectures.trace import describe

    layers, state = describe(module, sample_of(facts))
    layers = list(layers)
    whole = number is None or len(facts.features) == 1
    mixed = facts.activation == "softmax" and len(facts.features) > 2
    if not whole and not mixed:
        state = _choose(layers, state, facts, number or 0)
    if facts.activation != "none":
        function = "softmax" if facts.activation == "softmax" and (whole or mixed) else "sigmoid"
        _append(layers, "volengine_activation", "activation", function=function)
    if not whole and mixed:
        state = _choose(layers, state, facts, number or 0)
    return layers, state


def _choose(
    layers: list[dict[str, Any]], state: dict[str, torch.Tensor], facts: ModelFacts, number: int
) -> dict[str, torch.Tensor]:
    """Select one feature by a 1x1 convolution; a softmax over two channels becomes a sigmoid of their difference."""
    import torch

    n, ndim = len(facts.features), 3 if facts.volumetric else 2
    weight = torch.zeros(1, n, *[1] * ndim)
    if facts.activation == "softmax" and n == 2:
        weight -= 1
    weight[0, number] = 1
    name = f"layers.{len(layers)}.conv.weight"
    _append(layers, "volengine_feature", "conv", channels=[n, 1], kernel=[1] * ndim, padding="valid", bias=False)
    return {**state, name: weight}


def sample_of(facts: ModelFacts) -> torch.Tensor:
    """A small input of zeros that the network accepts."""
    import torch

    axes = zip(facts.stride, facts.patch, strict=True)
    sides = [min(patch, max(2, -(-16 // stride)) * stride) for stride, patch in axes]
    if facts.volumetric:
        return torch.zeros(1, 1, *sides)
    return torch.zeros(1, facts.context, *sides[1:])


def _append(layers: list[dict[str, Any]], name: str, kind: str, **extra: Any) -> None:
    layers.append({"name": name, "kind": kind, "inputs": [layers[-1]["name"]], **extra})


def _feature(facts: ModelFacts, feature: str) -> int:
    wanted = feature or (facts.features[0] if len(facts.features) == 1 else "")
    if wanted not in facts.features:
        raise InputError(
            f"A model of Ais has one feature; name one of {', '.join(facts.features)}"
            + (f", not {feature!r}." if feature else ".")
        )
    return facts.features.index(wanted)


def _refuse_what_ais_has_not(facts: ModelFacts) -> None:
    if facts.normalisation not in NORMALISATIONS:
        raise InputError(
            f"Ais does not have the normalisation {facts.normalisation!r}, only {' and '.join(NORMALISATIONS)}. Train "
            "with one of them; or export with --normalisation per_slice, if other numbers are good enough."
        )
    if facts.voxel_size[1] != facts.voxel_size[2]:
        raise InputError(f"Ais has square pixels; the model's are {facts.voxel_size} angstrom (z, y, x).")


def _told_by_ais(facts: ModelFacts) -> Mapping[str, Any]:
    """The metadata that the archive of an imported model had."""
    for entry in facts.history:
        if entry.get("imported") == "Ais" and isinstance(entry.get("facts"), dict):
            return {key: value for key, value in entry["facts"].items() if key in DEFAULTS}
    return {}


def _told_by_facts(facts: ModelFacts) -> Mapping[str, Any]:
    """The facts as entries of Ais's metadata; Ais has at most 8 views, all of them in the plane."""
    found = {key: getattr(facts, name) for key, name in TOLD.items()}
    if not isinstance(facts.tta, int) or facts.tta > MAX_VIEWS:
        found["tta"] = None if facts.tta is None else MAX_VIEWS
    return {key: list(v) if isinstance(v, tuple) else v for key, v in found.items() if v is not None}


def _tar(members: Mapping[str, bytes]) -> bytes:
    """An uncompressed tar archive; the same members give the same bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()
