"""Verbs on stores in zip archives, with NGFF 0.6, and with chunks in folders that the metadata do not tell of."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from calling import Command
from threshold_net import save_threshold_model

import volengine as ve
from volengine.io.omezarr.check import check_store
from volengine.io.omezarr.nodes import read_node

SHAPE = (24, 40, 48)
QUIET = ("--no-progress", "--workers", "0")


def balls() -> np.ndarray:
    """Two balls of radius 5, value 1."""
    z, y, x = np.indices(SHAPE)
    found = np.zeros(SHAPE, "float32")
    for centre in ((8, 10, 12), (16, 30, 36)):
        found[(z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= 25] = 1
    return found


@pytest.fixture
def store(tmp_path: Path, volengine: Command) -> Path:
    with mrcfile.new(tmp_path / "TS_01.mrc") as mrc:
        mrc.set_data(balls())
        mrc.voxel_size = 10
    how = ("--ngff", "0.6", "--chunk", "8,16,16")
    code, _, said = volengine("convert", "TS_01.mrc", "--out", "TS_01.ome.zarr", *how, *QUIET)
    assert code == 0, said
    return tmp_path / "TS_01.ome.zarr"


def zipped(store: Path, to: str, how: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(store.parent / to, "w", how) as archive:
        for file in sorted(store.rglob("*")):
            if file.is_file():
                archive.write(file, f"{store.name}/{file.relative_to(store)}")
    return str(store.parent / to)


def test_convert_segment_pick_in_0_6(store: Path, volengine: Command) -> None:
    assert ve.open_volume(store).facts["ngff"] == "0.6"
    save_threshold_model(store.parent / "m.safetensors", "ball", patch=(8, 16, 16))
    code, _, said = volengine(
        "segment", "TS_01.ome.zarr", "--model", "m.safetensors", "--ngff", "0.6", "--out", "p", *QUIET
    )
    assert code == 0, said
    prediction = store.parent / "p" / "TS_01__ball.ome.zarr"
    code, _, said = volengine("pick", str(prediction), "--out", "p.star", *QUIET)
    assert code == 0, said
    assert len(ve.read_picks(store.parent / "p.star", shape=SHAPE)) == 2
    for group in ("", "labels", "labels/ball"):
        node = read_node(str(prediction), group)
        assert node is not None
        assert node.attributes["ome"]["version"] == "0.6"
    assert check_store(str(prediction)) == {"": [], "labels/ball": []}
    code, out, _ = volengine("verify", "p", "TS_01.ome.zarr", "--deep")
    assert code == 0, out


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", ["TS_01.ozx", "TS_01.ome.zarr.zip"])
def test_verbs_read_archives(store: Path, volengine: Command, how: int, name: str) -> None:
    url = zipped(store, name, how)
    shutil.rmtree(store)
    how_run = ("--identity", "content", "--no-progress", "--workers", "2")
    code, _, said = volengine("convert", name, "--out", "again.ome.zarr", *how_run)
    assert code == 0, said
    np.testing.assert_array_equal(ve.open_volume(store.parent / "again.ome.zarr").read(), balls())
    code, _, said = volengine("export", name, "back.mrc")
    assert code == 0, said
    with mrcfile.open(store.parent / "back.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, balls())
    code, out, _ = volengine("info", name, "--json", "--full")
    assert code == 0
    assert json.loads(out)["values"]["mean"] == pytest.approx(balls().mean(dtype="f8"), rel=1e-6)
    assert json.loads(out)["zipped"] is True
    assert volengine("verify", name)[0] == 0
    assert volengine("info", "--check", name)[0] == 0
    listed = store.parent / "list.txt"
    listed.write_text(name)
    code, _, said = volengine("convert", "list.txt", "--out", "many", *QUIET)
    assert code == 0, said
    assert (store.parent / "many" / "TS_01.ome.zarr").is_dir()
    assert Path(url).is_file()


def test_picks_of_an_archive_have_their_labels_beside_the_table(store: Path, volengine: Command) -> None:
    out = ("--out", "TS_01__ball.ome.zarr", "--kind", "probability")
    code, _, said = volengine("convert", "TS_01.ome.zarr", *out, *QUIET)
    assert code == 0, said
    zipped(store.parent / "TS_01__ball.ome.zarr", "TS_01__ball.ozx")
    shutil.rmtree(store.parent / "TS_01__ball.ome.zarr")
    before = (store.parent / "TS_01__ball.ozx").read_bytes()
    code, _, said = volengine("pick", "TS_01__ball.ozx", "--out", "p.star", *QUIET)
    assert code == 0, said
    assert len(ve.read_picks(store.parent / "p.star", shape=SHAPE)) == 2
    assert ve.open_volume(f"{store.parent}/p.star.ome.zarr#labels/TS_01").read().max() > 0
    assert (store.parent / "TS_01__ball.ozx").read_bytes() == before


@pytest.mark.parametrize("verb", ["convert", "segment"])
@pytest.mark.parametrize("out", ["new.ozx", "new.ome.zarr.zip"])
def test_archives_are_not_written(store: Path, volengine: Command, verb: str, out: str) -> None:
    more = ("--model", "m.safetensors") if verb == "segment" else ()
    if more:
        save_threshold_model(store.parent / "m.safetensors", "ball", patch=(8, 16, 16))
    code, _, said = volengine(verb, "TS_01.ome.zarr", *more, "--out", out, *QUIET)
    assert code == 2
    assert "zip archives are read, not written" in said
    assert "zip -r -0" in said
    assert not list(store.parent.glob("new.*"))


def test_an_archive_that_is_replaced_in_the_middle_is_noticed(store: Path) -> None:
    url = zipped(store, "t.ozx")
    volume = ve.open_volume(url)
    zipped(store, "t.ozx", zipfile.ZIP_DEFLATED)
    from volengine.core.errors import ChangedError
    from volengine.io.identity import check_unchanged

    with pytest.raises(ChangedError, match="has changed"):
        check_unchanged(volume, full=False)


def test_convert_of_nested_chunks_without_separator(store: Path, volengine: Command) -> None:
    how = ("--ngff", "0.4", "--chunk", "8,16,16")
    code, _, said = volengine("convert", "TS_01.mrc", "--out", "n.ome.zarr", *how, *QUIET)
    assert code == 0, said
    for file in (store.parent / "n.ome.zarr").rglob(".zarray"):
        data = json.loads(file.read_text())
        del data["dimension_separator"]
        file.write_text(json.dumps(data))
    for file in (store.parent / "n.ome.zarr").rglob("manifest.json"):
        file.unlink()
    code, _, said = volengine("convert", "n.ome.zarr", "--out", "o.ome.zarr", *QUIET)
    assert code == 0, said
    np.testing.assert_array_equal(ve.open_volume(store.parent / "o.ome.zarr").read(), balls())
