"""surfaces sample and profile: files of every kind, on grids with an origin; what cannot be right is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile
from click.testing import CliRunner
from oriented_surfaces import ball, sheet
from scipy.spatial import KDTree
from surface_tomograms import CENTRE, ORIGIN, RADIUS, SHAPE, SIZE, write_case

from volengine.cli.main import cli
from volengine.core.errors import InputError, VolengineError
from volengine.core.orientation import euler_to_matrix
from volengine.core.surface import Surface
from volengine.io.picks import read_picks, write_picks
from volengine.io.surfaces import SurfaceFacts, open_surfaces, write_surface, write_surfaces
from volengine.tasks.picks.convert import convert_picks
from volengine.tasks.surfaces.profile import column_name, profile_surfaces, profiles_of
from volengine.tasks.surfaces.sample import sample_surfaces


def test_points_keep_their_distance_and_point_outwards(tmp_path: Path) -> None:
    write_case(tmp_path)
    made = sample_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "seeds.star", {"spacing_nm": 4, "offset_nm": -1})
    found = read_picks(tmp_path / "seeds.star")
    assert len(found) == len(made.picks) == made.counts[1] > 80
    apart = found.place - CENTRE
    assert np.linalg.norm(apart, axis=1) == pytest.approx(RADIUS - 10, abs=1)
    outwards = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    axis = euler_to_matrix(found.euler)[:, ::-1, 2]
    assert (axis * outwards).sum(1).min() > np.cos(np.radians(1.5))
    moved = found.place + 10 * axis
    assert KDTree(moved).query(moved, 2)[0][:, 1].min() > 40 * 0.999
    assert found.origin == ORIGIN
    assert found.shape == SHAPE
    assert found.tomogram == "TS_01"
    assert found.feature == "membrane"


def test_angles_in_files_of_other_programs_by_hand(tmp_path: Path) -> None:
    """A flat membrane whose normal is +x.

    RELION: the particle's z axis is (-cos psi sin tilt, sin psi sin tilt, cos tilt), so tilt 90, psi 180, rot 0.
    STOPGAP: Rz(psi) Rx(the) Rz(phi) takes z to (sin psi sin the, -cos psi sin the, cos the), so the 90, psi 90.
    """
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    flat = sheet(200, 200, 4, turn, (200, 200, 200))
    facts = SurfaceFacts("TS_01", "membrane", (SIZE,) * 3, (0.0, 0.0, 0.0), SHAPE)
    write_surfaces(tmp_path / "a.surfaces", [(flat, {})], facts)
    sample_surfaces(tmp_path / "a.surfaces", tmp_path / "a.star", {"spacing_nm": 5, "to": "relion"})
    made = sample_surfaces(tmp_path / "a.surfaces", tmp_path / "b.star", {"spacing_nm": 5, "to": "stopgap"})
    assert made.picks.normal.tolist() == [pytest.approx([0, 0, 1])] * len(made.picks)
    relion = starfile.read(tmp_path / "a.star")["particles"]
    assert relion.rlnAngleTilt.to_numpy() == pytest.approx(90)
    assert np.abs(relion.rlnAnglePsi.to_numpy()) == pytest.approx(180)
    assert relion.rlnAngleRot.to_numpy() == pytest.approx(0)
    stopgap = starfile.read(tmp_path / "b.star")
    assert stopgap.the.to_numpy() == pytest.approx(90)
    assert stopgap.psi.to_numpy() % 360 == pytest.approx(90)
    write_picks(tmp_path / "c.tbl", made.picks)
    back = read_picks(tmp_path / "c.tbl", voxel_size=(SIZE,) * 3)
    assert euler_to_matrix(back.euler)[:, ::-1, 2] == pytest.approx(made.picks.normal, abs=1e-6)


def test_random_angles_about_the_normal_leave_it_and_seeds_are_kept(tmp_path: Path) -> None:
    write_case(tmp_path)
    recipe = {"spacing_nm": 5, "in_plane": "random", "seed": 3}
    first = sample_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "a.star", recipe).picks
    again = sample_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "b.star", recipe).picks
    other = sample_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "c.star", {**recipe, "seed": 4}).picks
    assert first == again
    assert first != other
    assert np.ptp(first.euler[:, 0]) > 300
    assert euler_to_matrix(first.euler)[:, ::-1, 2] == pytest.approx(first.normal)


@pytest.mark.parametrize("distance", ["space", "surface"])
def test_edges_of_open_surfaces_are_left_out_and_closed_ones_are_whole(tmp_path: Path, distance: str) -> None:
    facts = SurfaceFacts("TS_01", "membrane", (8.0, 8.0, 12.0))
    shapes = [(sheet(400, 300, 12, centre=(50, 250, 250)), {}), (ball(100, (300, 300, 300), number=2), {})]
    write_surfaces(tmp_path / "a.surfaces", shapes, facts)
    recipe = {"spacing_nm": 4, "edge_exclusion_nm": 5, "distance": distance}
    found = sample_surfaces(tmp_path / "a.surfaces", tmp_path / "a.csv", recipe).picks
    flat = found.place[found.extra["surface"] == 1] - (50, 250, 250)
    # the distance from the border is linear on faces, whose sides are 33 angstrom long
    assert np.abs(flat[:, 1]).max() == pytest.approx(150, abs=8)
    assert np.abs(flat[:, 2]).max() == pytest.approx(100, abs=8)
    round_ = found.place[found.extra["surface"] == 2] - (300, 300, 300)
    assert np.abs(round_).max(axis=0).min() > 90


def test_files_of_meshes_need_the_tomogram_for_their_grid(tmp_path: Path) -> None:
    write_case(tmp_path)
    write_surface(tmp_path / "m.ply", ball(RADIUS, CENTRE), SurfaceFacts(origin=ORIGIN))
    with pytest.raises(InputError, match="no voxel size"):
        sample_surfaces(tmp_path / "m.ply", tmp_path / "a.star")
    made = sample_surfaces(tmp_path / "m.ply", tmp_path / "a.star", {"tomogram": str(tmp_path / "TS_01.mrc")})
    assert np.linalg.norm(made.picks.place - CENTRE, axis=1) == pytest.approx(RADIUS, abs=1)
    assert made.picks.tomogram == "TS_01"


def test_points_outside_of_the_tomogram_are_left_out_and_said(tmp_path: Path) -> None:
    facts = SurfaceFacts("TS_01", "membrane", (SIZE,) * 3, shape=SHAPE)
    write_surfaces(tmp_path / "a.surfaces", [(ball(150, (0, 240, 250)), {})], facts)
    made = sample_surfaces(tmp_path / "a.surfaces", tmp_path / "a.star")
    assert made.picks.position_vox[:, 0].min() >= -0.5
    assert "outside of the tomogram" in made.notes[0]


def test_other_origins_are_refused_unless_they_are_said_to_be_one(tmp_path: Path) -> None:
    write_case(tmp_path)
    facts = SurfaceFacts("TS_01", "membrane", (SIZE,) * 3, (500.0, 0.0, 0.0), SHAPE)
    write_surfaces(tmp_path / "a.surfaces", [(ball(RADIUS, CENTRE), {})], facts)
    recipe = {"tomogram": str(tmp_path / "TS_01.mrc")}
    with pytest.raises(InputError, match="--any-origin"):
        sample_surfaces(tmp_path / "a.surfaces", tmp_path / "a.star", recipe)
    made = sample_surfaces(tmp_path / "a.surfaces", tmp_path / "a.star", {**recipe, "any_origin": True})
    assert "compared from the first voxel" in made.notes[0]
    assert np.linalg.norm(made.picks.place - CENTRE, axis=1) == pytest.approx(RADIUS, abs=1)


def test_outputs_and_sources_are_not_replaced(tmp_path: Path) -> None:
    write_case(tmp_path)
    source = tmp_path / "TS_01.surfaces"
    with pytest.raises(InputError, match="exists"):
        sample_surfaces(source, tmp_path / "TS_01.star")
    sample_surfaces(source, tmp_path / "TS_01.star", {"overwrite": True})
    (tmp_path / "b.doc").write_text("mine")
    with pytest.raises(InputError, match=r"b\.doc exists, and no run in this run folder has written it"):
        sample_surfaces(source, tmp_path / "b.tbl")  # which has a map of names beside it
    assert (tmp_path / "b.doc").read_text() == "mine"
    sample_surfaces(source, tmp_path / "b.tbl", {"overwrite": True})
    sample_surfaces(source, tmp_path / "b.tbl", {"spacing_nm": 7})
    with pytest.raises(VolengineError):
        sample_surfaces(source, tmp_path / "a.nonsense")
    with pytest.raises(InputError, match="must be positive"):
        sample_surfaces(source, tmp_path / "b.star", {"spacing_nm": 0})
    for wrong in ("TS_01.surfaces", "no.mrc"):
        with pytest.raises(InputError):
            profile_surfaces(source, tmp_path / wrong, {"tomogram": str(tmp_path / "TS_01.mrc"), "overwrite": True})
    (tmp_path / "mine.surfaces").mkdir()
    (tmp_path / "mine.surfaces" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="is no set of surfaces"):
        profile_surfaces(
            source, tmp_path / "mine.surfaces", {"tomogram": str(tmp_path / "TS_01.mrc"), "overwrite": True}
        )
    assert (tmp_path / "mine.surfaces" / "thesis.txt").exists()


@pytest.mark.parametrize("ending", ["tsv", "tbl", "star"])
def test_what_the_format_does_not_hold_is_said_as_convert_says_it(tmp_path: Path, ending: str) -> None:
    write_case(tmp_path)
    recipe = {"spacing_nm": 12, "overwrite": True}
    made = sample_surfaces(tmp_path / "TS_01.surfaces", tmp_path / f"a.{ending}", recipe)
    sample_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "a.csv", recipe)
    told = convert_picks(tmp_path / "a.csv", tmp_path / f"b.{ending}").notes
    assert made.notes == told
    assert ("Dropped" in " ".join(told)) is (ending != "star")


# -- profiles ---------------------------------------------------------------------------------------------


def shells(folder: Path, name: str = "TS_02") -> Surface:
    """A tomogram that is the distance from the middle of a ball, linear across its surface."""
    import mrcfile

    grid = np.moveaxis(np.indices(SHAPE), 0, -1) * SIZE
    with mrcfile.new(folder / f"{name}.mrc", overwrite=True) as file:
        file.set_data(np.linalg.norm(grid - CENTRE, axis=-1).astype("f4"))
        file.voxel_size = SIZE
        file.header.origin = ORIGIN[::-1]
    return ball(RADIUS, CENTRE)


@pytest.mark.parametrize("order", ["cubic", "linear"])
def test_profiles_are_the_tomogram_along_the_normal(tmp_path: Path, order: str) -> None:
    surface = shells(tmp_path)
    facts = SurfaceFacts("TS_02", "membrane", (SIZE,) * 3, ORIGIN, SHAPE)
    write_surfaces(tmp_path / "a.surfaces", [(surface.with_columns(score=np.ones(2562)), {"area_nm2": 2})], facts)
    recipe = {"tomogram": str(tmp_path / "TS_02.mrc"), "order": order}
    made = profile_surfaces(tmp_path / "a.surfaces", tmp_path / "b.surfaces", recipe)
    opened = open_surfaces(made.out)
    found = opened.read(1)
    distance, values = profiles_of(found)
    assert distance.tolist() == pytest.approx(np.arange(-2.5, 2.3, 0.25))  # MemBrain-pick's 20
    assert values.dtype == np.float64
    assert values == pytest.approx(np.tile(RADIUS + 10 * distance, (2562, 1)), abs=0.5 if order == "cubic" else 1)
    assert made.outside == 0
    assert found.columns["score"].tolist() == [1] * 2562
    assert opened.rows[0]["area_nm2"] == 2
    assert opened.facts.history[-1]["verb"] == "surfaces profile"
    assert found.normals is not None
    assert column_name(-2.5) == "profile_m2p5_nm"
    assert column_name(-2.5) in found.columns


def test_profiles_outside_of_the_tomogram_are_nan(tmp_path: Path) -> None:
    shells(tmp_path)
    facts = SurfaceFacts("TS_02", "membrane", (SIZE,) * 3, ORIGIN, SHAPE)
    write_surfaces(tmp_path / "a.surfaces", [(ball(100, (0, 240, 250)), {})], facts)
    made = profile_surfaces(
        tmp_path / "a.surfaces", tmp_path / "b.surfaces", {"tomogram": str(tmp_path / "TS_02.mrc"), "from_nm": 0}
    )
    surface = open_surfaces(made.out).read(1)
    values = surface.columns["profile_0_nm"]
    assert np.isnan(values).tolist() == (surface.vertices[:, 0] < -1e-4).tolist()
    assert 0.3 < made.outside < 0.7


def test_pictures_show_the_tomogram_on_the_surface(tmp_path: Path) -> None:
    write_case(tmp_path, dark=True)
    recipe = {
        "tomogram": str(tmp_path / "TS_01.mrc"),
        "picture": str(tmp_path / "pictures"),
        "from_nm": -2,
        "to_nm": 2,
        "step_nm": 2,
    }
    made = profile_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "b.surfaces", recipe)
    picture = np.load(tmp_path / "pictures" / "0001.npy")
    assert picture.shape == (3, 26, 82)  # 2 R and 2 pi R in nm
    from PIL import Image

    with Image.open(tmp_path / "pictures" / "0001.png") as shown:
        assert shown.size == (6 * 82, 3 * (16 + 6 * 26))  # at least 480 pixels wide, a caption above each panel
    assert "unrolled as sphere" in made.notes[-1]
    # by hand: a particle in the direction (z, y, x) lies in row (1 - z) R and column (atan2(y, x) + pi) R
    known = read_picks(tmp_path / "TS_01.star")
    z, y, x = ((known.place - CENTRE) / RADIUS).T
    row, column = (1 - z) * 13, (np.arctan2(y, x) + np.pi) * 13
    there = picture[1][np.minimum(row.astype(int), 25), column.astype(int) % 82]
    assert np.nanmedian(there) < np.nanpercentile(picture[1], 5)


def test_a_picture_of_both_faces_says_how_to_have_one(tmp_path: Path) -> None:
    """Of two spheres that are one surface only one can be seen."""
    write_case(tmp_path)
    facts = open_surfaces(tmp_path / "TS_01.surfaces").facts
    outer, inner = ball(120.0, CENTRE), ball(80.0, CENTRE)
    faces = np.concatenate([outer.faces, inner.faces[:, ::-1] + len(outer.vertices)])
    both = Surface(np.concatenate([outer.vertices, inner.vertices]), faces)
    write_surfaces(tmp_path / "a.surfaces", [(both, {})], facts)
    recipe = {"tomogram": str(tmp_path / "TS_01.mrc"), "picture": str(tmp_path / "png"), "unroll": "polar"}
    made = profile_surfaces(tmp_path / "a.surfaces", tmp_path / "b.surfaces", recipe)
    assert "two places of the surface" in made.notes[-1]
    assert "one face of it (surface --side outer or inner)" in made.notes[-1]


def test_another_tomogram_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path)
    facts = SurfaceFacts("TS_03", "membrane", (SIZE,) * 3, ORIGIN, (100, 100, 100))
    write_surfaces(tmp_path / "a.surfaces", [(ball(100, (200, 200, 200)), {})], facts)
    recipe = {"tomogram": str(tmp_path / "TS_01.mrc")}
    with pytest.raises(InputError, match="is a voxel size wrong, or is one of another tomogram"):
        profile_surfaces(tmp_path / "a.surfaces", tmp_path / "b.surfaces", recipe)
    with pytest.raises(InputError, match="whole number"):
        profile_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "b.surfaces", {**recipe, "step_nm": 0.4})
    with pytest.raises(InputError, match="give tomogram"):
        profile_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "b.surfaces")


def test_the_commands_say_what_they_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["surfaces", "sample", "TS_01.surfaces", "--out", "a.star", "--spacing-nm", "5"])
    assert done.exit_code == 0, done.output
    assert "picks on 1 surface\n" in done.output
    call = ["surfaces", "profile", "TS_01.surfaces", "p.surfaces", "--tomogram", "TS_01.mrc", "--from-nm", "-1"]
    done = CliRunner().invoke(cli, [*call, "--to-nm", "1", "--step-nm", "1", "--picture", "pictures"])
    assert done.exit_code == 0, done.output
    assert "0.0% of the values" in done.output
    assert "areas in the picture" in done.output
