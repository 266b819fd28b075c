"""The facts of files in words: lines for one of them, a table for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from volengine.core.text import counted
from volengine.core.units import format_bytes

Facts = dict[str, Any]

UNKNOWN = "unknown: give --voxel-size"
MOST_PIECES = 24
"""Pieces of a montage whose shifts are listed."""

COLUMNS = ("path", "type", "shape (z, y, x)", "dtype", "voxel size", "min", "max", "mean", "std", "of")


def in_words(facts: Facts) -> Facts:
    """Return facts of :func:`volengine.tasks.info.verb.info` as labels to texts, or lists of lines.

    Models are described by :func:`volengine.tasks.info.models.model_info`.
    """
    if facts["type"] == "picks":
        return _picks(facts)
    if facts["type"] == "project":
        from volengine.tasks.info.projects import project_in_words

        return project_in_words(facts)
    if facts["type"] == "training set":
        from volengine.tasks.info.training import training_in_words

        return training_in_words(facts)
    if facts["type"] in ("model", "models"):
        from volengine.tasks.info.models import model_info

        return model_info(facts["path"])
    return _volume(facts)


def numbers(values: Sequence[float]) -> str:
    """Return numbers with commas between them, up to six digits each."""
    return ", ".join(f"{v:g}" for v in values)


def _picks(facts: Facts) -> Facts:
    found: Facts = {"picks": facts["path"]}
    for table in facts["tables"]:
        size = table["voxel_size"]
        grid = f"voxel size {numbers(size)} angstrom" if size else "voxel grid not wholly in the file"
        found[table["tomogram"] or "tomogram"] = f"{counted(table['picks'], 'pick')}, {grid}"
    return found


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _volume(facts: Facts) -> Facts:
    stored = "images" in facts
    found: Facts = {"store" if stored else "file": facts["path"]}
    if stored:
        found |= {"name": facts["name"], "kind": facts["kind"]}
    if "mode" in facts:
        found["mode"] = f"{facts['mode']} ({facts['dtype']})"
    found["shape (z, y, x)"] = _shape(facts["shape"])
    if "mode" not in facts:
        found["dtype"] = facts["dtype"]
    if "volumes" in facts:
        found["volumes"] = f"{facts['volumes']}, on each other in one file"
    for key, label in (("channels", "channels"), ("times", "time points")):
        if facts[key] > 1 and "volumes" not in facts:
            names = f" ({', '.join(facts['channel_names'])})" if key == "channels" and "channel_names" in facts else ""
            found[label] = f"{facts[key]}{names}"
    size = facts["voxel_size"]
    found["voxel size (angstrom)"] = numbers(size) if size else UNKNOWN
    if size:
        found["origin (angstrom)"] = numbers(facts["origin"])
        found["extent (nm)"] = numbers(facts["extent_nm"])
    found["voxels"] = format_bytes(facts["bytes"]) + " uncompressed"
    if stored:
        found["metadata"] = "plain Zarr" if facts["ngff"] == "none" else f"NGFF {facts['ngff']}, axes {facts['axes']}"
    if facts.get("compression", "none") != "none":
        found["compression"] = facts["compression"]
    if facts.get("extended_header"):
        found["extended header"] = "{type}, {bytes} bytes".format(**facts["extended_header"])
    if "montage" in facts:
        said = facts["montage"].get("said") or facts["montage"]["error"]
        found["montage"] = [f"{said}", "its pieces are placed by: volengine convert --montage"]
    if "placed" in facts:
        found["placed"] = _placed(facts["placed"])
    found |= {key: facts[key] for key in ("labels", "warnings") if facts.get(key)}
    if "tilt_series" in facts:
        found["tilt series"] = [f"{name}: {value}" for name, value in facts["tilt_series"].items()]
    found |= _values(facts)
    for image in facts.get("images", ()):
        found[f"levels of {image['group'] or 'image'}"] = [
            f"{level['path']}: {_shape(level['shape'])}, chunk {_tuple(level['chunk'])}, shard {_tuple(level['shard'])}"
            for level in image["levels"]
        ]
    return found


def _placed(placed: Facts) -> list[str]:
    """What is known of the pieces of a store that was put together, and by how much each was moved."""
    section = f"section {placed['section']}, " if "section" in placed else ""
    count, what = len(placed.get("pieces") or placed.get("tiles") or ()), "pieces" if "pieces" in placed else "tiles"
    lines = [f"{section}{count} {what}, shifts: {placed.get('shifts', 'none')}"]
    if moved := placed.get("moved"):
        residual = moved.get("median_residual_vox")
        agree = "" if residual is None else f", which agree within {residual:g} voxels (median)"
        lines.append(f"solved from {moved.get('overlaps_used')} of {moved.get('overlaps')} overlaps{agree}")
        lines += [f"piece {n}: moved by {y}, {x} voxels (y, x)" for n, y, x in moved["pieces"][:MOST_PIECES]]
        more = len(moved["pieces"]) - MOST_PIECES
        lines += [f"... and {more} more pieces (--json lists all)"] if more > 0 else []
    return lines


def _tuple(values: Sequence[int] | None) -> str:
    return "none" if values is None else f"({', '.join(map(str, values))})"


def _values(facts: Facts) -> Facts:
    if facts["values"] is None:
        return {"values": f"not read: {facts['values_error']}"}
    found = {f"values of {_of(facts, facts['values'])}": _said(facts["values"])}
    for number, one in enumerate(facts.get("channel_values", ())):
        found[f"channel {number}"] = _said(one)
    return found


def _of(facts: Facts, values: Facts) -> str:
    """Return which voxels the statistics are of."""
    level = f"level {values['level']}" if len(facts["levels"]) > 1 else "all voxels"
    part = values["share_read"]
    return level if part == 1 else f"{part:.2%} of {level.replace('all ', 'the ')}"


def _said(values: Facts) -> str:
    if values["min"] is None:
        text = "no finite value"
    else:
        text = ", ".join(f"{key} {values[key]:.6g}" for key in ("min", "max", "mean", "std"))
    shares = (("share_nan", "NaN"), ("share_infinite", "infinite"), ("share_zero", "zeros"))
    return text + "".join(f", {values[key]:.3%} {name}" for key, name in shares if values[key] or key == "share_zero")


def table(many: Sequence[Facts]) -> list[str]:
    """Return a line for each file, with a head line; columns are aligned."""
    rows = [COLUMNS, *(_row(facts) for facts in many)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(facts: Facts) -> tuple[str, ...]:
    if facts["type"] != "volume":
        counts = {
            "picks": counted(facts.get("picks", 0), "pick"),
            "project": counted(len(facts.get("runs", ())), "run"),
            "training set": counted(facts.get("boxes", 0), "box/boxes"),
        }
        count = counts.get(facts["type"], "")
        return (facts["path"], facts["type"], count, *("" for _ in COLUMNS[3:]))
    values, size = facts["values"], facts["voxel_size"]
    shown = [""] * 5
    if values is not None:
        shown = ["-" if values[key] is None else f"{values[key]:.6g}" for key in ("min", "max", "mean", "std")]
        shown.append(_of(facts, values))
    more = "".join(f", {facts[key]} {key}" for key in ("channels", "times") if facts[key] > 1)
    size_text = "unknown" if size is None else numbers(size if len(set(size)) > 1 else size[:1])
    return (facts["path"], facts["kind"], _shape(facts["shape"]) + more, facts["dtype"], size_text, *shown)
