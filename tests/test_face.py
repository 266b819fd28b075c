"""The public face takes paths as people give them: every function, found by its annotations."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_results import write_mrc

import volengine
from volengine.core import paths
from volengine.io.picks import read_all
from volengine.tasks.demo.simulated import demo_simulated
from volengine.tasks.demo.verb import demo
from volengine.tasks.models.exchange import export_model, import_group, import_model
from volengine.tasks.picks.convert import convert_picks, filter_picks, merge_picks
from volengine.tasks.picks.extract import extract_picks
from volengine.tasks.picks.info import picks_info
from volengine.tasks.score.table import Scores, read_scores

BESIDE = (
    Scores,
    read_scores,
    read_all,
    convert_picks,
    merge_picks,
    filter_picks,
    extract_picks,
    picks_info,
    export_model,
    import_model,
    import_group,
    demo,
    demo_simulated,
)
"""Functions that pages show and that are not in ``volengine`` itself."""

KINDS = ("PathLike", "PathsLike", "PathsByFeature")
NO_PATHS = {
    "digest",
    "name",
    "user",
    "notes",
    "group",
    "format",
    "tomogram",
    "feature",
    "features",
    "where",
    "part",
    "plugins",
    "say",
}
"""Arguments of text that are no path."""


def _annotations(folder: Path) -> volengine.Annotations:
    write_mrc(folder / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    return volengine.new_annotations(folder / "TS_01.mrc", folder / "TS_01.annotations")


NEEDED: dict[str, Any] = {
    "operations": {"annotate": (), "curate": ()},
    "annotations": {"export_training": _annotations},
    "recipe": {
        "segment": volengine.SegmentRecipe(models="m.safetensors"),  # type: ignore[arg-type]
        "filter": volengine.FilterRecipe(steps=("invert",)),
        "interact": volengine.InteractRecipe(rules=(volengine.Interact("a", "b", "avoid"),)),
        "crop": volengine.CropRecipe(roi="0:1,:,:"),
        "denoise": volengine.DenoiseRecipe(model="m.safetensors"),
        "run": volengine.RunRecipe(),
        "sweep": volengine.SweepRecipe(vary="pick.a.threshold=0.5"),  # type: ignore[arg-type]
        "train": volengine.TrainRecipe(samples=(volengine.TrainSample("no.mrc", labels=("no.mrc",)),), features=("a",)),
        "train_folds": volengine.TrainRecipe(
            samples=(volengine.TrainSample("no.mrc", labels=("no.mrc",)),), features=("a",), folds=2
        ),
        "simulate": {"specimen": {}},
    },
    "run_recipe": {"sweep": {"segment": {"models": "m.safetensors"}, "pick": [{"feature": "a"}]}},
    "surfaces": {"write_surfaces": [(volengine.Surface([[0, 0, 0], [0, 0, 1], [0, 1, 0]], [[0, 1, 2]]), {})]},
    "facts": {"write_surfaces": volengine.SurfaceFacts()},
    "picks": {"write_picks": volengine.Picks([[1, 2, 3]], voxel_size=(10, 10, 10))},
    "self": {"Stats.write": volengine.Stats({}), "Scores.write": Scores("picks", ({"feature": "a"},))},
}
"""Arguments that are no path and have no default, by name and function."""


class OnlyPath(os.PathLike[str]):
    """A path that is no text: whatever takes it for one fails."""

    def __init__(self, text: str):
        self.text = text

    def __fspath__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"OnlyPath({self.text!r})"


def _functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function, and the public methods of public classes that are written here."""
    for thing in (*(getattr(volengine, name) for name in volengine.__all__ if name != "__version__"), *BESIDE):
        if inspect.isfunction(thing):
            yield thing.__name__, thing
        elif inspect.isclass(thing) and not issubclass(thing, Exception):
            for name, method in inspect.getmembers(thing, inspect.isfunction):
                if not name.startswith("_") and method.__module__.startswith("volengine"):
                    yield f"{thing.__name__}.{name}", method


FUNCTIONS = dict(_functions())


def _paths(function: Callable[..., Any]) -> dict[str, str]:
    """The arguments that are paths, with the word of their annotation."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = re.search(rf"\b({'|'.join(KINDS)})\b", str(parameter.annotation))
        if kind is not None:
            found[name] = kind[1]
    return found


def test_there_are_functions_with_paths() -> None:
    assert {"convert", "segment", "run", "open_volume", "write_picks", "Stats.write", "train"} <= {
        name for name, function in FUNCTIONS.items() if _paths(function)
    }
    assert all(hasattr(paths, kind) for kind in KINDS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_of_text_is_a_path_or_known_to_be_none(name: str) -> None:
    """An argument annotated ``str`` that is a path would refuse :class:`pathlib.Path`."""
    for key, parameter in inspect.signature(FUNCTIONS[name]).parameters.items():
        bare = re.search(r"\bstr\b", re.sub(r"Mapping\[str, ", "", str(parameter.annotation)))
        assert bare is None or key in NO_PATHS, f"{name}: annotate {key} as PathLike, or add it to NO_PATHS"


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if _paths(function)])
def test_every_path_may_be_a_path_object(name: str, tmp_path: Path) -> None:
    """With files that are not there, the function must say so, or do its work; any other error is a path not taken."""
    function = FUNCTIONS[name]
    (tmp_path / "file").write_text("a file, so nothing can be written below it")
    values: dict[str, Any] = {}
    for key, parameter in inspect.signature(function).parameters.items():
        kind = _paths(function).get(key)
        place = OnlyPath(str(tmp_path / "file" / f"{key}.csv"))
        if kind is not None:
            by_feature = kind == "PathsByFeature" or "Mapping" in str(parameter.annotation)
            values[key] = [place] if kind == "PathsLike" else {"a": place} if by_feature else place
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            needed = NEEDED[key][name]
            values[key] = needed(tmp_path) if inspect.isfunction(needed) else needed
    options = inspect.signature(function).parameters.get("options")
    if options is not None:
        values["options"] = volengine.RunOptions(progress=False, run_dir=OnlyPath(str(tmp_path / "run")))  # type: ignore[arg-type]
    for each in _one_by_one(values):
        with pytest.raises((volengine.VolengineError, NotADirectoryError, FileNotFoundError, FileExistsError)):
            function(**each)


def _one_by_one(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All paths as objects; and those that may stand alone as a single object instead of a list or a mapping."""
    yield values
    for key, value in values.items():
        if isinstance(value, list):
            yield {**values, key: value[0]}
