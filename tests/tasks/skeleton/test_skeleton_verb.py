"""skeleton: blocks equal the whole, what is read as what, labels that stay, lines of known filaments, their graph."""

from __future__ import annotations

import re
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.io.amira.graph import read_spatial_graph
from volengine.ops.skeleton import single_layer, surface_skeleton
from volengine.tasks.skeleton.recipe import SkeletonRecipe

SIZE, ORIGIN = (10.0, 10.0, 10.0), (100.0, 0.0, -50.0)


def write(path: Path, values: np.ndarray, size: tuple[float, float, float] = SIZE) -> str:
    with mrcfile.new(path) as file:
        file.set_data(values)
        file.voxel_size = size[::-1]
        file.header.origin.z, file.header.origin.y, file.header.origin.x = ORIGIN
    return str(path)


def shell(shape: tuple[int, int, int] = (70, 80, 90)) -> np.ndarray:
    z, y, x = np.indices(shape)
    return np.abs(np.sqrt((z - 34) ** 2 + (y - 40) ** 2 + (x - 45) ** 2) - 28) <= 2.5


def thinned(source: str, out: Path, *, block: tuple[int, int, int] | None = None, **fields: object) -> np.ndarray:
    recipe = SkeletonRecipe(**fields)  # type: ignore[arg-type]
    store = volengine.skeleton(source, out, recipe, RunOptions(block=block, progress=False))
    return volengine.open_volume(store).read()


@pytest.mark.parametrize("layers", ["one", "ridge"])
def test_blocks_equal_the_whole(tmp_path: Path, layers: str) -> None:
    mask = shell()
    source = write(tmp_path / "m.mrc", mask.astype(np.int8))
    found = thinned(source, tmp_path / "a.ome.zarr", block=(64, 64, 64), input="mask", layers=layers)
    whole = np.zeros(mask.shape, bool)
    if layers == "ridge":
        whole = surface_skeleton(mask)
    else:
        whole[tuple(single_layer(mask).place.T)] = True
    np.testing.assert_array_equal(found, whole)
    part = thinned(source, tmp_path / "b.ome.zarr", input="mask", layers=layers, roi="20:60,10:70,5:80")
    np.testing.assert_array_equal(part, whole[20:60, 10:70, 5:80])
    assert volengine.open_volume(tmp_path / "b.ome.zarr").origin == (300.0, 100.0, 0.0)


def test_probabilities_and_masks_are_read_as_what_they_are(tmp_path: Path) -> None:
    mask = shell()
    want = thinned(write(tmp_path / "m.mrc", mask.astype(np.int8)), tmp_path / "m.ome.zarr")
    grey = np.where(mask, 0.8, 0.3).astype(np.float32)
    found = thinned(write(tmp_path / "p.mrc", grey), tmp_path / "p.ome.zarr")
    np.testing.assert_array_equal(found, want)
    assert not thinned(write(tmp_path / "q.mrc", grey), tmp_path / "q.ome.zarr", threshold=0.9).any()
    percent = write(tmp_path / "r.mrc", (100 * grey).astype(np.float32))
    np.testing.assert_array_equal(thinned(percent, tmp_path / "r.ome.zarr", scale=100.0), want)
    with pytest.raises(InputError, match="80"):
        thinned(percent, tmp_path / "s.ome.zarr")


def test_the_area_is_told_with_the_size_from_which_it_is_right(tmp_path: Path) -> None:
    z, y, x = np.indices((40, 40, 40))
    wall = np.abs(np.sqrt((z - 19.6) ** 2 + (y - 20.3) ** 2 + (x - 19.9) ** 2) - 14) <= 2
    for name, mask in (("wall", wall), ("none", np.zeros_like(wall))):
        source = write(tmp_path / f"{name}.mrc", mask.astype(np.int8))
        out = str(tmp_path / f"{name}.ome.zarr")
        told = CliRunner().invoke(cli, ["skeleton", source, "--input", "mask", "--out", out, "--no-progress"])
        assert told.exit_code == 0, told.output
        areas = re.findall(r"about (\S+) nm2 \(less exact .* 13 voxels .* thinner than 3\)", told.output)
        assert [float(area) for area in areas] == pytest.approx([4 * np.pi * 14**2] if name == "wall" else [], rel=0.03)


