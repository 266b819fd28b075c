"""info: plain values of everything that opens, statistics of its voxels, several paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from calling import Command
from scnt_write import ScntSample, write_scnt
from volume_files import graph_bytes

import volengine as ve
from volengine.core.boxes import Box
from volengine.core.errors import DamagedError, FormatError, InputError, MissingError
from volengine.core.image import ImageSpec
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.image import create_image, finish_image
from volengine.io.omezarr.levels import plan_levels
from volengine.io.picks import write_picks
from volengine.io.subvolumes import write_subvolumes
from volengine.ops.pyramid import pyramid
from volengine.tasks.info import info, values
from volengine.tasks.info.text import in_words
from volengine.tasks.info.values import boxes_of

SHAPE, VOXEL, ORIGIN = (12, 40, 48), (14.0, 12.0, 10.0), (5.0, -6.0, 7.5)
ARRAY = np.random.default_rng(0).normal(5, 2, SHAPE).astype("float32")
ARRAY[0, 0, :5] = 0
ARRAY[1, 0, :7] = np.nan


def add(store: Path, array: np.ndarray, kind: str = "intensity", group: str = "", *, finish: bool = True) -> None:
    levels = plan_levels(array.shape, chunk=(8, 16, 16), smallest=24)
    spec = ImageSpec(str(store), "t", array.dtype.name, kind, VOXEL, levels, ORIGIN, group)  # type: ignore[arg-type]
    create_image(spec, token="t")
    for number, voxels in enumerate(pyramid(array, [level.factor for level in levels], spec.kind)):
        ZarrSink(spec.volume(number)).write(Box.of_shape(voxels.shape), voxels)
    if finish:
        finish_image(spec)


def foreign(path: Path, array: np.ndarray, axes: str, *, unit: str = "") -> str:
    """A store of another program, without units."""
    kinds = {"c": "channel", "t": "time"}
    named = [{"name": a, "type": kinds.get(a, "space")} | ({"unit": unit} if unit and a in "zyx" else {}) for a in axes]
    step = [{"type": "scale", "scale": [1.0] * len(axes)}]
    group = zarr.create_group(str(path))
    entry = {"axes": named, "datasets": [{"path": "0", "coordinateTransformations": step}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [entry]}
    group.create_array("0", data=array)
    return str(path)


def close(values: dict[str, Any], array: np.ndarray) -> None:
    """Compare statistics with those of numpy."""
    finite = array[np.isfinite(array)].astype("f8")
    assert values["voxels"] == array.size
    assert (values["min"], values["max"]) == (finite.min(), finite.max())
    assert values["mean"] == pytest.approx(finite.mean(), rel=1e-9)
    assert values["std"] == pytest.approx(finite.std(), rel=1e-9)
    assert values["share_nan"] == pytest.approx(np.isnan(array).mean())
    assert values["share_zero"] == pytest.approx((array == 0).mean())


def test_a_store_by_plain_names(tmp_path: Path) -> None:
    add(tmp_path / "t.ome.zarr", ARRAY)
    add(tmp_path / "t.ome.zarr", (np.nan_to_num(ARRAY) > 5).astype("uint8"), "labels", "labels/core")
    facts = info(tmp_path / "t.ome.zarr")
    wanted = {
        "type": "volume",
        "format": "ome-zarr",
        "group": "",
        "name": "t",
        "kind": "intensity",
        "shape": [12, 40, 48],
        "dtype": "float32",
        "voxel_size": [14.0, 12.0, 10.0],
        "origin": [5.0, -6.0, 7.5],
        "extent_nm": [16.8, 48.0, 48.0],
        "bytes": 4 * 12 * 40 * 48,
        "axes": "zyx",
        "channels": 1,
        "times": 1,
        "ngff": "0.5",
        "complete": True,
    }
    assert {key: facts[key] for key in wanted} == wanted
    assert [level["shape"] for level in facts["levels"]] == [[12, 40, 48], [6, 20, 24]]
    assert facts["levels"][1] == {
        "path": "1",
        "shape": [6, 20, 24],
        "factor": [2, 2, 2],
        "chunk": facts["levels"][1]["chunk"],
        "shard": facts["levels"][1]["shard"],
        "voxel_size": [28.0, 24.0, 20.0],
        "bytes": 4 * 6 * 20 * 24,
    }
    assert [image["group"] for image in facts["images"]] == ["", "labels/core"]
    assert facts["images"][1]["kind"] == "labels"
    coarse = ve.open_volume(tmp_path / "t.ome.zarr").read(level=1)
    assert (facts["values"]["level"], facts["values"]["full"]) == (1, False)
    close(facts["values"], coarse)
    full = info(tmp_path / "t.ome.zarr", full=True)["values"]
    assert (full["level"], full["full"], full["share_read"]) == (0, True, 1.0)
    close(full, ARRAY)
    labels = info(f"{tmp_path}/t.ome.zarr#labels/core", full=True)
    assert (labels["group"], labels["kind"], labels["dtype"]) == ("labels/core", "labels", "uint8")
    close(labels["values"], (np.nan_to_num(ARRAY) > 5).astype("uint8"))
    assert info(f"{tmp_path}/t.ome.zarr#core")["group"] == "labels/core"
    with pytest.raises(MissingError, match=r"no image 'x'.*'labels/core'"):
        info(f"{tmp_path}/t.ome.zarr#x")


def test_stores_without_units(tmp_path: Path, volengine: Command) -> None:
    url = foreign(tmp_path / "a.zarr", ARRAY, "zyx")
    facts = info(url)
    assert (facts["shape"], facts["voxel_size"], facts["origin"], facts["extent_nm"]) == (
        [12, 40, 48],
        None,
        None,
        None,
    )
    close(facts["values"], ARRAY)
    assert "unknown: give --voxel-size" in volengine("info", url)[1]


@pytest.mark.parametrize("axes", ["czyx", "tczyx", "tzyx", "zyxc", "cyx"])
def test_channels_and_time_points(tmp_path: Path, axes: str, volengine: Command) -> None:
    counts = {"c": 3, "t": 2, "z": 4, "y": 5, "x": 6}
    array = np.random.default_rng(1).integers(0, 9, [counts[a] for a in axes]).astype("int16")
    url = foreign(tmp_path / "a.zarr", array, axes, unit="nanometer")
    facts = info(url)
    assert facts["shape"] == [counts["z"] if "z" in axes else 1, 5, 6]
    assert (facts["channels"], facts["times"]) == (3 if "c" in axes else 1, 2 if "t" in axes else 1)
    assert facts["bytes"] == array.nbytes == facts["levels"][0]["bytes"]
    close(facts["values"], array)
    if "c" in axes and "t" not in axes:
        for number, one in enumerate(facts["channel_values"]):
            close(one, array.take(number, axes.index("c")))
    text = "\n" + volengine("info", url)[1]
    assert ("\nchannels  " in text) == ("c" in axes)
    assert ("\ntime points  " in text) == ("t" in axes)


def test_plain_arrays(tmp_path: Path) -> None:
    for zarr_format in (2, 3):
        url = str(tmp_path / f"{zarr_format}.zarr")
        zarr.create_array(url, data=ARRAY > 5, chunks=(5, 16, 16), zarr_format=zarr_format)  # type: ignore[arg-type]
        facts = info(url)
        assert (facts["format"], facts["ngff"], facts["dtype"], facts["voxel_size"]) == ("zarr", "none", "bool", None)
        close(facts["values"], (ARRAY > 5).astype("uint8"))
    group = zarr.create_group(str(tmp_path / "g.zarr"))
    group.create_array("a", data=ARRAY)
    group.create_array("b", data=ARRAY)
    group.create_array("waves", data=np.ones((3, 4, 5), "complex64"))
    group.create_array("times", data=np.arange(5))
    assert [image["group"] for image in info(tmp_path / "g.zarr")["images"]] == ["a", "b"]


def test_files(tmp_path: Path) -> None:
    whole = np.nan_to_num(ARRAY)
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(whole)
        mrc.voxel_size = 13.5
    facts = info(tmp_path / "a.mrc")
    assert (facts["format"], facts["mode"], facts["shape"]) == ("mrc", 2, [12, 40, 48])
    assert facts["voxel_size"] == pytest.approx([13.5] * 3)
    close(facts["values"], whole)
    with mrcfile.new(tmp_path / "n.mrc") as mrc:
        mrc.set_data(whole)
    assert info(tmp_path / "n.mrc")["voxel_size"] is None
    tifffile.imwrite(tmp_path / "t.tif", whole.astype("uint8"), photometric="minisblack")
    facts = info(tmp_path / "t.tif")
    assert (facts["format"], facts["dtype"], facts["voxel_size"], facts["values"]["min"]) == ("tiff", "uint8", None, 0)
    with mrcfile.new(tmp_path / "z.mrc.gz", compression="gzip") as mrc:
        mrc.set_data(whole)
    packed = info(tmp_path / "z.mrc.gz")
    assert packed["values"] is None
    assert "is compressed" in packed["values_error"]
    with pytest.raises(InputError, match="is compressed"):
        info(tmp_path / "z.mrc.gz", full=True)


def test_values_that_are_no_numbers(tmp_path: Path, volengine: Command) -> None:
    array = np.full((2, 4, 4), np.nan, "float32")
    array[1] = np.inf
    url = foreign(tmp_path / "a.zarr", array, "zyx")
    said = json.loads(volengine("info", url, "--json")[1])["values"]
    assert (said["min"], said["max"], said["mean"], said["std"]) == (None,) * 4
    assert (said["share_nan"], said["share_infinite"], said["share_zero"]) == (0.5, 0.5, 0.0)
    assert "no finite value, 50.000% NaN, 50.000% infinite" in volengine("info", url)[1]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    store = tmp_path / "t.ome.zarr"
    add(store, ARRAY)
    for shard in (store / "1").rglob("c/*/*/*"):
        shard.write_bytes(shard.read_bytes()[:-9])
    facts = info(store)
    assert facts["shape"] == [12, 40, 48]
    assert "cannot be decoded" in facts["values_error"]
    close(info(store, full=True)["values"], ARRAY)
    for shard in (store / "0").rglob("c/*/*/*"):
        shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(DamagedError):
        info(store, full=True)
    add(tmp_path / "u.ome.zarr", ARRAY, finish=False)
    facts = info(tmp_path / "u.ome.zarr")
    assert (facts["complete"], facts["values"]) == (False, None)
    with pytest.raises(InputError, match="not finished"):
        info(tmp_path / "u.ome.zarr", full=True)


def test_a_store_that_does_not_open_is_an_error(tmp_path: Path) -> None:
    url = foreign(tmp_path / "a.zarr", ARRAY, "zyx", unit="nanometer")
    (tmp_path / "a.zarr" / "0" / "c").rename(tmp_path / "a.zarr" / "0" / "d")
    with pytest.raises(FormatError, match="no chunk that its metadata can name"):
        info(url)


def test_large_volumes_are_sampled_unless_all_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "SAMPLED", 5000)
    monkeypatch.setattr(values, "PART_BYTES", 4000)
    url = str(tmp_path / "a.zarr")
    zarr.create_array(url, data=ARRAY, chunks=(5, 10, 20))
    part = info(url)["values"]
    assert 1500 <= part["voxels"] <= 5000
    assert part["share_read"] == pytest.approx(part["voxels"] / ARRAY.size)
    close(info(url, full=True)["values"], ARRAY)


@pytest.mark.parametrize("chunks", [None, (1, 48, 48), (5, 7, 9)])
def test_boxes_cover_a_volume_once(chunks: tuple[int, int, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "PART_BYTES", 4000)
    seen = np.zeros((11, 40, 33), int)
    for box in boxes_of(Volume("a.zarr", seen.shape, "float32", (1.0,) * 3, chunks=chunks)):
        seen[box.slices] += 1
    assert (seen == 1).all()


def test_several_paths(tmp_path: Path, volengine: Command) -> None:
    add(tmp_path / "t.ome.zarr", ARRAY)
    foreign(tmp_path / "a.zarr", ARRAY[:, :5], "zyx")
    picks = Picks([[1, 2, 3]], voxel_size=(10.0,) * 3, tomogram="TS", shape=(9, 9, 9))
    write_picks(tmp_path / "p.csv", picks)
    paths = [str(tmp_path / name) for name in ("t.ome.zarr", "a.zarr", "p.csv")]
    many = info(paths)
    assert [facts["type"] for facts in many] == ["volume", "volume", "picks"]
    assert many[0] == info(paths[0])
    code, out, _ = volengine("info", *paths)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:2] == ["path", "type"]
    assert len(lines) == 4
    assert "12 x 40 x 48" in lines[1]
    assert "level 1" in lines[1]
    assert "unknown" in lines[2]
    assert "1 pick" in lines[3]
    assert json.loads(volengine("info", *paths, "--json")[1]) == json.loads(json.dumps(many))
    code, out, said = volengine("info", paths[0], str(tmp_path / "none.mrc"), paths[1])
    assert code == 2
    assert "none.mrc" in said
    assert "a.zarr" in out
    with pytest.raises(MissingError):
        info([paths[0], str(tmp_path / "none.mrc")])


def test_picks_and_models_by_plain_names(tmp_path: Path, volengine: Command) -> None:
    picks = Picks([[1, 2, 3]], voxel_size=(10.0,) * 3, tomogram="TS", feature="core", shape=(9, 8, 7))
    write_picks(tmp_path / "p.csv", picks)
    facts = info(tmp_path / "p.csv")
    assert facts["picks"] == 1
    (table,) = facts["tables"]
    assert (table["tomogram"], table["feature"], table["picks"], table["oriented"]) == ("TS", "core", 1, False)
    assert table["voxel_size"] == [10.0, 10.0, 10.0]
    model = Path(ve.__file__).parent / "data" / "demo_core.safetensors"
    said = json.loads(volengine("info", str(model), "--json")[1])
    assert said["type"] == "model"
    assert all(isinstance(n, int) for n in said["patch"])
    assert all(isinstance(v, float) for v in said["voxel_size"])
    assert "features" in volengine("info", str(model))[1]


def test_a_training_set_says_what_its_boxes_are_of(tmp_path: Path, volengine: Command) -> None:
    image, labels = np.zeros((1, 8, 8), "float32"), np.zeros((8, 8), "uint8")
    names = [("TS_01", "ribosome")] * 2 + [("TS_02", "actin")]
    boxes = [ScntSample(image, labels, tomogram, feature, (4, 9, 9 + k)) for k, (tomogram, feature) in enumerate(names)]
    path = str(tmp_path / "a.scnt")
    write_scnt(path, boxes, 10.0)
    facts = info(path)
    assert (facts["type"], facts["boxes"], facts["shape"], facts["pixel_size"]) == ("training set", 3, [1, 8, 8], 10.0)
    assert [(one["tomogram"], one["feature"], one["boxes"]) for one in facts["groups"]] == [
        ("TS_01", "ribosome", 2),
        ("TS_02", "actin", 1),
    ]
    said = volengine("info", path)[1]
    assert "3 of 1 x 8 x 8" in said
    assert "TS_02, actin: 1 box" in said
    assert "3 boxes" in volengine("info", path, path)[1]
    Path(path).write_bytes(b"boxes")
    with pytest.raises(FormatError, match=r"a\.scnt"):
        info(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.mdoc", "volengine convert TOMOGRAM --tilts x.mdoc reads it"),
        ("x.tlt", "volengine convert TOMOGRAM --tilts x.tlt reads it"),
        ("x.glb", "is a mesh, which no verb reads"),
        ("x.yaml", "volengine run, train, simulate or interact reads it"),
        ("x.cif.gz", "the recipe of volengine simulate names it"),
    ],
)
def test_a_file_of_another_verb_is_told_which(tmp_path: Path, volengine: Command, name: str, said: str) -> None:
    code, _, error = volengine("info", name)
    assert code != 0
    assert f"{name}: there is no such file" in error
    (tmp_path / name).write_text("anything")
    code, _, error = volengine("info", name)
    assert code == 2
    assert said in error


def test_a_list_of_tiles_is_told_its_verb_wherever_it_is_given(tmp_path: Path, volengine: Command) -> None:
    (tmp_path / "x y.yaml").write_text("unit: voxels\ntiles:\n  - {path: a.mrc, position: [0, 0, 0]}\n")
    for verb in (
        ["info", "x y.yaml"],
        ["convert", "x y.yaml", "--out", "a.ome.zarr"],
        ["pick", "x y.yaml", "--out", "a"],
    ):
        code, _, error = volengine(*verb)
        assert code == 2
        assert "x y.yaml: is a list of tiles, not a volume: volengine convert 'x y.yaml' --montage" in error
    (tmp_path / "x y.yaml").write_text("convert:\n  tiles: 3\n")
    assert "list of tiles" not in volengine("info", "x y.yaml")[2]


def test_an_mdoc_of_a_montage_is_none_of_a_tilt_series(tmp_path: Path, volengine: Command) -> None:
    (tmp_path / "x.mdoc").write_text("PixelSpacing = 10\nMontage = 1\n\n[ZValue = 0]\nPieceCoordinates = 0 0 0\n")
    code, _, error = volengine("info", "x.mdoc")
    assert code == 2
    assert "volengine convert STACK --montage" in error
    (tmp_path / "x.mdoc").write_text("Montage = 0\n\n[ZValue = 0]\nMontage = 1\n")
    assert "--tilts" in volengine("info", "x.mdoc")[2]


def test_a_run_folder_and_a_graph_without_a_unit_are_told_their_verbs(tmp_path: Path, volengine: Command) -> None:
    (tmp_path / "out.run" / "plans").mkdir(parents=True)
    (tmp_path / "out.run" / "log.jsonl").touch()
    assert "volengine status out.run" in volengine("info", "out.run")[2]
    (tmp_path / "g.am").write_bytes(graph_bytes(unit=""))
    code, _, error = volengine("info", "g.am")
    assert code == 2
    assert "volengine picks info g.am --read-as NAME" in error


@pytest.mark.parametrize("voxel_size", [10.0, 13.48])
def test_a_stack_of_volumes_is_described(tmp_path, voxel_size):
    """As 'picks extract' writes it: three boxes of four voxels, with the range of values that the header states."""
    parts = [(n, np.full((4, 4, 4), n, "f4")) for n in range(3)]
    write_subvolumes(tmp_path / "s.mrc", parts, 3, 4, (voxel_size,) * 3)
    facts = info(tmp_path / "s.mrc")
    assert (facts["shape"], facts["volumes"], facts["channels"]) == ([4, 4, 4], 3, 3)
    assert facts["voxel_size"] == pytest.approx([voxel_size] * 3)
    assert facts["bytes"] == 3 * 64 * 4
    words = in_words(facts)
    assert words["volumes"] == "3, on each other in one file"
    assert words["values"].startswith("not read: a stack of volumes; its header says min 0, max 2, mean 1, std 0.81")
    write_subvolumes(tmp_path / "one.mrc", parts[:1], 1, 4, (voxel_size,) * 3)
    assert "volumes" not in info(tmp_path / "one.mrc")  # it is a volume like others
    with pytest.raises(FormatError, match="stack of 3 volumes"):
        ve.open_volume(tmp_path / "s.mrc")
