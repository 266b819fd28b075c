"""surface --roi and --towards: the part of a volume as if it stood alone, at its place; sides that a label decides."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from roi_volumes import boxes
from scipy import ndimage
from stats_inputs import ball, mrc

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.roi import roi_text
from volengine.engine.options import RunOptions
from volengine.io.surfaces import SurfaceSet
from volengine.ops.surfaces.sides import Side, one_side
from volengine.tasks.surface.recipe import SurfaceRecipe
from volengine.tasks.surface.towards_blocks import label_cells, label_cells_bytes
from volengine.tasks.surface.verb import surface

QUICK = RunOptions(progress=False)
SHAPE = (18, 26, 30)
VOXEL = np.array([8.0, 10.0, 12.0])
ORIGIN = np.array([100.0, -200.0, 30.0])


def stored(path: Path, values: np.ndarray, start: Any = (0, 0, 0)) -> Path:
    """An MRC file of voxels that are no cubes, with the origin of the voxel at ``start`` of a volume at ORIGIN."""
    with mrcfile.new(path, data=values) as file:
        file.voxel_size = tuple(VOXEL[::-1].tolist())
        file.header.origin = tuple((ORIGIN + VOXEL * start)[::-1].tolist())
    return path


def positions(found: SurfaceSet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices as positions, and faces, of each surface."""
    return [(one.vertices + np.array(found.facts.origin), one.faces) for one in found]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    boxes(SHAPE, least=3), st.tuples(*[st.integers(4, 30)] * 3), st.booleans(), st.sampled_from(["float32", "uint8"])
)
def test_a_part_has_the_surfaces_that_it_would_have_as_a_volume_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, box: Box, block: Any, closed: bool, dtype: str
) -> None:
    folder = tmp_path_factory.mktemp("roi")
    noise = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=SHAPE), 1.5)
    values = (noise - noise.min()) / np.ptp(noise)
    values = values.astype(np.float32) if dtype == "float32" else (values > 0.5).astype(np.uint8)
    (folder / "part").mkdir()
    whole = stored(folder / "TS_01__membrane.mrc", values)
    alone = stored(folder / "part" / "TS_01__membrane.mrc", np.ascontiguousarray(values[box.slices]), box.start)
    recipe = SurfaceRecipe(threshold=0.55, min_volume_nm3=6, close_at_faces=closed)
    if dtype == "uint8" and values[box.slices].max() == 0:
        return
    found = surface(whole, folder / "a.surfaces", recipe.with_(roi=roi_text(box)), QUICK.with_(block=block))
    other = surface(alone, folder / "b.surfaces", recipe, QUICK)
    assert [row["object_voxels"] for row in found.rows] == [row["object_voxels"] for row in other.rows]
    for (at, faces), (expected, corners) in zip(positions(found), positions(other), strict=True):
        np.testing.assert_allclose(at, expected, atol=1e-3)
        np.testing.assert_array_equal(faces, corners)
    assert found.facts.shape == SHAPE
    assert np.allclose(found.facts.origin, ORIGIN)
    if box != Box.of_shape(SHAPE):
        assert found.facts.history[-1]["roi"]["start"] == list(box.start)


def test_what_lies_inside_of_a_part_is_what_it_is_in_the_whole(tmp_path: Path) -> None:
    mask = np.zeros((30, 30, 70), np.int8)
    for x, radius in ((9, 5), (30, 7), (58, 6)):
        ball(mask, (15, 15, x), radius, 1)
    source = mrc(tmp_path / "TS_01__ball.mrc", mask)
    whole = surface(source, tmp_path / "a.surfaces", None, QUICK)
    part = surface(source, tmp_path / "b.surfaces", SurfaceRecipe(roi=":,:,20:58"), QUICK.with_(block=(16, 16, 16)))
    assert [row["closed"] for row in part.rows] == [True, False]
    first = [hashlib.sha256((s.path / "0001.ply").read_bytes()).hexdigest() for s in (whole, part)]
    assert first[0] == first[1]
    cut = part.read(2)
    assert np.isclose(cut.vertices[:, 2].max(), 570.0, atol=1e-3)  # the centre of the last voxel, 57
    closed = SurfaceRecipe(roi=":,:,20:58", close_at_faces=True, smooth_nm=0)
    cut = surface(source, tmp_path / "c.surfaces", closed, QUICK).read(2)
    assert cut.closed
    assert cut.vertices[:, 2].max() == 575.0  # half a voxel beyond
    with pytest.raises(InputError, match="single slice"):
        surface(source, tmp_path / "d.surfaces", SurfaceRecipe(roi="3:4,:,:"), QUICK)
    with pytest.raises(InputError, match=r"--roi .*70 voxels"):
        surface(source, tmp_path / "e.surfaces", SurfaceRecipe(roi=":,:,60:80"), QUICK)


SIDE = 44
_AT = np.stack(np.indices((SIDE,) * 3)).astype(float)


