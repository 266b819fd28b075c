"""Names and places of outputs and run folders, the same for every verb."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder, RunFolder


def run_dir_for(out: str) -> str:
    """The run folder of a single output: beside a local output, in the current folder for a URL."""
    if "://" in out:
        return str(Path.cwd() / (re.sub(r"[^A-Za-z0-9._-]+", "_", out.rstrip("/")) + ".run"))
    path = Path(out.rstrip("/"))
    return str(path.with_name(path.name + ".run").absolute())


def run_dir_in(out: str, name: str) -> str:
    """The run folder ``name`` of a folder of outputs: inside a local folder, in the current folder for a URL."""
    if "://" in out:
        return run_dir_for(f"{out.rstrip('/')}/{name}").removesuffix(".run")
    return join_url(out, name)


def plan_folder(run_dir: str, name: str) -> PlanFolder:
    """The folder of one tomogram's plan in a run folder.

    Raises
    ------
    InputError
        The tomogram's name, which outputs carry as well, is not valid as a file name.
    """
    if not name or name in (".", "..") or re.search(r"[/\\\x00-\x1f]", name):
        raise InputError(f"The tomogram's name {name!r} cannot be a file's name; convert it with another --name.")
    return RunFolder(run_dir).plan(name)


def has_plan(run_dir: str, name: str) -> bool:
    """Whether a run folder has a plan of this name, of whose outputs some may be there; one that was refused is none.

    Raises
    ------
    InputError
        As of :func:`plan_folder`.
    """
    return (plan_folder(run_dir, name).path / "plan.json").exists()


def history(volume: Volume, verb: str, recipe: Recipe) -> list[dict[str, Any]]:
    """The volume's history with one more entry: the verb, its recipe, its source, the version of volengine."""
    from volengine import __version__

    step = {
        "verb": verb,
        "volengine": __version__,
        "source": volume.url.rsplit("/", 1)[-1],
        "source_identity": volume.identity,
        "recipe": recipe.to_json(),
    }
    return [*volume.facts.get("history", []), step]


def file_name(feature: str) -> str:
    """Encode a feature's name as part of a file name; different features get different names.

    Letters and digits of any script, ``.``, ``+``, ``-`` and ``_`` stay as they are. Every other character becomes
    ``~`` and two hexadecimal digits for each of its bytes in UTF-8 (a space: ``~20``). So do a ``.`` and a ``_`` at the
    beginning and the second of two ``_``, because ``TOMOGRAM__FEATURE`` is how files are named. :func:`feature_named`
    undoes it.

    >>> file_name("ribosome"), file_name("ER membrane"), file_name("a/b"), file_name("a__b")
    ('ribosome', 'ER~20membrane', 'a~2Fb', 'a_~5Fb')

    Raises
    ------
    InputError
        The name is empty.
    """
    if not feature:
        raise InputError("A feature needs a name; this one is empty.")
    found = []
    for place, letter in enumerate(feature):
        separates = letter == "_" and (place == 0 or feature[place - 1] == "_")
        hides = letter == "." and place == 0
        if (letter.isalnum() or letter in "._+-") and not separates and not hides:
            found.append(letter)
        else:
            found += [f"~{byte:02X}" for byte in letter.encode()]
    return "".join(found)


def feature_named(text: str) -> str:
    """Decode a feature's :func:`file_name`; a text that is not such a name is returned unchanged.

    >>> feature_named("ER~20membrane")
    'ER membrane'
    """
    coded = re.sub(r"~([0-9A-F]{2})", r"%\1", text.replace("%", "%25"))
    feature = unquote(coded, errors="replace")
    return feature if feature and file_name(feature) == text else text


def feature_store(folder: str, tomogram: str, feature: str, suffix: str = "") -> str:
    """Path or URL of the store of one feature of a tomogram: ``<folder>/<tomogram>__<feature><suffix>.ome.zarr``."""
    return join_url(folder, f"{tomogram}__{file_name(feature)}{suffix}.ome.zarr")


def join_url(base: str, *parts: str) -> str:
    """Join a path or URL and its parts: ``base/part/...``."""
    if not base.strip():
        raise InputError("--out is empty; give a folder (. is the current one) or a store.")
    return "/".join([base.rstrip("/") or "/", *parts])
