"""picks measure of a collection: the picks of its run, with what the run has made of the same tomograms beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from threshold_net import save_threshold_model

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError, MissingError, RunError
from volengine.core.picks import Picks
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.io.picks import read_picks, write_picks
from volengine.tasks.collection.measured import lists_tomograms, measure_collection
from volengine.tasks.common.layout import file_name
from volengine.tasks.picks.measure import measure_picks
from volengine.tasks.picks.of_run import labels_of_run, predictions_of_run

SHAPE = (32, 64, 64)
CENTRES = ((10, 20, 20), (20, 46, 24), (12, 24, 46))
QUIET = RunOptions(progress=False)


def tomogram(path: Path, number: int) -> None:
    """Balls of radius 6, one more in each tomogram."""
    array, grid = np.zeros(SHAPE, "float32"), np.indices(SHAPE)
    for centre in CENTRES[: 1 + number]:
        array[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= 36] = 1.0
    write_mrc(path, [array], SHAPE, "float32", (10.0, 10.0, 10.0))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a collection of four tomograms, of which one is left out, with rules."""
    folder = tmp_path_factory.mktemp("collection")
    models = [str(save_threshold_model(folder / f"{one}.safetensors", one, patch=SHAPE)) for one in ("ball", "core")]
    rows = ["tomograms:"]
    for number in range(4):
        tomogram(folder / f"TS_{number:02d}.mrc", number % 3)
        state = ", state: skip" if number == 3 else ", priority: 2" if number == 1 else ""
        rows.append(f"  - {{source: TS_{number:02d}.mrc, name: grid_{number}{state}}}")
    (folder / "collection.yaml").write_text("\n".join(rows) + "\n")
    rule = {"interact": {"child": "ball", "parent": "core", "kind": "colocalize", "radius_nm": 3}}
    recipe = {
        "segment": {"models": models},
        "interact": {"rules": [rule]},
        "pick": [{"feature": "ball", "spacing_nm": 8}, {"feature": "core", "spacing_nm": 8}],
    }
    volengine.run(str(folder / "collection.yaml"), folder / "results", volengine.RunRecipe.from_json(recipe), QUIET)
    return folder


def measured(done: Path, out: Path, *more: str, manifest: str = "collection.yaml") -> Any:
    command = ["picks", "measure", str(done / manifest), "--out", str(out), *more]
    return CliRunner().invoke(cli, [*command, "--results", str(done / "results")])


def test_a_collection_is_measured_with_what_its_run_has_made(done: Path, tmp_path: Path) -> None:
    """Each table as it is alone, with every path named; values that the picks must have."""
    around = ["--probability", "ball", "--labels", "taken=ball", "--value", "raw=core", "--neighbours-nm", "30"]
    told = measured(done, tmp_path / "out", *around, "--to", "csv")
    assert told.exit_code == 0, told.output
    tables = sorted((tmp_path / "out").glob("*.csv"))
    assert [one.stem for one in tables] == [f"grid_{n}__{one}" for n in range(3) for one in ("ball", "core")]
    for number in range(3):
        found = read_picks(tmp_path / "out" / f"grid_{number}__ball.csv")
        assert len(found) == 1 + number
        assert (found.extra["ball.value"] > 0.5).all()
        assert found.extra["taken.inside"].all()
        assert found.extra["taken.label"].tolist() == found.label.tolist()
        assert (found.extra["neighbours.number"] < 1 + number).all()
        results, name = done / "results", f"grid_{number}"
        recipe = {
            "probability": (f"ball={results}/gated/{name}__ball.ome.zarr",),
            "labels": (f"taken={results}/tomograms/{name}.ome.zarr#labels/ball",),
            "value": (f"raw={results}/predictions/{name}__core.ome.zarr",),
            "neighbours_nm": 30.0,
        }
        for feature in ("ball", "core"):
            alone = tmp_path / f"{name}__{feature}.csv"
            measure_picks(results / "picks" / f"{name}__{feature}.star", alone, recipe, QUIET)
            assert alone.read_bytes() == (tmp_path / "out" / f"{name}__{feature}.csv").read_bytes()
    for name in ("tomograms#labels/ball", "tomograms/*.ome.zarr#labels/ball"):  # labels in stores of a folder or glob
        recipe = {"labels": (f"taken={done}/results/{name}",), "overwrite": True}
        measure_picks(done / "results" / "picks" / "grid_2__ball.star", tmp_path / "labels.csv", recipe, QUIET)
        assert read_picks(tmp_path / "labels.csv").extra["taken.inside"].all()
    recipe = {"results": str(done / "results"), "probability": "ball", "to": "csv"}
    made = measure_collection(done / "collection.yaml", tmp_path / "python", recipe, QUIET)
    assert made.counts == {f"grid_{n}": 2 * (1 + n) for n in range(3)}
    assert len(made.files) == 6


def test_other_files_of_picks_behind_a_manifest(done: Path, tmp_path: Path) -> None:
    """Of a table of all tomograms those of the manifest are measured; the one that it leaves out is said."""
    tables = [Picks([[10.0, 20, 20]], (10.0,) * 3, shape=SHAPE, tomogram=f"grid_{n}") for n in range(4)]
    write_picks(tmp_path / "all.csv", tables)
    out = tmp_path / "out.csv"
    told = measured(done, out, str(tmp_path / "all.csv"), "--probability", "ball")
    assert told.exit_code == 0, told.output
    assert "picks of 1 tomogram were left out, as" in told.output
    found = measure_picks(out, tmp_path / "again.csv", {"neighbours_nm": 1.0})
    assert sorted(found.counts) == ["grid_0", "grid_1", "grid_2"]


