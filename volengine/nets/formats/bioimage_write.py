"""Models for the BioImage Model Zoo: one zip with the description that its programs read (``rdf.yaml``, version 0.5).

The zip contains the weights as ONNX, a test input with the network's output, and a page of documentation. The metadata
of the weights and the description's ``config`` hold all facts of the model. The description cannot express some
normalisations (``volume`` for slices, and ``global_mad``): the user must apply them, as the documentation says and the
notes of :func:`bioimage_bytes` repeat.

>>> content, notes = bioimage_bytes(module, facts, Card(authors=("A. Author",), licence="CC-BY-4.0"))  # doctest: +SKIP

Source of the format: https://bioimage.io/docs, specification 0.5, as implemented by the package bioimageio.spec.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError, require
from volengine.core.model import ModelFacts
from volengine.nets.card import learned, sentence
from volengine.nets.formats.onnx.graph import activation_of, read_onnx, strides_of
from volengine.nets.formats.onnx.read import OnnxNet
from volengine.nets.formats.onnx.write import onnx_bytes

if TYPE_CHECKING:
    from torch import nn

FORMAT = "0.5.4"
"""Version of the description; later readers of 0.5 accept it."""
INPUT, ANSWER = "image", "answer"
WHEN = (1980, 1, 1, 0, 0, 0)
"""Date of all members of the zip, so that the same model gives the same bytes."""
LONGEST_NAME = 128
TOLERANCE = 1e-3
EPSILON = 1e-12
"""The format demands a number that is added to the standard deviation; this one is too small for any grey values."""
"""The zoo's tolerance for float32: relative, and absolute as a share of the largest output."""


@dataclass(frozen=True)
class Card:
    """The parts of a model's description that its facts do not contain.

    Parameters
    ----------
    title
        Name of the model in the zoo; default: its features.
    description
        One or two sentences; default: made from the facts.
    authors
        Names of the authors; default: none.
    licence
        SPDX name of the licence, for example ``CC-BY-4.0``; default: none, so others have no right to use the model.
    """

    title: str = ""
    description: str = ""
    authors: tuple[str, ...] = ()
    licence: str = ""


def bioimage_bytes(module: nn.Module, facts: ModelFacts, card: Card) -> tuple[bytes, tuple[str, ...]]:
    """Make a zip for the BioImage Model Zoo.

    Parameters
    ----------
    module, facts
        The network, which outputs logits, and its facts.
    card
        Title, description, authors, licence.

    Returns
    -------
    content, notes
        The bytes of the zip, which ``bioimageio.spec`` has accepted; and sentences for the model's users.

    Raises
    ------
    DependencyError
        The extra ``bioimage`` or ``onnx`` is not installed.
    InputError
        As in :func:`volengine.nets.formats.onnx.write.onnx_bytes`; or ``bioimageio.spec`` does not accept the
        description, for example because the licence has no SPDX name.
    """
    try:
        import bioimageio.spec
    except ImportError as error:
        raise require("bioimageio.spec", "bioimage", "A model for the BioImage Model Zoo") from error
    weights, _ = onnx_bytes(module, facts)
    steps, notes = preprocessing(facts)
    bench = _Bench(weights, facts, steps)
    given, answer = bench.test()
    notes = (*notes, *_missing(card))
    members = {
        "weights.onnx": weights,
        "test_input.npy": _npy(given),
        "test_output.npy": _npy(answer),
        "README.md": _page(facts, card, notes).encode(),
    }
    description = _description(facts, card, bench, members, float(answer.max()))
    content = _zip({"rdf.yaml": _yaml(description), **members})
    _accepted(bioimageio.spec, content)
    return content, notes