def test_labels_keep_their_numbers(tmp_path: Path) -> None:
    labels = np.zeros((40, 50, 60), np.int16)
    labels[10:15], labels[24:29] = 7, 300
    source = write(tmp_path / "l.mrc", labels)
    found = thinned(source, tmp_path / "a.ome.zarr", input="mask")
    assert found.dtype == np.int16
    assert sorted({*found[:, 20, 20].tolist()}) == [0, 7, 300]
    assert found[12, 5, 5] == 7
    assert found[26, 5, 5] == 300
    only = thinned(source, tmp_path / "b.ome.zarr", labels=(300,))
    assert np.unique(only).tolist() == [0, 300]
    labels[0, 0, 0] = -1
    with pytest.raises(InputError, match="holds -1; masks and labels are 0 and more"):
        thinned(write(tmp_path / "n.mrc", labels), tmp_path / "c.ome.zarr", input="mask")


def tubes() -> np.ndarray:
    """A Y in one plane: arms of 40, 45 and 50 voxels from (20, 60, 60), radius 3; and a ring of radius 15, at z 50."""
    z, y, x = np.indices((60, 120, 120))
    mask = np.zeros(z.shape, bool)
    for length, angle in ((40, 90), (45, 210), (50, 330)):
        along = np.array([0, np.sin(np.radians(angle)), np.cos(np.radians(angle))])
        t = np.clip((y - 60) * along[1] + (x - 60) * along[2], 0, length)
        mask |= (z - 20) ** 2 + (y - 60 - t * along[1]) ** 2 + (x - 60 - t * along[2]) ** 2 <= 9
    mask |= (z - 50) ** 2 + (np.hypot(y - 30, x - 30) - 15) ** 2 <= 9
    return mask


def test_lines_of_a_fork_and_a_ring(tmp_path: Path) -> None:
    source = write(tmp_path / "f.mrc", tubes().astype(np.int8))
    recipe = SkeletonRecipe(input="mask", lines=True, min_length_nm=10)
    out = volengine.skeleton(source, tmp_path / "lines.csv", recipe, RunOptions(progress=False))
    lines = pd.read_csv(out)
    arms, rings = lines[lines["closed"] == 0], lines[lines["closed"] == 1]
    assert sorted(arms["length_nm"].tolist()) == pytest.approx([43, 48, 53], abs=1)  # with their round ends
    assert rings["length_nm"].tolist() == pytest.approx([2 * np.pi * 15], rel=0.03)
    assert rings["mean_curvature_per_nm"].tolist() == pytest.approx([1 / 15], rel=0.03)
    assert sorted(arms[["begin_lines", "end_lines"]].to_numpy().ravel()) == [1, 1, 1, 3, 3, 3]
    assert rings[["begin_node", "end_node", "begin_lines"]].to_numpy().tolist() == [[0, 0, 0]]
    assert arms["component"].nunique() == 1
    points = pd.read_csv(tmp_path / "lines.points.csv")
    index = points[["z_vox", "y_vox", "x_vox"]].to_numpy()
    np.testing.assert_allclose(points[["z_a", "y_a", "x_a"]], index * 10 + ORIGIN, rtol=1e-6, atol=1e-3)
    ring = points["line"].isin(rings["line"])
    np.testing.assert_allclose(np.hypot(index[ring, 1] - 30, index[ring, 2] - 30), 15, atol=0.3)
    np.testing.assert_allclose(index[ring, 0], 50, atol=0.2)
    graph = read_spatial_graph(tmp_path / "lines.am")
    assert graph.angstrom == 1.0
    assert sorted(np.bincount(graph.edges.ravel()).tolist()) == [1, 1, 1, 2, 3]
    meeting = np.bincount(graph.edges.ravel()).argmax()
    np.testing.assert_allclose(graph.vertices[meeting], np.array([20, 60, 60]) * 10 + ORIGIN, atol=30)
    np.testing.assert_allclose(graph.columns["EDGE"]["length_nm"], lines["length_nm"], rtol=1e-6)
    for (a, b), line in zip(graph.edges, graph.lines, strict=True):
        np.testing.assert_allclose(line[[0, -1]], graph.vertices[[a, b]], atol=1e-3)


