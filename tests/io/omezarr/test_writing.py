"""Objects are put in place by one act, are what the sink says, and nobody is disturbed by what lay there before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr

from volengine.core.aside import PREFIX
from volengine.core.block import nothing
from volengine.core.boxes import Box
from volengine.core.errors import MissingError, PlanError
from volengine.core.image import ImageSpec, Level
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
from volengine.io.omezarr.image import create_image, remove
from volengine.io.stores import stored_objects

SHAPE = (40, 70, 70)
UNIT = (32, 32, 32)
NGFF = pytest.mark.parametrize("ngff", ["0.4", "0.5"])


def spec_of(url, *, ngff="0.5", dtype="float32", path="0", codec="auto") -> ImageSpec:
    shards = UNIT if ngff == "0.5" else None
    level = Level(path, SHAPE, (1, 1, 1), (16, 16, 16) if shards else UNIT, shards)
    return ImageSpec(str(url), "t", dtype, "intensity", (10.0,) * 3, (level,), ngff=ngff, codec=codec)


def voxels_of(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 30, SHAPE).astype(np.float32)


@NGFF
@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_sink_says_what_it_has_stored(tmp_path, ngff, where):
    spec = spec_of(tmp_path / "a.zarr" if where == "file" else f"memory://{tmp_path.name}{ngff}", ngff=ngff)
    create_image(spec, token="a")
    sink, array = ZarrSink(spec.volume()), voxels_of()
    array[:32, :32, :32] = 0
    stored, keys = {}, []
    for box in Tiling(SHAPE, (64, 64, 64)):
        keys += sink.keys(box)
        stored |= dict(zip(sink.keys(box), sink.write(box, array[box.slices]), strict=True))
    assert len(set(keys)) == len(Tiling(SHAPE, UNIT))
    first = "c/0/0/0" if ngff == "0.5" else "0/0/0"
    assert [key for key, what in stored.items() if what is None] == [first]
    listed = stored_objects(spec.url, "0")
    names = {"zarr.json", ".zarray", ".zattrs"}
    assert {key: found.size for key, found in listed.items() if key not in names} == {
        key: what[0] for key, what in stored.items() if what is not None
    }
    if where == "file":
        for key, what in stored.items():
            if what is not None:
                assert google_crc32c.value((tmp_path / "a.zarr" / "0" / key).read_bytes()) == what[1]
    sink.flush()
    np.testing.assert_array_equal(ZarrSource(spec.volume()).read(Box.of_shape(SHAPE)), array)


def test_the_order_of_keys_is_that_of_the_cells():
    spec = spec_of("memory://order")
    create_image(spec, token="a")
    sink = ZarrSink(spec.volume())
    assert sink.keys(Box((0, 32, 0), (40, 70, 64))) == [
        "c/0/1/0", "c/0/1/1", "c/0/2/0", "c/0/2/1", "c/1/1/0", "c/1/1/1", "c/1/2/0", "c/1/2/1",
    ]  # fmt: skip


@NGFF
def test_a_damaged_object_disturbs_nobody_and_equal_bytes_stay(tmp_path, ngff):
    spec, array = spec_of(tmp_path / "a.zarr", ngff=ngff), voxels_of()
    create_image(spec, token="a")
    sink, box = ZarrSink(spec.volume()), Box.of_shape(SHAPE)
    before = sink.write(box, array)
    files = [tmp_path / "a.zarr" / "0" / key for key in sink.keys(box)]
    for file in files:
        os.utime(file, ns=(1, 1))
    files[0].write_bytes(b"torn")
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"?")  # the same size
    files[2].unlink()
    assert ZarrSink(spec.volume()).write(box, array) == before
    assert [file.stat().st_mtime_ns > 1 for file in files] == [True, True, True] + [False] * (len(files) - 3)
    np.testing.assert_array_equal(ZarrSource(spec.volume()).read(box), array)


def test_zeros_remove_what_was_there(tmp_path):
    spec = spec_of(tmp_path / "a.zarr")
    create_image(spec, token="a")
    sink, box = ZarrSink(spec.volume()), Box.of_shape(SHAPE)
    sink.write(box, voxels_of())
    assert set(sink.write(box, np.zeros(SHAPE, np.float32))) == {None}
    sink.flush()
    assert not ZarrSource(spec.volume()).read(box).any()
    assert not [path for path in (tmp_path / "a.zarr" / "0" / "c").rglob("*") if path.is_file()]


def test_zarr_sees_nothing_of_the_private_places(tmp_path, monkeypatch):
    """A group is listed while a writer is stopped in the middle of its write: no warning (warnings are errors here)."""
    spec = spec_of(tmp_path / "a.zarr")
    create_image(spec, token="a")
    seen = []
    real = Path.replace

    def stopped(self, target):
        seen.append(sorted(dict(zarr.open_group(spec.url, mode="r", use_consolidated=False).members(max_depth=None))))
        assert any(path.name.startswith(PREFIX) for path in (tmp_path / "a.zarr" / "0").iterdir())
        return real(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    ZarrSink(spec.volume()).write(Box.of_shape(SHAPE), voxels_of())
    assert seen
    assert all(names == ["0"] for names in seen)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(PREFIX)]


def test_a_store_that_was_removed_meanwhile_is_not_made_anew(tmp_path):
    spec = spec_of(tmp_path / "a.zarr")
    create_image(spec, token="a")
    sink = ZarrSink(spec.volume())
    sink.write(Box.of_shape(SHAPE), voxels_of())
    remove(spec.url)
    with pytest.raises(MissingError, match="deleted while it was being written"):
        sink.write(Box.of_shape(SHAPE), voxels_of(1))
    assert not (tmp_path / "a.zarr").exists()


READERS = """
import sys, warnings
warnings.simplefilter("error")
import numpy as np
from volengine.core.boxes import Box
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.codecs import use_fast_codecs
sys.path.insert(0, sys.argv[2])
from test_writing import SHAPE, spec_of, voxels_of
if sys.argv[3] == "fast":
    use_fast_codecs()
