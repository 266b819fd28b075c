"""Model files of other programs: Ais's ``.scnm`` and ``.scnmgroup``, Keras's, membrain-seg's ``.ckpt``.

Each loader returns a module and its facts, as for a native file: ``volengine segment --model FILE`` accepts these files
directly. :func:`import_model` writes a native file, which opens faster. No code in a file is run, neither pickles nor
Python. A file is refused if one of its weights is missing, unknown or of another shape.

=============  ====================================================================================================
``.scnm``      Ais: pixel size, box, slices, overlap, normalisation, threshold, colour, TTA, part in competition
``.ckpt``      membrain-seg: MONAI's ``DynUNet``, 95 tensors; its axes x, y, z are turned to z, y, x
``.h5``        a Keras model, which states neither voxel size nor features: :func:`import_model` needs them; or weights
               of easymode, with its JSON file beside them (:mod:`volengine.nets.formats.keras.easymode`)
``.keras``     the same in Keras 3's own format; also ``.weights.h5`` with the configuration beside it
=============  ====================================================================================================
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import parse_json, parse_object, shown
from volengine.core.model import ModelFacts
from volengine.core.rules import Compete, Interact, Rule
from volengine.nets.formats.keras.scnm_write import TOLD

if TYPE_CHECKING:
    from torch import nn

    from volengine.nets.formats.keras.layers import KerasModel

Loaded = tuple["nn.Module", ModelFacts]
MEMBRAIN_TENSORS = 95
KEPT = ("z_jitter", "arch", "info")
"""Entries of Ais's metadata that are kept in the model's history."""
MAX_MEMBERS = 20_000
"""Largest number of members of a checkpoint, which has a few for each tensor of network and optimiser."""
ZIP_START = b"PK\x03\x04"
UNKNOWN_PIXEL = 10.0
"""Angstrom: pixel size that Ais assumes for a model that does not state one."""


def load_scnm(path: str | Path, normalisation: str = "") -> Loaded:
    """Load a model of Ais; ``normalisation`` overrides the file's.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        The file is not an archive of Ais, or its model has an unknown layer.
    """
    from volengine.nets.formats.archives import read_archive

    return _of_members(read_archive(path), str(path), normalisation)


def _of_members(members: Mapping[str, bytes], where: str, normalisation: str = "") -> Loaded:
    from volengine.nets.formats.keras.read import read_keras

    weights = [v for k, v in members.items() if k.endswith("_weights.h5")]
    texts = [v for k, v in members.items() if k.endswith("_metadata.json")]
    if len(weights) != 1 or len(texts) != 1:
        raise FormatError(
            f"{where} holds {len(weights)} files *_weights.h5 and {len(texts)} *_metadata.json; a model of Ais has one "
            "of each."
        )
    metadata = parse_object(texts[0], f"{where}: the metadata")
    if not isinstance(metadata.get("title"), str):
        raise FormatError(f"{where}: the metadata cannot be read (title is {shown(metadata.get('title'))}).")
    title = metadata["title"]
    model = read_keras(weights[0], where, axes="yxz")
    try:
        return model.module(), _ais_facts(model, metadata, title, where, normalisation)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError, MemoryError) as error:
        raise FormatError(f"{where}: {error or type(error).__name__}") from error


def _ais_facts(model: KerasModel, metadata: Mapping[str, Any], title: str, where: str, given: str) -> ModelFacts:
    if model.channels != 1:
        raise FormatError(f"{where} answers with {model.channels} channels; models of Ais have one.")
    normalisation = given or metadata.get("normalization") or "per_slice"
    if normalisation not in ("per_slice", "global_mad", given):
        raise FormatError(f"{where}: the normalisation {normalisation!r} is not known; Ais has none and global_mad.")
    size = int(metadata.get("box_size") or 64)
    box = [n or size for n in model.box]
    pixel = float(metadata.get("apix") or -1)
    pixel = pixel if pixel > 0 else UNKNOWN_PIXEL
    told = _told(metadata)
    kept = {key: metadata[key] for key in (*TOLD, *KEPT) if key in metadata and TOLD.get(key) not in told}
    facts = ModelFacts(
        features=(title,),
        voxel_size=(pixel, pixel, pixel),
        overlap=min(0.9, max(0.0, float(metadata.get("overlap") or 0.0))),
        history=({"imported": "Ais", "facts": kept},),
        **told,
        **_graph_facts(model, box),
    )
    return _normalised(facts, normalisation)


def _told(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Facts from Ais's metadata that do not describe the network; an entry with an invalid value is left out."""
    told: dict[str, Any] = {}
    for key, name in TOLD.items():
        value = metadata.get(key)
        if name in ("emits", "absorbs") and value in (0, 1):
            value = bool(value)
        if value is None:
            continue
        try:
            ModelFacts(network="graph", features=("x",), voxel_size=(1, 1, 1), patch=(1, 1, 1), **{name: value})
        except InputError:
            continue
        told[name] = value
    return told


