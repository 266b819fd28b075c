"""What a folder of results holds, as digests and summaries: arrays, tables, models, meshes, descriptions.

>>> entries = digest_folder(Path("out"))
>>> entries["TS_01.ome.zarr/0"]["digest"], entries["TS_01.ome.zarr/0"]["summary"]["mean"]            # doctest: +SKIP

Files are read with the libraries of their formats and not with the package, so that a fault in a reader cannot hide a
fault in a writer. Left out is what differs between two runs, or may: logs, plans, receipts, pages, pictures, versions,
dates, paths, and colours.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Part = NDArray[Any] | dict[str, NDArray[Any]] | str
"""What is digested: an array, named arrays (weights of a model), or text."""

LEFT_OUT = {".html", ".png", ".svg", ".jpg", ".log", ".jsonl", ".pt", ".lock"}
LEFT_OUT_FOLDERS = re.compile(r"run|.*\.run|.*\.training")
ARRAYS = {".mrc", ".rec", ".map", ".st", ".ali"}
TEXT = {
    ".star",
    ".csv",
    ".tsv",
    ".txt",
    ".tbl",
    ".doc",
    ".rawtlt",
    ".tlt",
    ".xf",
    ".defocus",
    ".aln",
    ".mdoc",
    ".md",
    ".am",
}

UNSTABLE_KEYS = re.compile(r"version|creat|time$|date|second|token|colou?r|uuid|history|sha256|path$", re.IGNORECASE)
"""Of JSON objects: what differs from run to run, or is free to change."""
_DATES = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_HEADER = 1024
"""Bytes of an MRC header; from byte 220 on labels."""
_MRC_TYPES = {0: "i1", 1: "<i2", 2: "<f4", 4: "<c8", 6: "<u2", 12: "<f2"}


def digest_folder(root: Path, version: str = "", files: bool = False) -> dict[str, dict[str, Any]]:
    """The digest and summary of everything under a folder, by name.

    Parameters
    ----------
    root
        The folder; its own path is replaced wherever it is written in a text.
    version
        The package's version: replaced in texts, too.
    files
        Digest the files as they are stored, too (``bytes``): chunks and shards of arrays, and meshes. Other files may
        hold dates and paths.

    Raises
    ------
    ValueError
        A file of a kind that is not known: say here how it is digested, or that it is left out.
    """
    entries = {}
    for name, path in _products(root):
        for part, value in _parts(path):
            if isinstance(value, str):
                value = _stable(value, root, version)
            entry = _entry(value)
            if files and (path / part).is_dir():
                entry["bytes"] = _chunks_digest(path / part)
            elif files and path.suffix == ".ply":
                entry["bytes"] = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
            entries[name + _separator(part) + part] = entry
    return entries


def _products(root: Path) -> Iterator[tuple[str, Path]]:
    """Files and Zarr stores below a folder, by name."""
    for path in sorted(root.iterdir()):
        if path.is_dir() and LEFT_OUT_FOLDERS.fullmatch(path.name):
            continue
        if path.is_dir() and path.suffix != ".zarr":
            yield from ((f"{path.name}/{name}", found) for name, found in _products(path))
        elif path.suffix not in LEFT_OUT:
            yield path.name, path


def _separator(part: str) -> str:
    return "" if part.startswith("#") or not part else "/"


def _parts(path: Path) -> Iterator[tuple[str, Part]]:
    """The parts of a product, by name: ``""`` for a product that is one thing."""
    if path.is_dir():
        yield from _zarr_parts(path)
        return
    yield from _file_parts(path.name, path.read_bytes())


def _file_parts(name: str, data: bytes) -> Iterator[tuple[str, Part]]:
    """The parts of a file, by its suffix."""
    suffix = Path(name).suffix
    if suffix == ".gz":
        yield from _file_parts(name[: -len(suffix)], gzip.decompress(data))
    elif suffix in ARRAYS:
        yield from _mrc_parts(data)
    elif suffix in TEXT:
        yield "", data.decode()
    elif suffix == ".json":
        yield "", _canonical(json.loads(data))
    elif suffix == ".yaml":
        import yaml

        yield "", _canonical(yaml.load(data, yaml.BaseLoader))  # dates stay text
    elif suffix == ".npy":
        yield "", np.load(io.BytesIO(data))
    elif suffix == ".ply":
        yield from _ply_parts(data)
    elif suffix == ".safetensors":
        yield from _safetensors_parts(data)
    elif suffix == ".onnx":
        yield from _onnx_parts(data)
    elif suffix in (".h5", ".hdf5"):
        yield from _hdf5_parts(data)
    elif suffix in (".zip", ".scnm"):
        for member, content in sorted(_members(data)):
            yield from ((f"#{member}{part}", value) for part, value in _file_parts(member, content))
    else:
        raise ValueError(f"{name}: it is not said how files of the kind {suffix!r} are digested.")


# -- formats ---------------------------------------------------------------------------------------------------------


def _zarr_parts(path: Path) -> Iterator[tuple[str, Part]]:
    """Every array of a store, decoded, with its chunks and shards, and what the metadata say of every image."""
    import zarr

    group = zarr.open_group(path, mode="r")
    for name, node in sorted([("", group), *group.members(max_depth=None)]):
        if isinstance(node, zarr.Array):
            yield name, np.asarray(node[...])
            shape = {"chunks": node.chunks, "shards": node.shards, "fill": node.fill_value}
            yield f"{name}#storage", json.dumps(shape, default=float)
        else:
            yield f"{name}#image", _canonical(_image_facts(dict(node.attrs)))


def _image_facts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Axes, scales, translations, name, labels, kind and what is known of the feature; nothing about display."""
    ome = attributes.get("ome", attributes)
    found: dict[str, Any] = {"version": None}
    for image in ome.get("multiscales", ()):
        found |= {key: image.get(key) for key in ("name", "axes", "datasets", "type", "coordinateTransformations")}
        found["ngff"] = ome.get("version") or image.get("version")
    found["labels"] = sorted(ome.get("labels", ()))
    found["is_label"] = "image-label" in ome
    ours = attributes.get("volengine", {})
    found |= {key: ours.get(key) for key in ("kind", "name", "one", "complete")}
    found |= {key: ours.get("facts", {}).get(key) for key in ("feature", "classes", "threshold")}
    return found


