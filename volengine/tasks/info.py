"""info: describe a file, a store, a model or a table of picks by names and values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.paths import PathLike, path_text
from volengine.core.units import format_bytes
from volengine.core.volume import Volume
from volengine.io.names import HDF5_SUFFIXES, MRC_SUFFIXES, SHARED_SUFFIXES, TIFF_SUFFIXES, suffix_of
from volengine.io.open import open_volume
from volengine.io.tilts import TiltSeries

MODEL_SUFFIXES = (".safetensors", ".onnx", ".scnm", ".scnmgroup", ".ckpt", ".h5", ".hdf5", ".keras")
PICKS_SUFFIXES = (".star", ".tsv", ".tbl", ".csv", ".json")
UNKNOWN = "unknown: give --voxel-size"


def info(path: PathLike) -> dict[str, Any]:
    """Describe a file or store; what is described depends on its suffix.

    Parameters
    ----------
    path
        An MRC file, a TIFF file, an OME-Zarr store, a model or a table of picks.

    Returns
    -------
    dict
        Names to values: text, numbers, or lists of lines.

    Raises
    ------
    MissingError, FormatError, InputError
        The path does not exist, is damaged, or is of a kind that volengine does not read.

    Examples
    --------
    >>> import volengine
    >>> facts = volengine.info("TS_01.mrc")
    >>> facts["shape (z, y, x)"], facts["voxel size (angstrom)"]
    ('16 x 32 x 32', '10, 10, 10')
    """
    path = path_text(path)
    suffix = suffix_of(path)
    if suffix in HDF5_SUFFIXES and _is_volume(path):
        return _file(path)
    if suffix in MODEL_SUFFIXES:
        return model_info(path)
    if suffix in PICKS_SUFFIXES:
        return _picks(path)
    if suffix in MRC_SUFFIXES:
        return _mrc(path)
    if suffix in TIFF_SUFFIXES:
        return _tiff(path)
    if suffix in SHARED_SUFFIXES:
        return _file(path)
    return _store(path)


def check(path: str) -> dict[str, list[str]]:
    """Check every image in an OME-Zarr store: metadata, geometry of all levels, and some voxels of each level.

    Voxels are read at the beginning, in the middle and at the end of the volume; damage elsewhere is not found.

    Parameters
    ----------
    path
        A store (path or URL), written by this package or by another program.

    Returns
    -------
    dict
        For each image, by its place in the store (``image`` for the one at the root), what is wrong: one sentence per
        finding, an empty list for a correct image. :func:`volengine.io.omezarr.check.check_image` lists the checks.

    Raises
    ------
    MissingError, FormatError, InputError
        The store does not exist, or the path names another kind of file.
    """
    from volengine.io.omezarr.check import check_store

    if suffix_of(path) not in ("", ".zarr"):
        raise InputError(f"{path}: OME-Zarr stores alone are checked, not files of the kind {suffix_of(path)!r}.")
    return {group or "image": findings for group, findings in check_store(path).items()}


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{v:g}" for v in values)


def _volume(volume: Volume) -> dict[str, Any]:
    extent = [n * v / 10 for n, v in zip(volume.shape, volume.voxel_size, strict=True)]
    return {
        "name": volume.name,
        "kind": volume.kind,
        "shape (z, y, x)": " x ".join(map(str, volume.shape)),
        "dtype": volume.dtype,
        "voxel size (angstrom)": _numbers(volume.voxel_size),
        "origin (angstrom)": _numbers(volume.origin),
        "extent (nm)": _numbers(extent),
        "voxels": format_bytes(volume.nbytes) + " uncompressed",
    }


def _is_volume(path: str) -> bool:
    """Whether an HDF5 file holds volumes, and not a model."""
    from volengine.io.hdf5.open import is_model
    from volengine.io.names import file_and_dataset

    return not is_model(file_and_dataset(path)[0])


def _file(path: str) -> dict[str, Any]:
    """Describe a file of which ``open_volume`` says all that there is to say."""
    try:
        return {"file": path, **_volume(open_volume(path))}
    except (FormatError, MissingError):
        raise
    except InputError as error:
        if "--voxel-size" not in str(error):
            raise
        return {"file": path, **_volume(open_volume(path, voxel_size=1.0)), "voxel size (angstrom)": UNKNOWN}


def _tiff(path: str) -> dict[str, Any]:
    from volengine.io.tiff import read_facts

    found = read_facts(path)
    facts: dict[str, Any] = {
        "file": path,
        "dtype": found.dtype,
        "shape (z, y, x)": " x ".join(map(str, found.shape)),
        "voxel size (angstrom)": UNKNOWN if found.voxel_size is None else _numbers(found.voxel_size),
    }
    if found.compression != "none":
        facts["compression"] = found.compression
    return facts


def _mrc(path: str) -> dict[str, Any]:
    from volengine.io.mrc.header import read_header

    header = read_header(path)
    size = header.voxel_size
    facts: dict[str, Any] = {
        "file": path,
        "mode": f"{header.mode} ({header.dtype})",
        "shape (z, y, x)": " x ".join(map(str, header.shape)),
        "voxel size (angstrom)": UNKNOWN if size is None else _numbers(size),
    }
    if size is not None:
        facts["origin (angstrom)"] = _numbers(header.origin_for(size))
    if header.ext_type:
        facts["extended header"] = f"{header.ext_type}, {len(header.ext_header)} bytes"
    if header.labels:
        facts["labels"] = list(header.labels)
    if header.warnings:
        facts["warnings"] = list(header.warnings)
    return facts


def _store(path: str) -> dict[str, Any]:
    from volengine.io.omezarr.read import list_groups

    facts: dict[str, Any] = {"store": path}
    groups = list_groups(path)
    main = groups[0].group if groups else ""
    volume = open_volume(path, group=main, identity="metadata")
    facts |= _volume(volume)
    if isinstance(volume.facts.get("tilt_series"), dict):
        series = TiltSeries.from_json(volume.facts["tilt_series"]).summary()
        facts["tilt series"] = [f"{name}: {value}" for name, value in series.items()]
    for group in groups:
        label = group.group or "image"
        facts[f"levels of {label}"] = [
            f"{level.path}: {' x '.join(map(str, level.shape))}, chunk {level.chunks}, shard {level.shards}"
            for level in group.levels
        ]
    return facts


def model_info(path: str) -> dict[str, Any]:
    """Describe a model file of any format: names to values, or lists of lines.

    Raises
    ------
    MissingError, FormatError
        As :func:`volengine.nets.checkpoint.load_facts`.
    """
    from volengine.nets.checkpoint import load_facts

    if suffix_of(path) == ".scnmgroup":
        return _group(path)
    facts = load_facts(path).to_json()
    shown = {k: ", ".join(map(str, v)) if k != "history" and isinstance(v, list) else v for k, v in facts.items()}
    shown["arguments"] = [f"{k}: {_counted(v)}" for k, v in facts["arguments"].items()]
    shown["history"] = [f"{k}: {_short(k, v)}" for entry in facts["history"] for k, v in entry.items()]
    return {"model": path, **{k: v for k, v in shown.items() if v not in (None, "", [], {})}}


def _counted(value: Any) -> Any:
    """Replace a description of layers by the number of layers of each kind."""
    if not (isinstance(value, list) and value and all(isinstance(v, dict) and "kind" in v for v in value)):
        return value
    kinds = Counter(layer["kind"] for layer in value)
    return f"{len(value)}, of which " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())


def _group(path: str) -> dict[str, Any]:
    """Describe a group of Ais: its models, and its rules in the order in which they act."""
    from volengine.core.rules import rules_to_json
    from volengine.nets.formats.foreign import read_group

    models, rules = read_group(path)
    lines = []
    for _, facts in models:
        part = [word for word, has in (("emits", facts.emits), ("absorbs", facts.absorbs)) if has]
        said = [facts.said_voxel_size, facts.normalisation, *part]
        lines.append(f"{facts.features[0]}: {', '.join(said)}")
    acting = [f"{kind}: {_said(values)}" for rule in rules_to_json(rules) for kind, values in rule.items()]
    return {"group": path, "models": lines, "rules": acting or "none"}


def _short(key: str, value: Any) -> str:
    """A step of a model's history on one line: the last epoch, and the fields that the recipe sets."""
    if key == "epochs" and value and isinstance(value, list):
        last = {k: v for k, v in value[-1].items() if k != "epoch" and v is not None}  # a regression has no Dice
        return f"{len(value)}, at the end " + ", ".join(f"{k} {v:.4g}" for k, v in last.items())
    return str(_said(value))


def _said(value: Any) -> Any:
    """The same value without entries that are empty, ``None`` or off."""
    if isinstance(value, dict):
        return {k: _said(v) for k, v in value.items() if v not in (None, "", False, [], {})}
    return [_said(v) for v in value] if isinstance(value, list) else value


def _picks(path: str) -> dict[str, Any]:
    from volengine.io.picks import read_all

    facts: dict[str, Any] = {"picks": path}
    try:
        tables, known = read_all(path), True
    except (FormatError, MissingError):
        raise
    except InputError:  # the table lacks a fact of the tomogram; the number of picks does not depend on it
        tables, known = read_all(path, voxel_size=(1.0, 1.0, 1.0), shape=(1, 1, 1)), False
    for name, picks in tables.items():
        grid = f"voxel size {_numbers(picks.voxel_size)} angstrom" if known else "voxel grid not wholly in the file"
        facts[name or "tomogram"] = f"{len(picks)} picks, {grid}"
    return facts
