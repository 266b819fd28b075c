"""What people do in a notebook, in the lines that they type: paths as objects, volumes as arrays, picks as tables."""

from __future__ import annotations

import os
import pathlib
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from threshold_net import save_threshold_model

import volengine as ve
from volengine.core.boxes import Box

SHAPE = (32, 64, 80)
CENTRES = ((12, 16, 20), (18, 46, 24), (16, 30, 60))
OPTIONS = ve.RunOptions(progress=False, device="cpu")


def _tomogram(path: Path, seed: int) -> np.ndarray:
    """Balls of radius 5 in weak noise."""
    grid = np.indices(SHAPE)
    voxels = np.random.default_rng(seed).normal(0, 0.02, SHAPE).astype(np.float32)
    for centre in CENTRES:
        voxels[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= 25] += 1
    with mrcfile.new(path) as file:
        file.set_data(voxels)
        file.voxel_size = 10.0
    return voxels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tomograms, a list of them, a model, and what a run makes of them, started with path objects alone."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "raw").mkdir()
    for number in (1, 2):
        _tomogram(folder / "raw" / f"TS_0{number}.mrc", number)
    (folder / "list.txt").write_text("raw/TS_01.mrc\nraw/TS_02.mrc\n")
    model = save_threshold_model(folder / "ball.safetensors", "ball", patch=(16, 32, 32))
    recipe = ve.RunRecipe(
        convert=ve.ConvertRecipe(chunk=(16, 16, 16), shard=(32, 32, 32), levels=2),
        segment=ve.SegmentRecipe(models=model),  # type: ignore[arg-type]
        pick=(ve.PickRecipe(feature="ball", spacing_nm=4),),
    )
    report = ve.run(folder / "list.txt", folder / "out", recipe, OPTIONS)
    assert len(report.data["plans"]) == 2
    return folder


@pytest.fixture(scope="module")
def volume(folder: Path) -> ve.OpenVolume:
    return ve.open_volume(folder / "out" / "tomograms" / "TS_01.ome.zarr")


# -- paths -------------------------------------------------------------------------------------------------


def test_the_lines_that_used_to_fail(folder: Path) -> None:
    v = ve.open_volume(str(folder / "raw" / "TS_01.mrc"))
    assert np.asarray(v).shape == SHAPE
    assert ve.open_volume(pathlib.Path(folder / "raw" / "TS_01.mrc")) == v


def test_a_list_a_glob_a_folder_and_a_sequence_name_the_same_inputs(folder: Path) -> None:
    recipe = ve.RunRecipe()
    for number, inputs in enumerate(
        (
            folder / "list.txt",
            folder / "raw" / "*.mrc",
            folder / "raw",
            [folder / "raw" / "TS_01.mrc", *folder.glob("raw/*2.mrc")],
        )
    ):
        report = ve.run(inputs, folder / f"again{number}", recipe, OPTIONS)
        assert sorted(report.data["plans"]) == ["TS_01", "TS_02"]


def test_a_single_model_is_a_list_of_one(folder: Path) -> None:
    path = folder / "ball.safetensors"
    listed = ve.SegmentRecipe(models=(str(path),))
    assert ve.SegmentRecipe(models=path) == ve.SegmentRecipe(models=str(path)) == listed  # type: ignore[arg-type]
    assert ve.RunRecipe.from_json({"segment": {"models": path}}).segment == listed
    assert listed.to_json()["models"] == [str(path)]