def cell(kind: str) -> np.ndarray:
    """Labels: 1 a membrane of 5 voxels, 2 and 3 what lies beyond and before it; of a vesicle 3 is the inside."""
    if kind == "sheet":
        away = (_AT[0] + 0.4 * _AT[1] - 30) / np.hypot(1, 0.4)
    else:
        away = np.sqrt(((_AT - 21.7) ** 2).sum(0)) - 14
    labels = np.where(np.abs(away) < 2.5, 1, np.where(away > 0, 2, 3)).astype(np.uint8)
    if kind == "far":  # the outside is known in one corner only
        labels[(labels == 2) & (_AT.sum(0) > 20)] = 0
    return labels


@pytest.mark.parametrize(
    ("kind", "towards"),
    [("sheet", "2"), ("sheet", "3"), ("vesicle", "2=other"), ("vesicle", "3"), ("far", "other"), ("far", "3")],
)
def test_normals_point_to_the_side_of_a_label(tmp_path: Path, kind: str, towards: str) -> None:
    labels = cell(kind)
    source = mrc(tmp_path / "TS_01.mrc", labels)
    if "other" in towards:
        volengine.convert(
            mrc(tmp_path / "TS_01__cell.mrc", (labels == 2) * np.uint8(2)),
            tmp_path / "other.ome.zarr",
            {"kind": "labels"},
        )
        towards = towards.replace("other", str(tmp_path / "other.ome.zarr"))
    recipe = SurfaceRecipe(ids=(1,), side="outer", towards=towards, max_thickness_nm=8)
    found = surface(source, tmp_path / "a.surfaces", recipe, QUICK)
    one = found.read(1)
    assert one.normals is not None
    if kind == "sheet":
        out = one.normals @ np.array([1, 0.4, 0]) / np.hypot(1, 0.4)
    else:
        away = one.vertices / 10 - 21.7
        out = np.einsum("ij,ij->i", one.normals, away) / np.linalg.norm(away, axis=1)
    assert (out * (-1 if towards == "3" else 1)).mean() > 0.9
    if kind == "far":
        return
    blocks = surface(source, tmp_path / "b.surfaces", recipe, QUICK.with_(block=(15, 20, 17)))
    assert (blocks.path / "0001.ply").read_bytes() == (found.path / "0001.ply").read_bytes()


def test_labels_that_are_not_there_or_not_of_these_voxels_are_refused(tmp_path: Path) -> None:
    labels = cell("sheet")
    source = mrc(tmp_path / "TS_01.mrc", labels)
    mrc(tmp_path / "small.mrc", labels[:20])
    mrc(tmp_path / "TS_01__cell.mrc", (labels == 2).astype(np.float32))
    cases = {
        "9": "holds no voxel of label 9",
        "cytosol": r"names no class.*--towards cytosol=labels.mrc",
        f"2={tmp_path}/small.mrc": "labels of the same voxels",
        f"{tmp_path}/TS_01__cell.mrc": "does not say that it holds labels",
        f"2={tmp_path}/nothing.mrc": "no such file",
        "0": "0 is the background",
    }
    for number, (towards, message) in enumerate(cases.items()):
        recipe = SurfaceRecipe(ids=(1,), side="middle", towards=towards)
        with pytest.raises(InputError, match=message):
            surface(source, tmp_path / f"{number}.surfaces", recipe, QUICK)
    with pytest.raises(InputError, match="--side outer"):
        SurfaceRecipe(towards="2")
    with pytest.raises(InputError, match="leave out one"):
        SurfaceRecipe(side="outer", towards="2", towards_nm=(0, 0, 0))


@pytest.mark.parametrize("side", ["outer", "inner"])
def test_the_side_of_a_place_outside_of_a_vesicle_is_its_outside(side: Side) -> None:
    """The solid angle of a closed surface is 0 seen from any place outside, near or far."""
    from marched_shapes import OFF, grid, raw

    from volengine.ops.surfaces.smooth import smoothed

    places, faces = raw(np.abs(np.sqrt((grid(44) ** 2).sum(0)) - 14) < 2.5)
    at = smoothed(places, faces, 8.0) - (22 - OFF)
    for place, outside in (((0, 0, 21), True), ((0, 300, 0), True), ((9, 0, 0), False), ((0, 0, 0), False)):
        made, _ = one_side(at, faces, side, 10.0, place)
        radius = 16.5 if (side == "outer") == outside else 11.5
        assert np.isclose(np.linalg.norm(made, axis=1).mean(), radius, atol=0.5), place


def test_memory_of_the_cells_of_a_label() -> None:
    import tracemalloc

    from volengine.core.block import Block

    labels = np.ones((64, 64, 64), np.uint8)
    box = Box.of_shape(labels.shape)
    block = Block(0, (0, 0, 0), box, labels.shape, {"labels": labels}, {"labels": box}, {})
    tracemalloc.start()
    made = label_cells(block, [1], 4, "x").table
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made is not None
    assert made["voxels"].tolist() == [64] * 4096
    assert 0.1 < peak / label_cells_bytes(labels.size) < 1
