"""The state of a fit on disk: weights, optimiser and history in one file that appears when it is complete."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import torch

from volengine.core.atomic import write_atomic
from volengine.core.csv_cells import guarded_row
from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_json
from volengine.nets.packed import packed

STATE = "last.safetensors"
"""Name of the file in the folder of a training."""

Row = dict[str, float]
State = dict[str, dict[str, torch.Tensor]]
"""Tensors by name, for each named part of the state."""


def save_state(folder: Path, parts: State, history: list[Row], facts: dict[str, Any]) -> None:
    """Write ``last.safetensors`` and ``history.csv``.

    Raises
    ------
    InputError
        The file cannot hold the weights (:func:`volengine.nets.packed.packed`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    flat = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    meta = {"history": json.dumps(finite(history)), "facts": json.dumps(facts)}
    path = folder / STATE
    write_atomic(path, packed(flat, meta, path))
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    names = list(dict.fromkeys(name for row in history for name in row))  # older epochs may have fewer
    writer.writerow(guarded_row(names))
    writer.writerows(guarded_row(row.get(name, math.nan) for name in names) for row in history)
    write_atomic(folder / "history.csv", table.getvalue().encode())


def load_state(folder: Path, facts: dict[str, Any]) -> tuple[State, list[Row]] | None:
    """Read the parts and the history of the last epoch; ``None`` if there is no state.

    Raises
    ------
    FormatError
        The file is damaged.
    InputError
        The state belongs to the training of another recipe.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            flat = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FormatError(f"{path} is damaged ({error}); remove it to train from the beginning.") from error
    if not {"facts", "history"} <= meta.keys():
        raise FormatError(f"{path} is no state of a training; remove it to train from the beginning.")
    before, now = parse_json(meta["facts"], f"{path}: the facts"), json.loads(json.dumps(facts))
    if before != now:
        raise InputError(f"{folder} belongs to a training {_other(before, now)}; remove it or give another --out.")
    parts: State = {}
    for key, value in flat.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = value
    told = parse_json(meta["history"], f"{path}: the history")
    if not isinstance(told, list) or not all(isinstance(row, dict) for row in told):
        raise FormatError(f"{path} is damaged (its history); remove it to train from the beginning.")
    history = [{k: math.nan if v is None else v for k, v in row.items()} for row in told]
    return parts, history


def _other(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say what distinguishes a training from the one that is asked for."""
    former, given = ((facts.get("history") or [{}])[-1] for facts in (before, now))
    if {**former, "data": 0} != {**given, "data": 0} or "data" not in former:
        return "with another recipe, or of another version"
    old, new = former["data"], given.get("data", {})
    return f"with other data: {', '.join(sorted(k for k in {*old, *new} if old.get(k) != new.get(k)))} changed since"


def finite(rows: list[Row]) -> list[dict[str, float | None]]:
    """Replace NaN by ``None``, because JSON has no NaN."""
    return [{k: None if math.isnan(v) else v for k, v in row.items()} for row in rows]
