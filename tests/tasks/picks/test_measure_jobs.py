"""picks measure as a job: whole == units == workers; inputs that change; several files; what is not written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from shapes import ball

from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.engine.options import RunOptions
from volengine.io.open import open_volume
from volengine.io.picks import read_picks, write_picks
from volengine.io.surfaces import SurfaceFacts, open_surfaces, write_surfaces
from volengine.tasks.common.lying import Grid
from volengine.tasks.picks import measure_plan
from volengine.tasks.picks.around import beside_surfaces, beside_voxels, neighbours
from volengine.tasks.picks.measure import measure_picks
from volengine.tasks.picks.voxels import Voxels

SHAPE, SIZE = (40, 42, 44), (10.0, 10.0, 10.0)
CENTRE = np.array([200.0, 210.0, 215.0])


def mrc(path: Path, values: np.ndarray) -> str:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = SIZE[0]
    return str(path)


def case(folder: Path, name: str = "TS_01", seed: int = 0) -> dict[str, Any]:
    """Two closed surfaces, labels, a prediction, a mask of whole numbers, a volume, and 300 picks."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    shapes = [Surface(ball(r, 3).vertices + CENTRE + by, ball(r, 3).faces) for r, by in ((130.0, 0.0), (40.0, 150.0))]
    write_surfaces(
        folder / f"{name}.surfaces",
        [(one, {}) for one in shapes],
        SurfaceFacts(name, "membrane", SIZE, (0.0, 0.0, 0.0), SHAPE),
    )
    at = rng.uniform(0, np.array(SHAPE) - 1, (300, 3))
    picks = Picks(at, SIZE, shape=SHAPE, tomogram=name, weight=rng.random(300))
    write_picks(folder / f"{name}.csv", picks, None)
    return {
        "table": str(folder / f"{name}.csv"),
        "surface": str(folder / f"{name}.surfaces"),
        "labels": f"er={mrc(folder / f'{name}__er.mrc', (rng.random(SHAPE) > 0.98).astype(np.int16))}",
        "probability": (
            f"soft={mrc(folder / f'{name}__soft.mrc', rng.random(SHAPE).astype(np.float32))}",
            f"mask={mrc(folder / f'{name}__mask.mrc', (rng.random(SHAPE) > 0.95).astype(np.int8))}",
        ),
        "value": f"grey={mrc(folder / f'{name}__grey.mrc', rng.normal(size=SHAPE).astype(np.float32))}",
        "neighbours_nm": 5.0,
        "reach_nm": 20.0,
    }


def recipe_of(given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != "table"} | more


@pytest.mark.parametrize("rows", [10, 64, 10_000])
def test_units_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    given = case(tmp_path)
    monkeypatch.setattr(measure_plan, "ROWS", rows)
    measure_picks(given["table"], tmp_path / "out.csv", recipe_of(given))
    found = read_picks(tmp_path / "out.csv")
    grid = Grid(SIZE, (0.0, 0.0, 0.0), sure=True)
    whole = {f"membrane.{k}": c for k, c in beside_surfaces(found.place, open_surfaces(given["surface"])).items()}
    for text, threshold in ((given["labels"], None), *((one, 0.5) for one in given["probability"])):
        name, _, path = text.partition("=")
        voxels = Voxels(open_volume(path), path, threshold, is_mask=name == "mask")
        whole |= {f"{name}.{k}": c for k, c in beside_voxels(found.place, voxels, grid, 20.0).items()}
    whole |= neighbours(found.place, 5.0, 1)
    for name, column in whole.items():
        np.testing.assert_array_equal(found.extra[name], column, err_msg=name)
    grey = mrcfile.read(given["value"].partition("=")[2])
    at = np.rint(found.position_vox).astype(int)
    np.testing.assert_array_equal(found.extra["grey.value"], grey[tuple(at.T)].astype(np.float64))
    names = ("membrane", "er", "soft", "mask")
    inside = ["+".join(n for n in names if found.extra[f"{n}.inside"][k]) for k in range(300)]
    assert found.extra["inside"].tolist() == [text or "none" for text in inside]


