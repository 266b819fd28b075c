"""Read the weights of easymode's 3D networks: ``TITLE.h5`` of ``save_weights``, and ``TITLE.json`` beside it.

Such a file holds weights and no layers (Keras 2, a model that is Python code): a group for each block, ``encoder_0`` to
``output``, with the weights of its layers in the order in which the layers were made. So the name of the architecture
must be known: from the caller, or from ``arch`` of easymode's own ``TITLE.json`` (``apix``, ``apix_z``: the voxel size
in angstrom; without ``arch``: the first architecture, ``unet-membrain``). Every layer's kind, every shape and the
numbers in the layers' names must fit; otherwise the file is refused, and the message says which architecture fits.

easymode orders axes z, y, x, channels last; the kernels are transposed.

>>> architecture_of("unet-membrain-groupnorm"), architecture_of("lite")
('unet_membrain_groupnorm', 'unet_easymode')
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_object, shown
from volengine.core.model import ModelFacts
from volengine.nets.formats.keras.h5_apart import H5Content, Weight, read_h5

if TYPE_CHECKING:
    from torch import nn

NAMES = {
    "unet-membrain": "unet_membrain",
    "unet-membrain-groupnorm": "unet_membrain_groupnorm",
    "unet-membrain-groupnorm-sgd": "unet_membrain_groupnorm",
    "unet-easymode": "unet_easymode",
    "unet-easymode-deeper": "unet_easymode_deeper",
    "n2n": "easymode_denoise",
    "ddw": "easymode_denoise",
    "iso": "easymode_denoise",
    "old": "unet_membrain",
    "current": "unet_membrain_groupnorm",
    "lite": "unet_easymode",
}
"""easymode's names of its architectures, and those of the registry of networks."""
OLDEST = "unet-membrain"
"""The architecture of files whose metadata name none."""
TILE, BORDER, DENOISE_BORDER = 160, 48, 32
"""Voxels: easymode's tiles, and what it cuts off at each of their faces."""
MAX_JSON = 2**20
PARTS = {"conv": {"kernel"}, "output": {"kernel", "bias"}, "group": {"gamma", "beta"}}
PARTS["batch"] = PARTS["group"] | {"moving_mean", "moving_variance"}
TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Keras's names of the weights of a layer, and PyTorch's."""


class Told(NamedTuple):
    """What easymode's JSON file says: the architecture as it calls it, and the voxel size z, y, x in angstrom."""

    architecture: str
    voxel_size: tuple[float, float, float]


def architecture_of(name: str) -> str:
    """The registry's name of one of easymode's architectures, which may be written with ``-`` or ``_``.

    Raises
    ------
    InputError
        There is no such architecture.
    """
    wanted = name.lower().replace("_", "-")
    own = {registered.replace("_", "-"): registered for registered in NAMES.values()}
    if wanted not in {**NAMES, **own}:
        raise InputError(f"There is no architecture {name!r} of easymode; known are {', '.join(NAMES)}.")
    return {**NAMES, **own}[wanted]


def told_beside(path: str | Path) -> Told | None:
    """What easymode's JSON file beside an ``.h5`` file says; ``None`` if there is none, or it is no such file.

    Raises
    ------
    FormatError
        The file has ``apix`` and a value that cannot be right.
    """
    beside = Path(path).with_suffix(".json")
    if Path(path).suffix.lower() not in (".h5", ".hdf5") or not beside.is_file() or beside.stat().st_size > MAX_JSON:
        return None
    raw = beside.read_bytes()
    if b'"apix"' not in raw:
        return None
    values = parse_object(raw, str(beside))
    if "apix" not in values:
        return None
    xy, z, arch = values["apix"], values.get("apix_z"), values.get("arch")
    sides = (xy if z is None else z, xy, xy)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < math.inf for v in sides):
        raise FormatError(f"{beside}: apix is {shown(xy)} and apix_z {shown(z)}; voxel sizes are positive angstrom.")
    if arch is not None and not isinstance(arch, str):
        raise FormatError(f"{beside}: arch is {shown(arch)}, and should be the name of an architecture.")
    return Told(arch or OLDEST, (float(sides[0]), float(sides[1]), float(sides[2])))