def test_the_wall_of_a_vesicle_has_no_line_and_that_is_told(tmp_path: Path) -> None:
    z, y, x = np.indices((60, 120, 120))
    wall = np.abs(np.sqrt((z - 30.0) ** 2 + (y - 95) ** 2 + (x - 25) ** 2) - 20) <= 1.5
    tables = []
    for name, mask in (("alone", tubes()), ("beside", tubes() | wall)):
        out = tmp_path / f"{name}.csv"
        source = write(tmp_path / f"{name}.mrc", mask.astype(np.int8))
        told = CliRunner().invoke(cli, ["skeleton", str(source), "--input", "mask", "--lines", "--out", str(out)])
        assert told.exit_code == 0
        assert ("1 component is a closed wall" in told.output) == (name == "beside")
        tables.append(pd.read_csv(out).drop(columns=["line", "component"]))
    pd.testing.assert_frame_equal(*tables)


def test_lines_do_not_depend_on_blocks(tmp_path: Path) -> None:
    source = write(tmp_path / "f.mrc", tubes().astype(np.int8))
    recipe = SkeletonRecipe(input="mask", lines=True)
    texts = []
    for number, block in enumerate((None, (64, 64, 64))):
        out = tmp_path / f"{number}.csv"
        volengine.skeleton(source, out, recipe, RunOptions(progress=False, block=block))
        texts.append([out.with_suffix(ending).read_bytes() for ending in (".csv", ".points.csv", ".am")])
    assert texts[0] == texts[1]


def test_a_helix_and_other_sides_of_voxels(tmp_path: Path) -> None:
    """Radius 20 and pitch 60 (nm): curvature 20 / (20² + (60 / 2π)²); two turns; voxels of 2 · 1 · 1 nm."""
    turn = np.linspace(0, 4 * np.pi, 4000)
    rise = 60 / (2 * np.pi)
    curve = np.stack([6 + rise * turn, 30 + 20 * np.sin(turn), 30 + 20 * np.cos(turn)], axis=1)
    from scipy.spatial import cKDTree

    places = np.stack(np.indices((66, 60, 60)), -1).reshape(-1, 3) * [2.0, 1, 1]
    mask = (cKDTree(curve).query(places, distance_upper_bound=4)[0] <= 3).reshape(66, 60, 60)
    source = write(tmp_path / "h.mrc", mask.astype(np.int8), (20.0, 10.0, 10.0))
    recipe = SkeletonRecipe(input="mask", lines=True)
    out = volengine.skeleton(source, tmp_path / "h.csv", recipe, RunOptions(progress=False))
    (line,) = pd.read_csv(out).to_dict("records")
    assert line["length_nm"] == pytest.approx(4 * np.pi * np.hypot(20, rise), rel=0.03)
    assert line["mean_curvature_per_nm"] == pytest.approx(20 / (400 + rise**2), rel=0.03)


def test_no_lines_make_empty_tables(tmp_path: Path) -> None:
    source = write(tmp_path / "e.mrc", np.zeros((20, 30, 40), np.int8))
    recipe = SkeletonRecipe(input="mask", lines=True)
    out = volengine.skeleton(source, tmp_path / "e.csv", recipe, RunOptions(progress=False))
    assert len(pd.read_csv(out)) == 0
    assert read_spatial_graph(tmp_path / "e.am").lines == ()
    assert not thinned(source, tmp_path / "e.ome.zarr", input="mask").any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 1.0}, "threshold is 1"),
        ({"labels": (0,)}, "1 and more"),
        ({"input": "probability", "labels": (1,)}, "probabilities have none"),
        ({"input": "mask", "scale": 255.0}, "a mask has none"),
        ({"step_nm": 0.0}, "must be positive"),
    ],
)
def test_recipes_that_make_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SkeletonRecipe(**fields)  # type: ignore[arg-type]


def test_outputs_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "m.mrc", np.zeros((8, 8, 8), np.int8))
    with pytest.raises(InputError, match="lines need --lines"):
        volengine.skeleton(source, tmp_path / "a.csv", SkeletonRecipe())
    with pytest.raises(InputError, match="lines are a table"):
        volengine.skeleton(source, tmp_path / "a.zarr", SkeletonRecipe(lines=True))
