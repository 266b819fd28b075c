"""surfaces pick and train: particles whose places and angles are known, at every score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from surface_tomograms import CENTRE, RADIUS, SIZE, density, write_case, write_template

from volengine.cli.main import cli
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.picks import read_picks, write_picks
from volengine.io.surfaces import open_surfaces, write_surfaces
from volengine.nets.surface_model import load_surface_model, load_turn_average
from volengine.ops.score import pair_picks
from volengine.tasks.surfaces.averaging import turns_on
from volengine.tasks.surfaces.pick_verb import pick_on_surfaces
from volengine.tasks.surfaces.train import train_on_surfaces


def compared(found: Picks, known: Picks, radius_vox: float = 2.0) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Precision, recall, the angles between axes and the differences of rotations, degrees."""
    pairs = pair_picks(found.position_vox, known.position_vox, radius_vox)
    one, other = euler_to_matrix(found.euler)[pairs.pairs[:, 0]], euler_to_matrix(known.euler)[pairs.pairs[:, 1]]
    axes = np.degrees(np.arccos(np.clip((one[:, :, 2] * other[:, :, 2]).sum(1), -1, 1)))
    turn = np.einsum("nij,nik->njk", one, other)
    turns = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    return pairs.precision, pairs.recall, axes, turns


@pytest.mark.parametrize("dark", [True, False])
def test_densities_find_particles(tmp_path: Path, dark: bool) -> None:
    known = write_case(tmp_path, dark=dark, noise=0.05)
    recipe = {
        "tomogram": str(tmp_path / "TS_01.mrc"),
        "from_nm": -1,
        "to_nm": 2,
        "disc_nm": 2,
        "spacing_nm": 6,
        "contrast": "dark" if dark else "bright",
    }
    made = pick_on_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "a.star", recipe)
    precision, recall, axes, _ = compared(read_picks(tmp_path / "a.star"), known)
    assert recall > 0.9
    assert precision > 0.9
    assert axes.max() < 8
    assert made.counts == {1: len(made.picks)}
    assert (np.diff(made.picks.weight) <= 0).all()
    assert "--min-score" in made.notes[0]


def test_a_template_finds_the_angle_about_the_normal_in_every_format(tmp_path: Path) -> None:
    """The angles are read from the files again, by the readers of their formats."""
    known = write_case(tmp_path, noise=0.05)
    write_template(tmp_path / "template.mrc")
    recipe = {
        "tomogram": str(tmp_path / "TS_01.mrc"),
        "template": str(tmp_path / "template.mrc"),
        "spacing_nm": 6,
        "min_score": 0.6,
    }
    made = pick_on_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "relion.star", recipe)
    write_picks(tmp_path / "stopgap.star", made.picks, "stopgap")
    write_picks(tmp_path / "dynamo.tbl", made.picks)
    for name in ("relion.star", "stopgap.star", "dynamo.tbl"):
        found = read_picks(tmp_path / name, voxel_size=(SIZE,) * 3)
        precision, recall, axes, turns = compared(found, known)
        assert (precision, recall) == (1, 1)
        assert axes.max() < 6
        assert np.median(turns) < 8
        assert turns.max() < 20


def turned(fold: int) -> Callable[[np.ndarray], np.ndarray]:
    """The particle with a symmetry about its axis."""
    angles = 2 * np.pi * np.arange(fold) / fold
    turns = [np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in angles]
    return lambda xyz: sum(density(xyz @ turn) for turn in turns) / fold


