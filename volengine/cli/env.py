"""volengine env"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.info import print_facts
from volengine.core.units import format_bytes
from volengine.tasks.env import env


@click.command(
    "env",
    cls=Command,
    examples=(
        "volengine env",
        "volengine env --json",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def command(as_json: bool) -> None:
    """What a bug report needs: versions of volengine and its dependencies, missing extras, processor, memory, GPUs.

    The output holds no user, host or folder names and no environment variables: it may be pasted in public.
    """
    facts = env()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    print_facts(in_words(facts))


def in_words(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as names and lines to print."""
    processor, memory = facts["processor"], facts["memory"]
    installed = {"package": "", "editable": " (editable)", "no": " (not installed: run from a folder)"}
    return {
        "volengine": facts["volengine"] + installed[facts["installed"]],
        "python": facts["python"],
        "system": facts["system"],
        "processor": f"{processor['model']}, {processor['cores']} cores, {processor['usable_cores']} usable",
        "memory": f"{format_bytes(memory['machine_bytes'])}, usable {format_bytes(memory['limit_bytes'])}",
        "torch": list(_torch(facts["torch"])),
        "GPUs": [_gpu(gpu) for gpu in facts["gpus"]] or "none that torch sees",
        "dependencies": [f"{name} {version or 'MISSING'}" for name, version in facts["dependencies"].items()] or "?",
        "extras": [_extra(name, packages) for name, packages in facts["extras"].items()] or "?",
    }


def _torch(torch: Mapping[str, Any]) -> Iterator[str]:
    if "error" in torch:
        yield f"{torch['version'] or 'MISSING'}, cannot be imported: {torch['error']}"
        return
    built = f"CUDA {torch['cuda']}" if torch["cuda"] else f"ROCm {torch['rocm']}" if torch["rocm"] else "CPU only"
    yield f"{torch['version']}, {built}, {torch['threads']} threads"
    yield from torch.get("warnings", ())


def _gpu(gpu: Mapping[str, Any]) -> str:
    if gpu["memory_bytes"] is None:
        return str(gpu["name"])
    return f"{gpu['name']}, {format_bytes(gpu['memory_bytes'])}, compute capability {gpu['capability']}"


def _extra(name: str, packages: Mapping[str, str | None]) -> str:
    missing = [package for package, version in packages.items() if version is None]
    if missing:
        return f"{name}: missing {', '.join(missing)} (pip install 'volengine[{name}]')"
    return f"{name}: {', '.join(f'{package} {version}' for package, version in packages.items())}"
