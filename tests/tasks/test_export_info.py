"""export in every MRC mode, judged by mrcfile; pick in every format; info of every kind of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from threshold_net import save_threshold_model

from volengine.cli.main import cli
from volengine.core.errors import InputError, MissingError
from volengine.core.model import ModelFacts
from volengine.core.picks import Picks
from volengine.engine.options import RunOptions
from volengine.io.mrc.header import read_header
from volengine.io.mrc.write import ExtHeader, write_mrc
from volengine.io.open import open_volume
from volengine.io.picks import ending_of, read_picks, write_picks
from volengine.io.picks.formats import FORMATS
from volengine.nets.checkpoint import load_facts, save_model
from volengine.nets.registry import build
from volengine.ops.pyramid import downsample
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.export import ExportRecipe, export
from volengine.tasks.info import info, model_info
from volengine.tasks.info.text import in_words
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.verb import pick

SHAPE, VOXEL, ORIGIN = (9, 20, 30), (14.0, 12.0, 10.0), (5.0, -6.0, 7.5)
QUIET = RunOptions(progress=False)
Call = Callable[..., str]


@pytest.fixture
def volengine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a verb in the test's folder and return its output."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> str:
        outcome = CliRunner().invoke(cli, args, catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
        return outcome.output

    return call


def values(dtype: str, low: int, high: int) -> np.ndarray:
    """Random values that reach both limits."""
    rng = np.random.default_rng(3)
    array = rng.integers(low, high, SHAPE, endpoint=True).astype(dtype)
    array[0, 0, 0], array[-1, -1, -1] = low, high
    return array


def stored(path: Path, array: np.ndarray, **recipe: object) -> Path:
    """A store of these voxels, by way of a TIFF file (which has every dtype)."""
    source = path.with_suffix(".tif")
    tifffile.imwrite(source, array)
    out = path.with_name(f"{path.stem}.ome.zarr")
    convert(str(source), str(out), ConvertRecipe(voxel_size=VOXEL, **recipe), QUIET)  # type: ignore[arg-type]
    return out


# -- export ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "low", "high", "mode"),
    [
        ("int8", -128, 127, 0),
        ("uint8", 0, 127, 0),
        ("uint8", 0, 128, 1),
        ("int16", -32768, 32767, 1),
        ("uint16", 0, 65535, 6),
        ("int32", -128, 127, 0),
        ("int32", -129, 127, 1),
        ("uint32", 0, 65535, 6),
        ("float16", -1000, 1000, 12),
        ("float32", -(2**20), 2**20, 2),
    ],
)
def test_the_smallest_mode_that_holds_every_value(
    volengine: Call, tmp_path: Path, dtype: str, low: int, high: int, mode: int
) -> None:
    array = values(dtype, low, high)
    stored(tmp_path / "a", array)
    said = volengine("export", "a.ome.zarr", "a.mrc")
    assert "9 x 20 x 30" in said
    assert mode == 12 or mrcfile.validate(tmp_path / "a.mrc")  # its statistics of halves overflow
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert int(mrc.header.mode) == mode
        assert np.array_equal(mrc.data, array)
        assert [float(mrc.voxel_size[axis]) for axis in "zyx"] == list(VOXEL)


@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
def test_a_mode_by_wish(volengine: Call, tmp_path: Path, mode: int) -> None:
    array = values("uint8", 0, 100)
    stored(tmp_path / "a", array)
    volengine("export", "a.ome.zarr", "a.rec", "--mode", str(mode))
    with mrcfile.open(tmp_path / "a.rec") as mrc:
        assert int(mrc.header.mode) == mode
        assert np.array_equal(mrc.data, array)


@pytest.mark.parametrize(("dtype", "low", "high"), [("int32", -1, 65535), ("uint32", 0, 65536)])
def test_values_that_no_mode_holds_are_refused(tmp_path: Path, dtype: str, low: int, high: int) -> None:
    stored(tmp_path / "a", values(dtype, low, high))
    with pytest.raises(InputError, match=f"{low} to {high}"):
        export(str(tmp_path / "a.ome.zarr"), str(tmp_path / "a.mrc"), progress=False)
    assert not (tmp_path / "a.mrc").exists()


def test_levels_labels_and_another_voxel_size(volengine: Call, tmp_path: Path) -> None:
    array = values("int16", -500, 500)
    write_mrc(tmp_path / "a.mrc", [array], SHAPE, "int16", VOXEL, ORIGIN)
    volengine("convert", "a.mrc", "--out", "a.ome.zarr", "--chunk", "4,8,8", "--shard", "8,16,16", "--levels", "2")
    volengine("export", "a.ome.zarr", "half.mrc", "--level", "1")
    half = read_header(tmp_path / "half.mrc")
    factor = tuple(round(c / f) for c, f in zip(half.voxel_size or VOXEL, VOXEL, strict=True))
    assert max(factor) == 2
    with mrcfile.open(tmp_path / "half.mrc") as mrc:
        assert np.array_equal(mrc.data, downsample(array, factor, "intensity"))
    origin = [o + (f - 1) / 2 * v for o, f, v in zip(ORIGIN, factor, VOXEL, strict=True)]
    assert half.origin_for(half.voxel_size or VOXEL) == pytest.approx(origin)
    volengine("export", "a.ome.zarr", "other.mrc", "--voxel-size", "3.5")
    assert read_header(tmp_path / "other.mrc").voxel_size == (3.5, 3.5, 3.5)


def test_the_header_of_the_file_it_came_from_is_kept(tmp_path: Path) -> None:
    array = values("int16", -500, 500)
    extended = ExtHeader("SERI", bytes(range(200)))
    write_mrc(tmp_path / "a.mrc", [array], SHAPE, "int16", VOXEL, ORIGIN, labels=["tilted"], ext_header=extended)
    convert(str(tmp_path / "a.mrc"), str(tmp_path / "a.ome.zarr"), None, QUIET)
    volume = export(str(tmp_path / "a.ome.zarr"), str(tmp_path / "b.mrc"), progress=False)
    back = read_header(tmp_path / "b.mrc")
    assert back.labels == ("tilted", "volengine export of a")
    assert (back.ext_type, back.ext_header) == ("SERI", extended.content)
    assert (volume.voxel_size, volume.origin) == (VOXEL, ORIGIN)


@pytest.mark.parametrize("ending", [".ome.tif", ".tiff"])
def test_export_as_ome_tiff(volengine: Call, tmp_path: Path, ending: str) -> None:
    array = values("float32", -100, 100)
    stored(tmp_path / "a", array)
    said = volengine("export", "a.ome.zarr", f"b{ending}")
    assert "9 x 20 x 30 float32" in said
    with tifffile.TiffFile(tmp_path / f"b{ending}") as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "ZYX"
        assert np.array_equal(tif.asarray(), array)
    assert open_volume(tmp_path / f"b{ending}").voxel_size == VOXEL
    with pytest.raises(InputError, match="exists"):
        export(tmp_path / "a.ome.zarr", tmp_path / f"b{ending}", progress=False)
    with pytest.raises(InputError, match="--mode is for MRC"):
        export(tmp_path / "a.ome.zarr", tmp_path / "c.tif", ExportRecipe(mode=2), progress=False)
    with pytest.raises(InputError, match="MRC and OME-TIFF"):
        export(tmp_path / "a.ome.zarr", tmp_path / "c.tif.gz", progress=False)


# -- tables of picks ---------------------------------------------------------------------------------------


@pytest.fixture
def prediction(tmp_path: Path) -> str:
    """Two balls, at (8, 10, 12) and (16, 30, 40)."""
    z, y, x = np.indices((24, 40, 50))
    balls = [((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) <= 16 for a, b, c in ((8, 10, 12), (16, 30, 40))]
    array = (balls[0] * 200 + balls[1] * 250).astype("uint8")
    source = tmp_path / "TS__ball.tif"
    tifffile.imwrite(source, array)
    store = str(tmp_path / "TS__ball.ome.zarr")
    convert(str(source), store, ConvertRecipe(voxel_size=10.0, kind="probability"), QUIET)
    return store


WRITTEN = [name for name, one in FORMATS.items() if one.reads and one.writes]


@pytest.mark.parametrize("format", WRITTEN)
def test_picks_in_every_format(volengine: Call, tmp_path: Path, prediction: str, format: str) -> None:
    table = f"p{ending_of(format)}"
    volengine("pick", prediction, "--out", table, "--format", format, "--spacing-nm", "5", "--no-progress")
    found = read_picks(tmp_path / table, format, voxel_size=(10.0, 10.0, 10.0), shape=(24, 40, 50))
    order = np.argsort(found.position_vox[:, 0])
    np.testing.assert_allclose(found.position_vox[order], [[8, 10, 12], [16, 30, 40]], atol=1e-3)
    if ending_of(format) in (".star", ".tbl", ".csv", ".json", ".tsv"):
        said = in_words(info(str(tmp_path / table)))  # star files by their columns, others by their ending
        assert [text for text in said.values() if text.startswith("2 picks")], said


@pytest.mark.parametrize("format", WRITTEN)
def test_tables_in_a_folder_have_the_ending_of_their_format(
    volengine: Call, tmp_path: Path, prediction: str, format: str
) -> None:
    volengine("pick", prediction, "--out", "picks", "--format", format, "--feature", "ball", "--no-progress")
    beside = (".doc", "_particles.star", "_tomograms.star")
    tables = [p for p in (tmp_path / "picks").iterdir() if p.is_file() and not p.name.endswith(beside)]
    assert [p.name for p in tables] == [f"TS__ball{ending_of(format)}"]
    known = {"voxel_size": (10.0, 10.0, 10.0), "shape": (24, 40, 50)}
    named = format if format in ("dynamo0", "imod-text") else None  # another one has the same ending
    by_ending = read_picks(tables[0], named, **known)  # type: ignore[arg-type]
    direct = pick(prediction, str(tmp_path / "q.csv"), PickRecipe(feature="ball", labels=False), QUIET)
    np.testing.assert_allclose(by_ending.position_vox, direct.position_vox, atol=1e-3)


# -- info --------------------------------------------------------------------------------------------------


def test_info_tells_of_volumes(volengine: Call, tmp_path: Path) -> None:
    array = values("int16", -5, 5)
    write_mrc(tmp_path / "a.mrc", [array], SHAPE, "int16", VOXEL, ORIGIN, ext_header=ExtHeader("FEI1", b"\1" * 768))
    stored(tmp_path / "t", values("uint8", 0, 9), chunk=(4, 8, 8), shard=(8, 16, 16), levels=2)
    with mrcfile.new(tmp_path / "n.mrc") as mrc:
        mrc.set_data(array)
    for name, facts, lines in (
        (
            "a.mrc",
            {
                "mode": 1,
                "dtype": "int16",
                "shape": [9, 20, 30],
                "voxel_size": [14, 12, 10],
                "origin": [5, -6, 7.5],
                "extended_header": {"type": "FEI1", "bytes": 768},
            },
            {
                "mode": "1 (int16)",
                "shape (z, y, x)": "9 x 20 x 30",
                "voxel size (angstrom)": "14, 12, 10",
                "origin (angstrom)": "5, -6, 7.5",
                "extended header": "FEI1, 768 bytes",
            },
        ),
        ("n.mrc", {"voxel_size": None}, {"voxel size (angstrom)": "unknown: give --voxel-size"}),
        (
            "t.tif",
            {"dtype": "uint8", "shape": [9, 20, 30], "voxel_size": None},
            {"dtype": "uint8", "shape (z, y, x)": "9 x 20 x 30", "voxel size (angstrom)": "unknown: give --voxel-size"},
        ),
        (
            "t.ome.zarr",
            {"kind": "intensity", "shape": [9, 20, 30], "extent_nm": [12.6, 24, 30], "bytes": 5400},
            {"kind": "intensity", "extent (nm)": "12.6, 24, 30", "voxels": "5.4 kB uncompressed"},
        ),
    ):
        said = json.loads(volengine("info", name, "--json"))
        assert {key: said[key] for key in facts} == facts
        text = volengine("info", name)
        for key, value in lines.items():
            assert any(line.split(key, 1)[-1].strip() == value for line in text.splitlines() if key in line), text
    levels = json.loads(volengine("info", "t.ome.zarr", "--json"))["levels"]
    assert (levels[0]["shape"], levels[0]["chunk"], levels[0]["shard"]) == ([9, 20, 30], [4, 8, 8], [8, 16, 16])
    assert len(levels) == 2
    assert "0: 9 x 20 x 30, chunk (4, 8, 8), shard (8, 16, 16)" in volengine("info", "t.ome.zarr")


def test_info_of_a_store_with_labels(volengine: Call, prediction: str) -> None:
    volengine("pick", prediction, "--out", "p.star", "--feature", "ball", "--no-progress")
    said = info(prediction)
    assert said["kind"] == "probability"
    labels = next(image for image in said["images"] if image["group"] == "labels/ball")
    assert labels["levels"][0]["shape"] == [24, 40, 50]


def test_info_tells_of_a_model(volengine: Call, tmp_path: Path) -> None:
    save_threshold_model(tmp_path / "m.safetensors", "ball", patch=(4, 8, 8))
    said = json.loads(volengine("info", "m.safetensors", "--json"))
    assert (said["network"], said["features"], said["patch"]) == ("unet3d", ["ball"], [4, 8, 8])
    with resources.as_file(resources.files("volengine.data") / "demo_core.safetensors") as path:
        history = model_info(str(path))["history"]
        epochs = load_facts(path).history[-1]["epochs"]
    line = next(text for text in history if text.startswith("epochs: "))
    assert line.startswith(f"epochs: {len(epochs)}, at the end loss {epochs[-1]['loss']:.4g}")
    recipe = next(text for text in history if text.startswith("recipe: "))
    assert "tomogram.mrc" in recipe
    assert "None" not in recipe


def test_info_of_an_imported_network_counts_its_layers(tmp_path: Path) -> None:
    layers = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "a", "kind": "conv", "inputs": ["in"], "channels": [1, 2], "kernel": [3, 3]},
        {"name": "b", "kind": "conv", "inputs": ["a"], "channels": [2, 1], "kernel": [3, 3]},
    ]
    facts = ModelFacts("graph", ("ball",), (10.0, 10.0, 10.0), (1, 8, 8), {"layers": layers})
    save_model(tmp_path / "m.safetensors", build("graph", {"layers": layers}), facts)
    assert model_info(str(tmp_path / "m.safetensors"))["arguments"] == ["layers: 3, of which 2 conv, 1 input"]


def test_info_tells_of_picks(tmp_path: Path) -> None:
    picks = [
        Picks([[1, 2, 3]] * (k + 1), voxel_size=(10.0, 10.0, 10.0), tomogram=f"TS_{k}", shape=(9, 9, 9))
        for k in range(2)
    ]
    write_picks(tmp_path / "p.csv", picks)
    said = in_words(info(str(tmp_path / "p.csv")))
    assert said["TS_0"] == "1 pick, voxel size 10, 10, 10 angstrom"
    assert said["TS_1"] == "2 picks, voxel size 10, 10, 10 angstrom"
    (tmp_path / "p.tsv").write_text("1\t2\t3\n4\t5\t6\n")
    assert in_words(info(str(tmp_path / "p.tsv")))["p"] == "2 picks, voxel grid not wholly in the file"


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("none.mrc", None, MissingError),
        ("none.ome.zarr", None, MissingError),
        ("none.star", None, MissingError),
        ("none.safetensors", None, MissingError),
        ("none.tif", None, MissingError),
        ("bad.star", b"hello\n", InputError),
        ("bad.csv", b"hello\n", InputError),
        ("bad.json", b"{", InputError),
        ("bad.tbl", b"1 2 x\n", InputError),
        ("bad.tif", b"II*\0", InputError),
        ("bad.safetensors", b"\x10\0\0\0\0\0\0\0not json at all!", InputError),
        ("notes.docx", b"PK", InputError),
        ("folder", b"", InputError),
    ],
)
def test_info_of_what_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, error: type[Exception]) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=name):
        info(str(path))


def test_a_file_of_another_kind_is_told_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "array.npy").write_text("anything")
    with pytest.raises(InputError, match=r"is not one of \.mrc, "):
        info(str(tmp_path / "array.npy"))


def test_export_keeps_the_defaults_of_its_recipe() -> None:
    assert ExportRecipe() == ExportRecipe.from_json({"level": 0, "mode": None})
