"""Which volumes, sets and tables of a folder belong to a set of surfaces; what belongs to another is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner, Result
from oriented_surfaces import ball

from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.picks import write_picks
from volengine.io.surfaces import SurfaceFacts, open_surfaces, write_surfaces
from volengine.tasks.surfaces.measure import measure_surfaces
from volengine.tasks.surfaces.sets import one_of

SHAPE, SIZE = (24, 24, 24), (10.0, 10.0, 10.0)
CENTRE = np.array([120.0, 120.0, 120.0])
NAMES = ("TS_01", "TS_02", "TS_03")
VERBS = {
    "measure": ["--measures", "volume", "--reach-nm", "6"],
    "profile": [],
    "pick": ["--spacing-nm", "8"],
    "sample": ["--spacing-nm", "8"],
}


def volume(path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    with mrcfile.new(path) as file:
        file.set_data(np.rint(np.random.default_rng(0).normal(size=SHAPE)).astype("f4"))  # they may be labels, too
        file.voxel_size = 10.0
    return str(path)


@pytest.fixture
def sets(tmp_path: Path) -> str:
    """Sets of three tomograms, in a folder."""
    for name in NAMES:
        facts = SurfaceFacts(name, "membrane", SIZE, shape=SHAPE)
        (tmp_path / "sets").mkdir(exist_ok=True)
        write_surfaces(tmp_path / "sets" / f"{name}.surfaces", [(ball(60.0, CENTRE, 2), {})], facts)
    return str(tmp_path / "sets")


def table(path: Path, *names: str, at: float = 12.0) -> str:
    """A pick beside the middle of each tomogram."""
    path.parent.mkdir(exist_ok=True)
    picks = [Picks([[at, 12, 12]], SIZE, shape=SHAPE, tomogram=name) for name in names]
    write_picks(path, picks if len(picks) > 1 else picks[0])
    return str(path)


def run(verb: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["surfaces", verb, *arguments, *VERBS[verb]])


def made(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.glob("TS_*")} if folder.exists() else set()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["folder", "glob", "list"])
@pytest.mark.parametrize("name", ["TS_01", "cell"])
def test_the_only_volume_of_a_folder_serves_the_sets_of_its_name_alone(
    tmp_path: Path, sets: str, verb: str, how: str, name: str
) -> None:
    file = volume(tmp_path / "volumes" / f"{name}.mrc")
    (tmp_path / "list.txt").write_text(file)
    given = {"folder": tmp_path / "volumes", "glob": tmp_path / "volumes" / "*.mrc", "list": tmp_path / "list.txt"}[how]
    told = run(verb, sets, "--out", str(tmp_path / "out"), "--tomogram", str(given))
    assert told.exit_code == 1
    for lacking in NAMES if name == "cell" else NAMES[1:]:
        assert f"has no volume of tomogram '{lacking}', for --tomogram; it has that of {name}" in told.output
    assert "give --tomogram the path of the file itself" in told.output
    assert made(tmp_path / "out") == ({"TS_01"} if name == "TS_01" else set())


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_is_not_taken_for_several_tomograms_if_it_is_that_of_one(tmp_path: Path, sets: str, verb: str) -> None:
    file = volume(tmp_path / "volumes" / "TS_02.mrc")
    told = run(verb, sets, "--out", str(tmp_path / "out"), "--tomogram", file)
    assert told.exit_code != 0
    said = f"{told.output}{told.exception}"
    assert "is of tomogram 'TS_02', and there is none for" in said
    assert f"{sets}/TS_01.surfaces ('TS_01'), {sets}/TS_03.surfaces ('TS_03')" in said
    assert made(tmp_path / "out") == set()


def test_a_file_of_another_name_is_taken_for_all_and_said(tmp_path: Path, sets: str) -> None:
    told = run("profile", sets, "--out", str(tmp_path / "out"), "--tomogram", volume(tmp_path / "v" / "cell.mrc"))
    assert told.exit_code == 0, told.output
    for name in NAMES:
        assert f"The surfaces are those of '{name}', and the tomogram is 'cell'." in told.output


def test_two_sets_of_one_tomogram_share_a_file(tmp_path: Path, sets: str) -> None:
    facts = SurfaceFacts("TS_01", "inner", SIZE, shape=SHAPE)
    write_surfaces(tmp_path / "b.surfaces", [(ball(40.0, CENTRE, 2), {})], facts)
    sources = [f"{sets}/TS_01.surfaces", str(tmp_path / "b.surfaces")]
    told = run("profile", *sources, "--out", str(tmp_path / "out"), "--tomogram", volume(tmp_path / "v" / "TS_01.mrc"))
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize("option", ["labels", "others", "picks"])
def test_what_else_lies_beside_sets_is_refused_in_the_same_way(tmp_path: Path, sets: str, option: str) -> None:
    folder = tmp_path / option
    if option == "others":
        write_surfaces(folder / "x.surfaces", [(ball(40.0, CENTRE, 2), {})], SurfaceFacts("TS_02", "in", SIZE))
        file = str(folder / "x.surfaces")
    else:
        file = volume(folder / "TS_02__x.mrc") if option == "labels" else table(folder / "x.csv", "TS_02")
    told = run("measure", sets, "--out", str(tmp_path / "one"), f"--{option}", file)
    assert told.exit_code != 0
    assert "is of tomogram 'TS_02', and there is none for" in f"{told.output}{told.exception}"
    told = run("measure", sets, "--out", str(tmp_path / "out"), f"--{option}", str(folder))
    assert told.exit_code == 1
    assert made(tmp_path / "out") == {"TS_02"}
    for name in ("TS_01", "TS_03"):
        assert f"of tomogram '{name}'" in told.output


def test_two_volumes_of_a_tomogram_are_not_chosen_from(tmp_path: Path) -> None:
    for name in ("TS_01__a", "TS_01__b", "TS_02"):
        volume(tmp_path / "v" / f"{name}.mrc")
    with pytest.raises(InputError, match=r"has 2 volumes of tomogram 'TS_01', for --labels: .*a\.mrc, .*b\.mrc"):
        one_of(str(tmp_path / "v"), "TS_01", "--labels")
    file = volume(tmp_path / "v" / "TS_01.mrc")
    assert one_of(str(tmp_path / "v"), "TS_01", "--tomogram") == file


@pytest.mark.parametrize("how", ["folder", "glob", "several", "one table"])
def test_picks_of_many_tomograms(tmp_path: Path, sets: str, how: str) -> None:
    """One has two tables, of which both count: the distance is that to the nearest pick of either."""
    folder = tmp_path / "picks"
    single = {name: table(folder / f"{name}.csv", name) for name in NAMES}
    near = table(folder / "more.csv", "TS_02", at=18.0)
    given = {"folder": str(folder), "glob": f"{folder}/*.csv", "several": ",".join([*single.values(), near])}.get(how)
    if given is None:
        given = table(tmp_path / "all.csv", *NAMES)
    told = run("measure", sets, "--out", str(tmp_path / "out"), "--picks", given)
    assert told.exit_code == 0, told.output
    for name in NAMES:
        one = open_surfaces(tmp_path / "out" / f"{name}.surfaces").read(1)
        points = np.array([CENTRE, [180.0, 120, 120]])[: 2 if name == "TS_02" and how != "one table" else 1]
        want = np.linalg.norm(one.vertices[:, None] - points, axis=2).min(axis=1) / 10
        np.testing.assert_allclose(one.columns["pick_nm"], want, atol=1e-4)


def test_names_of_files_say_whose_picks_are(tmp_path: Path, sets: str) -> None:
    """A table without a column of tomograms is that of its file's name, with or without the feature."""
    (tmp_path / "picks").mkdir()
    (tmp_path / "picks" / "TS_01__ribosome.csv").write_text("z,y,x\n12,12,12\n")
    (tmp_path / "picks" / "TS_03.csv").write_text("z,y,x\n12,12,12\n")
    told = run("measure", sets, "--out", str(tmp_path / "out"), "--picks", str(tmp_path / "picks"))
    assert told.exit_code == 1
    assert made(tmp_path / "out") == {"TS_01", "TS_03"}
    assert "None of the 2 tables" in told.output
    assert "The surfaces are those of" not in told.output
    assert "is of tomogram 'TS_02'; they are of 'TS_01', 'TS_03'" in told.output


