"""The label images that the server writes while people draw are those of ``annotate merge`` on the same journal."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from web_results import SHAPE, write_results

import volengine
from volengine.core.errors import VolengineError
from volengine.tasks.annotate.images import behind, merge
from volengine.tasks.annotate.store import Annotations
from volengine.web.workbench.annotating import Annotating
from volengine.web.workbench.label_images import LabelImages
from volengine.web.workbench.project import Project
from volengine.web.workbench.recipe import WorkbenchRecipe

FEATURE = {"op": "feature", "feature": "membrane"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("project"))


def begun(folder: Path) -> Annotating:
    shutil.rmtree(folder / "annotations", ignore_errors=True)
    return Annotating(Project(folder, WorkbenchRecipe(user="ada")))


def images(folder: Path) -> dict[str, np.ndarray]:
    stores = sorted(folder.glob("**/*.ome.zarr"))
    return {
        f"{store.relative_to(folder)}/{name}": np.asarray(zarr.open_group(store / "labels" / name, mode="r")["0"])
        for store in stores
        for name in sorted(one.name for one in (store / "labels").iterdir() if one.is_dir())
    }


def merged_anew(annotations: Path, place: Path) -> dict[str, np.ndarray]:
    """The images of a copy of the journal alone."""
    place.mkdir()
    for name in ("journal", "annotations.json"):
        shutil.copy(annotations / name, place / name)
    with Annotations(place) as copy:
        merge(copy)
    return images(place)


STROKES = st.fixed_dictionaries(
    {
        "op": st.just("brush"),
        "feature": st.just("membrane"),
        "slice": st.integers(0, SHAPE[0] - 1),
        "points": st.lists(
            st.tuples(st.integers(0, SHAPE[1] - 1), st.integers(0, SHAPE[2] - 1)), min_size=1, max_size=2
        ),
        "radius": st.integers(1, 4),
        "value": st.sampled_from(["feature", "background", "ignore"]),
    }
)
OPERATIONS = st.lists(
    st.tuples(STROKES | st.just({"op": "undo"}) | st.just({"op": "redo"}), st.sampled_from(["ada", "ben"])), max_size=6
)


@settings(max_examples=4, deadline=None)
@given(before=OPERATIONS, lost=OPERATIONS)
def test_images_are_those_of_the_journal_also_of_what_a_killed_server_left(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, before: Any, lost: Any
) -> None:
    first = begun(folder)
    _draw(first, [(FEATURE, "ada"), *before])
    first.close()  # the first server ends, the second one is killed before it writes anything
    second = Annotating(first.project)
    second.images = LabelImages(second._to_write, pause_s=3600, longest_s=3600)
    _draw(second, lost)
    third = Annotating(first.project)
    third.catch_up()
    third.close()
    at = third.project.annotations(0)
    found = images(at)
    wanted = merged_anew(at, tmp_path_factory.mktemp("anew") / "copy.annotations")
    assert found.keys() == wanted.keys()
    assert "labels.ome.zarr/membrane" in found
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert _behind(at) == 0


def _draw(annotating: Annotating, operations: Any) -> None:
    for operation, user in operations:
        perhaps = (
            contextlib.suppress(VolengineError) if operation["op"] in ("undo", "redo") else contextlib.nullcontext()
        )
        with perhaps:  # there may be nothing to undo
            annotating.do(0, operation, user)


def test_images_follow_while_somebody_draws_and_say_what_hinders_them(folder: Path) -> None:
    annotating = begun(folder)
    annotating.images = LabelImages(annotating._to_write, pause_s=0.05, longest_s=0.1)
    _draw(
        annotating,
        [
            (FEATURE, "ada"),
            ({"op": "brush", "feature": "membrane", "slice": 2, "points": [[5, 5]], "radius": 2}, "ada"),
        ],
    )
    at = annotating.project.annotations(0)
    assert _in_time(lambda: _behind(at) == 0)
    volengine.open_volume(f"{at / 'labels.ome.zarr'}#labels/membrane")
    shutil.rmtree(at / "users")
    (at / "users").write_text("in the way")
    _draw(annotating, [({"op": "brush", "feature": "membrane", "slice": 3, "points": [[9, 9]], "radius": 2}, "ada")])
    assert _in_time(lambda: "users" in annotating.images.failure(0))
    assert "users" in annotating.state(0, "ada")["unwritten"]
    (at / "users").unlink()
    _draw(annotating, [({"op": "brush", "feature": "membrane", "slice": 3, "points": [[20, 9]], "radius": 2}, "ada")])
    annotating.close()
    assert annotating.images.failure(0) == ""
    assert _painted(at / "users" / "ada.ome.zarr") == _painted(at / "labels.ome.zarr") > 0


def _painted(store: Path) -> int:
    return int(np.count_nonzero(np.asarray(zarr.open_group(store / "labels" / "membrane", mode="r")["0"])))


def _behind(at: Path) -> int | None:
    with Annotations(at) as annotations:
        return behind(annotations)


def _in_time(said: Any) -> bool:
    end = time.monotonic() + 60
    while not said() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(said())
