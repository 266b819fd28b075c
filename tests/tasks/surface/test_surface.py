"""surface: the same surfaces for any blocks, of any kind of source, at the right places; what is refused."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree
from stats_inputs import ball, mrc

import volengine
from volengine.core.block import Block
from volengine.core.boxes import Box
from volengine.core.errors import InputError, MemoryRefusedError, MissingError, RunError
from volengine.engine.options import RunOptions
from volengine.engine.show import status
from volengine.io.surfaces import SurfaceSet, open_surfaces
from volengine.ops.surfaces.topology import shape_of
from volengine.tasks.common import cells
from volengine.tasks.surface.blocks import (
    join_cell,
    number_objects,
    objects_block,
    objects_block_bytes,
    pieces_block,
    pieces_block_bytes,
    seams_block,
)
from volengine.tasks.surface.description import Finish, Objects
from volengine.tasks.surface.mesh_blocks import mesh_surfaces
from volengine.tasks.surface.recipe import SurfaceRecipe
from volengine.tasks.surface.verb import surface

QUICK = RunOptions(progress=False)
SHAPE = (24, 30, 34)


def prediction(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Smooth noise from 0 to 1: components of every size, through every block."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.6)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def written(folder: str | Path) -> dict[str, str]:
    """Digests of the files of a set, but for the history in ``surfaces.json``."""
    files = sorted(Path(folder).iterdir())
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.suffix != ".json"}


def same_object(found: SurfaceSet, mask: np.ndarray, voxel: float = 10.0) -> None:
    """Each voxel centre of the mask lies behind, each other one before, the vertex that is nearest to it."""
    one = found.read(found.rows[0]["number"])
    assert one.normals is not None
    at = np.argwhere(np.ones(mask.shape, bool)) * voxel
    _, near = cKDTree(one.vertices).query(at)
    inside = np.einsum("ij,ij->i", at - one.vertices[near], one.normals[near]) < 0
    assert (inside.reshape(mask.shape) != mask).mean() < 0.01


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1000), st.tuples(*[st.integers(5, 40)] * 3), st.booleans(), st.sampled_from([None, 3.0]))
def test_a_set_has_the_same_bytes_for_any_blocks(
    tmp_path_factory: pytest.TempPathFactory, seed: int, block: Any, closed: bool, vertex_area: float | None
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    source = mrc(folder / "TS_01__membrane.mrc", prediction(seed))
    recipe = SurfaceRecipe(
        threshold=0.55, min_volume_nm3=12, close_at_faces=closed, vertex_area_nm2=vertex_area, largest=9
    )
    whole = surface(source, folder / "a.surfaces", recipe, QUICK.with_(block=(64, 64, 64)))
    blocks = surface(source, folder / "b.surfaces", recipe, QUICK.with_(block=block))
    assert len(whole) > 0
    assert written(whole.path) == written(blocks.path)


def test_components_through_cells_are_those_of_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of several levels, as in volumes of thousands of blocks."""
    monkeypatch.setattr(cells, "CELL_PARTS", 4)
    values = prediction(3)
    source = mrc(tmp_path / "TS_01__membrane.mrc", values)
    found = surface(source, tmp_path / "a.surfaces", SurfaceRecipe(threshold=0.6), QUICK.with_(block=(6, 7, 9)))
    known, count = ndimage.label(values > 0.6, np.ones((3, 3, 3)))
    sizes = sorted(np.bincount(known.ravel())[1:].tolist(), reverse=True)
    assert [row["object_voxels"] for row in found.rows] == sizes
    assert count == len(found) > 10
    monkeypatch.setattr(cells, "CELL_PARTS", 64)
    one = surface(source, tmp_path / "b.surfaces", SurfaceRecipe(threshold=0.6), QUICK.with_(block=(6, 7, 9)))
    assert written(found.path) == written(one.path)