def test_the_verbs_from_file_to_picks_take_paths(folder: Path, tmp_path: Path) -> None:
    raw = folder / "raw" / "TS_01.mrc"
    tomogram = ve.convert(raw, tmp_path / "TS_01.ome.zarr", options=OPTIONS.with_(run_dir=tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / "report.json").is_file()
    other = save_threshold_model(tmp_path / "other.safetensors", "other", patch=(16, 32, 32))
    recipe = ve.SegmentRecipe(models=(folder / "ball.safetensors", other))  # type: ignore[arg-type]
    predictions = ve.segment(Path(tomogram.url), tmp_path / "predictions", recipe, OPTIONS)
    stores = {feature: Path(prediction.url) for feature, prediction in predictions.items()}
    rule = ve.Interact("ball", "other", "colocalize", radius_nm=1)
    gated = ve.interact(stores, tmp_path / "gated", ve.InteractRecipe(rules=(rule,)), OPTIONS)
    picks = ve.pick(Path(gated["ball"].url), tmp_path / "TS_01.star", ve.PickRecipe(spacing_nm=4), OPTIONS)
    assert len(picks) == 3
    assert ve.export(Path(tomogram.url), tmp_path / "back.mrc", progress=False).shape == SHAPE
    assert ve.info(tmp_path / "back.mrc")["shape"] == [32, 64, 80]
    assert ve.info(other)["features"] == ["other"]


def test_the_verbs_that_count_take_paths(folder: Path, tmp_path: Path) -> None:
    out = folder / "out"
    prediction, table = out / "predictions" / "TS_01__ball.ome.zarr", out / "picks" / "TS_01__ball.star"
    labels = Path(f"{out / 'tomograms' / 'TS_01.ome.zarr'}#labels/ball")
    how = ve.ScoreRecipe(skeleton="none", instances=True)
    for truth in (labels, {"ball": labels}):
        scores = ve.score(prediction, truth, how, OPTIONS, out=tmp_path / f"{type(truth).__name__}.csv")
        assert scores["ball"]["dice"] == 1
    assert ve.score(table, table, out=tmp_path / "picks.csv").rows[0]["f1"] == 1
    counted = ve.stats([table], tmp_path / "stats", ve.StatsRecipe(plots=False), OPTIONS, truth=table)
    assert counted.pooled("ball")["objects"] == 3
    assert ve.stats(out / "picks" / "*.star").pooled("ball")["objects"] == 6


def test_a_training_takes_paths(folder: Path, tmp_path: Path) -> None:
    sample = ve.TrainSample(
        volume=folder / "raw" / "TS_01.mrc",  # type: ignore[arg-type]
        points=folder / "out" / "picks" / "TS_01__ball.star",  # type: ignore[arg-type]
        radius_nm=(4,),
    )
    recipe = ve.TrainRecipe(
        samples=(sample,),
        features="ball",
        patch=(16, 16, 16),
        epochs=1,
        steps=1,
        batch=1,
        device="cpu",
        arguments={"width": 2, "levels": 1},  # type: ignore[arg-type]
    )
    history = ve.train(recipe, tmp_path / "model.safetensors", progress=False)
    assert len(history) == 1
    again = recipe.with_(start=tmp_path / "model.safetensors")
    assert again.start == str(tmp_path / "model.safetensors")


def test_a_simulation_takes_paths(tmp_path: Path) -> None:
    (tmp_path / "block.pdb").write_text(
        "".join(
            f"ATOM  {i:5d}  CA  ALA A{i:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
            for i, (x, y, z) in enumerate(np.random.default_rng(0).uniform(-20, 20, (200, 3)), 1)
        )
    )
    recipe = {
        "name": "s",
        "specimen": {
            "shape": [16, 32, 32],
            "voxel_size": 15.0,
            "layers": [
                {
                    "species": [
                        {"structure": tmp_path / "block.pdb", "name": "block", "count": 2, "whole_residues": True}
                    ]
                }
            ],
        },
        "tilts": {"min_deg": -30, "max_deg": 30, "step_deg": 15},
    }
    ve.simulate(recipe, tmp_path / "simulated", 1, OPTIONS)
    assert ve.open_volume(tmp_path / "simulated" / "tomograms" / "s_0001.ome.zarr").shape == (16, 32, 32)


# -- volumes -----------------------------------------------------------------------------------------------


def test_a_volume_is_read_as_numpy_reads(folder: Path, volume: ve.OpenVolume) -> None:
    with mrcfile.open(folder / "raw" / "TS_01.mrc") as file:
        voxels = file.data.copy()
    np.testing.assert_array_equal(volume[10], voxels[10])
    np.testing.assert_array_equal(volume[:, 10:20, :], voxels[:, 10:20, :])
    np.testing.assert_array_equal(volume[-1, ..., ::-3], voxels[-1, ..., ::-3])
    np.testing.assert_array_equal(volume.read(Box((1, 2, 3), (5, 6, 7))), voxels[1:5, 2:6, 3:7])
    np.testing.assert_array_equal(np.asarray(volume), voxels)
    with pytest.raises(IndexError):
        volume[100]
    assert volume.read(5, level=1).shape == volume.levels[1][1:]
    np.testing.assert_array_equal(volume.at_level(1)[...], volume.read(level=1))


def test_a_volume_becomes_dask_and_xarray(volume: ve.OpenVolume) -> None:
    lazy = volume.to_dask()
    assert lazy.chunksize == (16, 16, 16)
    assert float(lazy[CENTRES[0]].compute()) > 0.8
    pytest.importorskip("xarray")
    there = volume.to_xarray().sel(z=120, y=160, x=200)  # angstrom
    assert float(there) == float(volume[CENTRES[0]])


def test_a_volume_shows_itself(volume: ve.OpenVolume) -> None:
    assert len(repr(volume).splitlines()) == 1
    html = volume._repr_html_()
    assert all(part in html for part in ("data:image/png;base64,", "32 x 64 x 80 voxels", "10 angstrom", "intensity"))
    assert len(html) < 60_000


# -- plans and picks ---------------------------------------------------------------------------------------


def test_a_plan_becomes_a_dask_graph(folder: Path, tmp_path: Path) -> None:
    from volengine.tasks.common.jobs import jobs_of
    from volengine.tasks.convert.verb import CONVERT

    source, out = str(folder / "raw" / "TS_01.mrc"), str(tmp_path / "graph.ome.zarr")
    jobs, run_dir = jobs_of(CONVERT, [source], out, ve.ConvertRecipe(), OPTIONS)
    receipts = jobs[0].plan().to_dask(run_dir).compute()
    assert receipts
    np.testing.assert_array_equal(ve.open_volume(out), ve.open_volume(source))


def test_picks_become_a_table_and_come_back(folder: Path) -> None:
    picks = ve.read_picks(folder / "out" / "picks" / "TS_01__ball.star")
    heavy = picks[picks.weight > np.median(picks.weight)]
    frame = picks.to_pandas()
    assert ve.Picks.from_pandas(frame) == picks
    assert ve.Picks.from_pandas(frame[frame.weight > frame.weight.median()]) == heavy
    assert "3 of" in repr(picks)
    assert "<table" in picks._repr_html_()


# -- what viewers show -------------------------------------------------------------------------------------


def test_predictions_have_a_colour_and_napari_a_reader(folder: Path) -> None:
    from volengine.core.feature_colours import colour_of_feature, hexadecimal
    from volengine.viewers.napari import get_reader

    out = os.fspath(folder / "out")
    reader = get_reader(out)
    assert reader is not None
    layers = {arguments["name"]: (arguments, kind) for _, arguments, kind in reader(out)}
    assert list(layers) == ["TS_01", "TS_01 ball", "TS_01 labels ball", "TS_01 picks ball"]
    assert layers["TS_01 ball"][0]["colormap"] == f"#{hexadecimal(colour_of_feature('ball'))}"
    assert {arguments["scale"] for arguments, _ in layers.values()} == {(10, 10, 10)}