def _normalised(facts: ModelFacts, normalisation: str) -> ModelFacts:
    return ModelFacts.from_json({**facts.to_json(), "normalisation": normalisation})


def _graph_facts(model: KerasModel, box: list[int]) -> dict[str, Any]:
    """The facts that follow from the graph: layers, patch, slices, stride, activation."""
    stride = _stride(model)
    patch = [1, *box] if not model.volumetric else box
    return {
        "network": "graph",
        "arguments": {"layers": model.layers},
        "patch": index3(math.ceil(p / s) * s for p, s in zip(patch, stride, strict=True)),
        "context": 1 if model.volumetric else model.slices,
        "activation": model.activation,
        "stride": stride,
    }


def _stride(model: KerasModel) -> Index3:
    """Ratio of the coarsest to the finest grid, z, y, x."""
    ndim = 3 if model.volumetric else 2
    scale: dict[str, list[float]] = {}
    largest = [1.0] * ndim
    for layer in model.layers:
        here = list(scale[layer["inputs"][0]]) if layer["inputs"] else [1.0] * ndim
        if layer["kind"] in ("conv", "pool"):
            here = [a * b for a, b in zip(here, layer["stride"], strict=True)]
        elif layer["kind"] in ("upsample", "conv_transpose"):
            factor = layer["factor"] if layer["kind"] == "upsample" else layer["stride"]
            here = [a / b for a, b in zip(here, factor, strict=True)]
        scale[layer["name"]] = here
        largest = [max(a, b) for a, b in zip(largest, here, strict=True)]
    return index3([1] * (3 - ndim) + [round(v) for v in largest])


def read_group(path: str | Path) -> tuple[list[Loaded], tuple[Rule, ...]]:
    """Load a group of Ais (``.scnmgroup``): its models, and its rules in Ais's order.

    The competition between the models that emit and those that absorb comes first, then the interactions in the order
    of the list. Ais's ``parent`` is the feature that is masked; this package calls it the child.

    Raises
    ------
    MissingError, FormatError
        As in :func:`load_scnm`; or a rule names a model that is not in the group, or two models have the same title.
    """
    from volengine.nets.formats.archives import read_archive

    where = str(path)
    members = read_archive(path)
    names = sorted((n for n in members if n.endswith(".scnm")), key=lambda n: (len(n), n))
    models = [_of_members(read_archive(members[n], f"{where}: {n}"), f"{where}: {n}") for n in names]
    titles = [facts.features[0] for _, facts in models]
    double = next((t for t in titles if titles.count(t) > 1), None)
    if not models or double is not None:
        raise FormatError(f"{where}: two models are called {double!r}." if double else f"{where} holds no model.")
    emit = tuple(facts.features[0] for _, facts in models if facts.emits)
    absorb = tuple(facts.features[0] for _, facts in models if facts.absorbs)
    rules: list[Rule] = [Compete(emit, absorb)] if emit and absorb and {*emit} | {*absorb} != {emit[0]} else []
    listed = [v for n, v in members.items() if n.endswith("_interactions.json")]
    try:
        for item in parse_json(listed[0], f"{where}: the interactions") if listed else []:
            child, parent = str(item["parent_title"]), str(item["partner_title"])
            missing = next((t for t in (child, parent) if t not in titles), None)
            if missing is not None:
                raise FormatError(f"{where}: an interaction is about {missing!r}, which is no model of the group.")
            kind = {0: "colocalize", 1: "avoid"}[int(item["type"])]
            rules.append(
                Interact.from_json(
                    {
                        "child": child,
                        "parent": parent,
                        "kind": kind,
                        "radius_nm": float(item["radius"]),
                        "threshold": float(item["threshold"]),
                    }
                )
            )
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise FormatError(f"{where}: the interactions cannot be read ({error!r}).") from error
    return models, tuple(rules)


