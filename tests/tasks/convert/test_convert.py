"""Conversion to the voxel: every format in, both versions out, any blocks; wrong input leaves nothing behind."""

from __future__ import annotations

import bz2
import gzip
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.core.image import ImageSpec
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_source, open_volume
from volengine.ops.pyramid import downsample
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.export import ExportRecipe, export

QUIET = RunOptions(progress=False)


def whole(volume: Volume) -> np.ndarray:
    return open_source(volume).read(Box.of_shape(volume.shape))


def made(path: Path, shape, dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 100, shape).astype(dtype) if dtype != "float32" else rng.standard_normal(shape, "float32")
    write_mrc(path, [array], shape, dtype, (14.0, 12.0, 10.0), (5.0, -6.0, 7.5))
    return array


@settings(max_examples=12)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.sampled_from(["int8", "int16", "uint16", "float32", "float16"]),
    st.sampled_from(["intensity", "labels"]),
    st.sampled_from([None, (16, 16, 16), (16, 32, 48), (48, 48, 48)]),
    st.sampled_from(["0.4", "0.5"]),
    st.integers(0, 99),
)
def test_any_blocks_give_the_file_and_its_pyramid(tmp_path_factory, shape, dtype, kind, block, ngff, seed):
    kind = "intensity" if dtype.startswith("float") else kind
    folder = tmp_path_factory.mktemp("convert")
    array = made(folder / "a.mrc", shape, dtype, seed)
    recipe = ConvertRecipe(chunk=(8, 8, 8), shard=(16, 16, 16), kind=kind, ngff=ngff, levels=None)
    volume = convert(str(folder / "a.mrc"), str(folder / "a.ome.zarr"), recipe, RunOptions(progress=False, block=block))
    assert np.array_equal(whole(volume), array)
    assert (volume.voxel_size, volume.origin) == ((14.0, 12.0, 10.0), (5.0, -6.0, 7.5))
    level = 1
    while True:
        try:
            coarse = open_volume(str(folder / "a.ome.zarr"), level=level)
        except InputError:
            break
        factor = tuple(round(c / f) for c, f in zip(coarse.voxel_size, volume.voxel_size, strict=True))
        assert np.array_equal(whole(coarse), downsample(array, factor, kind)) or level > 1
        for at, fine, step, size in zip(coarse.origin, volume.origin, factor, volume.voxel_size, strict=True):
            assert at == pytest.approx(fine + (step - 1) / 2 * size)
        level += 1
    assert level == 1 + len(_levels(folder / "a.ome.zarr")) - 1


def _levels(store: Path) -> list[Path]:
    return [p for p in store.iterdir() if p.name.isdigit()]


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
def test_compressed_files_are_unpacked_first(tmp_path, pack, suffix):
    array = made(tmp_path / "a.mrc", (9, 20, 30), "int16")
    packed = tmp_path / f"a.mrc{suffix}"
    packed.write_bytes(pack((tmp_path / "a.mrc").read_bytes()))
    volume = convert(str(packed), str(tmp_path / "a.ome.zarr"), None, QUIET)
    assert volume.name == "a"
    assert np.array_equal(whole(volume), array)
    assert not list((tmp_path / "a.ome.zarr.run").rglob("*.mrc"))


def test_a_store_is_exported_as_the_file_that_it_came_from(tmp_path):
    array = made(tmp_path / "a.mrc", (9, 20, 30), "float32")
    convert(str(tmp_path / "a.mrc"), str(tmp_path / "a.ome.zarr"), None, QUIET)
    back = export(str(tmp_path / "a.ome.zarr"), str(tmp_path / "b.mrc"), progress=False)
    assert np.array_equal(whole(back), array)
    assert (back.voxel_size, back.origin) == ((14.0, 12.0, 10.0), (5.0, -6.0, 7.5))
    with pytest.raises(InputError, match="exists"):
        export(str(tmp_path / "a.ome.zarr"), str(tmp_path / "b.mrc"), progress=False)
    export(str(tmp_path / "a.ome.zarr"), str(tmp_path / "b.mrc"), ExportRecipe(overwrite=True), progress=False)
    with pytest.raises(InputError, match="suffix"):
        export(str(tmp_path / "a.ome.zarr"), str(tmp_path / "b.png"), progress=False)