def test_places_count_from_the_first_voxel_and_files_hold_positions(tmp_path: Path) -> None:
    """A plate from index 4 to 6 along z, of voxels of 20, 10, 10 angstrom, in a volume that begins at 100, 200, 300.

    Half way to the next voxel its faces are at the indices 3.5 and 6.5: places 70 and 130, positions 170 and 230.
    """
    values = np.zeros((12, 8, 8), np.float32)
    values[4:7] = 1
    file = tmp_path / "TS_01__plate.mrc"
    with mrcfile.new(file, data=values) as stored:
        stored.voxel_size = (10.0, 10.0, 20.0)
        stored.header.origin = (300.0, 200.0, 100.0)
    found = surface(file, tmp_path / "a.surfaces", SurfaceRecipe(smooth_nm=0), QUICK)
    assert found.facts.voxel_size == (20.0, 10.0, 10.0)
    assert (found.facts.tomogram, found.facts.feature, found.facts.shape) == ("TS_01", "plate", (12, 8, 8))
    one = found.read(1)
    assert sorted(set(one.vertices[:, 0].round(3).tolist())) == [70.0, 130.0]
    assert np.isclose(found.rows[0]["area_nm2"], 2 * 7 * 7)
    assert found.facts.origin == (100.0, 200.0, 300.0)
    import trimesh

    mesh = trimesh.load(found.path / "0001.ply", process=False)
    assert sorted(set(mesh.vertices[:, 2].round(3).tolist())) == [170.0, 230.0]
    assert mesh.vertices.min(axis=0).tolist() == [300.0, 200.0, 170.0]
    up = one.normals[one.vertices[:, 0] > 100]
    assert np.allclose(up, [1, 0, 0], atol=1e-6)


def test_numbered_objects_that_touch_have_surfaces_of_their_own(tmp_path: Path) -> None:
    labels = np.zeros((24, 24, 40), np.uint16)
    ball(labels, (12, 12, 11), 8, 7)
    ball(labels, (12, 12, 26), 8, 300)
    labels[2, 2, 2] = 5
    source = mrc(tmp_path / "TS_01__vesicle.mrc", labels)
    recipe = SurfaceRecipe(instances=True, min_volume_nm3=10)
    found = surface(source, tmp_path / "a.surfaces", recipe, QUICK.with_(block=(10, 10, 10)))
    assert sorted(row["number"] for row in found.rows) == [7, 300]
    assert all(row["closed"] and row["islands"] == 1 for row in found.rows)
    for row in found.rows:
        assert row["object_voxels"] == (labels == row["number"]).sum()
        assert np.isclose(row["volume_nm3"], row["object_voxels"], rtol=0.02)
    together = surface(source, tmp_path / "b.surfaces", SurfaceRecipe(ids=(7, 300)), QUICK)
    assert len(together) == 1


def test_labels_of_several_numbers_are_refused_until_it_is_said_what_they_are(tmp_path: Path) -> None:
    labels = np.zeros((20, 20, 30), np.uint8)
    ball(labels, (10, 10, 8), 5, 1)
    ball(labels, (10, 10, 21), 5, 2)
    volengine.convert(mrc(tmp_path / "TS_01.mrc", labels), tmp_path / "TS_01.ome.zarr", {"kind": "labels"})
    store = tmp_path / "TS_01.ome.zarr"
    with pytest.raises(InputError, match=r"holds the labels 1, 2.*--instances.*--ids"):
        surface(store, tmp_path / "a.surfaces", None, QUICK.with_(block=(64, 64, 16)))
    one = surface(store, tmp_path / "b.surfaces", SurfaceRecipe(feature="ribosome", ids=(2,)), QUICK)
    assert len(one) == 1
    same_object(one, labels == 2)
    assert one.facts.feature == "ribosome"
    assert len(surface(store, tmp_path / "c.surfaces", SurfaceRecipe(instances=True), QUICK)) == 2
    with pytest.raises(InputError, match="--scale is for probabilities"):
        surface(store, tmp_path / "d.surfaces", SurfaceRecipe(ids=(1,), scale=255.0), QUICK)


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_masks_of_any_type_have_the_same_surfaces(tmp_path: Path, dtype: str) -> None:
    mask = np.zeros((24, 24, 24), np.uint8)
    ball(mask, (11, 12, 13), 8, 1)
    found = surface(mrc(tmp_path / "TS_01__ball.mrc", mask.astype(dtype)), tmp_path / "a.surfaces", None, QUICK)
    same_object(found, mask > 0)
    row = found.rows[0]
    radius = (3 * mask.sum() / (4 * np.pi)) ** (1 / 3)
    assert np.isclose(row["area_nm2"], 4 * np.pi * radius**2, rtol=0.01)
    again = surface(mrc(tmp_path / "TS_02__ball.mrc", mask), tmp_path / "b.surfaces", None, QUICK)
    assert written(found.path) == written(again.path)


