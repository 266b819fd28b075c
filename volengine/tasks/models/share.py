"""Folders of models for others: ``volengine models share``.

>>> from volengine.tasks.models.share import share_models
>>> made = share_models("shared", ["ribosome.safetensors"])                                          # doctest: +SKIP
>>> made[0].use                                                                                      # doctest: +SKIP
'ribosome@shared'

The folder can be copied, or put behind a web server or into an object store, as it is;
:mod:`volengine.io.shared_models` reads it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from volengine.core.atomic import replacing, write_atomic, write_json
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.model import ModelFacts
from volengine.core.paths import PathLike, path_text
from volengine.engine.lock import critical
from volengine.io.shared_models import (
    ENDINGS,
    FORMAT,
    INDEX,
    LARGEST_MODEL,
    NAME,
    VERSION,
    SharedModel,
    check_shared,
    digest_of_file,
    model_path,
    read_index,
    split,
)
from volengine.tasks.common.card_files import PICTURE, card_beside
from volengine.tasks.models.recipe import ModelShareRecipe

_PICTURE_LINK = re.compile(rf"\]\({re.escape(PICTURE)}\)")


@dataclass(frozen=True)
class Shared:
    """A model in a folder: its name, what its index says, and the text that ``--model`` takes."""

    name: str
    model: SharedModel
    use: str


def share_models(folder: PathLike, models: Iterable[PathLike], recipe: ModelShareRecipe | None = None) -> list[Shared]:
    """Put models into a folder that others read as ``--model NAME@FOLDER``; the index is written last.

    Files are named by their checksums and are never changed, so who reads the folder meanwhile gets the model of the
    index that was read. Several processes may share into one folder at the same time.

    Parameters
    ----------
    folder
        The folder, which is made if it is not there.
    models
        Model files (``.safetensors``, ``.onnx``, ``.scnm``, ``.ckpt``), names of models that come with the package, or
        ``NAME@PLACE``. Each is called by its file's name, unless the recipe names it.
    recipe
        Name, licence, authors; whether a model of the same name is replaced.

    Returns
    -------
    list of Shared
        One for each model, in their order.

    Raises
    ------
    MissingError, FormatError
        A model cannot be read.
    InputError
        A name is no safe one or comes twice, there is another model of this name, the place is none of a local disk, or
        a licence or authors are given for a card that is there and says something else.
    """
    place, recipe = path_text(folder).removeprefix("file://"), ModelShareRecipe.of(recipe)
    if "://" in place:
        raise InputError(f"{place}: share into a folder, and copy it there with the tools of the store or server.")
    given = [path_text(model) for model in models]
    if not given:
        raise InputError("models share needs at least one model.")
    if recipe.name and len(given) > 1:
        raise InputError(f"--name is for one model; {len(given)} are given.")
    read = [_Given.of(text, recipe.name) for text in given]
    twice = next((one.name for k, one in enumerate(read) if one.name in {b.name for b in read[:k]}), None)
    if twice is not None:
        raise InputError(f"Two of the models would be called {twice!r}; share one of them apart, with --name.")
    root = Path(place)
    if root.exists() and not root.is_dir():
        raise InputError(f"{place} is a file; give a folder.")
    root.mkdir(parents=True, exist_ok=True)
    with critical(root / f".{INDEX}.lock"):
        index = read_index(place)[0] if (root / INDEX).exists() else {}
        for one in read:
            _check_place(place, one, index, overwrite=recipe.overwrite)
        made = [_put(root, one, index, recipe) for one in read]
        index |= {one.name: one.model for one in made}
        _write(root, index)
    return [replace(one, use=f"{one.name}@{place}") for one in made]


def shared_models(folder: PathLike) -> list[Shared]:
    """The models of a folder or URL, sorted by name; the files of a folder are compared with its index.

    Raises
    ------
    MissingError, UnreachedError, FormatError
        There is no index, it is damaged, or a file is gone or another one.
    """
    place = path_text(folder).removeprefix("file://")
    index, _ = read_index(place)
    if "://" not in place:
        for name, model in index.items():
            check_shared(place, name, model)
    return [Shared(name, index[name], f"{name}@{place}") for name in sorted(index)]


@dataclass(frozen=True)
class _Given:
    """A model to share: how it was named, its file, name, bytes and facts."""

    text: str
    path: Path
    name: str
    sha256: str
    facts: ModelFacts

    @classmethod
    def of(cls, text: str, name: str | None) -> _Given:
        from volengine.nets.shipped import model_file

        path = model_file(model_path(text))
        if path.suffix not in ENDINGS:
            raise InputError(
                f"{text}: shared are files that say all of their facts ({', '.join(ENDINGS)}); make one of it with "
                "volengine models import."
            )
        if not path.is_file():
            raise MissingError(f"{text}: no such model file.")
        if path.stat().st_size > LARGEST_MODEL:
            raise InputError(f"{text} has more than {LARGEST_MODEL} bytes.")
        parts = split(text)
        called = name or (parts[0] if parts else path.stem)
        if not NAME.fullmatch(called):
            raise InputError(
                f"{called!r} is no name of a shared model: letters, digits and . _ + - are possible, at most 80, and "
                "it begins with a letter or digit. Give another --name."
            )
        digest = digest_of_file(path)
        return cls(text, path, called, digest, _facts(path))


def _facts(path: Path) -> ModelFacts:
    """The facts of a model that can be used: its weights are loaded, where that runs no code of others."""
    from volengine.nets.checkpoint import load_facts, load_model
    from volengine.nets.registry import is_own

    facts = load_facts(path)
    return facts if is_own(facts.network) else load_model(path)[1]


def _check_place(place: str, one: _Given, index: dict[str, SharedModel], *, overwrite: bool) -> None:
    there = index.get(one.name)
    if there is not None and there.sha256 != one.sha256 and not overwrite:
        raise InputError(
            f"{place} has another model called {one.name!r} ({', '.join(there.features)}). Give another --name, or "
            "--overwrite to replace it."
        )
    near = {name.lower(): name for name in index if name != one.name}
    if one.name.lower() in near:  # on disks that do not tell them apart the one would hide the other
        raise InputError(f"{place} has a model called {near[one.name.lower()]!r}; give a --name that is not so alike.")


def _put(root: Path, one: _Given, index: dict[str, SharedModel], recipe: ModelShareRecipe) -> Shared:
    """Write the file of a model, its card and picture."""
    before = index.get(one.name)
    same = before is not None and before.sha256 == one.sha256
    text, picture = card_beside(one.path, one.facts, one.name, one.sha256, recipe.licence or "", recipe.authors)
    named = f"{one.name}.png" if picture else ""
    text = _PICTURE_LINK.sub(f"]({named})", text)
    card = root / f"{one.name}.md"
    kept = same and card.is_file() and not recipe.overwrite  # somebody may have filled in lines
    if kept and (recipe.licence or recipe.authors) and card.read_bytes() != text.encode():
        raise InputError(
            f"{card} is there and says something else; licence and authors were not written. Change its lines by hand, "
            "or --overwrite to make it anew."
        )
    file = f"{one.name}-{one.sha256[:16]}{one.path.suffix}"
    if not (root / file).is_file() or digest_of_file(root / file) != one.sha256:
        with one.path.open("rb") as source, replacing(root / file) as out:
            digest = hashlib.sha256()
            while data := source.read(2**22):
                digest.update(data)
                out.write(data)
            if digest.hexdigest() != one.sha256:
                raise FormatError(f"{one.text} was written again while it was shared. Give the same command again.")
    if picture:
        write_atomic(root / named, picture)
    if not kept:
        write_atomic(card, text)
    facts = one.facts
    model = SharedModel(
        file,
        one.sha256,
        (root / file).stat().st_size,
        facts.features,
        facts.voxel_size,
        facts.network,
        facts.version,
        card.name,
        named,
    )
    return Shared(one.name, model, "")


def _write(root: Path, index: dict[str, SharedModel]) -> None:
    models = {name: index[name].to_json() for name in sorted(index)}
    value = {"format": FORMAT, "version": VERSION, "models": models}
    write_json(root / INDEX, value, durable=True)
