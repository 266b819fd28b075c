"""Native model files that a stranger may have written: one error, at once, before memory is taken for what they say."""

from __future__ import annotations

import json
import resource
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from volengine.core.errors import FormatError, InputError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import load_facts, load_model, save_model
from volengine.nets.registry import build

FACTS = ModelFacts(
    network="unet3d",
    features=("x",),
    voxel_size=(10.0, 10.0, 10.0),
    patch=(8, 8, 8),
    stride=(2, 2, 2),
    arguments={"width": 2, "levels": 2},
)
Header = dict[str, Any]


def parts(folder: Path) -> tuple[Header, bytes]:
    save_model(folder / "m.safetensors", build(FACTS.network, FACTS.arguments), FACTS)
    data = (folder / "m.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def write(folder: Path, header: Header | bytes, body: bytes) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + body)
    return path


def _overlap(header: Header) -> None:
    names = [n for n in header if n != "__metadata__"]
    header[names[1]] = dict(header[names[0]])


def _first(header: Header) -> Header:
    found: Header = header[next(n for n in header if n != "__metadata__")]
    return found


CHANGES: list[tuple[Callable[[Header], Any], str]] = [
    (_overlap, "begins at byte|cut off"),
    (lambda h: _first(h).update(dtype="F64"), "announces F64"),
    (lambda h: _first(h).update(dtype="F31"), "of type 'F31'"),
    (lambda h: _first(h).update(dtype=["F32"]), "of type"),
    (lambda h: _first(h).update(shape=[10**9, 10**9]), "announces F32"),
    (lambda h: _first(h).update(shape=[-1, -5]), "is damaged: shape"),
    (lambda h: _first(h).update(shape=[2.0]), "is damaged: shape"),
    (lambda h: _first(h).update(shape="12"), "is damaged: shape"),
    (lambda h: _first(h).update(shape=[1] * 10_000), "is damaged: shape"),
    (lambda h: _first(h).update(data_offsets=[0, float("inf")]), "is damaged: shape"),
    (lambda h: _first(h).update(data_offsets=[8, 4]), "announces F32"),
    (lambda h: _first(h).update(data_offsets=[0]), "is damaged: shape"),
    (lambda h: _first(h).pop("dtype"), "no type, shape and place"),
    (lambda h: h.update(x=3), "no type, shape and place"),
    (lambda h: h.update(__metadata__=3), "no model facts"),
    (lambda h: h["__metadata__"].update(volengine=3), "no model facts"),
    (lambda h: h["__metadata__"].update(volengine="[" * 100_000), "nested too deeply"),
    (lambda h: h["__metadata__"].update(volengine="[]"), "no names and values"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_damaged_headers(tmp_path: Path, change: Callable[[Header], Any], message: str) -> None:
    header, body = parts(tmp_path)
    change(header)
    for read in (load_facts, load_model):
        with pytest.raises(FormatError, match=message) as caught:
            read(write(tmp_path, header, body))
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"[]", b"{", b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}"])
def test_headers_that_are_no_json_object(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"the header|no \.safetensors"):
        load_facts(write(tmp_path, raw, b""))


def with_facts(folder: Path, **changes: Any) -> Path:
    header, body = parts(folder)
    header["__metadata__"]["volengine"] = json.dumps({**FACTS.to_json(), **changes})
    return write(folder, header, body)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 4000, "levels": 2}, "do not fit"),  # 4000**2 * 27 * 4 bytes are 1.7 GB, and more
        ({"width": 2, "levels": 12}, "do not fit"),  # 4096 channels
        ({"width": 10**9, "levels": 2}, "cannot be right"),
        ({"width": 0, "levels": 10**9}, "cannot be right"),
        ({"width": 2, "levels": 4000}, "cannot be built|do not fit"),
        ({"width": -2, "levels": 2}, "cannot be built"),
        ({"width": 2, "levels": 2, "groups": 5}, "cannot be built"),
        ({"width": float("nan")}, "cannot be right"),
        ({"width": "2"}, "cannot be built|cannot be right"),
        ({"width": None}, "cannot be built"),
        ({"no": 1}, "cannot be built"),
    ],
)
def test_arguments_are_compared_with_the_weights_before_memory_is_taken(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    path = with_facts(tmp_path, arguments=arguments)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message):
        load_model(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000  # kB: the networks that these arguments mean have gigabytes


@pytest.mark.parametrize(
    "changes",
    [
        {"voxel_size": [float("nan")] * 3},
        {"voxel_size": [float("inf"), 1, 1]},
        {"voxel_range": [1, float("inf")]},
        {"network": "no"},
        {"network": ["unet3d"]},
        {"patch": [8, 8, 10**400]},
        {"features": [3]},
    ],
)
def test_facts_that_cannot_be(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        load_model(with_facts(tmp_path, **changes))


def test_a_long_header_takes_its_own_memory_only(tmp_path: Path) -> None:
    header, body = parts(tmp_path)
    header["__metadata__"]["more"] = "x" * 5_000_000
    path = write(tmp_path, header, body)
    tracemalloc.start()
    load_facts(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * path.stat().st_size


@pytest.mark.parametrize("network", ["unet", "eman2", "vggnet_m", "residual3d", "dynunet", "easymode_3d", "pix2pix_s"])
def test_every_kind_of_network_can_be_compared_without_memory(network: str) -> None:
    with torch.device("meta"):
        bare = build(network)
    real = build(network)
    assert {k: tuple(v.shape) for k, v in bare.state_dict().items()} == {
        k: tuple(v.shape) for k, v in real.state_dict().items()
    }