def test_real_files_are_converted_as_mrcfile_reads_them_or_refused(real_data, tmp_path):
    """Every odd header: converted with all voxels as the reference reader sees them, or refused with a reason."""
    mrcfile = pytest.importorskip("mrcfile")
    import warnings

    files = [*sorted((real_data / "real/mrc_oddities").glob("*.m[ar][pc]*")), real_data / "real/maps/chlamy_hsp60.mrc"]
    files = [f for f in files if f.suffix != ".mdoc"]
    assert len(files) >= 8
    for number, file in enumerate(files):
        out = str(tmp_path / f"{number}.ome.zarr")
        recipe = ConvertRecipe()
        try:
            open_volume(str(file))
        except InputError as error:
            assert "--voxel-size" in str(error)  # noqa: PT017
            recipe = ConvertRecipe(voxel_size=5.0)
        volume = convert(str(file), out, recipe, QUIET)
        assert volume.facts["mrc"]["mode"] in (0, 1, 2, 6, 12)
        if file.suffix in (".mrc", ".map"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with mrcfile.open(file, permissive=True) as reference:
                    data = np.array(reference.data)
            assert np.array_equal(whole(volume), data.reshape(volume.shape))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\0" * 1024, "."),
        (b"This is a text file and no tomogram.\n" * 100, "."),
        (None, "truncated"),
    ],
)
def test_wrong_files_leave_nothing_behind(tmp_path, volengine, content, message):
    path = tmp_path / "bad.mrc"
    if content is None:
        made(path, (9, 20, 30), "int16")
        content = path.read_bytes()[:5000]
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        convert(str(path), str(tmp_path / "out.ome.zarr"), None, QUIET)
    assert "bad.mrc" in str(caught.value)
    code, _, said = volengine("convert", str(path), "--out", str(tmp_path / "o.ome.zarr"))
    assert code == 2
    assert said.startswith("Error: ")
    assert len(said.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["bad.mrc"]


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
@pytest.mark.parametrize("fault", ["cut", "truncated inside"])
def test_damaged_compressed_files_leave_no_store(tmp_path, volengine, pack, suffix, fault):
    """Seen only while unpacking: one line, exit code 2; what stays is the run's report, no voxels and no store."""
    made(tmp_path / "a.mrc", (9, 200, 200), "float32")  # more than one block of bzip2
    content = (tmp_path / "a.mrc").read_bytes()
    packed = pack(content)[:-400] if fault == "cut" else pack(content[:-400])
    (tmp_path / f"bad.mrc{suffix}").write_bytes(packed)
    (tmp_path / "a.mrc").unlink()
    words = ["convert", str(tmp_path / f"bad.mrc{suffix}"), "--out", str(tmp_path / "o.ome.zarr"), "--no-progress"]
    code, _, said = volengine(*words)
    assert code == 2
    assert said.startswith("Error: ")
    assert f"bad.mrc{suffix}" in said
    assert len(said.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"bad.mrc{suffix}", "o.ome.zarr.run"]
    left = [p for p in (tmp_path / "o.ome.zarr.run").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in left) < 20_000
    assert not [p for p in left if p.suffix not in (".json", ".jsonl", "")]


def test_a_killed_conversion_goes_on_and_gives_the_same_bytes(tmp_path):
    """kill -9 once a part is written: the second run does the rest, and the store is the undisturbed one's."""
    array = made(tmp_path / "a.mrc", (96, 256, 256), "float32")
    words = ["--chunk", "16,16,16", "--shard", "32,32,32", "--block", "32,64,64", "--no-progress"]
    command = [sys.executable, "-m", "volengine.cli.main", "convert", str(tmp_path / "a.mrc"), *words, "--out"]
    store = tmp_path / "killed.ome.zarr"
    process = subprocess.Popen([*command, str(store)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and len(list(store.glob("0/c/*/*/*"))) < 20:
            time.sleep(0.002)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    with pytest.raises(InputError, match="is not finished"):
        open_volume(str(store))
    again = subprocess.run([*command, str(store)], capture_output=True, text=True, check=True)
    assert " 0 were there already" not in again.stdout + again.stderr
    subprocess.run([*command, str(tmp_path / "whole.ome.zarr")], capture_output=True, check=True)
    assert np.array_equal(whole(open_volume(str(store))), array)
    files = sorted(p.relative_to(store) for p in store.rglob("*") if p.is_file())
    other = tmp_path / "whole.ome.zarr"
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    for file in files:
        assert file.name == "zarr.json" or (store / file).read_bytes() == (other / file).read_bytes()


def test_a_store_in_memory_holds_the_voxels(tmp_path):
    array = made(tmp_path / "a.mrc", (9, 20, 30), "int16")
    options = RunOptions(progress=False, run_dir=str(tmp_path / "run"))
    volume = convert(str(tmp_path / "a.mrc"), "memory://test-convert/a.ome.zarr", None, options)
    assert np.array_equal(whole(volume), array)


def test_the_header_and_the_history_are_kept(tmp_path):
    made(tmp_path / "a.mrc", (9, 20, 30), "int16")
    volume = convert(str(tmp_path / "a.mrc"), str(tmp_path / "a.ome.zarr"), None, QUIET)
    assert volume.facts["mrc"]["mode"] == 1
    assert [h["verb"] for h in volume.facts["history"]] == ["convert"]
    assert volume.facts["history"][0]["source"] == "a.mrc"


def test_image_specs_survive_json(tmp_path):
    from volengine.tasks.common.images import image_spec

    like = Volume(url="x", shape=(100, 200, 300), dtype="float32", voxel_size=(1, 2, 3))
    spec = image_spec("y.ome.zarr", like, dtype="uint8", kind="probability")
    assert ImageSpec.from_json(spec.to_json()) == spec


def test_a_tilde_is_the_home_folder_for_the_store_and_its_run(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    array = made(tmp_path / "a.mrc", (16, 16, 16), "int16")
    assert np.array_equal(whole(convert("~/a.mrc", "~/q.ome.zarr", ConvertRecipe(), QUIET)), array)
    convert("~/a.mrc", "~/r.ome.zarr", ConvertRecipe(), RunOptions(progress=False, run_dir="~/elsewhere"))
    assert {path.name for path in tmp_path.iterdir()} >= {"q.ome.zarr", "q.ome.zarr.run", "r.ome.zarr", "elsewhere"}
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_signed_masks_of_imod_are_no_labels(tmp_path, dtype):
    """-128 is the background, -127 the feature: nothing that counts labels would count them rightly."""
    mask = np.full((4, 8, 8), -128, dtype)
    mask[1, 2:5, 3:6] = -127
    write_mrc(tmp_path / "mask.mrc", [mask], mask.shape, dtype, (10, 10, 10))
    recipe, options = ConvertRecipe(kind="labels"), RunOptions(progress=False)
    with pytest.raises(InputError, match=r"smallest value here is -128.*add 128"):
        convert(tmp_path / "mask.mrc", tmp_path / "mask.ome.zarr", recipe, options)
    assert not (tmp_path / "mask.ome.zarr").exists()
