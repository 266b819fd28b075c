"""The card of a model as files: ``card.md`` in the folder of its training, with the picture of validation patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from volengine.core.atomic import write_atomic
from volengine.core.model import ModelFacts
from volengine.io.shared_models import digest_of_file
from volengine.nets.card import card_text
from volengine.nets.training.place import folder_of

CARD, PICTURE = "card.md", "validation.png"
LARGEST = 20_000_000
"""Bytes of a card or picture that are read at most."""


def training_folder(model: Path) -> Path:
    """The folder of the training of a model, which need not be there."""
    return folder_of(model)


def write_card(model: Path) -> Path:
    """Write the card of a trained model into the folder of its training; one of the same model is left as it is.

    Somebody may have filled in its licence.
    """
    from volengine.nets.checkpoint import load_facts

    folder, digest = training_folder(model), digest_of_file(model)
    file = folder / CARD
    if digest.encode() not in _bytes(file):  # whatever encoding somebody has saved it in
        picture = PICTURE if (folder / PICTURE).is_file() else ""
        write_atomic(file, card_text(load_facts(model), model.stem, use=model.name, sha256=digest, picture=picture))
    return file


def card_beside(
    model: Path, facts: ModelFacts, name: str, sha256: str, licence: str = "", authors: Sequence[str] = ()
) -> tuple[str, bytes]:
    """The card of a model file and its picture (empty: none).

    The card of its training is taken if it is of this model, and neither licence nor authors are given; else a new one
    is made of the facts.
    """
    folder = training_folder(model)
    text, picture = _text(folder / CARD), b""
    mine = sha256 in text
    if mine and (folder / PICTURE).is_file() and (folder / PICTURE).stat().st_size <= LARGEST:
        picture = (folder / PICTURE).read_bytes()
    if not mine or licence or authors:
        shown = PICTURE if picture else ""
        use = f"{name}@FOLDER"
        text = card_text(facts, name, use=use, sha256=sha256, licence=licence, authors=authors, picture=shown)
    return text, picture


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes() if file.stat().st_size <= LARGEST else b""
    except OSError:
        return b""


def _text(file: Path) -> str:
    try:
        return _bytes(file).decode("utf-8")
    except UnicodeDecodeError:
        return ""
