"""Annotations of several users: any order of strokes, undo and redo equals a replay in NumPy; nothing is lost."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import volengine as ve
from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.annotations import layers as layer_module
from volengine.ops.strokes import brush
from volengine.tasks.annotate.compact import compact
from volengine.tasks.annotate.images import behind, merge
from volengine.tasks.annotate.store import Annotations, new_annotations

SHAPE = (40, 70, 72)
WHOLE = Box.of_shape(SHAPE)
VALUES = {"feature": 1, "ignore": 2, "background": 3}
NAMES = itertools.count()


@pytest.fixture(scope="session")
def tomogram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tomogram") / "TS_01.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(3).normal(size=SHAPE).astype(np.float32))
        mrc.voxel_size = 10.0
    return path


@pytest.fixture
def annotations(tomogram: Path, tmp_path: Path) -> Iterator[Annotations]:
    with new_annotations(tomogram, tmp_path / "TS_01.annotations", ("membrane", "core"), user="ada") as made:
        yield made


def stroke(at: int = 4, points: Any = ((8, 8), (8, 20)), radius: float = 2, **more: Any) -> dict[str, Any]:
    return {"op": "brush", "feature": "membrane", "slice": at, "points": points, "radius": radius, **more}


def drawn(operation: dict[str, Any]) -> np.ndarray:
    """The voxels of a stroke, in the whole volume."""
    axis = "zyx".index(operation.get("axis", "z"))
    mask = np.zeros(SHAPE, bool)
    plane = np.moveaxis(mask, axis, 0)[operation["slice"]]
    plane[:] = brush(operation["points"], operation["radius"], plane.shape).whole(plane.shape)
    return mask


class Replay:
    """The rule, in a few lines: strokes that count, in the order of their versions; the latest one of a voxel shows."""

    def __init__(self) -> None:
        self.strokes: dict[int, tuple[str, str, np.ndarray, int]] = {}
        self.undone: dict[int, set[int]] = {0: set()}

    def codes(self, feature: str, version: int, user: str = "") -> np.ndarray:
        out = np.zeros(SHAPE, np.uint8)
        for number, (who, what, mask, value) in self.strokes.items():
            if number <= version and what == feature and user in ("", who) and number not in self.undone[version]:
                out[mask] = value
        return out

    def labels(self, feature: str, version: int, user: str = "") -> np.ndarray:
        codes = self.codes(feature, version, user)
        return np.where(codes == 3, 0, codes)

    def conflicts(self, feature: str, version: int) -> int:
        said = np.stack([self.codes(feature, version, user) for user in USERS])
        different = np.stack([(said == value).any(0) for value in VALUES.values()])
        return int((different.sum(0) > 1).sum())


USERS = ("ada", "bob", "eve")
FEATURES = ("membrane", "core")


class Interleaved:
    """Three users, two open handles, and a replay in NumPy that knows no blocks and no journal."""

    def __init__(self, tomogram: Path, where: Path, rng: np.random.Generator):
        self.rng = rng
        self.handles = [new_annotations(tomogram, where, FEATURES), Annotations(where)]
        self.replay = Replay()
        self.replay.undone = {n: set() for n in range(3)}
        self.version, self.base = 2, 0
        self.stacks: dict[str, list[int]] = {user: [] for user in USERS}

    def pick(self, values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def step(self) -> None:
        kind = self.pick(["draw"] * 5 + ["undo"] * 3 + ["redo"] * 2 + ["compact", "images"])
        getattr(self, kind)(self.pick(USERS), self.pick(self.handles))
        self.equals_the_replay()

    def _next(self, undone: set[int] | None = None) -> None:
        self.version += 1
        self.replay.undone[self.version] = set(self.replay.undone[self.version - 1]) if undone is None else undone

    def draw(self, user: str, handle: Annotations) -> None:
        count = int(self.rng.integers(1, 4))
        operation = {
            "op": "brush",
            "feature": self.pick(FEATURES),
            "axis": self.pick("zyx"),
            "slice": int(self.rng.integers(30, 34)),
            "points": self.rng.integers((26, 58), (38, 69), (count, 2)).tolist(),
            "radius": int(self.rng.integers(1, 5)),
            "value": self.pick(sorted(VALUES)),
        }
        mask = drawn(operation)
        if not mask.any():
            with pytest.raises(InputError, match="covers no voxel"):
                handle.do(operation, user)
            return
        done = handle.do(operation, user)
        self._next()
        assert (done.version, done.user) == (self.version, user)
        self.replay.strokes[self.version] = (user, operation["feature"], mask, VALUES[operation["value"]])
        self.stacks[user] = []

    def undo(self, user: str, handle: Annotations) -> None:
        gone = self.replay.undone[self.version]
        own = [n for n, one in self.replay.strokes.items() if one[0] == user and n not in gone and n > self.base]
        if not own:
            with pytest.raises(InputError, match="nothing to undo"):
                handle.undo(user)
            return
        version = self.pick([None, *own])
        done = handle.undo(user, version)
        assert done.of == (own[-1] if version is None else version)
        self.stacks[user].append(done.of)
        self._next(gone | {done.of})

    def redo(self, user: str, handle: Annotations) -> None:
        gone, stack = self.replay.undone[self.version], self.stacks[user]
        own = [n for n in sorted(gone) if n in self.replay.strokes and self.replay.strokes[n][0] == user]
        if not stack:
            with pytest.raises(InputError, match="nothing to redo"):
                handle.redo(user)
        version = self.pick([*([None] if stack else []), *own] or [0])
        if version == 0:
            return
        done = handle.redo(user, version)
        assert done.of == (stack[-1] if version is None else version)
        if done.of in stack:
            stack.remove(done.of)
        self._next(gone - {done.of})

    def compact(self, _: str, handle: Annotations) -> None:
        self.base = compact(handle, int(self.rng.integers(8)))
        for user in USERS:
            self.stacks[user] = [n for n in self.stacks[user] if n > self.base]
        for number in [n for n in self.replay.strokes if n <= self.base and n in self.replay.undone[self.base]]:
            del self.replay.strokes[number]
        assert self.base <= self.version

    def images(self, _: str, handle: Annotations) -> None:
        merge(handle)
        assert behind(self.handles[1]) == 0
        for feature in FEATURES:
            image = ve.open_volume(handle.folder / "labels.ome.zarr", group=f"labels/{feature}")
            assert (image[:] == self.replay.labels(feature, self.version)).all()
            for user in {one[0] for one in self.replay.strokes.values() if one[1] == feature}:
                image = ve.open_volume(handle.folder / "users" / f"{user}.ome.zarr", group=f"labels/{feature}")
                assert (image[:] == self.replay.labels(feature, self.version, user)).all()

    def equals_the_replay(self) -> None:
        for handle, feature in itertools.product(self.handles, FEATURES):
            assert (handle.labels(feature, WHOLE) == self.replay.labels(feature, self.version)).all()
        user = self.pick(USERS)
        found = self.handles[0].labels("core", WHOLE, user=user)
        assert (found == self.replay.labels("core", self.version, user)).all()
        earlier = int(self.rng.integers(max(self.base, 2), self.version + 1))
        found = self.handles[1].labels("membrane", WHOLE, version=earlier)
        assert (found == self.replay.labels("membrane", earlier)).all()
        assert self.handles[1].conflicts()["core"] == self.replay.conflicts("core", self.version)


@settings(max_examples=2, deadline=None, phases=(Phase.generate,))
@given(st.integers(0, 2**32 - 1))
def test_any_order_of_strokes_undo_and_redo_equals_a_replay(tomogram: Path, tmp_path: Path, seed: int) -> None:
    both = Interleaved(tomogram, tmp_path / f"{next(NAMES)}.annotations", np.random.default_rng(seed))
    for _ in range(30):
        both.step()


# -- several processes ---------------------------------------------------------------------------------------------

DRAWS = """
import sys
from volengine.tasks.annotate.store import Annotations
folder, user, row = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Annotations(folder) as annotations:
    for column in range(8):
        point = [[row, 4 + 8 * column]]
        annotations.do({"op": "brush", "feature": "membrane", "slice": 7, "points": point, "radius": 2}, user)
