"""Origins mean the same in every verb: nothing is moved by them, and two that differ are said or refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import mrcfile
import numpy as np
import pytest

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.io.open import open_volume
from volengine.io.picks import read_picks, write_picks
from volengine.tasks.common.origins import origins_note
from volengine.tasks.interact.finish import say_masks
from volengine.tasks.interact.plan import plan_interact
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.train.labels import LabelPoints

QUIET = RunOptions(progress=False)
SHAPE = (40, 60, 80)
CENTRES = [(8, 10, 12), (20, 50, 20), (30, 15, 66), (24, 40, 50)]
ORIGIN = (500.0, -300.0, 40.0)
CUBIC, FLAT = (10.0, 10.0, 10.0), (20.0, 10.0, 10.0)
TABLES = {"star": "relion", "csv": "csv", "tbl": "dynamo", "json": "copick", "tsv": "ais-tsv"}


def holds(ending: str, size: tuple[float, float, float]) -> bool:
    """Whether a table holds picks in such voxels: most know one pixel size only."""
    return size == CUBIC or ending in ("csv", "json")


def balls(path: Path, size: tuple[float, float, float], origin: tuple[float, float, float]) -> str:
    grid = np.indices(SHAPE)
    far = [np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))) for centre in CENTRES]
    with mrcfile.new(path, data=(np.min(far, axis=0) < 4.2).astype(np.float32)) as mrc:
        mrc.voxel_size = size[::-1]
        mrc.header.origin.z, mrc.header.origin.y, mrc.header.origin.x = origin
    return str(path)


@pytest.fixture(scope="module", params=[CUBIC, FLAT], ids=["cubic", "flat"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Picks]:
    """A prediction with an origin, picked into a table of each format; and the truth, which knows no origin."""
    folder = tmp_path_factory.mktemp("origins")
    source = balls(folder / "T1.mrc", request.param, ORIGIN)
    assert open_volume(source).origin == ORIGIN
    for ending, name in TABLES.items():
        if not holds(ending, request.param):
            continue
        recipe = {"spacing_nm": 5, "feature": "r", "format": name}
        volengine.pick(source, folder / f"found.{ending}", recipe, QUIET)
    return folder, Picks(np.array(CENTRES, float), request.param, tomogram="T1", feature="r", shape=SHAPE)


@pytest.mark.parametrize(("ours", "theirs"), [*itertools.product(TABLES, TABLES)])
def test_score_pairs_tables_of_any_two_formats(found: tuple[Path, Picks], ours: str, theirs: str) -> None:
    folder, truth = found
    if not (holds(ours, truth.voxel_size) and holds(theirs, truth.voxel_size)):
        pytest.skip("voxels that are not cubes")
    known = folder / f"known.{theirs}"
    write_picks(known, truth, TABLES[theirs])
    recipe = {"voxel_size": 10.0, "features": ["r"], "radius_nm": 1.0}
    row = volengine.score(folder / f"found.{ours}", known, recipe)["r"]
    assert (row["recall"], row["precision"]) == (1, 1)
    assert row["error_nm"] == pytest.approx(0, abs=1e-6)


def test_stats_counts_the_same_as_score(found: tuple[Path, Picks], tmp_path: Path) -> None:
    folder, truth = found
    write_picks(tmp_path / "T1__r.csv", truth)
    recipe = {"plots": False, "radius_nm": 1.0}
    stats = volengine.stats([folder / "found.csv"], tmp_path / "out", recipe, QUIET, truth=tmp_path / "T1__r.csv")
    row = stats.tables["counting"][0]
    assert (row["recall"], row["precision"]) == (1, 1)
    assert row["error_nm"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ending", TABLES)
def test_training_draws_its_points_where_the_picks_are(found: tuple[Path, Picks], ending: str) -> None:
    folder, truth = found
    if not holds(ending, truth.voxel_size):
        pytest.skip("voxels that are not cubes")
    volume = open_volume(folder / "T1.mrc")
    write_picks(folder / f"points.{ending}", truth, TABLES[ending])
    for table in ("found", "points"):
        points = LabelPoints.from_files([str(folder / f"{table}.{ending}")], [5.0], volume)
        labels = points.read(Box.of_shape(SHAPE))[0]
        assert [tuple(at) for at in np.argwhere(labels == 1)] == sorted(CENTRES)


def test_a_level_of_a_pyramid_is_read_in_its_own_voxels(found: tuple[Path, Picks]) -> None:
    folder, truth = found
    assert np.array_equal(truth.place, truth.position_vox * truth.voxel_size)
    picks = read_picks(folder / "found.csv")
    assert picks.origin == ORIGIN
    assert np.allclose(picks.place + np.array(ORIGIN), picks.position)


def test_volumes_with_an_origin_on_one_side_are_compared_and_it_is_said(tmp_path: Path) -> None:
    one = balls(tmp_path / "T1__r.mrc", CUBIC, ORIGIN)
    other = balls(tmp_path / "truth.mrc", CUBIC, (0.0, 0.0, 0.0))
    scores = volengine.score(one, other, {"skeleton": "none"}, QUIET)
    assert scores["r"]["dice"] == 1
    assert "500, -300, 40" in scores.text()
    assert "first voxel" in scores.text()
    assert "origin" not in volengine.score(one, one, {"skeleton": "none"}, QUIET).text()


def test_different_boxes_are_refused(tmp_path: Path) -> None:
    one = balls(tmp_path / "T1__r.mrc", CUBIC, ORIGIN)
    other = balls(tmp_path / "truth.mrc", CUBIC, (1000.0, -300.0, 40.0))
    with pytest.raises(InputError, match=r"50, 0, 0 voxels apart.*--any-origin"):
        volengine.score(one, other, {"skeleton": "none"}, QUIET)
    recipe = {"skeleton": "none", "any_origin": True}
    assert volengine.score(one, other, recipe, QUIET)["r"]["dice"] == 1
    tables = []
    for name, origin in (("a", ORIGIN), ("b", (1000.0, -300.0, 40.0))):
        picks = Picks(np.array(CENTRES, float), CUBIC, origin=origin, tomogram="T1", feature="r", shape=SHAPE)
        write_picks(tmp_path / f"{name}.csv", picks)
        tables.append(tmp_path / f"{name}.csv")
    with pytest.raises(InputError, match="the same box"):
        volengine.score(*tables)
    assert volengine.score(*tables, {"any_origin": True})["r"]["recall"] == 1


def test_origins_that_differ_by_rounding_are_the_same() -> None:
    def note(a: float, b: float) -> str:
        return origins_note(("a", (a, 0, 0), CUBIC), ("b", (b, 0, 0), CUBIC))

    assert note(100.0, 104.9) == ""
    assert note(0, 0) == ""
    assert "10, 0, 0" in note(100.0, 0)
    with pytest.raises(InputError):
        note(100.0, 106.0)


def test_interact_says_that_origins_differ(tmp_path: Path) -> None:
    paths = {}
    for name, origin in (("r", ORIGIN), ("p", (1000.0, -300.0, 40.0)), ("q", ORIGIN)):
        paths[name] = balls(tmp_path / f"T1__{name}.mrc", CUBIC, origin)
    for parent, said in (("p", True), ("q", False)):
        rules = [{"interact": {"child": "r", "parent": parent, "kind": "colocalize", "radius_nm": 1}}]
        used = {name: paths[name] for name in ("r", parent)}
        plan = plan_interact(
            {name: open_volume(path).with_(name="T1") for name, path in used.items()},
            InteractRecipe.of({"rules": rules}),
            str(tmp_path / "gated"),
            RunFolder(str(tmp_path / "run")).plan("T1"),
            QUIET,
        )
        (call,) = plan.finish
        assert ("50, 0, 0 voxels apart" in " ".join(call.params["notes"])) == said
        made = say_masks(plan, lambda name: {}, {}, call.params["notes"])
        assert made.said == tuple(call.params["notes"])


def test_stats_refuses_different_boxes(tmp_path: Path) -> None:
    boxes = {"a": ORIGIN, "b": (1000.0, -300.0, 40.0), "none": (0.0, 0.0, 0.0)}
    tables = {}
    for name, origin in boxes.items():
        for feature in ("r", "q"):
            picks = Picks(np.array(CENTRES, float), CUBIC, origin, SHAPE, tomogram="T1", feature=feature)
            (tmp_path / name).mkdir(exist_ok=True)
            tables[name, feature] = str(tmp_path / name / f"T1__{feature}.csv")
            write_picks(tables[name, feature], picks)
    recipe = {"plots": False, "radius_nm": 1.0}
    for inputs, truth in (([tables["a", "r"]], tables["b", "r"]), ([tables["a", "r"], tables["b", "q"]], ())):
        with pytest.raises(InputError, match=r"50, 0, 0 voxels apart.*--any-origin"):
            volengine.stats(inputs, None, recipe, QUIET, truth=truth)
        found = volengine.stats(inputs, None, {**recipe, "any_origin": True}, QUIET, truth=truth)
        assert "50, 0, 0 voxels apart" in found.text()
    alone = volengine.stats(tables["a", "r"], None, recipe, QUIET, truth=tables["none", "r"])
    assert alone["counting"][0]["recall"] == 1
    assert "origin" not in alone.text()


def test_stats_compares_the_boxes_of_volumes_and_picks(tmp_path: Path) -> None:
    volume = balls(tmp_path / "T1__r.mrc", CUBIC, ORIGIN)
    picks = Picks(np.array(CENTRES, float), CUBIC, (1000.0, -300.0, 40.0), SHAPE, tomogram="other", feature="r")
    write_picks(tmp_path / "other__r.csv", picks)
    recipe = {"plots": False, "kind": "atlas"}
    with pytest.raises(InputError, match=r"50, 0, 0 voxels apart.*--any-origin"):
        volengine.stats(volume, None, recipe, QUIET, truth=tmp_path / "other__r.csv")


def test_other_voxels_that_begin_at_the_same_face_are_said() -> None:
    """The places of a binned volume are half a fine voxel off those of the other, which is less than its own half."""
    binned, fine = ("b", (105.0, -195.0, 5.0), (20.0,) * 3), ("f", (100.0, -200.0, 0.0), (10.0,) * 3)
    for one, other in ((binned, fine), (fine, binned)):
        assert "from the first voxel of each" in origins_note(one, other)
    assert not origins_note(fine, ("g", (100.4, -200.0, 0.0), (20.0,) * 3))
    assert not origins_note(fine, ("g", (104.0, -200.0, 0.0), fine[2]))