def test_bytes_are_probabilities_times_255(tmp_path: Path) -> None:
    """Along x the bytes fall from 204 (0.8) to 51 (0.2): 0.5 lies half way between the indices 5 and 6."""
    values = np.full((6, 6, 12), 51, np.uint8)
    values[:, :, :6] = 204
    mrc(tmp_path / "TS_01__half.mrc", values)
    source = tmp_path / "TS_01__half.ome.zarr"
    volengine.convert(tmp_path / "TS_01__half.mrc", source, {"kind": "probability"}, QUICK)
    found = surface(source, tmp_path / "a.surfaces", SurfaceRecipe(smooth_nm=0), QUICK)
    assert np.allclose(found.read(1).vertices[:, 2], 55.0, atol=0.01)
    found = surface(source, tmp_path / "b.surfaces", SurfaceRecipe(smooth_nm=0, threshold=0.35), QUICK)
    assert np.allclose(found.read(1).vertices[:, 2], 57.5, atol=0.01)


def test_small_objects_and_surfaces_are_dropped_and_the_largest_kept(tmp_path: Path) -> None:
    mask = np.zeros((30, 30, 60), np.int8)
    for x, radius in ((8, 6), (25, 4), (38, 3), (50, 2)):
        ball(mask, (15, 15, x), radius, 1)
    source = mrc(tmp_path / "TS_01__ball.mrc", mask)
    sizes = [int(n) for n in np.bincount(ndimage.label(mask)[0].ravel())[1:]]

    def kept(**fields: Any) -> list[int]:
        name = "_".join(f"{k}{v}" for k, v in fields.items())
        made = surface(source, tmp_path / f"{name or 'all'}.surfaces", SurfaceRecipe(**fields), QUICK)
        assert [row["number"] for row in made.rows] == list(range(1, len(made) + 1))
        return [row["object_voxels"] for row in made.rows]

    assert kept() == sizes
    assert kept(min_volume_nm3=sizes[2]) == sizes[:3]
    assert kept(min_volume_nm3=sizes[2] + 1) == sizes[:2]
    assert kept(largest=2) == sizes[:2]
    assert kept(min_area_nm2=150) == sizes[:2]
    assert kept(min_area_nm2=1e6) == []


def test_nothing_above_the_threshold_is_an_empty_set_that_says_why(tmp_path: Path) -> None:
    source = mrc(tmp_path / "TS_01__none.mrc", np.full((8, 8, 8), 0.3, np.float32))
    found = surface(source, tmp_path / "a.surfaces", None, QUICK)
    assert len(found) == 0
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 3
    labels[1, 1, 1] = 2
    tifffile.imwrite(tmp_path / "TS_02__labels.tif", labels)
    recipe = SurfaceRecipe(voxel_size=10)
    with pytest.raises(InputError, match=r"look like labels.*--instances, an object; --ids 1.*--scale 255"):
        surface(tmp_path / "TS_02__labels.tif", tmp_path / "b.surfaces", recipe, QUICK)
    labels[labels > 0] = 3
    tifffile.imwrite(tmp_path / "TS_02__labels.tif", labels)
    assert len(surface(tmp_path / "TS_02__labels.tif", tmp_path / "b.surfaces", recipe, QUICK)) == 0
    report = (tmp_path / "b.surfaces.run" / "report.json").read_text()
    assert "integers up to 3, of which 255 is 1.0: if they are labels, say what they are (--ids" in report
    labels[labels > 0] = 200
    tifffile.imwrite(tmp_path / "TS_03__labels.tif", labels.astype(np.uint16))
    assert len(surface(tmp_path / "TS_03__labels.tif", tmp_path / "c.surfaces", recipe, QUICK)) == 1
    report = (tmp_path / "c.surfaces.run" / "report.json").read_text()
    assert "integers up to 200, of which 255 is 1.0: if they are labels, say what they are (--ids" in report
    report = (tmp_path / "a.surfaces.run" / "report.json").read_text()
    assert "0 surfaces of 0 objects: the largest value is 0.3, the threshold 0.5" in report