def _mrc_parts(data: bytes) -> Iterator[tuple[str, Part]]:
    """Voxels of an MRC file, least, largest, mean and deviation as it gives them, and the rest of its header.

    The labels hold dates and are left out.
    """
    words = np.frombuffer(data, "<i4", 56)
    columns, rows, sections, mode, extended = (int(words[n]) for n in (0, 1, 2, 3, 23))
    voxels = np.frombuffer(data, _MRC_TYPES[mode], columns * rows * sections, _HEADER + extended)
    yield "#voxels", voxels.reshape(sections, rows, columns)
    yield "#statistics", np.frombuffer(data[76:88] + data[216:220], "<f4")
    plain = data[:76] + data[88:216] + data[_HEADER : _HEADER + extended]
    yield "#header", np.frombuffer(plain, np.uint8)


def _ply_parts(data: bytes) -> Iterator[tuple[str, Part]]:
    """Vertices with their columns, and triangles, of a binary PLY file (little endian)."""
    header, _, body = data.partition(b"end_header\n")
    kinds = {"float": "<f4", "double": "<f8", "uchar": "u1", "char": "i1", "short": "<i2", "ushort": "<u2"}
    kinds |= {"int": "<i4", "uint": "<u4", "float32": "<f4", "float64": "<f8", "uint8": "u1", "int32": "<i4"}
    columns: list[tuple[str, str]] = []
    counts: dict[str, int] = {}
    lists = ("u1", "<i4")
    for line in header.decode().splitlines():
        word = line.split()
        if word[0] == "format" and word[1] != "binary_little_endian":
            raise ValueError(f"a PLY file of the format {word[1]}: only binary_little_endian is digested.")
        if word[0] == "element":
            counts[word[1]] = int(word[2])
        elif word[:2] == ["property", "list"]:
            lists = kinds[word[2]], kinds[word[3]]
        elif word[0] == "property":
            columns.append((word[2], kinds[word[1]]))
    vertices = np.frombuffer(body, columns, counts["vertex"])
    faces = np.frombuffer(body, [("n", lists[0]), ("at", lists[1], 3)], counts["face"], vertices.nbytes)
    if (faces["n"] != 3).any():
        raise ValueError("a PLY file with faces that are no triangles.")
    yield "#vertices", {name: np.ascontiguousarray(vertices[name], np.float64) for name, _ in columns}
    yield "#faces", np.ascontiguousarray(faces["at"], np.int64)


