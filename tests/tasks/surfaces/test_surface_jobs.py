"""surfaces measure, sample, profile, pick as jobs: whole == units == workers == killed and resumed; collections."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from shapes import ball
from whole_surfaces import measured_whole, profiled_whole

from volengine.cli.main import cli
from volengine.core.errors import ChangedError, MemoryRefusedError
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.engine.options import RunOptions
from volengine.io.picks import read_picks, write_picks
from volengine.io.surfaces import SurfaceFacts, open_surfaces, write_surfaces
from volengine.tasks.common import division
from volengine.tasks.surfaces import measure_rows
from volengine.tasks.surfaces.measure import measure_surfaces
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.pick_verb import pick_on_surfaces
from volengine.tasks.surfaces.picking_recipes import SurfacesProfileRecipe
from volengine.tasks.surfaces.profile import profile_surfaces
from volengine.tasks.surfaces.sample import sample_surfaces

SHAPE, SIZE = (40, 42, 44), (10.0, 10.0, 10.0)
CENTRE = np.array([200.0, 210.0, 215.0])


def volume(path: Path, values: np.ndarray) -> str:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = SIZE[0]
    return str(path)


def bumpy(radius: float, steps: int, by: Any, seed: int, number: int) -> Surface:
    """A ball whose vertices are moved a little, so that no two of them are alike."""
    one = ball(radius, steps)
    noise = np.random.default_rng(seed).normal(size=one.vertices.shape)
    return Surface(one.vertices + CENTRE + by + 0.5 * noise, one.faces, number=number)


def case(folder: Path, name: str = "TS_01", seed: int = 0) -> dict[str, str]:
    """A vesicle with two leaflets, a smaller one, half of a ball with a border; another set; labels; picks."""
    folder.mkdir(exist_ok=True)
    z, y, x = np.indices(SHAPE) * 10.0
    radius = np.sqrt((z - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 + (x - CENTRE[2]) ** 2)
    leaves = sum(np.exp(-(((radius - at) / 11) ** 2) / 2) for at in (110, 150))
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    half = ball(90.0, 3)
    kept = half.faces[(half.vertices[half.faces][:, :, 0] > 0).all(axis=1)]
    mine = [
        (bumpy(130.0, 3, 0.0, seed, 1), {"note": "kept"}),
        (bumpy(40.0, 2, (0, 0, 80), seed + 1, 2), {}),
        (Surface(half.vertices + CENTRE, kept, number=3), {}),
    ]
    facts = SurfaceFacts(name, "OMM", SIZE, (0.0, 0.0, 0.0), SHAPE)
    write_surfaces(folder / f"{name}.surfaces", mine, facts)
    others = [(bumpy(60.0, 2, (0, -100, 0), seed + 2, 1), {}), (bumpy(50.0, 2, (0, 100, 0), seed + 3, 2), {})]
    write_surfaces(folder / f"{name}_ER.surfaces", others, SurfaceFacts(name, "ER", SIZE, (0.0, 0.0, 0.0), SHAPE))
    at = np.random.default_rng(seed).uniform(5, 35, (20, 3))
    write_picks(folder / f"{name}.csv", Picks(at, SIZE, shape=SHAPE, tomogram=name), None)
    return {
        "set": str(folder / f"{name}.surfaces"),
        "others": str(folder / f"{name}_ER.surfaces"),
        "picks": str(folder / f"{name}.csv"),
        "tomogram": volume(folder / f"{name}.mrc", (100 - 30 * leaves + noise).astype(np.float32)),
        "labels": volume(folder / f"{name}__cell.mrc", (radius < 130).astype(np.int16)),
    }


def recipe_of(given: dict[str, str], **more: Any) -> SurfacesMeasureRecipe:
    return SurfacesMeasureRecipe(
        radius_nm=6,
        average_nm=4,
        reach_nm=6,
        tomogram=given["tomogram"],
        labels=given["labels"],
        picks=given["picks"],
        others=(given["others"],),
        **more,
    )


def same(one: Surface, other: Surface) -> None:
    """Columns and normals, as files hold them, are equal to the last bit."""
    assert list(one.columns) == list(other.columns)
    for name, column in one.columns.items():
        np.testing.assert_array_equal(column, other.columns[name].astype(column.dtype), err_msg=name)
    assert one.normals is not None
    assert other.normals is not None
    np.testing.assert_array_equal(one.normals, other.normals.astype(np.float32).astype(np.float64))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".ply", ".csv")}


@pytest.mark.parametrize("rows", [60, 257, 10**6])
def test_measures_of_parts_are_those_of_whole_surfaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    given = case(tmp_path)
    monkeypatch.setattr(division, "ROWS", rows)
    measure_surfaces(given["set"], tmp_path / "m.surfaces", recipe_of(given))
    made = open_surfaces(tmp_path / "m.surfaces")
    assert made.rows[0]["note"] == "kept"
    for one, whole in zip(made, measured_whole(given["set"], recipe_of(given)), strict=True):
        same(one, whole)
        assert np.isfinite(one.columns["bilayer_nm"]).any() or one.number != 1


@pytest.mark.parametrize("rows", [50, 10**6])
def test_profiles_of_parts_are_those_of_whole_surfaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    given = case(tmp_path)
    recipe = SurfacesProfileRecipe(tomogram=given["tomogram"])
    monkeypatch.setattr(division, "ROWS", rows)
    profile_surfaces(given["set"], tmp_path / "p.surfaces", recipe)
    for one, whole in zip(open_surfaces(tmp_path / "p.surfaces"), profiled_whole(given["set"], recipe), strict=True):
        same(one, whole)


@pytest.mark.parametrize("verb", ["sample", "pick"])
def test_neither_units_nor_workers_change_picks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    given = case(tmp_path)
    recipe = {"spacing_nm": 4, "edge_exclusion_nm": 1.0}
    recipe |= {"in_plane": "random"} if verb == "sample" else {"tomogram": given["tomogram"]}
    call = sample_surfaces if verb == "sample" else pick_on_surfaces
    found = []
    for rows, workers in ((10**6, 0), (100, 0), (100, 2)):
        monkeypatch.setattr(division, "ROWS", rows)
        out = tmp_path / f"{rows}-{workers}.star"
        made = call(given["set"], out, recipe, RunOptions(workers=workers, memory_limit="3GB", progress=False))
        found.append((out.read_bytes(), made.picks, made.counts, made.notes))
    assert len(found[0][1]) > 10
    assert found[0] == found[1] == found[2]


SCRIPT = """
import sys
from volengine.engine.options import RunOptions
from volengine.tasks.common import division
from volengine.tasks.surfaces.measure import measure_surfaces
if __name__ == "__main__":
    division.ROWS = 60
    measure_surfaces(sys.argv[1], sys.argv[2], {"radius_nm": 6}, RunOptions(progress=False))