def test_class_ids_that_no_voxel_has_are_said(tmp_path: Path) -> None:
    labels = np.zeros((8, 8, 8), np.int8)
    labels[2:6, 2:6, 2:6] = 1
    source = mrc(tmp_path / "TS_01__labels.mrc", labels)
    assert len(surface(source, tmp_path / "a.surfaces", SurfaceRecipe(ids=(5, 6)), QUICK)) == 0
    report = (tmp_path / "a.surfaces.run" / "report.json").read_text()
    assert "0 surfaces of 0 objects: no voxel holds 5 or 6" in report
    surface(source, tmp_path / "b.surfaces", SurfaceRecipe(ids=(1,), min_volume_nm3=1000), QUICK)
    assert "no voxel holds" not in (tmp_path / "b.surfaces.run" / "report.json").read_text()


def test_closed_at_faces_or_open_there(tmp_path: Path) -> None:
    mask = np.zeros((16, 16, 16), np.int8)
    ball(mask, (0, 8, 8), 6, 1)
    source = mrc(tmp_path / "TS_01__half.mrc", mask)
    is_open = surface(source, tmp_path / "a.surfaces", None, QUICK).rows[0]
    assert (is_open["closed"], is_open["border_loops"], is_open["volume_nm3"]) == (False, 1, None)
    closed = surface(source, tmp_path / "b.surfaces", SurfaceRecipe(close_at_faces=True), QUICK).rows[0]
    assert (closed["closed"], closed["border_loops"]) == (True, 0)
    assert np.isclose(closed["volume_nm3"], mask.sum(), rtol=0.03)
    single = mrc(tmp_path / "TS_01__flat.mrc", mask[:1])
    with pytest.raises(InputError, match="single slice"):
        surface(single, tmp_path / "c.surfaces", None, QUICK)
    assert surface(single, tmp_path / "d.surfaces", SurfaceRecipe(close_at_faces=True), QUICK).rows[0]["closed"]


def test_sides_of_a_vesicle(tmp_path: Path) -> None:
    at = np.sqrt(((np.indices((56, 56, 56)) - 27.7) ** 2).sum(0))
    source = mrc(tmp_path / "TS_01__membrane.mrc", (1 / (1 + np.exp(2 * (np.abs(at - 20) - 2.5)))).astype(np.float32))
    areas = {}
    for side in ("both", "outer", "inner", "middle"):
        recipe = SurfaceRecipe(side=side, max_thickness_nm=10, vertex_area_nm2=3)
        found = surface(source, tmp_path / f"{side}.surfaces", recipe, QUICK)
        areas[side] = found.rows[0]["area_nm2"]
        assert found.read(1).closed
    for side, radius in (("outer", 22.5), ("inner", 17.5), ("middle", 20.0)):
        assert np.isclose(areas[side], 4 * np.pi * radius**2, rtol=0.02)
    assert np.isclose(areas["both"], areas["outer"] + areas["inner"], rtol=0.01)


def test_workers_and_a_second_call_give_the_same(tmp_path: Path) -> None:
    source = mrc(tmp_path / "TS_01__membrane.mrc", prediction(5))
    recipe = SurfaceRecipe(threshold=0.6, min_volume_nm3=5)
    options = QUICK.with_(block=(12, 16, 16), memory_limit="1.5GB")
    one = surface(source, tmp_path / "a.surfaces", recipe, options)
    two = surface(source, tmp_path / "b.surfaces", recipe, options.with_(workers=2))
    assert written(one.path) == written(two.path)
    before = written(one.path)
    surface(source, tmp_path / "a.surfaces", recipe, options)  # nothing is left to do
    assert written(one.path) == before
    (one.path / "0001.ply").unlink()
    surface(source, tmp_path / "a.surfaces", recipe, options)  # made again from the source
    assert written(one.path) == before
    surface(source, tmp_path / "a.surfaces", recipe.with_(min_volume_nm3=500), options)
    fewer = open_surfaces(one.path)
    assert set(written(fewer.path)) == {row["file"] for row in fewer.rows} | {"surfaces.csv"}
    assert len(fewer) < len(before) - 1


def test_a_surface_that_does_not_fit_is_refused_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volengine.tasks.surface.description.VERTEX_BYTES", 10**6)
    source = mrc(tmp_path / "TS_01__membrane.mrc", prediction(5))
    with pytest.raises((RunError, MemoryRefusedError), match=r"surface 1 \(\d+ vertices\).*GB.*planned"):
        surface(source, tmp_path / "a.surfaces", SurfaceRecipe(threshold=0.5), QUICK.with_(memory_limit="1GB"))