"""


def test_processes_and_threads_draw_at_once_and_no_stroke_is_lost(annotations: Annotations) -> None:
    start = [sys.executable, "-c", DRAWS, str(annotations.folder)]
    running = [subprocess.Popen([*start, user, str(row)]) for user, row in (("bob", 10), ("eve", 20))]
    own = [
        threading.Thread(
            target=lambda row=row: [annotations.do(stroke(7, [(row, 4 + 8 * n)]), "ada") for n in range(8)]
        )
        for row in (30, 40)
    ]
    for thread in own:
        thread.start()
    for thread in own:
        thread.join()
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert annotations.version == 2 + 32
    expected = np.zeros(SHAPE[1:], np.uint8)
    for row, n in itertools.product((10, 20, 30, 40), range(8)):
        expected |= brush([(row, 4 + 8 * n)], 2, SHAPE[1:]).whole(SHAPE[1:])
    assert (annotations.labels("membrane", Box((7, 0, 0), (8, *SHAPE[1:])))[0] == expected).all()


# -- operations ----------------------------------------------------------------------------------------------------


def plane(annotations: Annotations, at: int, axis: int = 0, feature: str = "membrane", **more: Any) -> np.ndarray:
    start, stop = [0, 0, 0], list(SHAPE)
    start[axis], stop[axis] = at, at + 1
    return np.take(annotations.labels(feature, Box(tuple(start), tuple(stop)), **more), 0, axis)


def test_polygons_runs_and_plain_fills_in_slices_along_any_axis(annotations: Annotations) -> None:
    ring = {"op": "brush", "feature": "membrane", "axis": "y", "slice": 33, "radius": 1}
    annotations.do({**ring, "points": [[5, 40], [5, 68], [30, 68], [30, 40], [5, 40]]}, "ada")
    fill = {"op": "fill_labels", "feature": "membrane", "axis": "y", "slice": 33, "seed": [10, 50], "value": "ignore"}
    annotations.do(fill, "ada")
    found = plane(annotations, 33, 1)
    assert (found[7:29, 42:67] == 2).all()
    assert not found[:4].any()
    annotations.do({"op": "runs", "feature": "core", "axis": "x", "slice": 71, "runs": [[39, 60, 70]]}, "bob")
    assert plane(annotations, 71, 2, "core").sum() == 10
    corners = [[0, 0], [0, 8], [8, 8], [8, 0]]
    annotations.do({"op": "polygon", "feature": "core", "slice": 0, "points": corners}, "bob")
    assert plane(annotations, 0, feature="core").sum() == 64


def test_only_what_is_empty_is_drawn_on_if_asked(annotations: Annotations) -> None:
    annotations.do(stroke(4, [(20, 20)], 3, value="ignore"), "ada")
    annotations.do(stroke(4, [(20, 22)], 3, only_empty=True), "bob")
    found = plane(annotations, 4)
    first, second = (brush([at], 3, SHAPE[1:]).whole(SHAPE[1:]) for at in ((20, 20), (20, 22)))
    assert (found == np.where(first, 2, np.where(second, 1, 0))).all()
    with pytest.raises(InputError, match=r"it covers no voxel .* where nothing is labelled"):
        annotations.do(stroke(4, [(20, 20)], 3, only_empty=True), "bob")


def test_a_fill_of_grey_values_sees_the_same_as_in_the_whole_slice(annotations: Annotations) -> None:
    from scipy.ndimage import gaussian_filter

    from volengine.ops.strokes import fill

    grey = gaussian_filter(ve.open_volume(annotations.facts.tomogram)[12], 1.5, mode="nearest")
    asked = {"op": "fill", "feature": "core", "slice": 12, "seed": [3, 66], "radius": 9, "band": 2, "smooth_vox": 1.5}
    annotations.do(asked, "ada")
    assert (plane(annotations, 12, feature="core") == fill(grey, (3, 66), 9, 2).whole(SHAPE[1:])).all()
    with pytest.raises(InputError, match="lies outside of the slice"):
        annotations.do({**asked, "seed": [3, 72]}, "ada")


def test_slices_between_two_are_drawn(annotations: Annotations) -> None:
    for at, radius in ((10, 4), (16, 8)):
        annotations.do(stroke(at, [(30, 30)], radius), "ada")
    done = annotations.do({"op": "interpolate", "feature": "membrane", "between": [16, 10]}, "bob")
    sizes = [int(plane(annotations, z).sum()) for z in range(9, 18)]
    assert sizes[0] == sizes[-1] == 0
    assert sizes[1:-1] == sorted(sizes[1:-1])
    annotations.undo("bob")
    assert [z for z in range(SHAPE[0]) if plane(annotations, z).any()] == [10, 16]
    assert annotations.redo("bob", done.version).of == done.version
    with pytest.raises(InputError, match="no slice between"):
        annotations.do({"op": "interpolate", "feature": "membrane", "between": [16, 17]}, "bob")


def test_a_models_answer_is_copied_in_one_transaction(annotations: Annotations, tmp_path: Path) -> None:
    values = np.random.default_rng(5).random(SHAPE).astype(np.float32)
    with mrcfile.new(tmp_path / "answer.mrc") as mrc:
        mrc.set_data(values)
        mrc.voxel_size = 10.0
    annotations.do(stroke(31, [(60, 60)], 6), "ada")
    before = annotations.labels("membrane", WHOLE)
    asked = {"op": "take", "feature": "membrane", "prediction": str(tmp_path / "answer.mrc"), "above": 0.7}
    part = Box((30, 50, 60), (36, 70, 72))
    annotations.do({**asked, "box": "30:36,50:70,60:72", "replace": True}, "ada")
    expected = before.copy()
    expected[part.slices] = values[part.slices] > np.float32(0.7)
    assert (annotations.labels("membrane", WHOLE) == expected).all()
    annotations.undo("ada")
    assert (annotations.labels("membrane", WHOLE) == before).all()
    with pytest.raises(InputError, match=r"is above 0.99999. The highest one is"):
        annotations.do({**asked, "above": 0.99999, "box": "0:1,0:9,0:9"}, "ada")


def test_boxes_and_points_come_and_go_by_the_same_rule(annotations: Annotations) -> None:
    box = annotations.do({"op": "box", "feature": "membrane", "slice": 3, "centre": [2, 69], "side": 16}, "ada")
    assert [found for _, found in annotations.boxes()] == [Box((3, 0, 56), (4, 16, 72))]
    removed = annotations.do({"op": "remove", "item": box.version}, "bob")
    assert annotations.boxes("membrane") == []
    assert len(annotations.boxes(version=box.version)) == 1
    annotations.undo("bob", removed.version)
    assert len(annotations.boxes("membrane")) == 1
    point = annotations.do({"op": "point", "feature": "core", "position": [1, 2.5, 3], "radius": 4}, "bob")
    assert [one.facts for one in annotations.points("core")] == [{"position": [1.0, 2.5, 3.0], "radius": 4.0}]
    compact(annotations, 0)
    assert len(annotations.boxes()) == len(annotations.points()) == 1
    annotations.do({"op": "remove", "item": point.version}, "ada")
    assert annotations.points() == []
    with pytest.raises(InputError, match="no training box or point of version"):
        annotations.do({"op": "remove", "item": point.version}, "ada")


def test_features_have_their_colours(annotations: Annotations) -> None:
    assert annotations.features()["membrane"] == "#F0E442"
    annotations.do({"op": "feature", "feature": "membrane", "colour": "#0072b2"}, "ada")
    assert annotations.features() == {"membrane": "#0072B2", "core": "#D55E00"}
    assert annotations.features(1) == {"membrane": "#F0E442"}
    merge(annotations)
    said = json.loads((annotations.folder / "labels.ome.zarr/labels/membrane/zarr.json").read_text())
    assert said["attributes"]["ome"]["image-label"]["colors"][0] == {"label-value": 1, "rgba": [0, 114, 178, 255]}


def test_a_program_that_knows_only_zarr_reads_the_images(annotations: Annotations) -> None:
    import zarr

    annotations.do(stroke(4), "ada")
    merge(annotations)
    group = zarr.open_group(annotations.folder / "labels.ome.zarr", mode="r")
    assert sorted(group["labels"].attrs["ome"]["labels"]) == ["core", "membrane"]
    assert (group["labels/membrane/0"][4] == plane(annotations, 4)).all()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "paint"}, "'paint' is no operation"),
        ("brush", "'brush' is no operation"),
        ({"op": ["brush"]}, "is no operation"),
        (stroke(radius=0.1), "0.5 voxels or more"),
        (stroke(40), "Slice 40 along z is not one of the 40"),
        (stroke(4, [(-50, -50)]), "covers no voxel"),
        (stroke(4, [(None, 1)]), "A point is not a number"),
        (stroke(feature="ribosome"), "there is no feature 'ribosome'; there are membrane, core"),
        (stroke(feature="../x"), "is no name of a feature"),
        (stroke(feature="<script>"), "is no name of a feature"),
        (stroke(value="yes"), "it is one of feature, ignore, background"),
        (stroke(colour="red"), "brush: there is no 'colour'"),
        (stroke(slice=True), "a whole number is expected"),
        (stroke(radius=float("nan")), "a number is expected"),
        ({"op": "box", "feature": "core"}, "give either 'box', or 'slice'"),
        ({"op": "box", "feature": "core", "slice": 2, "side": 8}, "give either 'box', or 'slice'"),
        ({"op": "box", "feature": "core", "slice": 2, "side": 71, "centre": [1, 1]}, "does not fit into a slice"),
        ({"op": "point", "feature": "core", "position": [0, 0, 72]}, "lies outside"),
        ({"op": "undo", "version": 1}, "is 'feature', which cannot be undone"),
        ({"op": "undo", "version": 99}, "There is no version 99"),
        ({"op": "take", "feature": "core", "prediction": "no.mrc", "above": 0.5}, "no.mrc"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    annotations: Annotations, operation: Any, message: str
) -> None:
    before = annotations.version
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        annotations.do(operation, "ada")
    assert annotations.version == before


def test_a_viewer_learns_where_voxels_have_changed(annotations: Annotations) -> None:
    before = annotations.version
    annotations.do(stroke(4), "ada")
    annotations.do(stroke(4, [(66, 68)], 1, feature="core"), "bob")
    assert annotations.changed(before) == (
        4,
        {"membrane": [Box((0, 0, 0), (32, 64, 64))], "core": [Box((0, 64, 64), (32, 70, 72))]},
    )
    assert annotations.changed(4) == (4, {})
    annotations.undo("ada")
    assert list(annotations.changed(4)[1]) == ["membrane"]
    compact(annotations, 0)
    assert annotations.changed(4) == (5, {"membrane": [WHOLE], "core": [WHOLE]})
    assert annotations.changed(5) == (5, {})


def test_annotations_that_were_moved_with_their_tomogram_find_it(tomogram: Path, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    shutil.copy(tomogram, tmp_path / "first")
    new_annotations(tmp_path / "first" / "TS_01.mrc", tmp_path / "first" / "a.annotations", ("core",)).close()
    (tmp_path / "first").rename(tmp_path / "second")
    with Annotations(tmp_path / "second" / "a.annotations") as moved:
        assert moved.facts.tomogram == str(tmp_path / "second" / "TS_01.mrc")
        moved.do({"op": "fill", "feature": "core", "slice": 3, "seed": [9, 9], "radius": 5, "band": 3}, "ada")
        assert plane(moved, 3, feature="core").any()


def test_what_was_asked_for_is_kept_until_it_is_compacted(annotations: Annotations) -> None:
    done = annotations.do(stroke(4, [(20.004, 20), (30, 21)]), "ada")
    asked = annotations.asked(done)
    assert asked == {
        **stroke(4, [[20.00390625, 20.0], [30.0, 21.0]]),
        "axis": "z",
        "value": "feature",
        "only_empty": False,
    }
    assert annotations.do(asked, "ada").op == "brush"
    compact(annotations, 1)
    with pytest.raises(InputError, match="Version 3 was compacted"):
        annotations.asked(done)
    assert annotations.asked(annotations.transactions()[0][0]) == asked


def test_names_that_some_file_systems_take_for_the_same_are_refused(annotations: Annotations) -> None:
    with pytest.raises(InputError, match="there is a feature 'membrane'"):
        annotations.do({"op": "feature", "feature": "Membrane"}, "ada")
    annotations.do(stroke(), "ada")
    compact(annotations, 0)
    with pytest.raises(InputError, match="there is a user 'ada'"):
        annotations.do(stroke(), "Ada")


def test_users_have_names_that_are_safe_in_paths_and_pages(annotations: Annotations) -> None:
    for name in ("../eve", "a/b", "<b>", "x" * 65, ".hidden", "a__b", "nul\0"):
        with pytest.raises(InputError, match="is no name of a user"):
            annotations.do(stroke(), name)


# -- the folder ----------------------------------------------------------------------------------------------------


def test_a_volume_far_larger_than_memory_takes_what_is_drawn(
    annotations: Annotations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "huge.annotations"
    place.mkdir()
    facts = json.loads((annotations.folder / "annotations.json").read_text())
    (place / "annotations.json").write_text(json.dumps({**facts, "shape": [20_000, 200_000, 200_000]}))
    (place / "journal").write_bytes((annotations.folder / "journal").read_bytes())
    monkeypatch.setattr(layer_module, "CACHE_BYTES", 2**20)
    with Annotations(place) as huge:
        for n in range(1, 40):
            huge.do(stroke(500 * n, [(5_000 * n, 5_000 * n)], 40), "ada")
        count = huge._layers.count("membrane")
        assert count["feature"] == 39 * int(brush([(50, 50)], 40, (101, 101)).mask.sum())
        assert len(huge._layers._kept) * 32 * 64 * 64 <= 2**20
    assert (place / "journal").stat().st_size < 100_000


def test_annotations_are_begun_once(annotations: Annotations, tomogram: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds annotations already"):
        new_annotations(tomogram, annotations.folder)
    with pytest.raises(InputError, match=r"ends with .annotations"):
        new_annotations(tomogram, tmp_path / "other")
    (tmp_path / "x.annotations").mkdir()
    (tmp_path / "x.annotations" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes.txt'"):
        new_annotations(tomogram, tmp_path / "x.annotations")
    with pytest.raises(InputError, match="not behind a URL"):
        new_annotations(tomogram, "s3://bucket/x.annotations")
    with pytest.raises(MissingError, match="volengine annotate new"):
        Annotations(tmp_path)
    path = annotations.folder / "annotations.json"
    for text, message in (('{"format": 2}', "of format 2"), ('{"format": 1}', "is damaged"), ("[]", "no names")):
        path.write_text(text)
        with pytest.raises(FormatError, match=message):
            Annotations(annotations.folder)


def test_a_journal_of_wrong_transactions_is_refused(annotations: Annotations) -> None:
    annotations.do(stroke(), "ada")
    wrong: list[dict[str, Any]] = [
        {"version": 7, "user": "ada", "time": "", "kind": "stroke", "what": {}},
        {"version": 4, "user": "ada", "time": "", "kind": "dance", "what": {}},
        {"version": 4, "user": "bob", "time": "", "kind": "undo", "of": 3, "what": {}},
        {"version": 4, "kind": "stroke"},
    ]
    whole = (annotations.folder / "journal").read_bytes()
    for facts in wrong:
        annotations._journal.append(facts)
        with pytest.raises(FormatError, match="lacks or mistakes"):
            Annotations(annotations.folder)
        (annotations.folder / "journal").write_bytes(whole)
        annotations._journal._first = b""
        annotations._journal.refresh()


def test_a_notebook_shows_what_was_drawn_and_raises_nothing(annotations: Annotations) -> None:
    annotations.do({"op": "feature", "feature": "mito chondrion"}, "ada")
    annotations.do(stroke(), "ada")
    annotations.do(stroke(5), "bob")
    annotations.do({"op": "undo"}, "bob")
    annotations.do({"op": "point", "feature": "core", "position": [1, 2, 3]}, "bob")
    shown = annotations._repr_html_()
    assert "<td>membrane</td><td>1</td><td>0</td><td>0</td>" in shown
    assert "<td>core</td><td>0</td><td>0</td><td>1</td>" in shown
    assert "ada, bob" in shown
    annotations.facts = replace(annotations.facts, name="<script>alert(1)</script>")
    assert "<script>" not in annotations._repr_html_()
    (annotations.folder / "journal").unlink()
    assert "<table" in annotations._repr_html_()
    annotations.close()
    assert "<table" in annotations._repr_html_()