"""


def test_a_run_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(tmp_path)
    out, run = tmp_path / "m.surfaces", tmp_path / "m.surfaces.run"
    command = [sys.executable, "-c", SCRIPT, given["set"], str(out)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while process.poll() is None and len(list(run.glob("plans/*/tables/surfaces-measure/*/*.npz"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    monkeypatch.setattr(division, "ROWS", 60)
    measure_surfaces(given["set"], out, {"radius_nm": 6}, RunOptions(take_over=True))
    plan = json.loads((run / "report.json").read_text())["plans"]["TS_01"]
    assert plan["skipped"] > 0
    monkeypatch.setattr(division, "ROWS", 10**6)
    measure_surfaces(given["set"], tmp_path / "n.surfaces", {"radius_nm": 6}, RunOptions(workers=2))
    assert files(out) == files(tmp_path / "n.surfaces")


def test_what_changed_is_computed_again(tmp_path: Path) -> None:
    """The surfaces, another set, the tomogram, the picks, the recipe: each alone, with one run folder."""
    given = case(tmp_path)
    out = tmp_path / "m.surfaces"

    def run(**more: Any) -> dict[str, bytes]:
        measure_surfaces(given["set"], out, recipe_of(given, **more))
        return files(out)

    seen = [run()]
    assert run() == seen[0]
    changed = case(tmp_path / "other", seed=9)
    for name in ("tomogram", "picks"):
        Path(given[name]).write_bytes(Path(changed[name]).read_bytes())
        seen.append(run())
    for name in ("others", "set"):
        (Path(given[name]) / "0001.ply").write_bytes((Path(changed[name]) / "0001.ply").read_bytes())
        seen.append(run())
    seen.append(run(max_thickness_nm=8.0))
    assert all(one != other for number, one in enumerate(seen) for other in seen[:number])
    fresh = tmp_path / "fresh.surfaces"
    measure_surfaces(given["set"], fresh, recipe_of(given, max_thickness_nm=8.0))
    assert files(fresh) == seen[-1]


def test_borders_that_do_not_fit_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """Closed surfaces have none, so that those that say so are measured."""
    given = case(tmp_path)
    facts = open_surfaces(given["set"]).facts
    for name, closed in (("open", False), ("closed", True)):
        told = {"vertices": 10**6, "closed": closed}
        write_surfaces(tmp_path / f"{name}.surfaces", [(bumpy(90.0, 2, 0.0, 0, 1), told)], facts)
    small = RunOptions(memory_limit="2GB")
    with pytest.raises(MemoryRefusedError, match="--measures curvature,thickness,nearest,volume"):
        measure_surfaces(tmp_path / "open.surfaces", tmp_path / "a.surfaces", {"measures": ("border",)}, small)
    measure_surfaces(tmp_path / "closed.surfaces", tmp_path / "b.surfaces", {"measures": ("border",)}, small)
    assert np.isnan(open_surfaces(tmp_path / "b.surfaces").read(1).columns["border_nm"]).all()


def test_surfaces_that_change_while_they_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(tmp_path)
    columns = measure_rows.Measuring.columns

    def meanwhile(*args: Any) -> Any:
        os.utime(Path(given["set"]) / "0002.ply")
        return columns(*args)

    monkeypatch.setattr(measure_rows.Measuring, "columns", meanwhile)
    with pytest.raises(ChangedError, match=r"TS_01.surfaces has changed since this run was planned"):
        measure_surfaces(given["set"], tmp_path / "m.surfaces", {"measures": ("volume",)})
    assert not (tmp_path / "m.surfaces").exists()


def test_several_tomograms_in_one_command(tmp_path: Path) -> None:
    """A folder of tomograms serves all sets; one that has none fails alone."""
    for number, name in enumerate(("TS_01", "TS_02", "TS_03")):
        case(tmp_path / name, name, seed=10 * number)
        (tmp_path / "sets").mkdir(exist_ok=True)
        (tmp_path / name / f"{name}.surfaces").rename(tmp_path / "sets" / f"{name}.surfaces")
    (tmp_path / "tomograms").mkdir()
    for name in ("TS_01", "TS_02"):
        (tmp_path / name / f"{name}.mrc").rename(tmp_path / "tomograms" / f"{name}.mrc")
    sets, tomograms = str(tmp_path / "sets"), str(tmp_path / "tomograms")
    command = ["surfaces", "measure", sets, "--out", str(tmp_path / "made"), "--tomogram", tomograms]
    command += ["--measures", "curvature", "--radius-nm", "6", "--reach-nm", "6"]
    told = CliRunner().invoke(cli, command)
    assert told.exit_code == 1
    assert "has no volume of tomogram 'TS_03', for --tomogram; it has those of TS_01, TS_02" in told.output
    recipe = SurfacesMeasureRecipe(measures=("curvature",), radius_nm=6, reach_nm=6)
    for name in ("TS_01", "TS_02"):
        alone = recipe.with_(tomogram=str(tmp_path / "tomograms" / f"{name}.mrc"))
        measure_surfaces(tmp_path / "sets" / f"{name}.surfaces", tmp_path / f"{name}_alone.surfaces", alone)
        assert files(tmp_path / "made" / f"{name}.surfaces") == files(tmp_path / f"{name}_alone.surfaces")
    assert not (tmp_path / "made" / "TS_03.surfaces").exists()


def test_other_verbs_on_several_sets(tmp_path: Path) -> None:
    given = case(tmp_path)
    sources = [given["set"], given["others"]]
    told = CliRunner().invoke(cli, ["surfaces", "sample", *sources, "--out", str(tmp_path / "seeds")])
    assert told.exit_code == 0, told.output
    assert len(read_picks(tmp_path / "seeds" / "TS_01_ER.star")) > 10
    more = ["--tomogram", given["tomogram"], "--picture", str(tmp_path / "png")]
    told = CliRunner().invoke(cli, ["surfaces", "profile", *sources, "--out", str(tmp_path / "p"), *more])
    assert told.exit_code == 0, told.output
    assert (tmp_path / "png" / "TS_01_ER" / "0002.npy").is_file()
    told = CliRunner().invoke(cli, ["surfaces", "sample", *sources, "--out", str(tmp_path / "one.star")])
    assert told.exit_code != 0
    assert "is one file, but there are 2 sources; give a folder" in str(told.exception)


def test_nothing_found_is_said_loudly(tmp_path: Path) -> None:
    given = case(tmp_path)
    none = tmp_path / "none.surfaces"
    write_surfaces(none, [], SurfaceFacts("TS_09", "OMM", SIZE, (0.0, 0.0, 0.0), SHAPE))
    tomogram = ["--tomogram", given["tomogram"]]
    for verb, source, more, message in (
        ("measure", str(none), [], "none: .*none.surfaces has no surfaces"),
        ("sample", str(none), [], "none: .*none.surfaces has no surfaces"),
        ("profile", str(none), tomogram, "none: .*none.surfaces has no surfaces"),
        (
            "pick",
            given["set"],
            [*tomogram, "--min-score", "1000"],
            "TS_01: .* the highest score is -[0-9.]+, and",
        ),
        ("sample", given["set"], ["--offset-nm", "900"], "TS_01: all [0-9]+ points .* lie outside of the tomogram"),
    ):
        out = tmp_path / (f"{verb}.surfaces" if verb in ("measure", "profile") else f"{verb}-{len(more)}.star")
        told = CliRunner().invoke(cli, ["surfaces", verb, source, "--out", str(out), *more])
        assert told.exit_code == 0, told.output
        assert told.stderr.startswith("Warning: "), (verb, told.stderr)
        assert re.search(message, told.stderr), (verb, told.stderr)
