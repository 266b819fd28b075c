"""Hostile stores end in an error of ours, at once, and in known memory.

The cases were found by ``tests/fuzz/fuzz_zarr.py`` and by hand.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr

from volengine.core.boxes import Box
from volengine.core.errors import DamagedError, FormatError, InputError, MissingError, VolengineError
from volengine.io.omezarr.arrays import ZarrSource
from volengine.io.omezarr.bounds import ChunkError, check_frame, limit_of, unpack
from volengine.io.omezarr.manifest import read_manifest
from volengine.io.omezarr.read import list_groups, open_image

SHAPE = (16, 16, 16)


def v3(path: Path, **changes) -> str:
    zarr.create_array(str(path), shape=SHAPE, chunks=SHAPE, dtype="<f4", compressors=[zarr.codecs.ZstdCodec()])
    file = path / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return str(path)


def v2(path: Path, **changes) -> str:
    zarr.create_array(
        str(path), shape=SHAPE, chunks=SHAPE, dtype="<f4", zarr_format=2, compressors=numcodecs.Zlib(), filters=None
    )
    file = path / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return str(path)


def read(url: str) -> np.ndarray:
    volume = open_image(url, voxel_size=10.0)
    return ZarrSource(volume).read(Box.of_shape(volume.shape).clip((64, 64, 64)))


SIZES = [[0, 16, 16], [-1, 16, 16], [2**62] * 3, [2**70, 1, 1], [1.5, 2, 2], [True, 16, 16], ["16", 16, 16],
         [16, 16], [], None, "16", {"a": 1}, [float("inf"), 16, 16], [float("nan"), 1, 1], [[16], 16, 16],
         [1] * 40]  # fmt: skip


@pytest.mark.parametrize("make", [v2, v3])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sizes_that_cannot_be(tmp_path, make, sizes):
    with pytest.raises(FormatError):
        read(make(tmp_path / "shape.zarr", shape=sizes))
    chunks = {"chunks": sizes} if make is v2 else {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": sizes}}
    }  # fmt: skip
    with pytest.raises(FormatError):
        read(make(tmp_path / "chunks.zarr", **chunks))


@pytest.mark.parametrize("fill", [float("nan"), "NaN", "Infinity", "-Infinity", "0x7fc00000", 1e400, 0, -1, 3.5])
@pytest.mark.parametrize("make", [v2, v3])
def test_fills_are_values_or_an_error(tmp_path, make, fill):
    with np.errstate(all="ignore"):
        try:
            voxels = read(make(tmp_path / "a.zarr", fill_value=fill))
        except VolengineError:
            return
    wanted = np.float32("nan") if fill == "0x7fc00000" else np.float32(fill)
    np.testing.assert_array_equal(voxels, np.full(SHAPE, wanted))


@pytest.mark.parametrize("fill", ["nonsense", [], {}, "0x", [1, 2], 10**400])
@pytest.mark.parametrize("make", [v2, v3])
def test_fills_that_are_none(tmp_path, make, fill):
    with pytest.raises(VolengineError):
        read(make(tmp_path / "a.zarr", fill_value=fill))


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_no_codec_runs_code(tmp_path):
    """numcodecs knows a codec that unpickles; zarr uses it where metadata name it."""
    for number, changes in enumerate(({"filters": [{"id": "pickle"}]}, {"compressor": {"id": "pickle"}})):
        url = v2(tmp_path / f"{number}.zarr", **changes)
        trap = pickle.dumps(Trap(tmp_path / "sprung"))
        (tmp_path / f"{number}.zarr" / "0.0.0").write_bytes(trap if number else zlib.compress(trap))
        with pytest.raises(FormatError, match="codec 'pickle' is not read"):
            read(url)
    assert not (tmp_path / "sprung").exists()


CODECS = [[{"name": "nonsense"}], [], None, "bytes", [1], [{"name": "bytes"}] * 2, [{}], [{"name": ["bytes"]}],
          [{"name": "sharding_indexed"}], [{"name": "bytes", "configuration": {"endian": "middle"}}]]  # fmt: skip


@pytest.mark.parametrize("codecs", CODECS, ids=str)
def test_codecs_that_cannot_be(tmp_path, codecs):
    with pytest.raises(FormatError):
        read(v3(tmp_path / "a.zarr", codecs=codecs))


@pytest.mark.parametrize("value", [None, 1, "text", [], [[]], {"a": [1]}, float("nan")], ids=str)
@pytest.mark.parametrize("name", ["multiscales", "axes", "datasets", "path", "scale", "omero", "volengine", "labels"])
def test_ngff_of_wrong_kinds(tmp_path, name, value):
    """Any part of the metadata of any kind: an error of ours, or the image as if the part were not there."""
    zarr.create_group(str(tmp_path / "a.zarr"))
    v3(tmp_path / "a.zarr" / "0")
    axes = [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}
    image = {"axes": axes, "datasets": [dataset]}
    attributes = {"ome": {"version": "0.5", "multiscales": [image], "omero": {}}}
    if name in ("axes", "datasets"):
        image[name] = value
    elif name == "path":
        dataset["path"] = value
    elif name == "scale":
        dataset["coordinateTransformations"] = value
    elif name == "volengine":
        attributes["volengine"] = value
    else:
        attributes["ome"][name] = value
    text = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps(text))
    for action in (read, list_groups):
        try:
            action(str(tmp_path / "a.zarr"))
        except VolengineError:
            continue


def test_shards_whose_codecs_are_not_written_have_the_default(tmp_path):
    sharding = {"name": "sharding_indexed", "configuration": {"chunk_shape": [8, 8, 8]}}
    assert read(v3(tmp_path / "a.zarr", codecs=[sharding])).shape == SHAPE


def test_countless_levels_are_refused_at_once(tmp_path):
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}
    image = {"axes": list("zyx"), "datasets": [dataset] * 1000}
    zarr.create_group(str(tmp_path / "a.zarr"), attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    v3(tmp_path / "a.zarr" / "0")
    with pytest.raises(FormatError, match="1000 levels; more than 64"):
        open_image(str(tmp_path / "a.zarr"))


def test_levels_outside_of_the_store_are_refused(tmp_path):
    v3(tmp_path / "secret")
    zarr.create_group(str(tmp_path / "a.zarr"), attributes={"ome": {"version": "0.5", "multiscales": [
        {"axes": list("zyx"), "datasets": [{"path": "../secret"}]}]}})  # fmt: skip
    with pytest.raises(FormatError, match="leaves the store"):
        open_image(str(tmp_path / "a.zarr"), voxel_size=1.0)


def test_deep_and_large_metadata(tmp_path):
    for number, depth in enumerate((100, 900, 200_000)):
        file = Path(v3(tmp_path / f"{number}.zarr")) / "zarr.json"
        deep = "[" * depth + "]" * depth
        file.write_text(file.read_text().replace('"attributes": {}', f'"attributes": {{"a": {deep}}}'))
        assert deep in file.read_text()
        with pytest.raises(FormatError, match=r"nested|no JSON"):
            read(str(file.parent))
    for text in ("", "[]", "1", "{", '{"zarr_format": 3', "\xff", '{"node_type": "array"}', '{"zarr_format": 9}'):
        file.write_text(text, encoding="latin-1")
        with pytest.raises(FormatError):
            read(str(file.parent))


def test_links_that_lead_round_in_a_circle(tmp_path):
    zarr.create_group(str(tmp_path / "a.zarr"))
    (tmp_path / "a.zarr" / "round").symlink_to(tmp_path / "a.zarr")
    with pytest.raises(VolengineError):
        open_image(str(tmp_path / "a.zarr"))
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "zarr.json").symlink_to("zarr.json")
    with pytest.raises(MissingError, match="cannot be read"):
        open_image(str(tmp_path / "b.zarr"))


def test_what_is_no_file_is_no_object(tmp_path):
    url = v3(tmp_path / "a.zarr")
    chunk = tmp_path / "a.zarr" / "c" / "0" / "0" / "0"
    chunk.mkdir(parents=True)
    with pytest.raises(MissingError, match="cannot be read"):
        read(url)
    chunk.rmdir()
    chunk.symlink_to(chunk.name)
    with pytest.raises(MissingError, match="cannot be read"):
        read(url)


def test_a_box_of_countless_chunks_is_refused(tmp_path):
    url = v3(
        tmp_path / "a.zarr",
        shape=[300, 300, 300],
        chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1, 1, 1]}},
    )
    volume = open_image(url, voxel_size=1.0)
    with pytest.raises(InputError, match="touches 27000000 chunks"):
        ZarrSource(volume).read(Box.of_shape(volume.shape))
    assert not ZarrSource(volume).read(Box((0, 0, 0), (4, 4, 4))).any()


def test_a_manifest_that_is_damaged(tmp_path):
    v3(tmp_path / "a.zarr")
    for text in ("", "{", "[]", "{}", '{"format":1}', '{"format":1,"facts":{},"objects":{"a":[1e999,1]}}',
                 '{"format":2,"facts":{},"objects":{}}', '{"format":1,"facts":{},"objects":[1]}'):  # fmt: skip
        (tmp_path / "a.zarr" / "manifest.json").write_text(text)
        with pytest.raises(FormatError, match=r"manifest|list of the array"):
            read_manifest(str(tmp_path / "a.zarr"), "")


def zstd_without_size(blocks: int) -> bytes:
    """A frame that does not state its size: blocks that repeat one byte 131,072 times (RFC 8878)."""
    block = (2**17 << 3 | 2).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * blocks + (1 | 2**17 << 3 | 2).to_bytes(3, "little") + b"\0"


BOMBS = {
    "zstd": lambda: bytes(numcodecs.Zstd().encode(bytes(2**30))),
    "zstd2": lambda: zstd_without_size(2**13),
    "blosc": lambda: bytes(numcodecs.Blosc(cname="zstd").encode(bytes(2**30))),
    "lz4": lambda: bytes(numcodecs.LZ4().encode(bytes(2**30))),
    "gzip": lambda: gzip.compress(bytes(2**26), 1) * 16,
    "zlib": lambda: zlib.compress(bytes(2**28), 1),
    "bz2": lambda: bz2.compress(bytes(2**26)) * 16,
    "lzma": lambda: lzma.compress(bytes(2**28), preset=0),
}

BOMB_SCRIPT = """
import sys
from pathlib import Path
from volengine.core.boxes import Box
from volengine.core.errors import DamagedError
from volengine.io.omezarr.arrays import ZarrSource
from volengine.io.omezarr.codecs import use_fast_codecs
from volengine.io.omezarr.read import open_image
if sys.argv[1] == "fast":
    use_fast_codecs()