def test_the_memory_of_kernels_is_below_what_is_planned(tmp_path: Path) -> None:
    values = prediction(1, (48, 48, 48))
    box = Box.of_shape(values.shape)
    objects = Objects("prediction", "x", 0.5).to_json()
    block = Block(0, (0, 0, 0), box, values.shape, {"values": values}, {"values": box}, {})
    found = []
    peaks = {"objects": peak_of(lambda: found.append(objects_block(block, objects)))}
    join = {"seams": {0: seams_block(replace(block, tables={"objects": {0: found[0].table}})).table}}
    cell = join_cell(replace(block, tables=join), [48, 48, 48], 0, "x").table
    number = number_objects(replace(block, tables={"level-1": {0: cell}}), 0, 0).table
    tables = {"number": {0: number}, "level-1": {0: cell}}
    peaks["pieces"] = peak_of(
        lambda: found.append(pieces_block(replace(block, tables=tables), objects, str(tmp_path / "p")))
    )
    assert 0.05 < peaks["objects"] / objects_block_bytes(values.size, 4) < 1
    assert 0.05 < peaks["pieces"] / pieces_block_bytes(values.size, 4) < 1
    tables = {"number": {0: number}, "pieces": {0: found[1].table}}
    vertices = int(found[1].table["vertices"].max())
    grid = ((10.0,) * 3, (0.0,) * 3, 80.0)
    for wanted in (Finish(*grid), Finish(*grid, vertex_area=400.0), Finish(*grid, split=True)):
        meshes = replace(block, tables=tables)
        peak = peak_of(partial(mesh_surfaces, meshes, wanted.to_json(), str(tmp_path / "p"), str(tmp_path / "m"), 1))
        assert 0.2 < peak / wanted.bytes_for(vertices) < 1, (peak / vertices, wanted)


