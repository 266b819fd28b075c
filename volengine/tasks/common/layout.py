"""Where things lie: names of outputs and run folders, the same for every verb."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder, RunFolder


def run_dir_for(out: str) -> str:
    """The run folder of an output: beside a local one, in the current folder for a URL."""
    if "://" in out:
        return str(Path.cwd() / (re.sub(r"[^A-Za-z0-9._-]+", "_", out.rstrip("/")) + ".run"))
    path = Path(out.rstrip("/"))
    return str(path.with_name(path.name + ".run").absolute())


def run_dir_in(out: str, name: str) -> str:
    """The run folder of a folder of outputs: in a local one, in the current folder for a URL."""
    if "://" in out:
        return run_dir_for(f"{out.rstrip('/')}/{name}").removesuffix(".run")
    return join_url(out, name)


def plan_folder(run_dir: str, name: str) -> PlanFolder:
    """The folder of one tomogram's plan in a run folder; outputs have the same name, so it must be fit for one."""
    if not name or name in (".", "..") or re.search(r"[/\\\x00-\x1f]", name):
        raise InputError(f"The tomogram's name {name!r} cannot be a file's name; convert it with another --name.")
    return RunFolder(run_dir).plan(name)


def history(volume: Volume, verb: str, recipe: Recipe) -> list[dict[str, Any]]:
    """The volume's history with one more step: what was done, with what, by which version."""
    from volengine import __version__

    step = {
        "verb": verb,
        "volengine": __version__,
        "source": volume.url.rsplit("/", 1)[-1],
        "source_identity": volume.identity,
        "recipe": recipe.to_json(),
    }
    return [*volume.facts.get("history", []), step]


def feature_store(folder: str, tomogram: str, feature: str) -> str:
    """The store of one feature of one tomogram: ``<folder>/<tomogram>__<feature>.ome.zarr``."""
    return join_url(folder, f"{tomogram}__{re.sub(r'[^A-Za-z0-9.+-]+', '_', feature)}.ome.zarr")


def join_url(base: str, *parts: str) -> str:
    """``base/part/...`` for paths and URLs."""
    if not base.strip():
        raise InputError("--out is empty; give a folder (. is the current one) or a store.")
    return "/".join([base.rstrip("/") or "/", *parts])