def preprocessing(facts: ModelFacts) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The preprocessing steps of the description for a normalisation, and notes on what they cannot express."""
    space = ["z", "y", "x"] if facts.volumetric else ["y", "x"]
    how = facts.normalisation
    one = "the whole tomogram" if facts.volumetric else "one whole slice"
    if how == "none":
        return [], ()
    if how == "global_mad" or (how == "volume" and not facts.volumetric):
        what = {
            "global_mad": "Ais's global_mad (mean and median absolute deviation of the whole tomogram)",
            "volume": "mean and standard deviation of the whole tomogram",
        }[how]
        return [], (
            f"The input must be normalised before the model gets it, by {what}; the description cannot say it.",
        )
    if how == "per_patch":
        axes = ["channel", *space] if facts.context > 1 else space
        return [_standardised(axes)], ("The normalisation is of each patch by itself: predict patch by patch.",)
    axes = ["y", "x"] if how == "per_slice" else space
    return [_standardised(axes)], (f"The normalisation is exact if the input is {one}, and not a part of it.",)


def _standardised(axes: list[str]) -> dict[str, Any]:
    return {"id": "zero_mean_unit_variance", "kwargs": {"axes": axes, "eps": EPSILON}}


def _missing(card: Card) -> tuple[str, ...]:
    notes = []
    if not card.authors:
        notes.append("No author is named (--authors).")
    if not card.licence:
        notes.append("No licence is given (--licence), so nobody else may use the model yet.")
    return tuple(notes)


class _Bench:
    """The weights, their axes, and their output for a test input."""

    def __init__(self, weights: bytes, facts: ModelFacts, steps: list[dict[str, Any]]):
        model = read_onnx(weights)
        self.net = OnnxNet.of(weights, "the ONNX file", "")
        self.facts, self.steps = facts, steps
        self.axes = self.net.axes
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.ends_with = activation_of(model, self.axes.find("c"))[0]
        space = [a for a in self.axes if a in "zyx"]
        inner = dict(zip(space, strides_of(model, len(space)), strict=True))
        self.stride = {a: max(s, inner.get(a, 1)) for a, s in zip("zyx", facts.stride, strict=True)}
        self.fixed = {a: n for a, n in zip(self.axes, self.net.input.shape, strict=True) if a in "zyx" and n}

    def halo(self, axis: str) -> int:
        """Number of voxels at each end whose outputs lack surroundings."""
        reach = self.facts.receptive_field
        return 0 if reach is None or axis in self.fixed else reach["zyx".index(axis)]

    def smallest(self, axis: str) -> int:
        """The smallest useful side of an input, a multiple of the stride."""
        if axis in self.fixed:
            return self.fixed[axis]
        stride = self.stride[axis]
        wanted = max(16, 2 * stride, 2 * self.halo(axis) + 1)
        return -(-wanted // stride) * stride

    def test(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A test input, in the order of the graph's axes, and the output of the preprocessing and the graph."""
        import torch

        facts = self.facts
        space = [self.smallest(a) for a in "zyx"] if facts.volumetric else [self.smallest(a) for a in "yx"]
        channels = 1 if facts.volumetric else facts.context
        drawn = np.random.default_rng(0).normal(size=(1, channels, *space))
        grey = drawn if facts.normalisation == "none" or not self.steps else 100 + 20 * drawn
        given = grey.astype(np.float32)
        seen = given.astype(np.float64)
        order = "bczyx" if facts.volumetric else "bcyx"
        for step in self.steps:
            axes = tuple(order.index({"channel": "c"}.get(a, a)) for a in step["kwargs"]["axes"])
            mean, std = seen.mean(axes, keepdims=True), seen.std(axes, keepdims=True)
            seen = (seen - mean) / (std + step["kwargs"]["eps"])
        with torch.inference_mode():
            answer = self.net(torch.from_numpy(seen.astype(np.float32)))
            if not self.ends_with and facts.activation != "none":
                answer = torch.sigmoid(answer) if facts.activation == "sigmoid" else torch.softmax(answer, 1)
        return self._turned(given, order), self._turned(answer.numpy(), order)

    def _turned(self, array: NDArray[np.float32], order: str) -> NDArray[np.float32]:
        for letter in order:
            if letter not in self.axes:
                array, order = array.squeeze(order.index(letter)), order.replace(letter, "")
        return np.ascontiguousarray(array.transpose([order.index(a) for a in self.axes]))

    def input_axes(self) -> list[dict[str, Any]]:
        """The description's axes of the input."""
        slices = [f"slice_{n}" for n in range(self.facts.context)]
        return [self._axis(a, slices if self.facts.context > 1 else ["intensity"], {}) for a in self.axes]

    def output_axes(self) -> list[dict[str, Any]]:
        """The description's axes of the output; their sizes are those of the input."""
        features = [_identifier(name) for name in self.facts.features]
        return [self._axis(a, features, {"tensor_id": INPUT, "axis_id": a}) for a in self.axes]

    def _axis(self, letter: str, channels: list[str], reference: dict[str, str]) -> dict[str, Any]:
        if letter == "b":
            return {"type": "batch"}
        if letter == "c":
            return {"type": "channel", "id": "channel", "channel_names": channels}
        scale = self.facts.voxel_size["zyx".index(letter)]
        axis: dict[str, Any] = {"type": "space", "id": letter, "unit": "angstrom", "scale": scale}
        if reference:
            axis["size"] = reference
            if self.halo(letter):
                axis["halo"] = self.halo(letter)
        elif letter in self.fixed:
            axis["size"] = self.fixed[letter]
        else:
            axis["size"] = {"min": self.smallest(letter), "step": self.stride[letter]}
        return axis


