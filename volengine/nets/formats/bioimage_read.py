"""Read packages of the BioImage Model Zoo: the weights that they have as ONNX, and what is done before and after them.

>>> package = read_package("membrane.bioimage.zip")                                                  # doctest: +SKIP
>>> package.normalisation                                                                            # doctest: +SKIP
'per_slice'

Nothing in a package is run. A network whose input is treated otherwise than its authors say gives wrong answers that
look right, so that a package with steps that this program does not have is refused, unless its user says what to do.

Source of the format: https://bioimage.io/docs, specifications 0.4 and 0.5: ``rdf.yaml`` names the files of the weights,
the axes, and the steps of pre- and postprocessing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import shown
from volengine.core.yaml_recipes import parse_yaml
from volengine.nets.formats.archives import read_zip
from volengine.nets.formats.onnx.graph import activation_of, read_onnx
from volengine.nets.formats.onnx.words import KEY

DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml")
LARGEST_DESCRIPTION = 2_000_000
LARGEST_EPSILON = 1e-5
"""Added to the standard deviation; larger ones change what the network sees (the zoo's default is 1e-6)."""
LETTERS = {"batch": "b", "channel": "c"}


@dataclass(frozen=True)
class Package:
    """What a package says of its network.

    Parameters
    ----------
    weights
        The ONNX file.
    axes
        One letter for each axis of the input, such as ``bcyx``.
    normalisation
        The normalisation that equals its preprocessing.
    activation
        The function after the network: ``sigmoid``, ``softmax``; empty: what the network itself ends with.

    All but the weights are empty for a package that volengine has written: its ONNX file knows more than the
    description can say.
    """

    weights: bytes
    axes: str = ""
    normalisation: str = ""
    activation: str = ""


def read_package(path: str | Path, axes: str = "", normalisation: str = "", activation: str = "") -> Package:
    """Read a package: its weights, and the facts that its description tells.

    Parameters
    ----------
    path
        The zip file.
    axes, normalisation, activation
        What the user says. It takes precedence, and what the description says instead of it is not looked at.

    Raises
    ------
    MissingError
        There is no such file.
    FormatError
        It is no package, is damaged, has its weights in other formats only (whose reading would run code), or its
        weights are not those of its description.
    InputError
        It asks for steps before or after the network that volengine does not have.
    """
    where = str(path)
    told = _description(path, where)
    weights = _weights(path, told, where)
    model = read_onnx(weights, where)
    if any(p.key == KEY for p in model.metadata_props):
        return Package(weights, axes, normalisation, activation)
    given, answer = _only(told, "inputs", where), _only(told, "outputs", where)
    order = _axes_of(given)
    if not axes:
        if set(order) - set("bczyx") or len(set(order)) != len(order) or not set(order) >= set("yx"):
            raise InputError(
                f"{where}: the axes of its input are {shown(given.get('axes'))}; say which they are: --axes."
            )
        if _space(order) != _space(_axes_of(answer)):
            raise InputError(
                f"{where}: its input has the axes {order}, its output {_axes_of(answer) or 'none that are known'}; "
                "only networks that answer in the order of their input can be used."
            )
    order = axes or order
    how = normalisation or _normalisation(_steps(given, "preprocessing", where), order, given, where)
    if activation:
        return Package(weights, order, how, activation)
    after = _activation(_steps(answer, "postprocessing", where), where)
    inside = activation_of(model, order.find("c"))[0]
    if after and inside:
        raise InputError(
            f"{where}: its network ends with a {inside}, after which its description wants a {after}; volengine "
            "computes one of them. Say what its answers are: --activation sigmoid, softmax or none."
        )
    return Package(weights, order, how, after)


def _description(path: str | Path, where: str) -> Mapping[str, Any]:
    texts = read_zip(path, DESCRIPTIONS)
    if not texts:
        raise FormatError(f"{where} is no package of the BioImage Model Zoo: it has no {DESCRIPTIONS[0]}.")
    text = next(texts[name] for name in DESCRIPTIONS if name in texts)
    if len(text) > LARGEST_DESCRIPTION:
        raise FormatError(f"{where}: its description has {len(text)} bytes; it is not read.")
    try:
        told: Any = parse_yaml(text.decode("utf-8-sig"), "it")
    except (FormatError, UnicodeDecodeError) as error:
        raise FormatError(f"{where}: its description is damaged ({str(error).splitlines()[0]}).") from error
    if not isinstance(told, Mapping) or not isinstance(told.get("weights"), Mapping):
        raise FormatError(f"{where}: its description names no weights.")
    return told


def _weights(path: str | Path, told: Mapping[str, Any], where: str) -> bytes:
    entry = told["weights"].get("onnx")
    name = entry.get("source") if isinstance(entry, Mapping) else None
    if not isinstance(name, str):
        raise FormatError(
            f"{where} has its weights as {', '.join(map(str, told['weights'])) or 'nothing'}; only ONNX is read, "
            "because the others may run code. Ask its authors for ONNX weights."
        )
    found = read_zip(path, (name,)).get(name)
    if found is None:
        raise FormatError(f"{where}: the file of its weights, {shown(name)}, is not in it.")
    said, is_ = entry.get("sha256"), hashlib.sha256(found).hexdigest()
    if said is not None and str(said).lower() != is_:
        raise FormatError(
            f"{where}: the checksum of its weights is {is_[:12]}..., and not {shown(said)}, as its description says. "
            "They were changed or damaged; get the package anew."
        )
    return found


def _only(told: Mapping[str, Any], what: str, where: str) -> Mapping[str, Any]:
    tensors = told.get(what)
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], Mapping):
        number = len(tensors) if isinstance(tensors, list) else "no"
        raise InputError(f"{where}: its description has {number} {what}; networks with one can be used.")
    return tensors[0]