def load_ckpt(path: str | Path) -> Loaded:
    """Load a checkpoint of membrain-seg.

    It must contain exactly the network's 95 tensors and their aliases; the original program would use random weights
    for missing ones. membrain-seg orders axes x, y, z, so the kernels are transposed.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        PyTorch cannot open the file without running code, or it holds the weights of another network.
    """
    import torch

    from volengine.nets.registry import build

    state = _state_of(path)
    given = {
        key.removeprefix("_model."): value
        for key, value in state.items()
        if key.startswith("_model.") and "skip_layers." not in key
    }
    strange = [k for k in state if not k.startswith(("_model.", "loss_function."))]
    with torch.device("meta"):  # no memory before the file is known to be right
        module = build("dynunet")
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    odd = sorted(k for k in {*wanted, *given} if wanted.get(k) != tuple(getattr(given.get(k), "shape", ())))
    if odd or strange:
        raise FormatError(
            f"{path} holds no weights of membrain-seg's network ({len(odd)} of {MEMBRAIN_TENSORS} tensors are missing "
            f"or differ, {len(strange)} are unknown; the first one is {(odd or strange)[0]!r}). Only its default "
            "layout is read."
        )
    module = build("dynunet")
    module.load_state_dict({k: v.permute(0, 1, 4, 3, 2) if v.ndim == 5 else v for k, v in given.items()})
    facts = ModelFacts(
        network="dynunet",
        features=("membrane",),
        voxel_size=(10.0, 10.0, 10.0),
        patch=(160, 160, 160),
        overlap=0.5,
        normalisation="volume",
        stride=(32, 32, 32),
        edge="zero",
        history=({"imported": "membrain-seg"},),
    )
    return module.eval(), facts


def _state_of(path: str | Path) -> dict[str, Any]:
    """The tensors of a checkpoint of PyTorch Lightning, by name; no code in the file is run."""
    import pickle
    import struct
    import warnings
    import zipfile

    import torch

    from volengine.nets.formats.archives import read_zip

    if not Path(path).is_file():
        raise MissingError(f"{path}: no such model file.")
    with Path(path).open("rb") as stream:
        if stream.read(4) != ZIP_START:
            raise FormatError(
                f"{path} is no checkpoint of PyTorch, which is a zip archive; plain pickles are not opened."
            )
    read_zip(path, (), most=MAX_MEMBERS)
    damage = (RuntimeError, LookupError, TypeError, AttributeError, AssertionError, ImportError, MemoryError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickles; what cannot be read is an error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, OSError, ValueError, *damage) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path} is no checkpoint that can be opened without running code: {text}") from error
    try:
        return {str(key): value for key, value in content["state_dict"].items()}
    except (LookupError, TypeError, AttributeError) as error:
        raise FormatError(f"{path} is no checkpoint of PyTorch Lightning: it has no state_dict.") from error