def _description(
    facts: ModelFacts, card: Card, bench: _Bench, members: Mapping[str, bytes], largest: float
) -> dict[str, Any]:
    after: list[dict[str, Any]] = []
    if not bench.ends_with and facts.activation == "sigmoid":
        after = [{"id": "sigmoid"}]
    elif not bench.ends_with and facts.activation == "softmax":
        after = [{"id": "softmax", "kwargs": {"axis": "channel"}}]
    data = {"type": "float32"} if facts.activation == "none" else {"type": "float32", "range": [0.0, 1.0]}
    found: dict[str, Any] = {
        "type": "model",
        "format_version": FORMAT,
        "name": _title(facts, card),
        "description": card.description or sentence(facts),
        "authors": [{"name": name} for name in card.authors],
        "documentation": "README.md",
        "tags": ["segmentation", "cryo-electron tomography", "3d" if facts.volumetric else "2d", *facts.features],
        "inputs": [
            {
                "id": INPUT,
                "axes": bench.input_axes(),
                "data": {"type": "float32"},
                "preprocessing": bench.steps,
                "test_tensor": _file(members, "test_input.npy"),
            }
        ],
        "outputs": [
            {
                "id": ANSWER,
                "axes": bench.output_axes(),
                "data": data,
                "postprocessing": after,
                "test_tensor": _file(members, "test_output.npy"),
            }
        ],
        "weights": {"onnx": {**_file(members, "weights.onnx"), "opset_version": bench.opset}},
        "config": {"bioimageio": _tolerance(largest), "volengine": facts.to_json()},
    }
    return {**found, "license": card.licence} if card.licence else found


def _tolerance(largest: float) -> dict[str, Any]:
    """The tolerance for outputs of other programs; the zoo refuses its default if all outputs are small.

    If no output is positive (of a network that predicts values), the zoo accepts no tolerance at all.
    """
    absolute = float(f"{TOLERANCE * largest:.1e}")
    how = {"output_ids": [ANSWER], "relative_tolerance": TOLERANCE, "absolute_tolerance": absolute}
    return {"reproducibility_tolerance": [how] if largest > 0 else []}


def _file(members: Mapping[str, bytes], name: str) -> dict[str, str]:
    return {"source": name, "sha256": hashlib.sha256(members[name]).hexdigest()}


def _title(facts: ModelFacts, card: Card) -> str:
    """The title, with only the characters that the zoo accepts: letters, digits, blanks and a few signs."""
    title = card.title or f"{' '.join(facts.features)} in tomograms"
    return re.sub(r"[^\w+\- ()]", " ", title, flags=re.ASCII)[:LONGEST_NAME].strip()


def _identifier(name: str) -> str:
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{found}" if found[:1].isdigit() else found


def _page(facts: ModelFacts, card: Card, notes: tuple[str, ...]) -> str:
    shown = {
        k: v for k, v in facts.to_json().items() if v not in (None, [], {}, "") and k not in ("history", "arguments")
    }
    rows = "".join(f"| {key} | {value} |\n" for key, value in shown.items())
    said = "".join(f"- {note}\n" for note in notes) or "- Nothing beyond the description.\n"
    return (
        f"# {_title(facts, card)}\n\n{card.description or sentence(facts)}\n\n## What its user must know\n\n{said}\n"
        f"## Facts\n\n| fact | value |\n| --- | --- |\n{rows}\n{learned(facts)}\n\n"
        "## Validation\n\nThe test input and output in this package are numbers for programs, no tomogram. Compare the "
        "model's prediction on a tomogram of yours with a segmentation by hand (Dice) before you rely on it.\n"
    )


def _yaml(description: Mapping[str, Any]) -> bytes:
    import yaml

    return yaml.safe_dump(dict(description), sort_keys=False, allow_unicode=True).encode()


def _npy(array: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _zip(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, WHEN)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return stream.getvalue()


def _accepted(spec: Any, content: bytes) -> None:
    """Refuse a zip that ``bioimageio.spec`` does not accept; it also checks the digests."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        quiet = spec.ValidationContext(log_warnings=False, perform_io_checks=True)
        with quiet:
            found = spec.load_description(archive, perform_io_checks=True)
    if isinstance(found, spec.InvalidDescr):
        errors = [e for detail in found.validation_summary.details for e in detail.errors]
        first = f"{'.'.join(map(str, errors[0].loc[:1]))}: {errors[0].msg[:100]}" if errors else "it does not say why"
        raise InputError(f"bioimageio.spec does not accept the model's description: {first}")
