"""Valid files that are fuzzed: how they are taken apart, changed and put together.

A file is mutated as a whole, or one of its parts is: the header of a ``.safetensors`` file, a member of a tar or zip.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_mutations import mutated, mutated_json

ROOT = Path(__file__).parents[2]
Parts = dict[str, bytes]


@dataclass(frozen=True)
class Sample:
    """A valid file: its name, its bytes, how it is taken apart (a key of :data:`PARTS`), and what lies beside it."""

    name: str
    data: bytes
    form: str = ""
    text: bool = False
    beside: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A class of readers: its valid files (made in a folder), and a function that reads all of one file."""

    samples: Callable[[Path], list[Sample]]
    read: Callable[[Path], Any]
    megabytes: int = 512


def change(sample: Sample, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    """A mutation of a sample: of the whole file, or of one of its parts."""
    if not sample.form or rng.random() < 0.3:
        return mutated(sample.data, rng, others, sample.text)
    try:
        return _changed(sample, rng)
    except (RecursionError, ValueError):  # what was drawn cannot be written down: nested too deeply, or in itself
        return mutated(sample.data, rng, others, sample.text)


def _changed(sample: Sample, rng: random.Random) -> bytes:
    parts = PARTS[sample.form][0](sample.data)
    name = rng.choice(sorted(parts))
    parts[name] = _changed_part(parts[name], rng)
    if sample.form == "tar" and rng.random() < 0.1:
        parts[rng.choice(("../x", "/abs", name + "x", "a/b/c"))] = parts.pop(name)
    return PARTS[sample.form][1](parts)


def _changed_part(data: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(data)
    except ValueError:
        return mutated(data, rng, (), text=False)
    if rng.random() < 0.7:
        return json.dumps(mutated_json(value, rng)).encode()
    return mutated(data, rng, (), text=True)


# -- containers --------------------------------------------------------------------------------------------------------


def untar(data: bytes) -> Parts:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def tar(parts: Parts) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def unzip(data: bytes) -> Parts:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def zipped(parts: Parts) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return stream.getvalue()


def unsafe(data: bytes) -> Parts:
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    told = {k: v for k, v in header["__metadata__"].items() if k == "volengine"}
    return {"header": json.dumps(header).encode(), "told": told["volengine"].encode(), "body": data[8 + size :]}


def safe(parts: Parts) -> bytes:
    header = parts["header"]
    try:
        value = json.loads(header)
        if "volengine" in value["__metadata__"]:
            value["__metadata__"]["volengine"] = parts["told"].decode("latin-1")
            header = json.dumps(value).encode()
    except (ValueError, KeyError, TypeError):
        pass
    return struct.pack("<Q", len(header)) + header + parts["body"]


PARTS: dict[str, tuple[Callable[[bytes], Parts], Callable[[Parts], bytes]]] = {
    "tar": (untar, tar),
    "zip": (unzip, zipped),
    "safetensors": (unsafe, safe),
    "gz": (lambda data: {"file": gzip.decompress(data)}, lambda parts: gzip.compress(parts["file"], 1)),
    "json": (lambda data: {"file": data}, lambda parts: parts["file"]),
}


def tolerate(read: Callable[[], Any]) -> None:
    """Read; an error of the package's own class is an answer."""
    from volengine.core.errors import VolengineError

    try:
        read()
    except VolengineError:
        return