def test_changed_picks_are_measured_anew_and_added_ones_too(tmp_path: Path, sets: str) -> None:
    folder = tmp_path / "picks"
    table(folder / "a.csv", "TS_01")
    source, out = f"{sets}/TS_01.surfaces", tmp_path / "out.surfaces"
    seen = []
    for at in (None, 14.0, 18.0):
        if at is not None:
            table(folder / "b.csv", "TS_01", at=at)
        measure_surfaces(source, out, {"measures": ("volume",), "picks": (str(folder),)})
        seen.append(open_surfaces(out).read(1).columns["pick_nm"])
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])
    shutil.rmtree(folder)
    with pytest.raises(InputError):
        measure_surfaces(source, out, {"measures": ("volume",), "picks": (str(folder),)})


def test_other_outputs_do_no_unit_again(tmp_path: Path, sets: str) -> None:
    """Tables, scores and formats are written from what there is; other pictures are drawn, and nothing else."""
    source, tomogram = f"{sets}/TS_01.surfaces", ["--tomogram", volume(tmp_path / "TS_01.mrc")]
    pictures = ["--picture", str(tmp_path / "png")]
    for verb, ending, first, second, done in (
        ("measure", "m.surfaces", [], ["--csv", str(tmp_path / "csv")], "(0 of 1 units run, 1 were there already)"),
        ("pick", "p.star", tomogram, [*tomogram, "--to", "relion5"], "(0 of 3 units run, 3 were there already)"),
        ("pick", "p.star", [], [*tomogram, "--scored", str(tmp_path / "s.surfaces")], "(0 of 3 units run, 3 were"),
        ("profile", "q.surfaces", tomogram, [*tomogram, *pictures], "(1 of 2 units run, 1 were there already)"),
        ("profile", "q.surfaces", [], [*tomogram, *pictures, "--pixel-nm", "2"], "(1 of 2 units run, 1 were"),
        ("profile", "q.surfaces", [], tomogram, "(0 of 1 units run, 1 were there already)"),
    ):
        out = ["--out", str(tmp_path / ending)]
        told = run(verb, source, *out, *first) if first or verb == "measure" else None
        assert told is None or told.exit_code == 0, told.output
        told = run(verb, source, *out, *second)
        assert told.exit_code == 0, told.output
        assert done in told.output, (verb, second, told.output)
    other = ["--picture", str(tmp_path / "other"), "--pixel-nm", "2"]
    run("profile", source, "--out", str(tmp_path / "q.surfaces"), *tomogram, *pictures, "--pixel-nm", "2")
    told = run("profile", source, "--out", str(tmp_path / "q.surfaces"), *tomogram, *other)
    assert told.exit_code == 0, told.output
    assert "is not kept after a run, and nothing else is missing. It is made again." in told.output
    assert (tmp_path / "other" / "0001.png").read_bytes() == (tmp_path / "png" / "0001.png").read_bytes()


