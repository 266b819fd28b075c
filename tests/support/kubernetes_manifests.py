"""The manifests of ``deploy/kubernetes`` as objects, their pods, and the commands of these as a shell makes them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from volengine.core.units import parse_bytes
from volengine.engine.pods import CLUSTER

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"

Object = dict[str, Any]


def objects(*paths: Path) -> list[Object]:
    return [item for path in paths for item in yaml.safe_load_all(path.read_text()) if item]


def pods(item: Object) -> list[tuple[dict[str, str], Object]]:
    """The labels and the specification of the pods of an object."""
    spec = item.get("spec", {})
    if item["kind"] in ("Deployment", "Job"):
        return [(spec["template"]["metadata"]["labels"], spec["template"]["spec"])]
    if item["kind"] == "DaskCluster":  # the operator gives the cluster's labels to all, and its own
        own = item["metadata"]["labels"] | {CLUSTER: item["metadata"]["name"]}
        return [
            (own | {"dask.org/component": part} | spec[part]["metadata"]["labels"], spec[part]["spec"])
            for part in ("scheduler", "worker")
        ]
    return []


def container(pod: Object) -> Object:
    (only,) = pod["containers"]
    return dict(only)


def variables(box: Object) -> dict[str, str]:
    """The environment of a container as its pod would have it."""
    found = {"JOB_COMPLETION_INDEX": "2", "DASK_SCHEDULER_ADDRESS": "tcp://x:8786", "DASK_WORKER_NAME": "w"}
    for entry in box.get("env", []):
        if "value" in entry:
            assert isinstance(entry["value"], str), entry
            found[entry["name"]] = entry["value"]
        else:
            asked = entry["valueFrom"]["resourceFieldRef"]
            where, _, what = asked["resource"].partition(".")
            assert asked["divisor"] == "1"
            found[entry["name"]] = str(amount(box["resources"][where][what]))
    return found


def amount(quantity: Any) -> int:
    text = str(quantity)
    return int(text) if text.isdigit() else parse_bytes(f"{text}B")


def words(box: Object) -> list[str]:
    """The command of a container, as its shell (if it has one) makes it of the environment."""
    command = [*box["command"], *box.get("args", [])]
    assert all(isinstance(word, str) for word in command), command
    if command[:2] != ["sh", "-c"]:
        return command
    _, found, script = command[2].rpartition("exec ")
    assert found, "signals must reach the program, not a shell"
    shown = ["sh", "-uc", f'show() {{ for word in "$@"; do printf "%s\\n" "$word"; done; }}; show {script}']
    done = subprocess.run(shown, env=variables(box), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def action(rules: list[Object], code: int) -> str:
    """What Kubernetes does when a container ends with a code: the first rule that fits counts."""
    for rule in rules:
        codes = rule.get("onExitCodes")
        if codes and (code in codes["values"]) == (codes["operator"] == "In"):
            return str(rule["action"])
    return "Count"
