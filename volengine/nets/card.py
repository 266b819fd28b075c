"""The card of a model: what it finds, what it was trained on, how good it is, and how to use it, as Markdown.

Everything in it is from the facts of the model, so the same model has the same card; a name of a file is given without
its folder, which is nobody else's business.

>>> from volengine.core.model import ModelFacts
>>> facts = ModelFacts(network="unet3d", features=("core",), voxel_size=(40, 40, 40), patch=(32, 32, 32))
>>> print(card_text(facts, "core", use="core@/data/models").splitlines()[0])
# core
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from volengine.core.model import ModelFacts

TO_FILL = "(fill in: for example CC-BY-4.0; without a licence nobody else may use the model)"
MOST_LISTED = 20
"""Tomograms that are listed by name."""

NORMALISATIONS = {
    "none": "as they are",
    "per_slice": "each slice to mean 0 and standard deviation 1",
    "per_patch": "each patch to mean 0 and standard deviation 1",
    "volume": "the whole tomogram to mean 0 and standard deviation 1",
    "global_mad": "the whole tomogram by its median and median absolute deviation, as Ais does",
}


def card_text(
    facts: ModelFacts,
    name: str,
    *,
    use: str,
    sha256: str = "",
    licence: str = "",
    authors: Sequence[str] = (),
    picture: str = "",
) -> str:
    """The card of a model.

    Parameters
    ----------
    facts
        Its facts.
    name
        Its name.
    use
        What is given to ``--model`` to use it.
    sha256
        Checksum of its file.
    licence, authors
        SPDX name of the licence and names of the authors; empty: a line to fill in.
    picture
        Name of a file beside the card with slices, labels and answers of its validation; empty: there is none.

    Returns
    -------
    str
        Markdown.
    """
    parts = [f"# {plain(name)}", plain(sentence(facts))]
    if picture:
        parts.append(f"![Slices of validation patches with labels and answers]({picture})")
    parts += ["## How to use it", _usage(facts, use), learned(facts), "## Limits", _limits(facts)]
    parts += ["## Network", _table(_network(facts, sha256))]
    parts += ["## Authors and licence", _whose(licence, authors)]
    return "\n\n".join(parts) + "\n"


def plain(text: object) -> str:
    """A text of a file as plain words of Markdown: on one line, its signs without a meaning.

    >>> plain("<img src=x>|a*b")
    '\\\\<img src=x\\\\>\\\\|a\\\\*b'
    """
    return re.sub(r"([\\`*_\[\]<>|#!&])", r"\\\1", " ".join(str(text).split()))


def sentence(facts: ModelFacts) -> str:
    """What a model does, in a sentence; names are as the facts say them."""
    names = ", ".join(one for one in facts.features if facts.activation != "softmax" or one != "background")
    kind = "3D" if facts.volumetric else "2D" if facts.context == 1 else "2.5D"
    does = "Segments" if facts.activation != "none" else "Answers with grey values"
    what = f"{does} {names}" if facts.activation != "none" else f"{does} ({names})"
    return (
        f"{what} in cryo-electron tomograms of {facts.said_voxel_size} per voxel, with a {kind} network "
        f"({facts.network})."
    )


def learned(facts: ModelFacts) -> str:
    """The sections of a card on what a model has learned from, and how well."""
    return f"## Data\n\n{_data(facts)}\n\n## Scores\n\n{_scores(facts)}"


def _usage(facts: ModelFacts, use: str) -> str:
    words = ["volengine segment TOMOGRAM.mrc --model", shlex.quote(use), "--out predictions"]
    if facts.activation == "none":
        words.append("--dtype float32")
    if ".py:" in facts.network:
        words.append("--network-files FILE.py:Class")
    return "```console\n" + " ".join(words) + "\n```"


def _last(facts: ModelFacts) -> Mapping[str, Any]:
    return facts.history[-1] if facts.history else {}


def _recipe(facts: ModelFacts) -> Mapping[str, Any]:
    recipe = _last(facts).get("recipe")
    return recipe if isinstance(recipe, Mapping) else {}


def _data(facts: ModelFacts) -> str:
    samples = _recipe(facts).get("samples")
    samples = [one for one in samples if isinstance(one, Mapping)] if isinstance(samples, list) else []
    treated = f"Voxel size {facts.said_voxel_size}. Grey values: {NORMALISATIONS[facts.normalisation]}."
    if not samples:
        told = _last(facts).get("imported")
        whose = f"It was made by {plain(told)}; its file" if told else "The file"
        return f"{whose} does not say on which tomograms it was trained. {treated}"
    lines = [f"Trained on {len(samples)} {'sample' if len(samples) == 1 else 'samples'}. {treated}", ""]
    lines += [f"- {_sample(one)}" for one in samples[:MOST_LISTED]]
    if len(samples) > MOST_LISTED:
        lines.append(f"- and {len(samples) - MOST_LISTED} more")
    if len(facts.history) > 1:
        lines += ["", f"It goes on from an earlier model: {len(facts.history)} trainings in all."]
    return "\n".join(lines)


def _sample(one: Mapping[str, Any]) -> str:
    said = [plain(PurePosixPath(str(one.get("volume", "?"))).name)]
    if one.get("boxes"):
        said.append(f"boxes of {one.get('box_vox')} voxels")
    if one.get("region"):
        said.append(f"region {plain(one['region'])}")
    if one.get("use") not in (None, "train"):
        said.append(plain(f"to {one['use']} only"))
    return ", ".join(said)


def _scores(facts: ModelFacts) -> str:
    told = _last(facts)
    epochs = told.get("epochs")
    rows = [row for row in epochs if isinstance(row, Mapping)] if isinstance(epochs, list) else []
    row = next((row for row in rows if row.get("epoch") == told.get("epoch")), None)
    if row is None:
        return "The file says none. Compare an answer with a segmentation by hand before you rely on it."
    lines = [("what", "value")]
    for key, what in (("validation_dice", "Dice"), ("validation_loss", "loss"), ("loss", "training loss")):
        if isinstance(row.get(key), int | float):
            lines.append((what, f"{row[key]:.4f}"))
    for feature in facts.features:
        for key in ("dice", "precision", "recall"):
            value = row.get(f"validation_{key}_{feature}")
            if isinstance(value, int | float):
                lines.append((f"{key} of {plain(feature)}", f"{value:.3f}"))
    said = f"After epoch {plain(row['epoch'])}, on parts of the training tomograms that were kept for validation."
    if told.get("chosen_by"):
        said += f" The epoch was chosen by: {plain(told['chosen_by'])}."
    return f"{said}\n\n{_table(lines)}"


def _limits(facts: ModelFacts) -> str:
    lines = [
        f"- For tomograms of {facts.said_voxel_size} per voxel; others are refused, or resampled with `--match`.",
        "- For the contrast that it was trained with (most often dark molecules); `--invert` for the other one.",
        "- Scores on the tomograms of the training say little about other samples, microscopes and reconstructions. "
        "Compare answers on a tomogram of yours with a segmentation by hand.",
    ]
    if facts.receptive_field is None:
        lines.append("- Its answer depends on the whole patch, so it changes with the size of patches.")
    return "\n".join(lines)


def _network(facts: ModelFacts, sha256: str) -> list[tuple[str, str]]:
    values = facts.to_json()
    arguments = {k: v for k, v in facts.arguments.items() if not isinstance(v, list | dict)}
    rows = [
        ("fact", "value"),
        ("network", plain(facts.network)),
        ("arguments", plain(", ".join(f"{k} = {v}" for k, v in arguments.items()))),
        ("patch, voxels z, y, x", " x ".join(map(str, facts.patch))),
        ("slices seen", str(facts.context) if facts.context > 1 else ""),
        *((key.replace("_", " "), plain(values[key])) for key in ("activation", "threshold", "target", "tta")),
        ("volengine", plain(facts.version)),
        ("sha256", sha256),
    ]
    return [(name, text) for name, text in rows if text not in ("", "None")]


def _whose(licence: str, authors: Sequence[str]) -> str:
    names = ", ".join(map(plain, authors)) or "(fill in)"
    return f"Authors: {names}\n\nLicence: {plain(licence) or TO_FILL}"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {a} | {b} |" for a, b in (head, ("---", "---"), *rest))