@pytest.mark.parametrize("what", ["origin", "shape"])
def test_picks_of_another_box_are_refused(tmp_path: Path, what: str) -> None:
    """A table that states where its box lies is not laid at the first voxel of a part, or of another box."""
    origin = (100.0, -50.0, 30.0)
    facts = SurfaceFacts("TS_01", "membrane", SIZE, origin, SHAPE)
    surfaces = tmp_path / "a.surfaces"
    write_surfaces(surfaces, [(ball(60.0, CENTRE, 2), {})], facts)
    for name, where, shape in (
        ("right", origin, SHAPE),
        ("other", (180.0, 50.0, 150.0), SHAPE),
        ("large", origin, (99,) * 3),
    ):
        picks = Picks([[12.0, 12, 12]], SIZE, where, shape, tomogram="TS_01")
        write_picks(tmp_path / f"{name}.star", picks)
    right = run("measure", str(surfaces), "--out", str(tmp_path / "out"), "--picks", str(tmp_path / "right.star"))
    assert right.exit_code == 0, right.output
    wrong = str(tmp_path / {"origin": "other", "shape": "large"}[what]) + ".star"
    told = run("measure", str(surfaces), "--out", str(tmp_path / "bad"), "--picks", wrong)
    assert told.exit_code != 0
    assert {"origin": "any-origin", "shape": "measures"}[what] in f"{told.output}{told.exception}"
    assert not (tmp_path / "bad").exists()
    if what == "origin":
        accepted = run("measure", str(surfaces), "--out", str(tmp_path / "in"), "--picks", wrong, "--any-origin")
        assert accepted.exit_code == 0, accepted.output