def test_a_tomogram_without_picks_or_prediction_fails_alone(done: Path, tmp_path: Path) -> None:
    """It is named, nothing of it is written, and the others are there; those of higher priority are begun first."""
    gone = done / "results" / "picks" / "grid_1__ball.star"
    other = gone.with_name("grid_1__core.star")
    kept = {path: path.read_bytes() for path in (gone, other)}
    store = done / "results" / "gated" / "grid_2__ball.ome.zarr" / "zarr.json"
    text = store.read_text()
    try:
        for path in kept:
            path.unlink()
        store.write_text("{")
        told = measured(done, tmp_path / "out", "--probability", "ball")
    finally:
        store.write_text(text)
        for path, data in kept.items():
            path.write_bytes(data)
    assert isinstance(told.exception, RunError)
    said = str(told.exception)
    assert "There are no picks of grid_1, which" in said
    assert "grid_2__ball.ome.zarr" in said
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.star")) == ["grid_0__ball", "grid_0__core"]


def test_what_is_refused(done: Path, tmp_path: Path) -> None:
    manifest = done / "collection.yaml"
    with pytest.raises(InputError, match=r"is the manifest of a collection; say where the picks .* --results"):
        measure_collection(manifest, tmp_path / "out", {"neighbours_nm": 5.0})
    given = {"neighbours_nm": 5.0, "results": str(tmp_path)}
    with pytest.raises(MissingError, match=r"has no tables of picks in picks/"):
        measure_collection(manifest, tmp_path / "out", given)
    given["results"] = str(done / "results")
    with pytest.raises(MissingError, match=r"no prediction of 'membrane', .* it has ball, core"):
        measure_collection(manifest, tmp_path / "out", {**given, "probability": "membrane"})
    with pytest.raises(MissingError, match=r"no labels of picks of 'membrane'.* it has ball, core"):
        measure_collection(manifest, tmp_path / "out", {**given, "labels": "membrane"})
    with pytest.raises(InputError, match="must be a folder of this machine"):
        measure_collection(manifest, tmp_path / "out", {**given, "results": "s3://b/results"})
    with pytest.raises(InputError, match=r"is one file, and there are 6 of picks; give a folder"):
        measure_collection(manifest, tmp_path / "out.csv", given)
    skipped = tmp_path / "m.csv"
    skipped.write_text(f"source,name,state\n{done}/TS_00.mrc,grid_0,skip\n")
    with pytest.raises(InputError, match="all of its tomograms are left out"):
        measure_collection(skipped, tmp_path / "out", given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "manifest"),
    [
        ("m.yaml", "tomograms: []", True),
        ("m.csv", "source,name\na.mrc,a\n", True),
        ("m.csv", "# of May\n\n name ; Source \na;a.mrc\n", True),
        ("m.tsv", "name\tsource\n", True),
        ("m.star", "data_\n\nloop_\n_source #1\na.mrc\n", True),
        ("p.csv", "z_vox,y_vox,x_vox,source\n1,2,3,me\n", False),
        ("p.csv", "x,y,z\n1,2,3\n", False),
        ("p.star", "data_\n\nloop_\n_rlnCoordinateX #1\n1\n", False),
        ("p.tbl", "source", False),
    ],
)
def test_a_manifest_is_told_from_picks(tmp_path: Path, name: str, text: str, manifest: bool) -> None:
    (tmp_path / name).write_text(text)
    assert lists_tomograms(str(tmp_path / name)) == manifest


def test_the_volumes_of_a_feature(tmp_path: Path) -> None:
    """Gated before predicted, filtered before raw; features whose names begin or end alike are others."""
    for place in (
        *("predictions/a__er.ome.zarr", "predictions/b__er.ome.zarr", "gated/b__er.ome.zarr"),
        *(
            f"predictions/a__{file_name('rough er')}.ome.zarr",
            "predictions/a__er_uncertainty.ome.zarr",
            "gated/er.ome.zarr",
        ),
        *("tomograms/a.ome.zarr/labels/er", "tomograms/b.ome.zarr/labels/er", "filtered/b.ome.zarr/labels/er"),
        *("predictions/c__er.ome.zarr/labels/er", "tomograms/d.ome.zarr/labels/other"),
    ):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
    found = [str(Path(one).relative_to(tmp_path)) for one in predictions_of_run(str(tmp_path), "er")]
    assert found == ["predictions/a__er.ome.zarr", "gated/b__er.ome.zarr", "predictions/c__er.ome.zarr"]
    found = [str(Path(one).relative_to(tmp_path)) for one in labels_of_run(str(tmp_path), "er")]
    assert found == [
        "tomograms/a.ome.zarr#labels/er",
        "filtered/b.ome.zarr#labels/er",
        "predictions/c__er.ome.zarr#labels/er",
    ]
    assert predictions_of_run(str(tmp_path), "rough er") == [
        f"{tmp_path}/predictions/a__{file_name('rough er')}.ome.zarr"
    ]