def load_easymode(
    path: str | Path,
    architecture: str = "",
    voxel_size: tuple[float, float, float] | None = None,
    features: Sequence[str] = (),
) -> tuple[nn.Module, ModelFacts]:
    """Load one of easymode's 3D networks.

    Parameters
    ----------
    path
        The ``.h5`` file of weights.
    architecture, voxel_size
        easymode's name of the architecture, and the voxel size z, y, x in angstrom; default: those of the JSON file
        beside it.
    features
        Name of the channel; default: the file's name without its ending, as easymode does.

    Returns
    -------
    module, facts
        The facts lay out patches as easymode does its tiles, 160 voxels, of which the outer 48 (networks that remove
        noise: 32) are cut off. easymode takes mean and standard deviation without the outer fifth along y and x (at
        most 64 voxels); the facts say those of the whole volume.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        The file is damaged, or its weights are not those of the architecture.
    InputError
        The architecture or the voxel size is not known, or there is not one feature.
    """
    told = told_beside(path)
    name = architecture or (told.architecture if told else "")
    if not name:
        raise InputError(f"{path}: give the --architecture of its weights: {', '.join(NAMES)}.")
    size = voxel_size or (told.voxel_size if told else None)
    if size is None:
        raise InputError(
            f"{path}: give the --voxel-size in angstrom (easymode's networks: 10), or TITLE.json beside it."
        )
    network = architecture_of(name)
    denoise = network == "easymode_denoise"
    names = tuple(features) or (Path(path).stem,)
    if len(names) != 1:
        raise InputError(f"{path}: easymode's networks have one channel, but {len(names)} features are named.")
    module = module_of(read_h5(path), network, str(path))
    border = DENOISE_BORDER if denoise else BORDER
    levels = 2 ** (len(module.encoders) - 1)  # type: ignore[arg-type]
    facts = ModelFacts(
        network=network,
        features=names,
        voxel_size=size,
        patch=(TILE,) * 3,
        overlap=2 * border / TILE,
        normalisation="volume",
        activation="none" if denoise else "sigmoid",
        target="volume" if denoise else None,
        window="crop",
        stride=(levels,) * 3,
        history=({"imported": "easymode", "facts": {"arch": name}},),
    )
    return module.eval(), facts


def module_of(content: H5Content, network: str, where: str) -> nn.Module:
    """Build a network with the weights of a file.

    Raises
    ------
    FormatError
        They are not its weights; the message says where they differ, and which architecture fits, if one does.
    """
    if content.numbered or content.config is not None:
        what = "layers by number, as Keras 3 stores them" if content.numbered else "a whole Keras model"
        raise FormatError(f"{where} holds {what}; easymode's files hold weights alone, in groups encoder_0 to output.")
    try:
        state = _state(content, network, where)
    except FormatError as error:
        others = sorted({*NAMES.values()} - {network})
        fitting = [n for n in others if _fits(content, n, where)]
        hint = f" It fits the architecture {fitting[0]}." if fitting else " No architecture of easymode fits it."
        raise FormatError(f"{error}{hint}") from error
    import torch

    from volengine.nets.registry import build

    with torch.device("meta"):  # no weights are drawn that are then replaced
        module = build(network)
    tensors = {name: torch.from_numpy(values.copy()) for name, values in state.items()}
    counters = {name: torch.tensor(0) for name, t in module.state_dict().items() if not t.ndim}
    module.load_state_dict({**tensors, **counters}, assign=True)
    return module


def _fits(content: H5Content, network: str, where: str) -> bool:
    try:
        _state(content, network, where)
    except FormatError:
        return False
    return True


