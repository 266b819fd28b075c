"""Import ONNX files of other programs: the user states missing facts once, and a copy of the file keeps them.

>>> told = Told(voxel_size=10.0, features=("membrane",), patch=(1, 256, 256), normalisation="per_slice")
>>> content, facts = with_told_facts("theirs.onnx", told)                                            # doctest: +SKIP
>>> Path("membrane.onnx").write_bytes(content)                                                       # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.json_text import parse_object
from volengine.core.model import Activation, ModelFacts, Normalisation
from volengine.nets.formats.onnx.graph import Port, activation_of, check_axes, ports, read_onnx, strides_of
from volengine.nets.formats.onnx.read import NETWORK, OnnxNet, check_fit, load_onnx, with_sizes
from volengine.nets.formats.onnx.words import KEY
from volengine.nets.formats.onnx.write import trial_of


@dataclass(frozen=True)
class Told:
    """Facts about an ONNX model that its file does not contain.

    Parameters
    ----------
    voxel_size
        Voxel size in angstrom.
    features
        Names of the channels; if a softmax has one channel more, the first channel is the background.
    patch
        Patch in voxels z, y, x; needed if the graph's sizes are free.
    normalisation
        Normalisation of the input; default: ``volume``.
    axes
        Order of the graph's axes; default: PyTorch's.
    activation
        The function that turns outputs into predictions; default: the last operator of the graph.
    """

    voxel_size: float | None = None
    features: tuple[str, ...] = ()
    patch: tuple[int, ...] = ()
    normalisation: str = ""
    axes: str = ""
    activation: str = ""


def with_told_facts(path: str | Path, told: Told) -> tuple[bytes, ModelFacts]:
    """Add facts to the metadata of an ONNX file; the network is tested on random numbers first.

    Returns
    -------
    bytes, ModelFacts
        The new content of the file, and the facts.

    Raises
    ------
    MissingError, FormatError, DependencyError
        As in :func:`volengine.nets.formats.onnx.graph.read_onnx`.
    InputError
        A fact is missing or does not fit, the network cannot be run, or its output differs in size from its input.
    """
    where = str(path)
    model = read_onnx(path)
    kept = {p.key: p.value for p in model.metadata_props}
    if KEY in kept and not told.axes:
        net, facts = load_onnx(path)
        stored = ModelFacts.from_json(parse_object(kept[KEY], f"{where}: its facts"), where=where)
        changed = _changed(replace(facts, network=stored.network, arguments=stored.arguments), told)
        net = OnnxNet(model, where, cast(OnnxNet, net).axes, changed.activation)
    else:
        axes = check_axes(told.axes, len(ports(model, where)[0].shape), where)
        changed = _new_facts(model, axes, told, where)
        net = OnnxNet(model, where, axes, changed.activation)
    check_fit(net, changed, where)
    with_sizes(model, changed, net, where)
    _try_out(net, changed, where)
    return net.with_facts(changed), changed


def _changed(facts: ModelFacts, told: Told) -> ModelFacts:
    values: dict[str, Any] = {}
    if told.voxel_size is not None:
        values["voxel_size"] = (told.voxel_size,) * 3
    if told.features:
        more = len(facts.features) == len(told.features) + 1
        values["features"] = ("background", *told.features) if more else told.features
    values |= {k: getattr(told, k) for k in ("patch", "normalisation", "activation") if getattr(told, k)}
    return ModelFacts.from_json({**facts.to_json(), **values})


def _new_facts(model: Any, axes: str, told: Told, where: str) -> ModelFacts:
    given, answer = ports(model, where)
    if told.voxel_size is None or not told.features:
        load_onnx(where)  # raises an error that tells what is missing
    found = activation_of(model, axes.find("c"))[0]
    activation = told.activation or found
    if not activation:
        raise InputError(
            f"{where} ends with neither a sigmoid nor a softmax over its channels; say what its answers are: "
            "--activation sigmoid or softmax (they are logits), or none (values that are no probabilities)."
        )
    volumetric = "z" in axes
    channel = axes.find("c")
    slices = 1 if volumetric or channel < 0 else given.shape[channel] or 1
    channels = answer.shape[channel] if channel >= 0 and len(answer.shape) == len(axes) else 1
    names = told.features
    if activation == "softmax" and channels == len(names) + 1:
        names = ("background", *names)
    if channels not in (None, len(names)):
        raise InputError(f"{where} answers with {channels} channels, but {len(told.features)} features are named.")
    patch, stride = _patch_and_stride(model, axes, given, told, where)
    size = float(told.voxel_size or 0)
    return ModelFacts(
        network=NETWORK,
        features=names,
        voxel_size=(size, size, size),
        patch=patch,
        context=slices,
        normalisation=cast(Normalisation, told.normalisation or "volume"),
        activation=cast(Activation, activation),
        stride=stride,
        history=({"imported": f"ONNX, {model.producer_name or 'unknown program'} {model.producer_version}".strip()},),
    )


def _patch_and_stride(model: Any, axes: str, given: Port, told: Told, where: str) -> tuple[Index3, Index3]:
    space = [a for a in axes if a in "zyx"]
    steps = {"z": 1} | dict(zip(space, strides_of(model, len(space)), strict=True))
    fixed = {a: n for a, n in zip(axes, given.shape, strict=True) if a in "zyx" and n is not None}
    patch = dict(zip("zyx", told.patch, strict=True)) if told.patch else {"z": 1, **fixed}
    for axis in "zyx":
        if axis not in patch:
            raise InputError(f"{where} takes patches of any size; say which one it was trained with: --patch Z,Y,X.")
        if fixed.get(axis, patch[axis]) != patch[axis]:
            raise InputError(f"{where} takes patches of {fixed[axis]} along {axis} only, not {patch[axis]}.")
    stride = index3(fixed.get(axis, steps[axis]) for axis in "zyx")
    return index3(patch[axis] for axis in "zyx"), stride


def _try_out(net: OnnxNet, facts: ModelFacts, where: str) -> None:
    x = trial_of(facts, longer=False)
    with torch.inference_mode():
        answer = net(x)
    wanted = (1, len(facts.features), *x.shape[2:])
    if tuple(answer.shape) != wanted:
        raise InputError(
            f"{where} answers {tuple(answer.shape)} for an input of {tuple(x.shape)}; with the facts that are given it "
            f"should be {wanted}. Only networks that answer every voxel of their input can be used."
        )
    if not bool(torch.isfinite(answer).all()):
        raise InputError(f"{where} answers with numbers that are not finite for an input of random numbers.")
