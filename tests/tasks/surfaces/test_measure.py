"""surfaces measure: columns and table of known shapes, a simulated bilayer, other sets, picks, labels, tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from shapes import ball, cylinder, turned

from volengine.cli.main import cli
from volengine.core.errors import InputError, MissingError
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.picks import write_picks
from volengine.io.surfaces import SurfaceFacts, open_surfaces, write_surface, write_surfaces
from volengine.tasks.surfaces import sampler
from volengine.tasks.surfaces.measure import measure_surfaces
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe

SHAPE, SIZE, ORIGIN = (48, 50, 52), (10.0, 10.0, 10.0), (300.0, -200.0, 1000.0)
CENTRE = np.array([240.0, 250.0, 255.0])
FACTS = SurfaceFacts("TS_01", "OMM", SIZE, ORIGIN, SHAPE)


def moved(surface: Surface, by: np.ndarray, number: int = 0) -> Surface:
    return Surface(surface.vertices + by, surface.faces, number=number)


def write_set(path: Path, *surfaces: Surface, facts: SurfaceFacts = FACTS) -> str:
    write_surfaces(path, [(surface, {"note": "kept"}) for surface in surfaces], facts)
    return str(path)


def write_volume(path: Path, values: np.ndarray, origin: tuple[float, float, float] = ORIGIN) -> str:
    with mrcfile.new(path) as file:
        file.set_data(values)
        file.voxel_size = SIZE[::-1]
        file.header.origin.z, file.header.origin.y, file.header.origin.x = origin
    return str(path)


@pytest.fixture
def vesicle() -> np.ndarray:
    """Two dark leaflets 40 angstrom apart about a radius of 150."""
    z, y, x = np.indices(SHAPE) * 10.0
    radius = np.sqrt((z - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 + (x - CENTRE[2]) ** 2)
    leaves = sum(np.exp(-(((radius - at) / 11) ** 2) / 2) for at in (130, 170))
    return (100 - 30 * leaves).astype(np.float32)


def test_a_ball_in_a_tomogram(tmp_path: Path, vesicle: np.ndarray) -> None:
    source = write_set(tmp_path / "a.surfaces", moved(ball(150.0, 4), CENTRE))
    recipe = SurfacesMeasureRecipe(
        radius_nm=6,
        tomogram=write_volume(tmp_path / "t.mrc", vesicle),
        average_nm=4,
        reach_nm=6,
        csv=str(tmp_path / "csv"),
    )
    made = measure_surfaces(source, tmp_path / "b.surfaces", recipe)
    (row,) = made.rows
    assert row["note"] == "kept"
    assert row["closed"] is True
    assert row["mean_curvature_per_nm_median"] == pytest.approx(1 / 15, rel=0.01)
    assert row["gaussian_curvature_per_nm2_mean"] == pytest.approx(1 / 225, rel=0.02)
    assert row["bilayer_nm_median"] == pytest.approx(4, rel=0.03)
    assert row["bilayer_nm_p95"] == pytest.approx(4, rel=0.06)
    assert abs(row["bilayer_offset_nm_median"]) < 0.1
    assert row["area_nm2"] == pytest.approx(4 * np.pi * 225, rel=0.01)
    assert "border_nm_mean" not in row  # it is closed
    opened = open_surfaces(tmp_path / "b.surfaces")
    assert opened.facts.origin == ORIGIN
    assert opened.facts.history[-1]["verb"] == "surfaces measure"
    surface = opened.read(1)
    np.testing.assert_allclose(
        surface.columns["volume_face_nm"],
        [min(*(p + 5), *(np.array(SHAPE) * 10 - 5 - p)) / 10 for p in surface.vertices],
        atol=1e-3,
    )
    table = pd.read_csv(made.files[0])
    assert table["mean_curvature_VV"].median() == pytest.approx(1 / 15, rel=0.01)
    assert table["thickness"].median() == pytest.approx(4, rel=0.03)
    middle = table[["xyz_z", "xyz_y", "xyz_x"]].mean() * 10
    np.testing.assert_allclose(middle, CENTRE + ORIGIN, atol=1)


def test_cells_change_no_value(tmp_path: Path, vesicle: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_set(tmp_path / "a.surfaces", moved(ball(150.0, 3), CENTRE))
    recipe = SurfacesMeasureRecipe(
        measures=("thickness",), radius_nm=6, tomogram=write_volume(tmp_path / "t.mrc", vesicle), reach_nm=6
    )
    columns = []
    for number, cell in enumerate((64, 7)):
        monkeypatch.setattr(sampler, "CELL", cell)
        measure_surfaces(source, tmp_path / f"{number}.surfaces", recipe)
        columns.append(open_surfaces(tmp_path / f"{number}.surfaces").read(1).columns)
    assert set(columns[0]) == set(columns[1])
    for name in columns[0]:
        np.testing.assert_array_equal(columns[0][name], columns[1][name])


def test_other_surfaces_sets_picks_and_labels(tmp_path: Path) -> None:
    left, right = moved(ball(50.0, 3), CENTRE - [0, 100, 0], 1), moved(ball(50.0, 3), CENTRE - [0, -100, 0], 2)
    source = write_set(tmp_path / "a.surfaces", left, right)
    inner = SurfaceFacts("TS_01", "IMM", SIZE, ORIGIN, SHAPE)
    other = write_set(tmp_path / "i.surfaces", moved(ball(30.0, 4), CENTRE - [0, 100, 0]), facts=inner)
    labels = np.zeros(SHAPE, np.int8)
    labels[:, : round(CENTRE[1] / 10)] = 5
    picks = Picks([(CENTRE - [0, 100, 0]) / 10], SIZE, ORIGIN, SHAPE, "TS_01")
    write_picks(tmp_path / "p.star", picks)
    recipe = SurfacesMeasureRecipe(
        measures=("thickness", "nearest"),
        radius_nm=3,
        max_thickness_nm=20,
        others=(other,),
        picks=str(tmp_path / "p.star"),
        labels=write_volume(tmp_path / "l.mrc", labels),
    )
    made = measure_surfaces(source, tmp_path / "b.surfaces", recipe)
    one, two = (open_surfaces(tmp_path / "b.surfaces").read(n).columns for n in (1, 2))
    assert {*one["nearest_surface"]} == {2}
    assert {*two["nearest_surface"]} == {1}
    assert one["nearest_surface_nm"].min() == pytest.approx(10, abs=0.2)
    np.testing.assert_allclose(one["to_IMM_nm"], 2, atol=0.05)
    assert one["to_IMM_angle_deg"].max() < 6
    np.testing.assert_allclose(one["pick_nm"], 5, rtol=1e-4)
    np.testing.assert_allclose(one["thickness_nm"], 10, rtol=0.02)  # through the ball
    assert {*one["label"]} == {5}
    assert {*two["label"]} == {0}
    assert [row["number"] for row in made.rows] == [1, 2]


def test_an_open_cylinder_has_its_border(tmp_path: Path) -> None:
    pytest.importorskip("pygeodesic")
    tube = cylinder(100.0, 300.0, 15.0)
    source = write_set(tmp_path / "a.surfaces", turned(tube))
    measure_surfaces(source, tmp_path / "b.surfaces", SurfacesMeasureRecipe(measures=("border",)))
    want = np.minimum(tube.vertices[:, 0], 300 - tube.vertices[:, 0]) / 10
    np.testing.assert_allclose(open_surfaces(tmp_path / "b.surfaces").read(1).columns["border_nm"], want, atol=1e-3)


def test_a_surface_without_ways_along_it_is_measured_but_for_its_border(tmp_path: Path) -> None:
    corners = np.array([[0, 0, 0], [0, 0, 90], [0, 90, 0], [90, 0, 0], [0, -90, 0]], float)
    source = write_set(tmp_path / "a.surfaces", Surface(corners, [[0, 1, 2], [0, 1, 3], [0, 1, 4]]))
    made = measure_surfaces(source, tmp_path / "b.surfaces", SurfacesMeasureRecipe(measures=("border", "volume")))
    assert any("more than two faces" in note and "border_nm is empty" in note for note in made.notes)
    columns = open_surfaces(tmp_path / "b.surfaces").read(1).columns
    assert np.isnan(columns["border_nm"]).all()
    assert np.isfinite(columns["volume_face_nm"]).all()


def test_tables_of_surface_morphometrics_come_back(tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.surfaces", moved(ball(150.0, 4), CENTRE))
    first = SurfacesMeasureRecipe(measures=("curvature",), radius_nm=6, csv=str(tmp_path / "csv"))
    made = measure_surfaces(source, tmp_path / "b.surfaces", first)
    second = SurfacesMeasureRecipe(measures=("volume",), morphometrics=made.files[0], max_transfer_nm=1)
    measure_surfaces(tmp_path / "a.surfaces", tmp_path / "c.surfaces", second)
    columns = open_surfaces(tmp_path / "c.surfaces").read(1).columns
    np.testing.assert_allclose(columns["mean_curvature_VV"], 1 / 15, rtol=0.02)
    assert "area" not in columns
    table = pd.read_csv(made.files[0])
    names = {"kappa_1": "row", "kappa_2": "file", "curvedness_VV": "notes"}  # as tables of units call their own columns
    table.rename(columns=names).to_csv(tmp_path / "named.csv", index=False)
    named = second.with_(morphometrics=str(tmp_path / "named.csv"))
    measure_surfaces(tmp_path / "a.surfaces", tmp_path / "e.surfaces", named)
    found = open_surfaces(tmp_path / "e.surfaces").read(1).columns
    for theirs, ours in names.items():
        np.testing.assert_array_equal(found[ours], columns[theirs])
    far = SurfacesMeasureRecipe(measures=("volume",), morphometrics=made.files[0], morphometrics_unit="angstrom")
    made = measure_surfaces(tmp_path / "a.surfaces", tmp_path / "d.surfaces", far)
    assert "2562 of 2562 vertices have no values" in made.notes[0]


def test_tables_of_others_are_not_replaced(tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.surfaces", moved(ball(150.0, 2), CENTRE))
    mine, recipe = tmp_path / "csv" / "b_1.csv", SurfacesMeasureRecipe(measures=("volume",), csv=str(tmp_path / "csv"))
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"b_1\.csv exists, and no run in this run folder has written it"):
        measure_surfaces(source, tmp_path / "b.surfaces", recipe)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "b.surfaces").exists()
    (tmp_path / "b.surfaces").mkdir()  # what was refused gives no right to it
    with pytest.raises(InputError, match=r"b\.surfaces exists"):
        measure_surfaces(source, tmp_path / "b.surfaces", recipe.with_(csv=None))
    (tmp_path / "b.surfaces").rmdir()
    measure_surfaces(source, tmp_path / "b.surfaces", recipe.with_(overwrite=True))
    assert mine.read_text().startswith("index,area")
    measure_surfaces(source, tmp_path / "b.surfaces", recipe.with_(measures=("volume", "nearest")))


def test_a_mesh_without_an_origin_is_not_compared_with_picks_that_state_one(tmp_path: Path) -> None:
    """Places in a file of a mesh contain the origin of its tomogram, which only the tomogram can say."""
    write_surface(tmp_path / "a.ply", moved(ball(50.0, 3), CENTRE + ORIGIN), SurfaceFacts())
    picks = Picks([CENTRE / 10], SIZE, ORIGIN, SHAPE, "TS_01")
    write_picks(tmp_path / "p.star", picks)
    recipe = SurfacesMeasureRecipe(measures=("curvature",), radius_nm=2, picks=str(tmp_path / "p.star"))
    with pytest.raises(InputError, match=r"p\.star: states an origin, and .*a\.ply none; give --tomogram"):
        measure_surfaces(tmp_path / "a.ply", tmp_path / "b.surfaces", recipe)
    tomogram = write_volume(tmp_path / "t.mrc", np.zeros(SHAPE, np.float32))
    measure_surfaces(tmp_path / "a.ply", tmp_path / "b.surfaces", recipe.with_(tomogram=tomogram))
    np.testing.assert_allclose(open_surfaces(tmp_path / "b.surfaces").read(1).columns["pick_nm"], 5, rtol=1e-4)


def test_of_picks_of_several_tomograms_those_of_the_surfaces_count(tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.surfaces", moved(ball(50.0, 3), CENTRE))
    rows = "".join(f"{name},{z},25,25.5\n" for name, z in (("TS_02", 40), ("TS_01", 24)))
    (tmp_path / "p.csv").write_text("tomogram,z,y,x\n" + rows)
    recipe = SurfacesMeasureRecipe(measures=("curvature",), radius_nm=2, picks=str(tmp_path / "p.csv"))
    measure_surfaces(source, tmp_path / "b.surfaces", recipe)
    np.testing.assert_allclose(open_surfaces(tmp_path / "b.surfaces").read(1).columns["pick_nm"], 5, rtol=1e-4)
    (tmp_path / "p.csv").write_text("tomogram,z,y,x\n" + rows.replace("TS_01", "TS_03"))
    with pytest.raises(InputError, match=r"picks of the tomograms 'TS_02', 'TS_03'.* surfaces are those of 'TS_01'"):
        measure_surfaces(source, tmp_path / "c.surfaces", recipe)
    (tmp_path / "p.csv").write_text("tomogram,z,y,x\nTS_02,24,25,25.5\n")
    made = measure_surfaces(source, tmp_path / "c.surfaces", recipe)
    assert "The surfaces are those of 'TS_01', and the picks those of 'TS_02'." in made.notes


@pytest.mark.parametrize("what", ["tomogram", "labels", "others"])
def test_what_is_named_after_another_tomogram_is_said(tmp_path: Path, what: str) -> None:
    source = write_set(tmp_path / "a.surfaces", moved(ball(50.0, 2), CENTRE))
    other = SurfaceFacts("TS_02", "IMM", SIZE, ORIGIN, SHAPE)
    write_set(tmp_path / "TS_02.surfaces", moved(ball(50.0, 2), CENTRE), facts=other)
    write_volume(tmp_path / "TS_02__IMM.mrc", np.zeros(SHAPE, np.int8))
    write_volume(tmp_path / "TS_02.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    given = {"tomogram": "TS_02.mrc", "labels": "TS_02__IMM.mrc", "others": "TS_02.surfaces"}[what]
    path = str(tmp_path / given)
    recipe = SurfacesMeasureRecipe(measures=("volume",)).with_(**{what: (path,) if what == "others" else path})
    made = measure_surfaces(source, tmp_path / "b.surfaces", recipe)
    (note,) = [note for note in made.notes if "TS_02" in note]
    assert note.startswith("The surfaces are those of 'TS_01', and ")


def test_a_set_is_not_measured_to_itself(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    source = write_set(folder / "a.surfaces", moved(ball(50.0, 3), CENTRE))
    recipe = SurfacesMeasureRecipe(measures=("volume",), others=(str(folder),))
    made = measure_surfaces(source, tmp_path / "b.surfaces", recipe)
    assert any("names no set but" in note for note in made.notes)
    write_set(
        folder / "i.surfaces", moved(ball(30.0, 3), CENTRE), facts=SurfaceFacts("TS_01", "IMM", SIZE, ORIGIN, SHAPE)
    )
    measure_surfaces(source, tmp_path / "b.surfaces", recipe)
    columns = open_surfaces(tmp_path / "b.surfaces").read(1).columns
    assert "to_OMM_nm" not in columns
    np.testing.assert_allclose(columns["to_IMM_nm"], 2, atol=0.05)


def test_what_does_not_belong_together_is_refused(tmp_path: Path, vesicle: np.ndarray) -> None:
    source = write_set(tmp_path / "a.surfaces", moved(ball(150.0, 2), CENTRE))
    out = tmp_path / "b.surfaces"
    other = write_volume(tmp_path / "o.mrc", vesicle, (0.5, 900.0, 0.0))
    with pytest.raises(InputError, match="origin"):
        measure_surfaces(source, out, SurfacesMeasureRecipe(tomogram=other))
    small = write_volume(tmp_path / "s.mrc", vesicle[:20])
    with pytest.raises(InputError, match=r"20 x 50 x 52"):
        measure_surfaces(source, out, SurfacesMeasureRecipe(tomogram=small))
    with pytest.raises(MissingError):
        measure_surfaces(tmp_path / "none.surfaces", out)
    with pytest.raises(InputError, match=r"folders \*.surfaces"):
        measure_surfaces(source, tmp_path / "b.ply")
    with pytest.raises(InputError, match="would replace"):
        measure_surfaces(source, source, SurfacesMeasureRecipe(overwrite=True))
    assert not out.exists()
    measure_surfaces(source, out, SurfacesMeasureRecipe(measures=("volume",)))
    measure_surfaces(source, out, SurfacesMeasureRecipe(measures=("volume",)))  # nothing is left to do
    shutil.rmtree(tmp_path / "b.surfaces.run")
    with pytest.raises(InputError, match="exists; give another name or"):
        measure_surfaces(source, out, SurfacesMeasureRecipe(measures=("volume",)))
    measure_surfaces(source, out, SurfacesMeasureRecipe(measures=("curvature",), overwrite=True))
    assert "volume_face_nm" not in open_surfaces(out).read(1).columns


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"measures": ("size",)}, "no measure 'size'"),
        ({"radius_nm": 0.0}, "radius_nm is 0; it must be positive"),
        ({"step_nm": 0.001}, "more than 1000 steps"),
        ({"min_bilayer_nm": 9.0}, "min_bilayer_nm is 9"),
        ({"max_bilayer_nm": 30.0}, "raise reach_nm"),
        ({"average_nm": -1.0}, "average_nm is -1"),
    ],
)
def test_recipes_that_make_no_sense(field: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SurfacesMeasureRecipe(**field)  # type: ignore[arg-type]


def test_the_command(tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.surfaces", moved(ball(150.0, 3), CENTRE))
    options = ["--measures", "curvature,volume", "--radius-nm", "6"]
    done = CliRunner().invoke(cli, ["surfaces", "measure", source, "--out", str(tmp_path / "b.surfaces"), *options])
    assert done.exit_code == 0, done.output
    assert "1 surface measured" in done.output
    assert "mean_curvature_per_nm 0.066" in done.output


@pytest.mark.parametrize("axis", range(3))
def test_a_flat_bilayer_in_voxels_of_three_sides(tmp_path: Path, axis: int) -> None:
    """Leaflets at 190 and 230 angstrom along an axis, the surface at 205: their middle is 0.5 nm along its normal."""
    size = np.array([8.0, 10.0, 12.0])
    shape = tuple(np.ceil(400 / size).astype(int).tolist())
    along = np.indices(shape)[axis] * size[axis]
    values = -sum(np.exp(-(((along - at) / 13) ** 2) / 2) for at in (190, 230)).astype(np.float32)
    with mrcfile.new(tmp_path / "t.mrc") as file:
        file.set_data(values)
        file.voxel_size = tuple(size[::-1].tolist())
    u = np.arange(120.0, 281.0, 10.0)
    a, b = (v.ravel() for v in np.meshgrid(u, u, indexing="ij"))
    at = np.insert(np.stack([a, b], 1), axis, 205.0, axis=1)
    i = np.arange(17 * 17).reshape(17, 17)[:-1, :-1].ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + 18], 1), np.stack([i, i + 18, i + 17], 1)])
    normals = np.zeros_like(at)
    normals[:, axis] = 1
    facts = SurfaceFacts("T", "m", tuple(size.tolist()), (0.0, 0.0, 0.0), shape)
    source = write_set(tmp_path / "a.surfaces", Surface(at, faces, normals), facts=facts)
    recipe = SurfacesMeasureRecipe(measures=("volume",), tomogram=str(tmp_path / "t.mrc"), radius_nm=4, average_nm=0)
    measure_surfaces(source, tmp_path / "b.surfaces", recipe)
    columns = open_surfaces(tmp_path / "b.surfaces").read(1).columns
    np.testing.assert_allclose(columns["bilayer_nm"], 4, rtol=0.03)
    np.testing.assert_allclose(columns["bilayer_offset_nm"], 0.5, atol=0.05)
