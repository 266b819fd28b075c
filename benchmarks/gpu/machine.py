"""Part ``machine``: what is here, and which of volengine's packages are not."""

from __future__ import annotations

import importlib
import os
import platform
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import torch
from rows import Bench

from volengine.core.units import format_bytes

ROOMS = {
    "networks": "volengine.nets.tiles",
    "simulator": "volengine.sim.imaging.reconstruct",
    "training": "volengine.nets.training.fit.fit",
    "engine": "volengine.engine.run",
    "commands": "volengine.cli.main",
}


def machine(bench: Bench) -> None:
    """Versions, the device, the driver; what cannot be imported, and why."""
    cudnn = torch.backends.cudnn.version() if bench.cuda else ""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "CUDA": str(torch.version.cuda or "")}
    versions |= {"cuDNN": str(cudnn), "numpy": version("numpy"), "scipy": version("scipy")}
    bench.figure("versions", **versions)
    bench.figure("processor", cores=os.cpu_count() or 0, threads=torch.get_num_threads(), name=platform.machine())
    if bench.cuda:
        facts = torch.cuda.get_device_properties(bench.device)
        free, total = torch.cuda.mem_get_info(bench.device)
        bench.figure(
            "device",
            name=facts.name,
            capability=f"{facts.major}.{facts.minor}",
            memory=format_bytes(total),
            free=format_bytes(free),
            devices=torch.cuda.device_count(),
            driver=driver(),
        )
    else:
        bench.skip("device", f"{bench.device}: no CUDA device, so no figure here says anything about GPUs")
    absent = [name for name in dependencies() if not version(name)]
    bench.figure("packages that volengine asks for and that are not here", names=", ".join(absent) or "none")
    for what, module in ROOMS.items():
        with bench.trying(what):
            importlib.import_module(module)
            bench.equal(f"import {what}", True)


def version(name: str) -> str:
    """The version of an installed package; empty if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def dependencies() -> list[str]:
    """The packages that volengine needs, and MONAI for MemBrain's network."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["membrain"]]
    return [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in asked]


def driver() -> str:
    """The version of the driver, as nvidia-smi tells it; empty without it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.strip().splitlines()[0] if told.strip() else ""