def load_keras(path: str | Path) -> Loaded:
    """Load a file of easymode that lies beside its JSON file; refuse other Keras files, which do not state all facts.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        easymode's file is damaged, or holds other weights than its JSON file says.
    InputError
        It is another file; the message tells how to import it.
    """
    from volengine.nets.formats.keras.easymode import load_easymode, told_beside

    if not Path(path).is_file():
        raise MissingError(f"{path}: no such model file.")
    if told_beside(path) is not None:
        return load_easymode(path)
    raise InputError(
        f"{path}: a Keras file does not say its voxel size nor what it finds. Import it once: volengine models import "
        f"{shlex.quote(str(path))} OUT.safetensors --voxel-size ANGSTROM --features NAME,... (and, for weights of "
        "easymode, --architecture NAME; or lay easymode's TITLE.json beside them)."
    )


def import_model(
    path: str | Path,
    out: str | Path,
    *,
    voxel_size: float | None = None,
    features: tuple[str, ...] = (),
    patch: tuple[int, ...] = (),
    normalisation: str = "",
    axes: str = "zyx",
    architecture: str = "",
) -> ModelFacts:
    """Write a model of another program as a native model file.

    Parameters
    ----------
    path, out
        The model, and the ``.safetensors`` file to write.
    voxel_size
        Voxel size in angstrom; needed for Keras files, otherwise it overrides the file's.
    features
        Names of the channels; needed for Keras files. If a softmax has one channel more than there are names, the first
        channel is the background.
    patch
        Patch in voxels z, y, x; default: the patch that the model was trained on.
    normalisation
        Normalisation of the input, as in the facts; default: the file's, or ``volume`` for Keras files.
    axes
        Order of the axes of a 3D network in a Keras file.
    architecture
        easymode's name of the network, for an ``.h5`` file of its weights.

    Returns
    -------
    ModelFacts
        The facts of the written model.

    Raises
    ------
    MissingError, FormatError, InputError
        As in the loaders; or a fact is missing or does not fit.
    """
    from dataclasses import replace

    from volengine.nets.checkpoint import load_model, save_model
    from volengine.nets.formats.keras.easymode import load_easymode, told_beside
    from volengine.nets.formats.keras.read import read_keras

    module: nn.Module
    if Path(out).suffix != ".safetensors":
        raise InputError(f"{out}: native model files end with .safetensors.")
    keras = Path(path).suffix.lower() in (".h5", ".hdf5", ".keras")
    if architecture and (not keras or Path(path).suffix.lower() == ".keras"):
        raise InputError(f"--architecture is for easymode's files of weights (.h5); {path} says its layers itself.")
    if keras and (architecture or told_beside(path) is not None):
        if axes != "zyx":
            raise InputError(f"{path}: easymode's networks have the axes zyx, not {axes}; leave out --axes.")
        sides = None if voxel_size is None else (voxel_size,) * 3
        module, facts = load_easymode(path, architecture, sides, features)
    elif keras:
        model = read_keras(path, axes=axes)
        if voxel_size is None or not features:
            load_keras(path)
        names = features
        if model.activation == "softmax" and len(features) == model.channels - 1:
            names = ("background", *features)
        if len(names) != model.channels:
            raise InputError(f"{path} answers with {model.channels} channels, but {len(features)} features are named.")
        graph = _graph_facts(model, [n or 64 for n in model.box])
        size = float(voxel_size or 0)
        module = model.module()
        facts = ModelFacts(features=names, voxel_size=(size,) * 3, history=({"imported": "Keras"},), **graph)
    elif Path(path).suffix.lower() == ".scnm":
        module, facts = load_scnm(path, normalisation)
    else:
        module, facts = load_model(path)
    if features:
        names = ("background", *features) if len(facts.features) == len(features) + 1 else features
        facts = replace(facts, features=names)
    if voxel_size is not None:
        facts = replace(facts, voxel_size=(voxel_size,) * 3)
    if patch:
        facts = replace(facts, patch=index3(patch))
    if normalisation:
        facts = _normalised(facts, normalisation)
    save_model(out, module, facts)
    return facts
