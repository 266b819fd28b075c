"""What volengine stats --surface refuses: surfaces and particles that do not fit, and what has no meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from stats_inputs import QUIET
from surface_shapes import sphere

from volengine.cli.stats import command
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.meshes import write_mesh
from volengine.io.picks import write_picks
from volengine.io.surfaces import SurfaceFacts, write_surfaces
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.verb import stats

SHAPE = (100, 120, 140)
CENTRE = np.array([500.0, 600, 700])
FEW = SurfaceStatsRecipe(ripley_nm=0, simulations=0, occupancy_nm=0, resamples=0)


def ball(folder: Path, name: str = "TS_01__membrane", **facts: Any) -> str:
    """A sphere of 20 nm in a tomogram of 100 x 120 x 140 nm; a tomogram with the same facts."""
    vertices, faces = sphere(200, 200)
    known = {"tomogram": "TS_01", "feature": "membrane", "voxel_size": (10.0,) * 3, "shape": SHAPE, **facts}
    path = folder / f"{name}.surfaces"
    write_surfaces(path, [(Surface(vertices + CENTRE, faces.astype(np.int32)), {})], SurfaceFacts(**known))
    return str(path)


def picks(folder: Path, tomogram: str = "TS_01", away: float = 0.0, **facts: Any) -> str:
    known = {"voxel_size": (10.0,) * 3, "shape": SHAPE, **facts}
    at = (CENTRE + np.concatenate([np.eye(3), -np.eye(3)]) * (200 + away)) / known["voxel_size"]
    path = folder / f"{tomogram}__receptor.csv"
    write_picks(path, Picks(at, tomogram=tomogram, feature="receptor", **known))
    return str(path)


def refused(inputs: Any, surfaces: Any, match: str, error: type[Exception] = InputError, **more: Any) -> None:
    recipe = more.pop("surface_recipe", FEW)
    with pytest.raises(error, match=match):
        stats(inputs, None, StatsRecipe(plots=False), QUIET, surfaces=surfaces, surface_recipe=recipe, **more)


def test_surfaces_that_are_not_there_or_not_finished(tmp_path: Path) -> None:
    table = picks(tmp_path)
    refused(table, str(tmp_path / "none.surfaces"), "no such file or folder", MissingError)
    refused(table, str(tmp_path / "*.surfaces"), "nothing matches", MissingError)
    (tmp_path / "half.surfaces").mkdir()
    refused(table, str(tmp_path / "half.surfaces"), "was not finished", FormatError)


def test_another_tomogram(tmp_path: Path) -> None:
    refused(picks(tmp_path, "TS_02"), ball(tmp_path), r"is of tomogram 'TS_01', of which there are no particles.*TS_02")
    both = [picks(tmp_path), picks(tmp_path, "TS_02")]
    refused(both, ball(tmp_path), r"No --surface is of tomogram 'TS_02'.*surfaces of TS_01")
    other = ball(tmp_path, "TS_03__membrane", tomogram="TS_03")
    refused(picks(tmp_path), [ball(tmp_path), other], r"is of tomogram 'TS_03', of which there are no particles")


def empty(folder: Path, tomogram: str) -> str:
    """A set of no surfaces."""
    path = folder / f"{tomogram}__membrane.surfaces"
    write_surfaces(path, [], SurfaceFacts(tomogram, "membrane", (10.0,) * 3, shape=SHAPE))
    return str(path)


def none(folder: Path, tomogram: str) -> str:
    """A table without picks."""
    path = folder / f"{tomogram}__receptor.csv"
    write_picks(path, Picks(np.zeros((0, 3)), (10.0,) * 3, shape=SHAPE, tomogram=tomogram, feature="receptor"))
    return str(path)


def test_a_tomogram_without_surfaces_and_particles_does_not_stop_the_others(tmp_path: Path) -> None:
    recipe = StatsRecipe(plots=False)
    table, surfaces = picks(tmp_path), ball(tmp_path)
    found = stats(
        [table, none(tmp_path, "TS_02")],
        None,
        recipe,
        QUIET,
        surfaces=[surfaces, empty(tmp_path, "TS_02")],
        surface_recipe=FEW,
    )
    assert "TS_02__membrane.surfaces has no surfaces." in found.text()
    assert [(row["tomogram"], row["objects"]) for row in found["classes"]] == [("TS_01", 6), ("TS_02", 0)]
    alone = stats(table, None, recipe, QUIET, surfaces=surfaces, surface_recipe=FEW)
    for name, rows in alone.tables.items():
        if name.startswith("surface"):
            assert repr(found[name]) == repr(rows), name


def test_what_lacks_surfaces_or_particles_is_said_as_it_is(tmp_path: Path) -> None:
    both = [picks(tmp_path), none(tmp_path, "TS_02")]
    refused(both, ball(tmp_path), r"No --surface is of tomogram 'TS_02', of which 0 particles are given; .* TS_01\. ")
    refused(picks(tmp_path), empty(tmp_path, "TS_01"), "there is no surface in .*TS_01__membrane.surfaces")
    both = [picks(tmp_path), picks(tmp_path, "TS_02")]
    sets = [ball(tmp_path), empty(tmp_path, "TS_02")]
    refused(both, sets, r"TS_02__membrane\.surfaces has no surfaces, and there are 6 particles of tomogram 'TS_02'")


def test_another_voxel_size_extent_or_origin(tmp_path: Path) -> None:
    table = picks(tmp_path)
    refused(
        table, ball(tmp_path, voxel_size=(20.0,) * 3, shape=(50, 60, 70)), "voxels of 20 x 20 x 20 angstrom.*10 x 10"
    )
    refused(table, ball(tmp_path, shape=(100, 120, 90)), "measures 100 x 120 x 90 nm.*100 x 120 x 140 nm")
    moved = picks(tmp_path, origin=(50.0, 0, 0))
    there = ball(tmp_path, origin=(-80.0, 0, 0))
    refused(moved, there, "same box of the specimen")
    accepted = stats(moved, None, StatsRecipe(plots=False, any_origin=True), QUIET, surfaces=there, surface_recipe=FEW)
    assert accepted["surfaces"][0]["objects"] == 6
    assert "compared from the first voxel" in accepted.text()


def test_particles_that_are_far(tmp_path: Path) -> None:
    table = picks(tmp_path, away=150)
    refused(table, ball(tmp_path), r"6 of 6 'receptor' of tomogram 'TS_01'.*--max-distance-nm 10.*15(\.\d*)? nm")
    found = stats(
        table,
        None,
        StatsRecipe(plots=False),
        QUIET,
        surfaces=ball(tmp_path),
        surface_recipe=FEW.with_(max_distance_nm=20),
    )
    assert found["surfaces"][0]["objects"] == 6


def test_some_particles_that_are_far_are_left_out_and_said(tmp_path: Path) -> None:
    at = CENTRE + np.concatenate([200 * np.eye(3), [[0, 0, 600.0]]])
    table = tmp_path / "TS_01__receptor.csv"
    write_picks(table, Picks(at / 10, (10.0,) * 3, shape=SHAPE, tomogram="TS_01", feature="receptor"))
    found = stats(table, None, StatsRecipe(plots=False), QUIET, surfaces=ball(tmp_path), surface_recipe=FEW)
    assert found["surfaces"][0]["objects"] == 3
    assert found["surfaces_pooled"][0]["far"] == 1
    assert [r["state"] for r in found["surface_objects"]].count("far") == 1
    assert "1 of 4 'receptor' lie farther than 10 nm" in found.text()
    assert len(found["objects"]) == 4  # in space it counts


def test_surfaces_on_which_no_way_is_said(tmp_path: Path) -> None:
    vertices = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, -1, 0.5]]) * 100 + CENTRE
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]], np.int32)
    path = tmp_path / "TS_01__membrane.surfaces"
    write_surfaces(path, [(Surface(vertices, faces), {})], SurfaceFacts("TS_01", "membrane", (10.0,) * 3, shape=SHAPE))
    refused(
        picks(tmp_path),
        str(path),
        "Surface 1 of membrane: 1 edges have more than two faces",
        surface_recipe=FEW.with_(max_distance_nm=90),
    )


def test_columns_and_classes_that_are_not_there(tmp_path: Path) -> None:
    recipe = FEW.with_(by_column=("thickness_nm",))
    refused(picks(tmp_path), ball(tmp_path), r"has no column 'thickness_nm'.*has none", surface_recipe=recipe)
    recipe = FEW.with_(by_class=("TRiC",), ripley_nm=10)
    refused(
        picks(tmp_path),
        ball(tmp_path),
        "--by-class TRiC: no input has this class; there are receptor",
        surface_recipe=recipe,
    )


def test_two_sets_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    refused(picks(tmp_path), [ball(tmp_path), ball(tmp_path / "more")], "two sets of tomogram 'TS_01' are called")


def test_a_mesh_file_of_another_tomogram_is_refused_where_there_are_several(tmp_path: Path) -> None:
    vertices, faces = sphere(200, 200)
    write_mesh(tmp_path / "vesicle.ply", vertices + CENTRE, faces)
    one = stats(
        picks(tmp_path), None, StatsRecipe(plots=False), QUIET, surfaces=tmp_path / "vesicle.ply", surface_recipe=FEW
    )
    assert one["surfaces"][0]["objects"] == 6
    refused(
        [picks(tmp_path), picks(tmp_path, "TS_02")], str(tmp_path / "vesicle.ply"), "'vesicle', of which there are no"
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"max_distance_nm": 0.0}, "--max-distance-nm must be positive"),
        ({"bin_nm": 0.0}, "--bin-nm must be positive"),
        ({"edge_exclusion_nm": -1.0}, "--edge-exclusion-nm must be 0 or more"),
        ({"neighbours": 0}, "--neighbours must be from 1"),
        ({"bin_nm": 80.0}, r"0\.625 rings"),
        ({"bin_nm": 0.01}, r"5000 rings"),
        ({"ripley_nm": 0.0, "by_class": ("a",)}, "--by-class needs"),
        ({"by_column": ("a", "a")}, "names one twice"),
    ],
)
def test_values_that_make_no_sense(change: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        SurfaceStatsRecipe(**change)


def test_on_the_command_line(tmp_path: Path) -> None:
    arguments = [picks(tmp_path), "--surface", ball(tmp_path), "--ripley-nm", "0", "--no-plots", "--quiet"]
    found = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "out"), "--occupancy-nm", "5"])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "out" / "surfaces.csv").is_file()
    assert not (tmp_path / "out" / "ripley.csv").exists()
    alone = CliRunner().invoke(command, [arguments[0], "--edge-exclusion-nm", "5"])
    assert alone.exit_code == 2
    assert "--edge-exclusion-nm needs --surface" in alone.output


def test_a_part_of_the_tomogram(tmp_path: Path) -> None:
    """Surfaces are not cut: their area would be that of the whole."""
    with pytest.raises(InputError, match=r"--roi .* with --surface"):
        stats(picks(tmp_path), None, StatsRecipe(roi="0:50,:,:"), QUIET, surfaces=ball(tmp_path), surface_recipe=FEW)