def turn_errors(found: Picks, known: Picks, fold: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the angle about the normal modulo the symmetry, and which picks say that theirs is known."""
    one, other = pair_picks(found.position_vox, known.position_vox, 2.0).pairs.T
    there = found.extra["in_plane_known"][one] == 1
    error = found.euler[one, 0] - turns_on(found.normal[one], euler_to_matrix(known.euler)[other])
    half = 180 / fold
    return np.abs((error + half) % (2 * half) - half), there


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_any_angle_about_the_normal_is_found_beside_vertices(tmp_path: Path, fold: int) -> None:
    """Edges of 2 nm: the vertex of a pick is up to 1.2 voxels off, from where the particle seems turned by 20 degrees.

    Particles are 38 degrees apart on the ball, and near ones reach into each other, which is what the largest error is.
    """
    known = write_case(tmp_path, any_turn=True, particle=turned(fold))
    write_template(tmp_path / "template.mrc", particle=turned(fold))
    files = {"tomogram": str(tmp_path / "TS_01.mrc"), "template": str(tmp_path / "template.mrc")}
    recipe = {**files, "spacing_nm": 8, "min_score": 0.3}
    found = pick_on_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "a.star", recipe).picks
    error, there = turn_errors(found, known, fold)
    assert len(error) == len(known)
    assert there.all()
    assert np.median(error) < 1
    assert error.max() < 12
    pairs = pair_picks(found.position_vox, known.position_vox, 2.0)
    assert pairs.localisation_error_vox < 0.1


def test_angles_that_nothing_shows_are_not_made_up(tmp_path: Path) -> None:
    """A ring looks the same from all sides; beneath noise a particle shows no angle either."""

    def ring(xyz: np.ndarray) -> np.ndarray:
        return np.exp(-((np.hypot(xyz[..., 0], xyz[..., 1]) - 20) ** 2 + xyz[..., 2] ** 2) / 288)

    write_case(tmp_path, particle=ring, noise=0.1)
    write_template(tmp_path / "ring.mrc", particle=ring)
    files = {"tomogram": str(tmp_path / "TS_01.mrc"), "template": str(tmp_path / "ring.mrc")}
    made = pick_on_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "a.star", {**files, "spacing_nm": 8})
    assert len(made.picks) > 5
    assert not made.picks.extra["in_plane_known"].any()
    assert not made.picks.euler[:, 0].any()
    assert read_picks(tmp_path / "a.star").extra["in_plane_known"].tolist() == [0] * len(made.picks)


def test_a_template_beside_a_column_says_angle_and_place(tmp_path: Path) -> None:
    from scipy.spatial import KDTree

    from volengine.io.surfaces import write_surfaces

    known = write_case(tmp_path, any_turn=True, noise=0.1)
    write_template(tmp_path / "template.mrc")
    surfaces = open_surfaces(tmp_path / "TS_01.surfaces")
    one = surfaces.read(1)
    near = np.exp(-((KDTree(known.place).query(one.vertices)[0] / 30) ** 2))
    write_surfaces(tmp_path / "s.surfaces", [(one.with_columns(mine=near), {})], surfaces.facts)
    files = {"tomogram": str(tmp_path / "TS_01.mrc"), "template": str(tmp_path / "template.mrc"), "column": "mine"}
    recipe = {**files, "spacing_nm": 8, "min_score": 0.3}
    found = pick_on_surfaces(tmp_path / "s.surfaces", tmp_path / "a.star", recipe).picks
    error, there = turn_errors(found, known)
    assert len(error) == len(known)
    assert there.all()
    assert np.median(error) < 3
    with pytest.raises(InputError, match="give tomogram"):
        pick_on_surfaces(tmp_path / "s.surfaces", tmp_path / "b.star", {**recipe, "tomogram": None})


@pytest.mark.parametrize("offset", [3.0, -2.5])
def test_picks_are_moved_along_the_normal(tmp_path: Path, offset: float) -> None:
    """By hand: on a ball a pick that is moved along the outward normal lies so much farther from the middle."""
    write_case(tmp_path)
    files = {"tomogram": str(tmp_path / "TS_01.mrc"), "contrast": "bright", "spacing_nm": 6, "from_nm": 0, "to_nm": 2}
    plain = pick_on_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "a.star", files).picks
    moved = pick_on_surfaces(tmp_path / "TS_01.surfaces", tmp_path / "b.star", {**files, "offset_nm": offset}).picks
    assert np.linalg.norm(moved.place - CENTRE, axis=1) == pytest.approx(RADIUS + 10 * offset, abs=1)
    np.testing.assert_allclose(moved.place - plain.place, 10 * offset * plain.normal, atol=1e-9)
    np.testing.assert_array_equal(moved.normal, plain.normal)


def test_a_symmetric_template_leaves_the_angle(tmp_path: Path) -> None:
    known = write_case(tmp_path)
    write_template(tmp_path / "template.mrc")
    files = {"tomogram": str(tmp_path / "TS_01.mrc"), "template": str(tmp_path / "template.mrc")}
    made = pick_on_surfaces(
        tmp_path / "TS_01.surfaces",
        tmp_path / "a.star",
        {**files, "symmetric": True, "spacing_nm": 6, "min_score": 0.4},
    )
    assert made.picks.euler[:, 0].tolist() == [0] * len(made.picks)
    assert compared(made.picks, known)[1] > 0.9


def test_the_middle_of_a_template_above_the_surface(tmp_path: Path) -> None:
    known = write_case(tmp_path)
    write_template(tmp_path / "template.mrc")
    surfaces = open_surfaces(tmp_path / "TS_01.surfaces")
    from dataclasses import replace

    from volengine.io.surfaces import write_surfaces
    from volengine.ops.surfaces.points import normals_of

    one = surfaces.read(1)
    lower = replace(one, vertices=one.vertices - 20 * normals_of(one))
    write_surfaces(tmp_path / "low.surfaces", [(lower, {})], surfaces.facts)
    recipe = {
        "tomogram": str(tmp_path / "TS_01.mrc"),
        "template": str(tmp_path / "template.mrc"),
        "template_height_nm": 2.0,
        "spacing_nm": 6,
        "min_score": 0.6,
    }
    made = pick_on_surfaces(tmp_path / "low.surfaces", tmp_path / "a.star", recipe)
    precision, recall, _, _ = compared(made.picks, known, 1.0)
    assert (precision, recall) == (1, 1)


@pytest.mark.parametrize("method", ["maxima", "mean-shift"])
def test_a_column_is_a_score_and_needs_no_tomogram(tmp_path: Path, method: str) -> None:
    known = write_case(tmp_path)
    surfaces = open_surfaces(tmp_path / "TS_01.surfaces")
    from scipy.spatial import KDTree

    from volengine.io.surfaces import write_surfaces

    one = surfaces.read(1)
    distance = KDTree(known.place).query(one.vertices)[0]
    write_surfaces(
        tmp_path / "s.surfaces", [(one.with_columns(mine=np.exp(-((distance / 30) ** 2))), {})], surfaces.facts
    )
    recipe = {"column": "mine", "method": method, "spacing_nm": 5, "min_score": 0.3}
    made = pick_on_surfaces(
        tmp_path / "s.surfaces", tmp_path / "a.star", {**recipe, "scored": str(tmp_path / "x.surfaces")}
    )
    precision, recall, _, _ = compared(made.picks, known, 1.0)
    assert (precision, recall) == (1, 1)
    assert np.linalg.norm(made.picks.place - CENTRE, axis=1) == pytest.approx(RADIUS, abs=1)
    assert "score" in open_surfaces(tmp_path / "x.surfaces").read(1).columns
    with pytest.raises(InputError, match="has no column 'yours'; its columns are: mine"):
        pick_on_surfaces(tmp_path / "s.surfaces", tmp_path / "b.star", {"column": "yours"})


def test_recipes_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path)
    source, tomogram = tmp_path / "TS_01.surfaces", str(tmp_path / "TS_01.mrc")
    for recipe, message in (
        ({}, "give tomogram"),
        ({"tomogram": tomogram, "model": "m.safetensors", "column": "c"}, "two scores"),
        ({"tomogram": tomogram, "angle_step_deg": 7}, "multiple"),
        ({"tomogram": tomogram, "from_nm": 9}, "smaller one"),
        ({"tomogram": tomogram, "spacing_nm": -1}, "positive"),
    ):
        with pytest.raises(InputError, match=message):
            pick_on_surfaces(source, tmp_path / "a.star", recipe)
    write_template(tmp_path / "t.mrc", 7)
    with pytest.raises(InputError, match="does not fit"):
        pick_on_surfaces(
            source,
            tmp_path / "a.star",
            {"tomogram": tomogram, "template": str(tmp_path / "t.mrc"), "template_radius_nm": 9},
        )
    assert not (tmp_path / "a.star").exists()


def test_a_network_learns_and_finds_particles_it_has_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        write_case(tmp_path, f"TS_0{k}", seed=10 * k, noise=0.3)
    monkeypatch.chdir(tmp_path)
    call = ["surfaces", "train", "TS_00.surfaces", "TS_01.surfaces", "--tomograms", "TS_00.mrc,TS_01.mrc"]
    call += ["--picks", "TS_00.star,TS_01.star", "--out", "m.safetensors", "--epochs", "12", "--step-nm", "1.5"]
    call += ["--from-nm", "-4", "--to-nm", "5", "--radius-nm", "4.5", "--near-nm", "2"]
    done = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    _, facts = load_surface_model("m.safetensors")
    assert facts.feature == "receptor"
    assert abs(facts.height) < 2
    assert "precision" in facts.history[0]["kept"]
    call = ["surfaces", "pick", "TS_02.surfaces", "--tomogram", "TS_02.mrc", "--model", "m.safetensors"]
    done = CliRunner().invoke(cli, [*call, "--spacing-nm", "5", "--out", "a.star"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = read_picks("a.star")
    precision, recall, axes, _ = compared(found, read_picks("TS_02.star"))
    assert recall > 0.8
    assert precision > 0.8
    assert axes.max() < 10
    assert found.feature == "receptor"
    assert facts.turn_fold == 1
    assert facts.turn_error_deg < 8
    assert "angle about the normal with a median error" in facts.history[0]["angles"]
    error, there = turn_errors(found, read_picks("TS_02.star"))
    assert there.mean() > 0.8
    assert np.median(error[there]) < 8
    again = pick_on_surfaces(
        "TS_02.surfaces", "b.star", {"tomogram": "TS_02.mrc", "model": "m.safetensors", "spacing_nm": 5}
    )
    assert again.picks.position_vox == pytest.approx(found.position_vox)


def test_trainings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path)
    source = [tmp_path / "TS_01.surfaces"]
    files = {"tomograms": (str(tmp_path / "TS_01.mrc"),), "picks": (str(tmp_path / "TS_01.star"),)}
    with pytest.raises(InputError, match="its tomogram and its picks"):
        train_on_surfaces(source, tmp_path / "m.safetensors", {"tomograms": files["tomograms"]})
    with pytest.raises(InputError, match="2 sets of surfaces and 1 tomogram are"):
        train_on_surfaces(source * 2, tmp_path / "m.safetensors", files)
    with pytest.raises(InputError, match=r"\.safetensors"):
        train_on_surfaces(source, tmp_path / "m.star", files)
    with pytest.raises(InputError, match="No known particle"):
        train_on_surfaces(source, tmp_path / "m.safetensors", {**files, "reach_nm": 1e-6})
    (tmp_path / "m.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="exists"):
        train_on_surfaces(source, tmp_path / "m.safetensors", files)
    with pytest.raises(FormatError, match="no usable"):
        load_surface_model(tmp_path / "m.safetensors")
    with pytest.raises(MissingError):
        load_surface_model(tmp_path / "n.safetensors")


def test_a_training_goes_on_and_what_is_swapped_is_refused_before(tmp_path: Path) -> None:
    for k in range(2):
        write_case(tmp_path, f"TS_0{k}", seed=10 * k, noise=0.3)
    sets = [tmp_path / f"TS_0{k}.surfaces" for k in range(2)]
    recipe = {
        "tomograms": [str(tmp_path / f"TS_0{k}.mrc") for k in range(2)],
        "picks": [str(tmp_path / f"TS_0{k}.star") for k in range(2)],
        "epochs": 2,
        "from_nm": -2,
        "to_nm": 2,
        "radius_nm": 3,
        "near_nm": 3,
    }

    def stop(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    out, told = tmp_path / "m.safetensors", []
    with pytest.raises(KeyboardInterrupt) as stopped:
        train_on_surfaces(sets, out, recipe, say=stop)
    assert "epochs that were finished are kept" in " ".join(stopped.value.__notes__)
    made = train_on_surfaces(sets, out, recipe, say=told.append)
    assert "goes on after epoch 1 of 2" in told
    assert made.facts.history == load_surface_model(out)[1].history
    assert not Path(f"{out}.training").exists()
    seen: list[str] = []
    with pytest.raises(InputError, match=r"surfaces of 'TS_01', and number 1 of the tomograms is .*TS_00\.mrc"):
        train_on_surfaces(sets[::-1], tmp_path / "n.safetensors", recipe, say=seen.append)
    with pytest.raises(MissingError):
        train_on_surfaces(
            sets, tmp_path / "n.safetensors", {**recipe, "picks": [*recipe["picks"][:1], "no.star"]}, say=seen.append
        )
    assert not any("patch" in line or "epoch" in line for line in seen)


def test_a_network_of_particles_without_angles_says_none(tmp_path: Path) -> None:
    """Tables that know the normal only have rot = 0 everywhere."""
    for k in range(2):
        known = write_case(tmp_path, f"TS_0{k}", seed=10 * k, noise=0.3)
        euler = known.euler.copy()
        euler[:, 0] = 0
        write_picks(tmp_path / f"TS_0{k}.star", known.with_(euler=euler))
    recipe = {
        "tomograms": [str(tmp_path / f"TS_0{k}.mrc") for k in range(2)],
        "picks": [str(tmp_path / f"TS_0{k}.star") for k in range(2)],
        "epochs": 1,
        "from_nm": -4,
        "to_nm": 5,
        "radius_nm": 4.5,
    }
    made = train_on_surfaces([tmp_path / f"TS_0{k}.surfaces" for k in range(2)], tmp_path / "m.safetensors", recipe)
    assert made.facts.turn_fold == 0
    assert any("no angle about the normal" in note for note in made.notes)
    assert load_turn_average(tmp_path / "m.safetensors") is None
    recipe = {"tomogram": str(tmp_path / "TS_00.mrc"), "model": str(tmp_path / "m.safetensors"), "min_score": 0.1}
    found = pick_on_surfaces(tmp_path / "TS_00.surfaces", tmp_path / "a.star", recipe).picks
    assert len(found)
    assert not found.extra["in_plane_known"].any()
    assert not found.euler[:, 0].any()


@pytest.mark.parametrize("verb", ["pick", "sample", "profile"])
def test_errors_about_a_surface_name_its_file(tmp_path: Path, verb: str) -> None:
    """A second surface whose faces have no area has no normals."""
    write_case(tmp_path)
    line = Surface(np.array([[0.0, 0, 0], [0, 0, 10], [0, 0, 20]]), np.array([[0, 1, 2]]), number=2)
    found = open_surfaces(tmp_path / "TS_01.surfaces")
    write_surfaces(tmp_path / "two.surfaces", [(found.read(1), {}), (line, {})], found.facts)
    args = ["surfaces", verb, str(tmp_path / "two.surfaces"), "--out"]
    args += [str(tmp_path / "p.surfaces")] if verb == "profile" else [str(tmp_path / "p.star")]
    args += ["--tomogram", str(tmp_path / "TS_01.mrc")]
    told = CliRunner().invoke(cli, args)
    assert told.exit_code != 0
    assert f"{tmp_path / 'two.surfaces'}: Surface 2: 3 vertices have no normal" in " ".join(told.output.split())
    assert "Mend the mesh" in told.output