def peak_of(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 1.0}, "--threshold"),
        ({"vertex_area_nm2": 0.0}, "--vertex-area-nm2 must be positive"),
        ({"min_volume_nm3": -1.0}, "--min-volume-nm3 must be 0 or more"),
        ({"ids": (0,)}, "--ids"),
        ({"ids": (1,), "instances": True}, "leave out one of them"),
        ({"towards_nm": (0, 0, 0)}, "--side outer"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SurfaceRecipe(**fields)


def test_tomograms_and_sets_on_servers_are_refused(tmp_path: Path) -> None:
    source = mrc(tmp_path / "TS_01.mrc", np.full((8, 8, 8), 7.0, np.float32))
    with pytest.raises(InputError, match="prediction holds probabilities"):
        surface(source, tmp_path / "a.surfaces", None, QUICK)
    with pytest.raises(InputError, match="folder of this machine"):
        surface(source, "s3://bucket/a.surfaces", None, QUICK)


def test_a_set_of_another_run_is_kept(tmp_path: Path) -> None:
    mask = np.zeros((12, 12, 12), np.int8)
    ball(mask, (6, 6, 6), 3, 1)
    source = mrc(tmp_path / "TS_01__ball.mrc", mask)
    (tmp_path / "a.surfaces").mkdir()
    (tmp_path / "a.surfaces" / "0009.ply").write_text("precious")
    with pytest.raises(InputError, match=r"is not of this run.*--overwrite"):
        surface(source, tmp_path / "a.surfaces", None, QUICK)
    assert (tmp_path / "a.surfaces" / "0009.ply").read_text() == "precious"
    assert len(surface(source, tmp_path / "a.surfaces", None, QUICK.with_(overwrite=True))) == 1
    assert not (tmp_path / "a.surfaces" / "0009.ply").exists()


def test_genus_holes_and_islands_are_in_the_table(tmp_path: Path) -> None:
    z, y, x = np.indices((20, 44, 44)) - np.array([9.7, 21.7, 21.7])[:, None, None, None]
    ring = (np.hypot(y, x) - 13) ** 2 + z**2 < 14
    shell = np.abs(np.sqrt(z**2 + y**2 + x**2) - 5) < 1.5
    source = mrc(tmp_path / "TS_01__both.mrc", (ring | shell).astype(np.int8))
    found = surface(source, tmp_path / "a.surfaces", None, QUICK)
    assert [(row["genus"], row["islands"], row["border_loops"]) for row in found.rows] == [(1, 1, 0), (0, 2, 0)]
    one = found.read(1)
    assert shape_of(one.vertices, one.faces)["genus"] == 1


def test_a_vesicle_on_a_sheet_is_divided_for_any_blocks(tmp_path: Path) -> None:
    z, y, x = np.indices((40, 60, 60)) - np.array([7.3, 29.7, 29.6])[:, None, None, None]
    vesicle = np.abs(np.sqrt((z - 15) ** 2 + y**2 + x**2) - 11) < 2
    sheet = (np.abs(z) < 2) & (np.hypot(y, x) < 26)
    source = mrc(tmp_path / "TS_01__membrane.mrc", (vesicle | sheet).astype(np.int8))
    recipe = SurfaceRecipe(split=True, max_thickness_nm=8, touch_nm=25)
    whole = surface(source, tmp_path / "a.surfaces", recipe, QUICK)
    blocks = surface(source, tmp_path / "b.surfaces", recipe, QUICK.with_(block=(13, 17, 19)))
    assert written(whole.path) == written(blocks.path)
    assert np.allclose([row["area_nm2"] for row in whole.rows], [4700, 3140], rtol=0.08)
    assert len(surface(source, tmp_path / "c.surfaces", recipe.with_(touch_nm=5), QUICK)) == 1


def test_vesicles_that_touch_are_divided_and_numbered_together(tmp_path: Path) -> None:
    z, y, x = np.indices((30, 30, 80)) - np.array([14.7, 14.7, 0.0])[:, None, None, None]
    away = [np.sqrt(z**2 + y**2 + (x - c) ** 2) for c in (14.2, 36.2, 64.2)]
    mask = np.any([np.abs(a - 10) < 2 for a in away], axis=0)
    source = mrc(tmp_path / "TS_01__vesicle.mrc", mask.astype(np.int8))
    whole = surface(source, tmp_path / "a.surfaces", None, QUICK)
    assert [row["islands"] for row in whole.rows] == [3, 2]
    found = surface(source, tmp_path / "b.surfaces", SurfaceRecipe(split=True), QUICK.with_(block=(16, 16, 16)))
    assert [(row["number"], row["islands"], row["border_loops"]) for row in found.rows] == [
        (1, 2, 1),
        (2, 2, 1),
        (3, 2, 0),
    ]
    middle = SurfaceRecipe(split=True, side="middle", max_thickness_nm=7)
    found = surface(source, tmp_path / "c.surfaces", middle, QUICK)
    assert len(found) == 3
    assert np.isclose(found.rows[2]["area_nm2"], 4 * np.pi * 100, rtol=0.03)


def test_a_split_says_how_many_were_divided(tmp_path: Path) -> None:
    z, y, x = np.indices((24, 24, 62)) - np.array([11.7, 11.7, 0.0])[:, None, None, None]
    away = [np.sqrt(z**2 + y**2 + (x - c) ** 2) for c in (11.2, 29.2, 50.2)]
    for name, which, said in (
        ("a", (0, 1, 2), "; 1 object divided into 2 surfaces"),
        ("b", (2,), "; no object was divided (--split)"),
    ):
        mask = np.any([np.abs(away[k] - 8) < 2 for k in which], axis=0)
        source = mrc(tmp_path / f"{name}__vesicle.mrc", mask.astype(np.int8))
        surface(source, tmp_path / f"{name}.surfaces", SurfaceRecipe(split=True), QUICK)
        with pytest.raises(MissingError, match=rf"Is .*{name}\.surfaces\.run meant\?"):
            status(str(tmp_path / f"{name}.surfaces"))
        assert said in json.dumps(json.loads((tmp_path / f"{name}.surfaces.run" / "report.json").read_text()))


def test_a_file_in_the_place_of_a_set_is_refused_before_anything_runs(tmp_path: Path) -> None:
    mask = np.zeros((12, 12, 12), np.int8)
    ball(mask, (6, 6, 6), 4, 1)
    source = mrc(tmp_path / "TS_01__ball.mrc", mask)
    for out in ("a.surfaces", "folder", "folder/deeper"):
        (tmp_path / out.partition("/")[0]).write_text("mine")
        with pytest.raises(InputError, match=rf"--out .*{out.partition('/')[0]} is a file"):
            surface(source, tmp_path / out, None, QUICK)
        assert not (tmp_path / f"{out}.run").exists()


def test_of_a_folder_of_labels_only_those_of_the_tomogram_are_opened(tmp_path: Path) -> None:
    z, y, x = np.indices((24, 24, 24)) - 11.6
    away = np.sqrt(z**2 + y**2 + x**2)
    source = mrc(tmp_path / "TS_01__membrane.mrc", (np.abs(away - 8) < 2).astype(np.int8))
    folder = tmp_path / "cells"
    folder.mkdir()
    mrc(folder / "TS_01__cell.mrc", (away < 4).astype(np.int8))
    (folder / "TS_02__cell.mrc").write_bytes(b"no volume")
    recipe = SurfaceRecipe(side="outer", towards=f"1={folder}", max_thickness_nm=7)
    (row,) = surface(source, tmp_path / "a.surfaces", recipe, QUICK).rows
    assert row["area_nm2"] < 4 * np.pi * 8**2  # the face towards the middle is the outer one
    mrc(folder / "TS_01__other.mrc", (away < 4).astype(np.int8))
    with pytest.raises(InputError, match="names 2 volumes of tomogram 'TS_01'"):
        surface(source, tmp_path / "b.surfaces", recipe, QUICK)


def test_the_last_line_says_why_objects_have_no_surface(tmp_path: Path) -> None:
    mask = np.zeros((24, 24, 80), np.int8)
    at = np.indices(mask.shape)
    mask[np.abs(np.sqrt((at[0] - 12) ** 2 + (at[1] - 12) ** 2 + (at[2] - 12.0) ** 2) - 8) < 2] = 1
    for x, radius in ((35, 6), (52, 4), (66, 2)):
        ball(mask, (12, 12, x), radius, 1)
    mask[0, 3:9, 74:79] = 1
    source = mrc(tmp_path / "TS_01__membrane.mrc", mask)

    def line(name: str, **fields: Any) -> str:
        surface(source, tmp_path / f"{name}.surfaces", SurfaceRecipe(**fields), QUICK)
        report = json.loads((tmp_path / f"{name}.surfaces.run" / "report.json").read_text())
        return json.dumps(report, ensure_ascii=False)

    found = line("a", side="middle", max_thickness_nm=7, largest=4)
    assert "1 surface of 5 objects: " in found
    assert (
        "; 1 object smaller than the 4 largest; 3 objects with no two faces at most 7 nm apart (--side middle" in found
    )
    found = line("b", min_area_nm2=100)
    assert "3 surfaces of 5 objects: " in found
    assert "; 2 surfaces of a smaller area dropped (--min-area-nm2)" in found
    assert "4 surfaces of 4 objects of 31 nm³ or more: " in line("c", min_volume_nm3=31, close_at_faces=True)
    source = mrc(tmp_path / "TS_02__all.mrc", np.ones((9, 9, 9), np.int8))
    assert "0 surfaces of 1 object; 1 object with no surface, because the volume ends in it" in line("d")
    found = line("e", close_at_faces=True, smooth_nm=0)
    assert "1 surface of 1 object: " in found


def test_shapes_at_the_limits(tmp_path: Path) -> None:
    """Nothing, everything, one voxel thick, touching all faces, voxels that are no cubes: right, or an empty set."""
    made = {}
    shell = np.ones((12, 13, 14), np.int8)
    shell[1:-1, 1:-1, 1:-1] = 0
    plane = np.zeros((12, 13, 14), np.int8)
    plane[5] = 1
    for name, mask in (("none", 0 * plane), ("all", 0 * plane + 1), ("shell", shell), ("plane", plane)):
        source = mrc(tmp_path / f"TS_01__{name}.mrc", mask)
        for closed in (False, True):
            recipe = SurfaceRecipe(close_at_faces=closed, smooth_nm=0)
            made[name, closed] = surface(source, tmp_path / f"{name}{closed}.surfaces", recipe, QUICK).rows
    assert made["none", False] == made["none", True] == made["all", False] == []
    (whole,) = made["all", True]
    assert whole["closed"]
    assert np.isclose(whole["volume_nm3"], 12 * 13 * 14, rtol=0.02)  # the edges of the box are cut
    (inner,) = made["shell", False]  # the volume ends in the outside
    assert (inner["closed"], inner["islands"]) == (True, 1)
    assert made["shell", True][0]["islands"] == 2
    (sheet,) = made["plane", False]
    assert (sheet["islands"], sheet["border_loops"], sheet["closed"]) == (2, 2, False)
    assert np.isclose(sheet["area_nm2"], 2 * 12 * 13)
    assert made["plane", True][0]["closed"]