def _state(content: H5Content, network: str, where: str) -> dict[str, Any]:
    """The tensors of a network by PyTorch's names, from the weights of all blocks."""
    import torch

    from volengine.nets.registry import build

    with torch.device("meta"):
        module = build(network)
    blocks = {f"encoder_{n}": f"encoders.{n}" for n in range(len(module.encoders))}  # type: ignore[arg-type]
    blocks |= {f"decoder_{n}": f"decoders.{n}" for n in range(len(module.decoders))}  # type: ignore[arg-type]
    blocks["output"] = "output"
    odd = sorted({*blocks} ^ {*content.weights})
    if odd:
        raise FormatError(
            f"{where} does not hold the weights of {network}, whose blocks are encoder_0 to output: "
            f"{shown(odd[0])} is {'missing' if odd[0] in blocks else 'unknown'} ({len(odd)} blocks differ)."
        )
    state: dict[str, Any] = {}
    for block, prefix in blocks.items():
        state |= _block(content.weights[block], module.get_submodule(prefix), prefix, f"{where}: {block}")
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items() if t.ndim}
    wrong = sorted(
        name for name in {*wanted, *state} if wanted.get(name) != tuple(getattr(state.get(name), "shape", ()))
    )
    if wrong:
        held = getattr(state.get(wrong[0]), "shape", "missing")
        raise FormatError(
            f"{where}: the weights do not fit {network}: {wrong[0]} is {held}, should be "
            f"{wanted.get(wrong[0], 'absent')} ({len(wrong)} tensors differ)."
        )
    return state


def _block(weights: Sequence[Weight], block: nn.Module, prefix: str, where: str) -> dict[str, Any]:
    """The tensors of a block: its layers in their order, each with the weights of its kind."""
    found: dict[str, dict[str, Any]] = {}
    for weight in weights:
        layer, _, part = weight.key.rpartition("/")
        parts = found.setdefault(layer, {})
        if part.removesuffix(":0") in parts:
            raise FormatError(f"{where} holds the weight {shown(weight.key)} twice.")
        parts[part.removesuffix(":0")] = weight.values
    layers = [(name, m) for name, m in block.named_modules() if not [*m.children()] and [*m.parameters()]]
    if len(layers) != len(found):
        raise FormatError(f"{where} has {len(found)} layers with weights, and should have {len(layers)}.")
    _check_order(list(found), where)
    state: dict[str, Any] = {}
    for (name, module), (layer, parts) in zip(layers, found.items(), strict=True):
        kind = _kind(module)
        if {*parts} != PARTS[kind]:
            raise FormatError(
                f"{where}: the layer {shown(layer)} has {', '.join(sorted(parts))}, and should have "
                f"{', '.join(sorted(PARTS[kind]))}."
            )
        for part, values in parts.items():
            key = ".".join(filter(None, (prefix, name, TENSORS[part])))
            state[key] = values.transpose(4, 3, 0, 1, 2) if values.ndim == 5 else values
    return state


def _kind(module: nn.Module) -> str:
    from torch import nn

    if isinstance(module, nn.BatchNorm3d | nn.GroupNorm):
        return "batch" if isinstance(module, nn.BatchNorm3d) else "group"
    return "conv" if getattr(module, "bias", None) is None else "output"


def _check_order(layers: Sequence[str], where: str) -> None:
    """Check that Keras made the layers in the order of the file: it numbers those of one kind, ``conv3d_7``.

    Raises
    ------
    FormatError
        The numbers do not grow, so it is not sure which layer is which.
    """
    last: dict[str, int] = {}
    for layer in layers:
        kind, number = _numbered(layer)
        if number <= last.get(kind, -1):
            raise FormatError(
                f"{where}: the layer {shown(layer)} follows number {last[kind]} of its kind, so it is not sure which "
                "layer is which."
            )
        last[kind] = number


def _numbered(layer: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", layer)
    return (found[1], int(found[2] or 0)) if found else (layer, 0)