def _safetensors_parts(data: bytes) -> Iterator[tuple[str, Part]]:
    from safetensors.numpy import load

    size = int.from_bytes(data[:8], "little")
    facts = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    yield "#weights", load(data)
    yield "#facts", _canonical({key: json.loads(text) for key, text in facts.items()})


def _onnx_parts(data: bytes) -> Iterator[tuple[str, Part]]:
    """Weights, layers, and facts of an ONNX file."""
    import onnx

    model = onnx.load_model_from_string(data)
    yield "#weights", {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [[n.op_type, list(n.input), list(n.output), *(str(a) for a in n.attribute)] for n in model.graph.node]
    yield "#layers", json.dumps(nodes)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    yield "#facts", _canonical({k: json.loads(v) if v.startswith(("{", "[")) else v for k, v in facts.items()})


def _hdf5_parts(data: bytes) -> Iterator[tuple[str, Part]]:
    """Data sets and attributes of an HDF5 file."""
    import h5py

    arrays: dict[str, NDArray[Any]] = {}
    attributes: dict[str, str] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = np.asarray(node[()])
        attributes.update({f"{name}@{key}": str(value) for key, value in node.attrs.items()})

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
        attributes |= {f"@{key}": str(value) for key, value in file.attrs.items()}
    yield "#arrays", arrays
    yield "#attributes", _canonical(attributes)


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of a zip or tar archive."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from ((name, archive.read(name)) for name in archive.namelist() if not name.endswith("/"))
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if (stream := tar.extractfile(member)) is not None:
                yield member.name, stream.read()


# -- digests -----------------------------------------------------------------------------------------------------------


def _canonical(value: Any) -> str:
    """JSON without what differs from run to run, keys in order."""

    def stable(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: stable(v) for key, v in sorted(item.items()) if not UNSTABLE_KEYS.search(str(key))}
        return [stable(v) for v in item] if isinstance(item, list) else item

    return json.dumps(stable(value), indent=0, ensure_ascii=False)


def _stable(text: str, root: Path, version: str) -> str:
    """A text without paths of this machine, versions, dates."""
    for folder in (root, *root.parents[:-1]):
        text = text.replace(str(folder), "<folder>")
    return _DATES.sub("<date>", text.replace(version, "<version>") if version else text)


def _entry(value: Part) -> dict[str, Any]:
    hashed = hashlib.sha256()
    if isinstance(value, str):
        hashed.update(value.encode())
        words = hashlib.sha256(_NUMBER.sub("#", value).encode()).hexdigest()[:12]
        numbers = np.array([float(n) for n in _NUMBER.findall(value)])
        return {"digest": hashed.hexdigest()[:32], "summary": {"words": words, **_moments(numbers)}}
    arrays = value if isinstance(value, dict) else {"": value}
    for name, array in sorted(arrays.items()):
        hashed.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    numbers = [a.ravel() for _, a in sorted(arrays.items()) if a.dtype.kind in "biuf"]
    kind = [value.dtype.name, list(value.shape)] if not isinstance(value, dict) else [len(value)]
    summary = _moments(np.concatenate([a.astype(np.float64) for a in numbers]) if numbers else np.zeros(0))
    return {"digest": hashed.hexdigest()[:32], "summary": {"kind": kind, **summary}}


def _moments(numbers: NDArray[np.float64]) -> dict[str, Any]:
    """Count, least, largest, mean and standard deviation of the finite ones, to nine digits."""
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return {"n": len(numbers)}
    with np.errstate(over="ignore", invalid="ignore"):
        found = {"min": finite.min(), "max": finite.max(), "mean": finite.mean(), "std": finite.std()}
    return {"n": len(numbers), **{key: float(f"{v:.9g}") for key, v in found.items()}}


def _chunks_digest(path: Path) -> str:
    """Chunk and shard files of an array, with their names; metadata hold tokens and are left out."""
    hashed = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else ():
        relative = file.relative_to(path)
        chunk = all(part == "c" or part.isdigit() for part in re.split(r"[./]", str(relative).removesuffix("/")))
        if file.is_file() and chunk:
            hashed.update(f"{relative} ".encode() + file.read_bytes())
    return hashed.hexdigest()[:32]
