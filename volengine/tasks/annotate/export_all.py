"""Training data from the annotations of several tomograms: each as it is exported alone, and one recipe of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volengine.core.atomic import write_atomic
from volengine.core.errors import InputError, MissingError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts, place_key
from volengine.core.yaml_recipes import read_yaml, yaml_text
from volengine.io.picks import read_picks
from volengine.tasks.annotate.export import RECIPE, Exported, export_training, network_of
from volengine.tasks.annotate.store import Annotations

LEAST_TO_SHARE = 4
"""Boxes or annotated slices of a sample from which some are kept for validation."""


@dataclass(frozen=True)
class ExportedAll:
    """What was written: the recipe, by folder of annotations what was exported, and the folders that have nothing."""

    recipe: str
    of: dict[str, Exported] = field(default_factory=dict)
    without: tuple[str, ...] = ()


def export_all(
    folders: PathsLike, out: PathLike, features: Sequence[str] = (), *, overwrite: bool = False
) -> ExportedAll:
    """Write the annotations of several tomograms as training data of one training.

    Parameters
    ----------
    folders
        Folders of annotations.
    out
        Gets a folder for each tomogram, as :func:`volengine.export_training` writes it, and a recipe of all,
        ``train.yaml``: samples of fewer than four boxes or slices are trained on alone, of others a part is kept for
        validation.
    features
        Which features; default: all that have training boxes. A tomogram without boxes of any of them is left out.
    overwrite
        Replace an earlier export.

    Raises
    ------
    MissingError
        No folder is given, or one does not exist.
    InputError
        No tomogram has a training box of a named feature, or of any; two tomograms have one name; or another export is
        there.

    Examples
    --------
    >>> import volengine
    >>> for name in ("first", "second"):
    ...     with volengine.new_annotations("TS_01.mrc", f"{name}.annotations", features=("membrane",)) as annotations:
    ...         _ = annotations.do({"op": "brush", "feature": "membrane", "slice": 4, "points": [[8, 8]], "radius": 2})
    ...         _ = annotations.do({"op": "box", "feature": "membrane", "slice": 4, "centre": [8, 8], "side": 16})
    >>> made = volengine.export_all(["first.annotations", "second.annotations"], "both")
    >>> len(made.of), made.recipe
    (2, 'both/train.yaml')
    """
    places = [Path(folder) for folder in path_texts(folders)]
    if not places:
        raise MissingError("There are no annotations; draw, and set training boxes.")
    names = [place_key(place.stem) for place in places]
    double = next((place for place, name in zip(places, names, strict=True) if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"{double}: two annotations have this name, and would be written to one folder.")
    boxed = {place: _boxed(place) for place in places}
    every = [name for own in boxed.values() for name in own]
    missing = next((name for name in features if name not in every), None)
    if missing is not None or not every:
        raise InputError(
            f"No tomogram has a training box of {missing or 'any feature'}. Say where everything is annotated, with "
            "the operation 'box'; elsewhere nobody knows whether voxels are background."
        )
    wanted = list(dict.fromkeys(features or every))
    path = Path(path_text(out)) / RECIPE
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists. Use --overwrite to replace it, or give another folder.")
    made: dict[str, Exported] = {}
    samples: list[dict[str, Any]] = []
    for place, there in boxed.items():
        own = [name for name in wanted if name in there]
        if own:
            with Annotations(place) as annotations:
                made[str(place)] = export_training(annotations, path.parent / place.stem, own, overwrite=overwrite)
            samples += [{**one, **_use(one)} for one in read_yaml(made[str(place)].recipe)["samples"]]
    alone = {"validation_share": 0} if all(one.get("use") == "train" for one in samples) else {}
    values = {"features": wanted, "samples": samples, **network_of(samples), **alone}
    write_atomic(path, yaml_text(values), durable=True)
    return ExportedAll(str(path), made, tuple(str(place) for place in places if str(place) not in made))


def _use(sample: Mapping[str, Any]) -> dict[str, str]:
    """What a sample is used for: one of few boxes or slices for training alone, or nothing of it might be left."""
    if "boxes" in sample:
        few = len(read_picks(sample["boxes"])) < LEAST_TO_SHARE
    else:
        few = 0 < len(sample.get("slices", ())) < LEAST_TO_SHARE
    return {"use": "train"} if few else {}


def _boxed(place: Path) -> list[str]:
    """The features of annotations that have training boxes."""
    with Annotations(place) as annotations:
        return list(dict.fromkeys(one.feature for one, _ in annotations.boxes()))