def _letter(axis: Any) -> str:
    if isinstance(axis, Mapping):
        kind = axis.get("type")
        axis = axis.get("id", "?") if kind == "space" else kind
    return LETTERS.get(str(axis), str(axis) if str(axis) in tuple("bczyx") else "?")


def _axes_of(tensor: Mapping[str, Any]) -> str:
    """The letters of a tensor's axes: a text in version 0.4, a list in 0.5; ``?`` is one that is not known."""
    axes = tensor.get("axes")
    return "".join(_letter(axis) for axis in axes) if isinstance(axes, (str, list)) else ""


def _space(order: str) -> str:
    return "".join(letter for letter in order if letter in "zyx?")


def _steps(tensor: Mapping[str, Any], what: str, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and arguments of the steps (``name`` in version 0.4, ``id`` in 0.5); conversions to floats do nothing."""
    found = []
    for step in tensor.get(what) or []:
        name = step.get("id", step.get("name")) if isinstance(step, Mapping) else None
        values = (step.get("kwargs") or {}) if isinstance(step, Mapping) else None
        if not isinstance(name, str) or not isinstance(values, Mapping):
            raise FormatError(f"{where}: its description is damaged: a step of {what} is {shown(step)}.")
        if name != "ensure_dtype" or not str(values.get("dtype")).startswith("float"):
            found.append((name, values))
    return found


def _normalisation(steps: list[tuple[str, Mapping[str, Any]]], order: str, given: Mapping[str, Any], where: str) -> str:
    """The normalisation that is the same as the steps before the network."""
    if not steps:
        return "none"
    name, values = steps[0]
    volumetric = "z" in order
    kept = {letter for letter in order if letter in "zyx"}
    many = "c" in order and not volumetric and _channels(given, order) != 1
    if len(steps) == 1 and name == "zero_mean_unit_variance" and values.get("mode", "per_sample") == "per_sample":
        axes = values.get("axes")
        over = {_letter(axis) for axis in (order if axes is None else axes if isinstance(axes, (str, list)) else "?")}
        epsilon = values.get("eps", 1e-6)
        if isinstance(epsilon, (int, float)) and 0 <= epsilon <= LARGEST_EPSILON and over <= kept | {"b", "c"}:
            plane = "per_patch" if many and "c" in over else "per_slice"  # the channels of a 2.5D network are slices
            found = {"zyx": "volume", "yx": plane}.get("".join(letter for letter in "zyx" if letter in over))
            if found:
                return found
    raise InputError(
        f"{where}: before its network comes {_said(steps)}, which volengine cannot do. Normalise the tomograms "
        "yourself and say --normalisation none, or say which normalisation equals it."
    )


def _channels(given: Mapping[str, Any], order: str) -> int | None:
    """How many channels an input has; nothing if the description leaves that open."""
    position = order.index("c")
    axes, shape = given.get("axes"), given.get("shape")
    if isinstance(axes, list) and position < len(axes) and isinstance(axes[position], Mapping):
        names = axes[position].get("channel_names")
        return len(names) if isinstance(names, list) else None
    if isinstance(shape, Mapping):  # of variable size: the step along channels is 0
        shape = shape.get("min")
    found = shape[position] if isinstance(shape, list) and position < len(shape) else None
    return found if isinstance(found, int) else None


def _said(steps: list[tuple[str, Mapping[str, Any]]]) -> str:
    return ", then ".join(f"{name} {shown(dict(values))}" if values else name for name, values in steps)


def _activation(steps: list[tuple[str, Mapping[str, Any]]], where: str) -> str:
    """The function that is the same as the steps after the network."""
    if not steps:
        return ""
    name, values = steps[0]
    if len(steps) == 1 and name in ("sigmoid", "softmax"):
        axis = values.get("axis", "channel")
        if name == "sigmoid" or _letter(axis) == "c":
            return name
    raise InputError(
        f"{where}: after its network comes {_said(steps)}, which volengine cannot do. If its answers can be used "
        "without that, say what they are: --activation sigmoid, softmax or none."
    )