def peak():
    return next(int(s.split()[1]) for s in open("/proc/self/status") if s.startswith("VmHWM:")) * 1024
import numcodecs, zarr, zarr.codecs
for url in sys.argv[2:]:
    volume = open_image(url, voxel_size=1.0)
    source = ZarrSource(volume)
    source._opened()
    before = peak()
    try:
        source.read(Box.of_shape(volume.shape))
        sys.exit(f"{url}: no error")
    except DamagedError as error:
        assert "0.0.0" in error.keys[0] or "c/0/0/0" in error.keys[0], error
    if peak() - before > 100_000_000:
        sys.exit(f"{url}: {peak() - before} bytes of memory")
"""


@pytest.mark.parametrize("pipeline", ["plain", "fast"])
def test_bombs_do_not_fill_the_memory(tmp_path, pipeline):
    """A GB behind a small file, where 16 KiB are announced: refused in less than 100 MB, through both pipelines."""
    if pipeline == "fast":
        pytest.importorskip("zarrs")
    urls = []
    for name, make in BOMBS.items():
        path = tmp_path / f"{name}.zarr"
        codec = name.removesuffix("2") if name == "zstd2" else name
        urls.append(v2(path, compressor=numcodecs.get_codec({"id": codec}).get_config()))
        (path / "0.0.0").write_bytes(make())
        if codec in ("zstd", "gzip", "blosc"):
            config = {
                "zstd": {"level": 0, "checksum": False},
                "gzip": {"level": 1},
                "blosc": {"typesize": 4, "cname": "zstd", "clevel": 5, "shuffle": "shuffle", "blocksize": 0},
            }[codec]
            little = {"name": "bytes", "configuration": {"endian": "little"}}
            urls.append(v3(path.with_suffix(".3.zarr"), codecs=[little, {"name": codec, "configuration": config}]))
            chunk = path.with_suffix(".3.zarr") / "c" / "0" / "0" / "0"
            chunk.parent.mkdir(parents=True)
            chunk.write_bytes(make())
    command = [sys.executable, "-c", BOMB_SCRIPT, pipeline, *urls]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr


def test_frames_are_bounded_exactly():
    """Frames of real encoders pass, with and without a stated size; cut and overlong ones do not."""
    rng = np.random.default_rng(0)
    for size in (1, 100, 255, 256, 300, 70_000, 400_000):
        plain = rng.integers(0, 4, size, dtype=np.uint8).tobytes()
        for codec in (numcodecs.Zstd(), numcodecs.Blosc(), numcodecs.LZ4()):
            packed = bytes(codec.encode(plain))
            check_frame(codec.codec_id, packed, size)
            if size > 1:
                with pytest.raises(ChunkError, match=f"unpacks to {size} bytes, where at most {size - 1}"):
                    check_frame(codec.codec_id, packed, size - 1)
    check_frame("zstd", zstd_without_size(3), limit_of(4 * 2**17))
    with pytest.raises(ChunkError, match="cut short"):
        check_frame("zstd", zstd_without_size(3)[:-5], limit_of(4 * 2**17))
    for name, pack in (
        ("gzip", gzip.compress),
        ("zlib", zlib.compress),
        ("bz2", bz2.compress),
        ("lzma", lzma.compress),
    ):
        assert unpack(name, pack(b"abc"), 3) == b"abc"
        with pytest.raises(ChunkError, match="more than the 2"):
            unpack(name, pack(b"abc"), 2)
        with pytest.raises(ChunkError, match=r"cut short|damaged"):
            unpack(name, pack(b"abc" * 100)[:-3], 300)


def test_a_file_far_larger_than_its_chunk_is_not_read(tmp_path):
    url = v2(tmp_path / "a.zarr")
    with (tmp_path / "a.zarr" / "0.0.0").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DamagedError, match="1099511627776 bytes, where at most"):
        read(url)