def test_neither_units_nor_workers_nor_a_second_call_change_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = case(tmp_path)
    written = []
    for rows, workers in ((10_000, 0), (40, 0), (40, 2)):
        monkeypatch.setattr(measure_plan, "ROWS", rows)
        out = tmp_path / f"{rows}-{workers}.csv"
        for _ in range(2):
            measure_picks(given["table"], out, recipe_of(given), RunOptions(workers=workers, memory_limit="3GB"))
            written.append(out.read_bytes())
    assert len(set(written)) == 1


def test_what_changed_is_computed_again(tmp_path: Path) -> None:
    """The table, a surface, labels, a prediction, the recipe: each alone, with one run folder."""
    given, changed = case(tmp_path), case(tmp_path / "other", seed=5)
    out = tmp_path / "out.csv"

    def run(**more: Any) -> bytes:
        measure_picks(given["table"], out, recipe_of(given, **more))
        return out.read_bytes()

    seen = [run()]
    assert run() == seen[0]
    shutil.copy(changed["table"], given["table"])
    seen.append(run())
    write_surfaces(given["surface"], [(ball(90.0, 2), {})], open_surfaces(given["surface"]).facts)
    seen.append(run())
    volumes = ((one["labels"], *one["probability"]) for one in (given, changed))
    for ours, theirs in zip(*volumes, strict=True):
        shutil.copy(theirs.partition("=")[2], ours.partition("=")[2])
        seen.append(run())
    seen.append(run(reach_nm=3.0))
    assert len(set(seen)) == len(seen)
    fresh = tmp_path / "fresh.csv"
    measure_picks(given["table"], fresh, recipe_of(given, reach_nm=3.0))
    assert fresh.read_bytes() == seen[-1]


def test_a_table_of_others_is_not_replaced(tmp_path: Path) -> None:
    given = case(tmp_path)
    out = tmp_path / "out.csv"
    measure_picks(given["table"], out, recipe_of(given))
    out.write_text("mine")
    with pytest.raises(InputError, match=r"out.csv exists; give another name or --overwrite"):
        measure_picks(given["table"], out, recipe_of(given))
    assert out.read_text() == "mine"
    measure_picks(given["table"], out, recipe_of(given), RunOptions(overwrite=True))
    assert len(read_picks(out)) == 300


def test_several_files_in_one_command(tmp_path: Path) -> None:
    """One of three tomograms has no surface: it is named, the others are written, each as alone."""
    tables, sets = tmp_path / "tables", tmp_path / "sets"
    tables.mkdir()
    sets.mkdir()
    for number, name in enumerate(("TS_01", "TS_02", "TS_03")):
        given = case(tmp_path / name, name, seed=number)
        shutil.move(given["table"], tables)
        if number < 2:
            shutil.move(given["surface"], sets)
    command = ["picks", "measure", str(tables), "--to", "csv", "--surface", str(sets), "--out", f"{tmp_path}/made/"]
    told = CliRunner().invoke(cli, command)
    assert told.exit_code != 0
    assert "There is no 'membrane' of tomogram 'TS_03'" in str(told.exception)
    said = f"Warning: {tmp_path}/made/TS_03.csv: not written, as TS_03 of {tables}/TS_03.csv is not measured; mend"
    assert said in told.stderr
    assert sorted(path.name for path in (tmp_path / "made").glob("*.csv")) == ["TS_01.csv", "TS_02.csv"]
    for name in ("TS_01", "TS_02"):
        measure_picks(tables / f"{name}.csv", tmp_path / f"{name}.csv", {"surface": str(sets)})
        assert (tmp_path / "made" / f"{name}.csv").read_bytes() == (tmp_path / f"{name}.csv").read_bytes()


def test_a_table_without_picks_is_said_loudly(tmp_path: Path) -> None:
    given = case(tmp_path)
    write_picks(tmp_path / "none.csv", Picks(np.zeros((0, 3)), SIZE, shape=SHAPE, tomogram="TS_01"), None)
    command = ["picks", "measure", str(tmp_path / "none.csv"), "--surface", given["surface"]]
    told = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "out.csv")])
    assert told.exit_code == 0, told.output
    assert told.stderr == "Warning: none.csv, TS_01: the table has no picks; nothing was measured.\n"
