"""surfaces pick and train: particles whose places and angles are known, at every score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from surface_tomograms import CENTRE, RADIUS, SIZE, write_case, write_template

from volengine.cli.main import cli
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks
from volengine.io.surfaces import open_surfaces
from volengine.nets.surface_model import load_surface_model
from volengine.ops.score import pair_picks
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
        ({"tomogram": tomogram, "template": "t.mrc", "column": "c"}, "two scores"),
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
    with pytest.raises(InputError, match="2 sets of surfaces and 1 tomograms"):
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
