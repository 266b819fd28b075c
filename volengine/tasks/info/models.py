"""What a model file says of itself: as values, and in words."""

from __future__ import annotations

from collections import Counter
from typing import Any

from volengine.io.names import suffix_of
from volengine.io.shared_models import model_path

MODEL_SUFFIXES = (".safetensors", ".onnx", ".scnm", ".scnmgroup", ".ckpt", ".h5", ".hdf5", ".keras")


def model_facts(path: str) -> dict[str, Any]:
    """Describe a model file of any format, or a group of Ais, by JSON values under the names of the model's facts.

    Raises
    ------
    MissingError, FormatError
        As :func:`volengine.nets.checkpoint.load_facts`.
    """
    from volengine.nets.checkpoint import load_facts

    path = model_path(path)
    if suffix_of(path) != ".scnmgroup":
        return {"path": path, "type": "model", **load_facts(path).to_json()}
    from volengine.core.rules import rules_to_json
    from volengine.nets.formats.foreign import read_group

    models, rules = read_group(path)
    return {
        "path": path,
        "type": "models",
        "models": [facts.to_json() for _, facts in models],
        "rules": rules_to_json(rules),
    }


def model_info(path: str) -> dict[str, Any]:
    """Describe a model file of any format in words: names to texts, or lists of lines.

    Raises
    ------
    MissingError, FormatError
        As :func:`volengine.nets.checkpoint.load_facts`.
    """
    from volengine.nets.checkpoint import load_facts

    path = model_path(path)
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