sink = ZarrSink(spec_of(sys.argv[1]).volume())
box = Box.of_shape(SHAPE)
for turn in range(60):
    sink.write(box, voxels_of(turn % 2))
"""


@pytest.mark.parametrize("pipeline", ["plain", "fast"])
def test_readers_never_see_a_gap_or_a_torn_object(tmp_path, pipeline):
    """A process writes two versions in turn. Every object that is read is one of the two, whole."""
    if pipeline == "fast":
        pytest.importorskip("zarrs")
    spec = spec_of(tmp_path / "a.zarr")
    create_image(spec, token="a")
    box = Box.of_shape(SHAPE)
    ZarrSink(spec.volume()).write(box, voxels_of(0))
    script = [sys.executable, "-c", READERS, spec.url, str(Path(__file__).parent), pipeline]
    writer = subprocess.Popen(script, stderr=subprocess.PIPE, text=True)
    finished = threading.Event()
    threading.Thread(target=lambda: (writer.wait(), finished.set())).start()
    versions, changed = [voxels_of(0), voxels_of(1)], 0
    cells = list(Tiling(SHAPE, UNIT))
    source = ZarrSource(spec.volume())
    while not finished.is_set():
        for cell in cells:
            voxels = source.read(cell)
            which = [np.array_equal(voxels, version[cell.slices]) for version in versions]
            assert any(which)
            changed += which[1]
    assert writer.returncode == 0, writer.stderr.read()
    assert changed


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_zeros_are_not_stored_and_negative_zeros_are(tmp_path, dtype):
    spec = spec_of(tmp_path / "a.zarr", dtype=dtype)
    create_image(spec, token="a")
    sink, box = ZarrSink(spec.volume()), Box((0, 0, 0), UNIT)
    assert sink.write(box, np.ones(UNIT, dtype)) != [None]
    assert sink.write(box, np.zeros(UNIT, dtype)) == [None]  # what was there is removed
    assert sink.absent(box) == sink.keys(box)
    if dtype == "float32":
        (stored,) = sink.write(box, -np.zeros(UNIT, dtype))
        assert stored is not None
        assert np.signbit(ZarrSource(spec.volume()).read(box)).all()
    remove(spec.url)
    with pytest.raises(MissingError, match="deleted while it was being written"):
        sink.write(box, np.zeros(UNIT, dtype))


@NGFF
@pytest.mark.parametrize("attributes", [{}, {"a": [1, {"b": 1.5}], "ü": None, "c": "0"}])
def test_metadata_are_the_bytes_that_zarr_python_writes_without_indents(ngff, attributes):
    from zarr.storage import MemoryStore

    from volengine.io.omezarr.codecs import compressors
    from volengine.io.omezarr.node_files import array_files, group_files

    fmt, files = (2 if ngff == "0.4" else 3), {}
    with zarr.config.set(json_indent=None):
        zarr.create_group(MemoryStore(files), zarr_format=fmt, attributes=attributes)
    assert group_files(fmt, attributes) == {name: data.to_bytes() for name, data in files.items()}
    given = {
        "shape": SHAPE,
        "dtype": "float32",
        "chunks": UNIT,
        "shards": None,
        "fill_value": 0,
        "zarr_format": fmt,
        "dimension_names": ("z", "y", "x") if fmt == 3 else None,
    }
    codec = {"name": "zstd-1", "dtype": "float32", "kind": "intensity", "zarr_format": fmt, "scratch": False}
    keys = {"name": "default" if fmt == 3 else "v2", "separator": "/"}
    files = {}
    described = {"compressors": compressors(**codec), "chunk_key_encoding": keys, "attributes": attributes}
    with zarr.config.set(json_indent=None):
        zarr.create_array(MemoryStore(files), **described, **given)
    made = array_files(tuple(given.items()), tuple(codec.items()), attributes)
    assert made == {name: data.to_bytes() for name, data in files.items()}


@NGFF
@pytest.mark.parametrize("where", ["file", "memory"])
def test_nothing_is_written_as_zeros_are_and_removes_what_was_there(tmp_path, ngff, where):
    spec = spec_of(tmp_path / "a.zarr" if where == "file" else f"memory://{tmp_path.name}n{ngff}", ngff=ngff)
    create_image(spec, token="a")
    whole = Box.of_shape(SHAPE)
    sink = ZarrSink(spec.volume())
    sink.write(whole, voxels_of())
    box = Box((0, 0, 0), (32, 70, 70))
    found = sink.write(box, nothing(box.shape, "float32"))
    assert found == [None] * 9 == sink.write(box, np.zeros(box.shape, np.float32))
    sink.flush()
    assert sink.absent(whole) == sink.keys(box)
    assert not ZarrSource(spec.volume()).read(box).any()
    with pytest.raises(PlanError, match="does not fill"):
        sink.write(box, nothing(box.shape, "uint8"))


@pytest.mark.parametrize("fill", [0, 7, -0.0, np.nan])
@pytest.mark.parametrize("sharded", [False, True])
def test_voxels_that_are_not_stored_have_the_fill_value_to_the_bit(tmp_path, fill, sharded):
    """Chunks in the middle of a box are missing, in a shard that is there and in one that is not."""
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    unit = {"shards": (16, 16), "chunks": (8, 8)} if sharded else {"chunks": (8, 8)}
    array = root.create_array("0", shape=(32, 32), dtype="float32", fill_value=fill, **unit)
    array[:8, :8] = 5
    array[24:, 20:] = 6
    volume = Volume(str(tmp_path / "a.zarr"), (1, 32, 32), "float32", (10.0,) * 3, path="0", axes="yx")
    found = ZarrSource(volume).read(Box((0, 3, 3), (1, 31, 30)))
    wanted = np.full((32, 32), fill, np.float32)
    wanted[:8, :8], wanted[24:, 20:] = 5, 6
    assert found.tobytes() == wanted[3:31, 3:30].tobytes()
    found[:] = 1  # what was read may be changed
