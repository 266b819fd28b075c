"""pick --filament: points along filaments, the same for any blocks, with tangent, twist and curvature."""

from __future__ import annotations

import json
import shutil

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial import cKDTree

from volengine.cli.main import cli
from volengine.core.block import Block
from volengine.core.boxes import Box
from volengine.core.errors import InputError, MemoryRefusedError
from volengine.core.orientation import euler_to_matrix
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.io.picks import read_picks
from volengine.ops.filaments import sheets_said
from volengine.tasks.common import cells
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.pick.blocks import filament_voxels
from volengine.tasks.pick.filament_blocks import trace_cell
from volengine.tasks.pick.filaments import SHEET, WALL, FilamentRules, traced
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.verb import pick

QUIET = RunOptions(progress=False)
SHAPE = (48, 96, 80)
PIXEL = 10.0
RADIUS = 3
RECIPE = PickRecipe(filament=True, spacing_nm=5, min_length_nm=20, labels=False)


def curves():
    t = np.linspace(0, 1, 4000)[:, None]
    rod = np.array([10.0, 8, 10]) + t * np.array([2.0, 78, 14])
    angle = 2 * np.pi * t[:, 0] * 0.8
    arc = np.stack([30 + 10 * t[:, 0], 50 + 28 * np.sin(angle), 48 + 24 * np.cos(angle)], 1)
    return rod, arc


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two filaments as probabilities, in small chunks: (store, plain file)."""
    folder = tmp_path_factory.mktemp("filament")
    voxels = np.stack(np.indices(SHAPE), -1).reshape(-1, 3)
    far = cKDTree(np.concatenate(curves())).query(voxels)[0].reshape(SHAPE)
    with mrcfile.new(folder / "T1__actin.mrc") as file:
        file.set_data(np.where(far <= RADIUS, 0.9, 0.1).astype(np.float32))
        file.voxel_size = PIXEL
    out = folder / "T1__actin.ome.zarr"
    made = ConvertRecipe(chunk=(16, 16, 16), shard=(16, 16, 16), levels=1, kind="probability")
    convert(str(folder / "T1__actin.mrc"), str(out), made, QUIET)
    return str(out), str(folder / "T1__actin.mrc")


def with_caps(curve):
    """A curve that goes on straight to the ends of the round caps of its tube."""
    first, last = curve[0] - curve[1], curve[-1] - curve[-2]
    far = np.linspace(0.01, RADIUS, 300)[:, None]
    begin, end = (far * way / np.linalg.norm(way) for way in (first, last))
    return np.concatenate([curve[0] + begin[::-1], curve, curve[-1] + end])


def points(source, out, recipe=RECIPE, options=QUIET):
    return pick(source, str(out), recipe, options)


def test_points_lie_on_the_centrelines_with_tangents_and_numbers(store, tmp_path):
    rod, arc = (with_caps(curve) for curve in curves())
    found = points(store[0], tmp_path / "p.csv")
    assert set(found.extra["filament"]) == {1, 2}
    for number in (1, 2):
        mine = found[found.extra["filament"] == number]
        curve = next(c for c in (rod, arc) if cKDTree(c).query(mine.position_vox)[0].max() < 0.5)
        steps = np.linalg.norm(np.diff(mine.position_vox, axis=0), axis=1)
        np.testing.assert_allclose(steps, 5.0, rtol=0.01)  # 5 nm are 5 voxels of 10 angstrom
        np.testing.assert_allclose(mine.extra["along_nm"], 5.0 * np.arange(len(mine)), atol=1e-6)
        length = np.linalg.norm(np.diff(curve, axis=0), axis=1).sum()
        np.testing.assert_allclose(mine.extra["length_nm"], length, rtol=0.02)
        assert length - 5 < mine.extra["along_nm"][-1] + 0.02 * length
        at = cKDTree(curve).query(mine.position_vox)[1][2:-2]
        slope = np.gradient(curve, axis=0)[at]
        slope /= np.linalg.norm(slope, axis=1)[:, None]
        assert np.abs(np.einsum("ij,ij->i", slope, mine.normal[2:-2])).min() > np.cos(np.radians(2))
        assert len(set(mine.label)) == 1
        bend = mine.extra["curvature_radius_nm"]
        if curve is rod:
            assert bend.min() > 200
        else:  # an ellipse of 24 and 28 nm, on a slope
            assert 20 < bend.min() < bend.max() < 35


def test_the_result_is_the_same_for_any_blocks(store, tmp_path):
    whole = points(store[0], tmp_path / "whole.csv", options=RunOptions(progress=False, block=SHAPE))
    assert len(whole) > 30
    for n, block in enumerate([(16, 16, 16), (32, 48, 16), (48, 16, 80)]):
        blocked = points(store[0], tmp_path / f"{n}.csv", options=RunOptions(progress=False, block=block))
        assert blocked == whole
        assert (tmp_path / f"{n}.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    plain = points(store[1], tmp_path / "plain.csv")
    np.testing.assert_array_equal(plain.position_vox, whole.position_vox)


@pytest.mark.parametrize(("radius", "length"), [(3, 40), (5.5, 80), (8, 200)])
@pytest.mark.parametrize("way", [(0, 0, 1), (0, 1, 1), (3, 5, -4)])
def test_lengths_are_those_of_tubes_up_to_their_flat_ends(radius, length, way):
    axis = np.array(way) / np.linalg.norm(way)
    shape = tuple(np.ceil(length * np.abs(axis) + 2 * radius + 6).astype(int))
    away = np.stack(np.indices(shape), -1) - (np.array(shape) / 2 - [0.4, 0.6, 0.3])
    along = away @ axis
    tube = (np.abs(along) <= length / 2) & (np.linalg.norm(away - along[..., None] * axis, axis=-1) <= radius)
    index = np.random.default_rng(0).permutation(np.argwhere(tube))
    rules = FilamentRules((1, 1, 1), 0.5, 4.0, 20.0, 0.0, (0, 0, 0))
    found, _ = traced(np.ones(len(index), np.int64), index, shape, rules)
    np.testing.assert_allclose(found["length_nm"], 0.5 * length, rtol=0.03)
    ends = (found["position_vox"][0] - (np.array(shape) / 2 - [0.4, 0.6, 0.3])) @ axis
    assert abs(abs(ends) - length / 2) < 0.03 * length / 2 + 0.3  # the first point lies at an end


def test_labels_are_those_of_the_components(store, tmp_path):
    found = points(store[1], tmp_path / "p.csv", RECIPE.with_(labels=True))
    labels = open_source(open_volume(str(tmp_path / "p.csv.ome.zarr"), group="labels/actin")).read(Box.of_shape(SHAPE))
    at = tuple(np.rint(found.position_vox).astype(int).T)
    np.testing.assert_array_equal(labels[at], found.label)
    assert set(np.unique(labels)) == {0, 1, 2}


def test_workers_give_the_same(store, tmp_path):
    whole = points(store[0], tmp_path / "a.csv")
    options = RunOptions(progress=False, cluster="local", workers=2, memory_limit="2GB", block=(16, 48, 48))
    assert points(store[0], tmp_path / "b.csv", options=options) == whole


def test_the_twist_turns_about_the_tangent(store, tmp_path):
    found = points(store[0], tmp_path / "p.csv", RECIPE.with_(twist_deg=-166.7))
    for number in (1, 2):
        mine = found[found.extra["filament"] == number]
        turns = (mine.euler[:, 0] - -166.7 * np.arange(len(mine))) / 360
        np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
        axis = euler_to_matrix(mine.euler) @ [0, 0, 1]  # x, y, z of the particle's own axis
        np.testing.assert_allclose(axis[:, ::-1], mine.normal, atol=1e-6)
    assert -180 <= found.euler[:, 0].min() <= found.euler[:, 0].max() < 180


def test_a_star_file_holds_the_angles_and_columns(store, tmp_path):
    table = points(store[0], tmp_path / "p.csv")
    points(store[0], tmp_path / "p.star")
    star = read_picks(tmp_path / "p.star", voxel_size=(PIXEL,) * 3, shape=SHAPE)
    np.testing.assert_allclose(star.position_vox, table.position_vox, atol=1e-4)
    np.testing.assert_allclose(star.euler, table.euler, atol=1e-3)


def test_margin_and_least_number_count_points(store, tmp_path):
    every = points(store[0], tmp_path / "all.csv")
    inner = points(store[0], tmp_path / "inner.csv", RECIPE.with_(margin_vox=(0, 30, 0)))
    keep = (every.position_vox[:, 1] >= 30) & (every.position_vox[:, 1] <= SHAPE[1] - 31)
    np.testing.assert_array_equal(inner.position_vox, every[keep].position_vox)
    assert 0 < len(inner) < len(every)
    assert len(points(store[0], tmp_path / "few.csv", RECIPE.with_(min_picks=len(every) + 1))) == 0


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (".mod", "imod holds no more, so their directions are lost"),
        (".txt", "ais-tsv holds no more, so positions are rounded to whole voxels and their directions are lost"),
        (".star", ""),
    ],
)
def test_what_the_table_does_not_hold_is_said(store, tmp_path, ending, told):
    arguments = ["pick", store[1], "--out", str(tmp_path / f"p{ending}"), "--filament", "--no-labels"]
    said = CliRunner().invoke(cli, [*arguments, "--spacing-nm", "5", "--min-length-nm", "20"])
    assert said.exit_code == 0, said.output
    assert told in said.output
    assert ("holds no more" in said.output) == bool(told)
    if ending == ".mod":
        back = read_picks(tmp_path / "p.mod")
        assert set(back.extra["contour"]) == {1, 2}


def test_no_filament_is_said_with_its_reason(store, tmp_path):
    arguments = ["pick", store[1], "--out", str(tmp_path / "p.star"), "--filament", "--no-labels"]
    told = CliRunner().invoke(cli, [*arguments, "--min-length-nm", "1000"])
    assert told.exit_code == 0
    assert "0 picks, because no region above the threshold of 0.5" in told.output
    assert "holds a filament of --min-length-nm" in told.output


def test_components_that_are_sheets_are_counted():
    z, y, _ = np.indices((12, 30, 90))
    rod, sheet = (z - 5) ** 2 + (y - 5) ** 2 <= 4, (z == 10) & (y > 9)
    index = np.concatenate([np.argwhere(rod), np.argwhere(sheet)])
    label = np.repeat([1, 2], [np.count_nonzero(rod), np.count_nonzero(sheet)])
    _, components = traced(label, index, rod.shape, FilamentRules((1, 1, 1), 1.0, 5.0, 10.0, 0.0, (0, 0, 0)))
    assert components[WALL].tolist() == [0, 0]
    assert components[SHEET].tolist() == [0, 1]
    assert "2 components are walls, sheets or filaments side by side" in sheets_said(2)


def test_the_wall_of_a_vesicle_is_no_filament_and_that_is_told(tmp_path, monkeypatch):
    z, y, x = np.indices(SHAPE)
    rod = ((z - 6) ** 2 + (x - 8) ** 2 <= 9) & (y > 5) & (y < 90)
    wall = np.abs(np.sqrt((z - 26.0) ** 2 + (y - 50) ** 2 + (x - 50) ** 2) - 18) <= 1.5
    source = tmp_path / "T1__actin.mrc"
    with mrcfile.new(source) as file:
        file.set_data(np.where(rod | wall, 0.9, 0.1).astype(np.float32))
        file.voxel_size = PIXEL
    made = ConvertRecipe(chunk=(16, 16, 16), shard=(16, 16, 16), levels=1, kind="probability")
    convert(str(source), str(tmp_path / "T1__actin.ome.zarr"), made, QUIET)
    monkeypatch.setattr(cells, "CELL_PARTS", 4)
    for name, options in (("whole", QUIET), ("tree", QUIET.with_(block=(16, 16, 16)))):
        found = points(tmp_path / "T1__actin.ome.zarr", tmp_path / name / "p.csv", options=options)
        assert set(found.extra["filament"]) == {1}
        (told,) = json.loads((tmp_path / name / "p.csv.run" / "report.json").read_text())["plans"].values()
        assert any("1 component is a closed wall" in line for line in told["made"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"spacing_nm": 0.0}, "--spacing-nm"),
        ({"mode": "2d"}, "leave out --mode 2d"),
        ({"position": "maximum"}, "leave out --position maximum"),
        ({"orient": "normal"}, "leave out --orient normal"),
        ({"filament": False, "twist_deg": 10.0}, "add --filament"),
        ({"twist_deg": float("nan")}, "--twist-deg"),
        ({"min_length_nm": -1.0}, "--min-length-nm"),
    ],
)
def test_what_does_not_fit_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        RECIPE.with_(**fields)


def test_filaments_that_do_not_fit_into_the_memory_are_refused_before_they_are_gathered():
    tables = {"resolve": {0: {"pick.size_vox": np.array([10**9, 2 * 10**9])}}}
    block = Block(0, (0, 0, 0), Box.of_shape((8, 8, 8)), (8, 8, 8), {}, {}, tables)
    with pytest.raises(MemoryRefusedError, match=r"3000000000 voxels, which need 180\.00 GB together; 1\.00 GB"):
        filament_voxels(block, memory_bytes=1e9)


@pytest.fixture(scope="module")
def fibres(tmp_path_factory):
    """Rods of any direction: short and long ones, some crossing, some at the faces."""
    folder, rng = tmp_path_factory.mktemp("fibres"), np.random.default_rng(3)
    t = np.linspace(0, 1, 400)[:, None]
    ends = rng.random((9, 2, 3)) * SHAPE
    ends[:4, 1] = ends[:4, 0] + rng.normal(size=(4, 3)) * 12
    voxels = np.stack(np.indices(SHAPE), -1).reshape(-1, 3)
    far = cKDTree(np.concatenate([a + t * (b - a) for a, b in ends])).query(voxels)[0].reshape(SHAPE)
    with mrcfile.new(folder / "T1__actin.mrc") as file:
        file.set_data(np.where(far <= 2, 0.9, 0.1).astype(np.float32))
        file.voxel_size = PIXEL
    made = ConvertRecipe(chunk=(16, 16, 16), shard=(16, 16, 16), levels=1, kind="probability")
    convert(str(folder / "T1__actin.mrc"), str(folder / "T1__actin.ome.zarr"), made, QUIET)
    return folder / "T1__actin.ome.zarr"


@pytest.mark.parametrize(
    ("parts", "changes"),
    [
        (2, {}),
        (8, {}),
        (4, {"margin_vox": (3, 12, 3)}),
        (8, {"min_picks": 10_000}),
        (8, {"labels": True}),
        (4, {"roi": "5:40,:,10:70"}),
    ],
)
def test_a_tree_traces_what_the_whole_gives(fibres, tmp_path, monkeypatch, parts, changes):
    recipe = RECIPE.with_(min_length_nm=6, **changes)
    stores = [tmp_path / kind / fibres.name for kind in ("whole", "tree")]
    for one in stores:
        shutil.copytree(fibres, one)
    whole = points(stores[0], tmp_path / "whole" / "p.csv", recipe)
    monkeypatch.setattr(cells, "CELL_PARTS", parts)
    tree = points(stores[1], tmp_path / "tree" / "p.csv", recipe, QUIET.with_(block=(16, 16, 16)))
    (plan,) = (tmp_path / "tree" / "p.csv.run" / "plans").iterdir()
    assert "pick-actin-trace-2" in {stage["name"] for stage in json.loads((plan / "plan.json").read_text())["stages"]}
    assert (tmp_path / "tree" / "p.csv").read_bytes() == (tmp_path / "whole" / "p.csv").read_bytes()
    if "min_picks" in changes:
        assert len(tree) == len(whole) == 0
        (made,) = json.loads((tmp_path / "tree" / "p.csv.run" / "report.json").read_text())["plans"].values()
        assert any("fewer than --min-picks" in line for line in made["made"])
    else:
        assert len(set(tree.extra["filament"])) > (1 if "roi" in changes else 4)
    if "labels" in changes:
        one, other = (
            open_source(open_volume(store, group="labels/actin")).read(Box.of_shape(SHAPE)) for store in stores
        )
        np.testing.assert_array_equal(one, other)
        assert one.any()


def test_a_filament_that_does_not_fit_into_a_cell_is_refused():
    voxels = {"left.label": np.ones(10**6, np.uint32), "left.index": np.zeros((10**6, 3), np.int32)}
    tables = {"voxels": {0: voxels}, "label": {0: {"pick.label": np.array([1])}}}
    block = Block(0, (0, 0, 0), Box.of_shape((8, 8, 8)), (8, 8, 8), {}, {}, tables)
    with pytest.raises(MemoryRefusedError, match=r"1000000 voxels of components .* need 0\.06 GB together; 0\.01 GB"):
        trace_cell(block, {}, memory_bytes=1e7)
