"""Fuzzing of the Zarr reader: damaged and hostile stores give right voxels or an error of ours, soon, in known memory.

    python tests/fuzz/fuzz_zarr.py --seconds 600 --seed 1

Small stores of many codecs are changed, in their metadata or in their objects, and read. Whatever is found is printed
with the number of its case; ``--case N`` runs one case again. Cases that were found are tests in
``tests/io/omezarr/test_hostile.py``. The promises that are checked:

- no exception but those of ``volengine.core.errors``;
- where only objects of a store with checksums were changed: the right voxels, or ``DamagedError``;
- memory: not more than ``MEMORY`` bytes and ten times the announced chunk and the box that is read;
- time: :data:`HANG_S` per case.
"""

from __future__ import annotations

import argparse
import bz2
import faulthandler
import gzip
import json
import lzma
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr

from volengine.core.boxes import Box, index3
from volengine.core.errors import DamagedError, VolengineError
from volengine.core.image import ImageSpec
from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
from volengine.io.omezarr.check import check_store
from volengine.io.omezarr.image import create_image, finish_image
from volengine.io.omezarr.image_levels import ImageLevels
from volengine.io.omezarr.levels import plan_levels
from volengine.io.omezarr.manifest import compare, deep_check
from volengine.io.omezarr.read import list_groups, open_image
from volengine.io.stores import open_store, remove_store

HANG_S = 30
MEMORY = 2**29
SHAPE = (12, 20, 24)
METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", "manifest.json")

Files = dict[str, bytes]

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 64, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30, 1.5, -0.0, float("nan"),
    float("inf"), float("-inf"), "", "NaN", "Infinity", "-Infinity", "0x7fc00000", "zyx", "0", "../..", "/etc",
    "\x00", "å" * 300, [], {}, [[]], [0], [-1], [1, 1, 1], [0, 16, 16], [2**40] * 3, [1.5, 2, 2], ["a"], [None] * 3,
    "float64", "<f8", "|O", "|S4", "<U9", "<M8[s]", "r16", "complex64", [["a", "<f4"]], {"name": "bytes"},
    {"name": "pickle"}, {"id": "pickle"}, {"id": "vlen-utf8"}, {"name": "zstd"}, {"id": "gzip", "level": 99},
    {"name": "gzip", "configuration": {"level": 1}}, {"id": "astype", "encode_dtype": "<f8", "decode_dtype": "<f4"},
    {"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 1, 1], "codecs": [{"name": "bytes"}]}},
]  # fmt: skip


def main() -> int:
    """Run the fuzzer for a given time of this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run only this case, and show its error")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
    stores = seeds()
    if options.case is not None:
        return 0 if run_case(stores, options.seed, options.case, show=True) == "" else 1
    found: dict[str, int] = {}
    number, began, outcomes = 0, time.process_time(), 0
    while time.process_time() - began < options.seconds:
        text = run_case(stores, options.seed, number)
        if text and text not in found:
            found[text] = number
            print(f"case {number} (seed {options.seed}): {text}", flush=True)
        outcomes += bool(text)
        number += 1
    print(f"{number} cases, {outcomes} with a finding, {len(found)} kinds of finding", flush=True)
    return 1 if found else 0


def seeds() -> dict[str, tuple[Files, np.ndarray, bool]]:
    """Make the stores that are changed: files by key, voxels of level 0, and whether each chunk has a checksum."""
    made: dict[str, tuple[Files, np.ndarray, bool]] = {}
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for ngff in ("0.5", "0.4"):
            for codec in ("auto", "none", "zstd-1", "blosc-zstd1-shuffle"):
                for kind, dtype in (("intensity", "float32"), ("labels", "uint16")):
                    name = f"{ngff}-{codec}-{kind}"
                    made[name] = (*_ours(Path(folder) / name, ngff, codec, kind, dtype, rng), ngff == "0.5")
        for name, make in _others().items():
            path = Path(folder) / name
            array = rng.integers(0, 50, SHAPE).astype("int16")
            make(str(path), array)
            made[name] = (_files(path), array, False)
    return made


def _ours(path: Path, ngff: Any, codec: str, kind: Any, dtype: str, rng: Any) -> tuple[Files, np.ndarray]:
    array = rng.integers(0, 50, SHAPE).astype(dtype)
    levels = plan_levels(SHAPE, chunk=(4, 8, 8), shard=(8, 16, 16), ngff=ngff, levels=1)
    spec = ImageSpec(str(path), "a", dtype, kind, (10.0,) * 3, levels, ngff=ngff, codec=codec)
    create_image(spec, token="a")
    sink, box = ZarrSink(spec.volume()), Box.of_shape(SHAPE)
    stored = dict(zip(sink.keys(box), sink.write(box, array), strict=True))
    finish_image(spec, [{key: what for key, what in stored.items() if what is not None}])
    return _files(path), array


def _others() -> dict[str, Callable[[str, np.ndarray], None]]:
    """Stores of other programs."""

    def of(zarr_format: Any, shards: Any = None, **more: Any) -> Callable[[str, np.ndarray], None]:
        def make(path: str, array: np.ndarray) -> None:
            stored = zarr.create_array(
                path,
                shape=array.shape,
                chunks=(4, 8, 8),
                shards=shards,
                dtype=array.dtype,
                zarr_format=zarr_format,
                **more,
            )
            stored[:] = array

        return make

    v3 = zarr.codecs
    kinds = (numcodecs.Zlib, numcodecs.GZip, numcodecs.BZ2, numcodecs.LZMA, numcodecs.LZ4, numcodecs.Zstd)
    made = {f"v2-{kind.codec_id}": of(2, compressors=kind()) for kind in (*kinds, numcodecs.Blosc)}
    delta = numcodecs.Delta(dtype="<i2")
    made["v2-delta"] = of(2, filters=[delta], compressors=numcodecs.Zstd())
    made["v2-astype"] = of(2, filters=[numcodecs.AsType("<i8", "<i2")], compressors=numcodecs.Zlib())
    made["v3-gzip"] = of(3, compressors=[v3.GzipCodec()])
    made["v3-gzip-shards"] = of(3, (8, 16, 16), compressors=[v3.GzipCodec()])
    made["v3-transpose"] = of(3, filters=[v3.TransposeCodec(order=(2, 0, 1))], compressors=[v3.ZstdCodec()])
    made["v3-zstd-shards"] = of(3, (8, 16, 16), compressors=[v3.ZstdCodec(checksum=True)])
    made["v3-blosc"] = of(3, compressors=[v3.BloscCodec(cname="zlib")])
    made["v3-big"] = of(3, serializer=v3.BytesCodec(endian="big"), compressors=None)
    return made


def _files(path: Path) -> Files:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def run_case(stores: dict[str, Any], seed: int, number: int, *, show: bool = False) -> str:
    """Run one case; return what is wrong, or nothing."""
    rng = random.Random(f"{seed}-{number}")
    name = rng.choice(sorted(stores))
    files, voxels, checked = stores[name]
    files = dict(files)
    only_objects = True
    changes = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        key = rng.choice(sorted(files))
        if key.rpartition("/")[2] in METADATA:
            only_objects = False
            files[key] = _other_json(files[key], rng) if rng.random() < 0.85 else _other_bytes(files[key], files, rng)
        else:
            other = _other_bytes(files[key], files, rng)
            only_objects &= other not in files.values()  # a whole object of another place has right checksums
            files[key] = other
        changes.append(key)
    if show:
        print(name, changes, [files[key][:2000] for key in changes])
    url = f"memory://fuzz-{number}" if rng.random() < 0.3 else tempfile.mkdtemp(prefix="fuzz")
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        _place(url, files)
        _reset_peak()
        before, announced = _peak(), 0
        announced = _read_all(url, rng, voxels if only_objects and checked else None)
        grown = _peak() - before
        if grown > MEMORY + 10 * announced:
            return f"{grown} bytes of memory for {announced} announced"
        return ""
    except VolengineError:
        return "" if _peak() - before <= MEMORY else f"{_peak() - before} bytes of memory before an error"
    except Exception as error:
        if show:
            traceback.print_exc()
        last = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in last if "volengine" in frame.filename] or list(last)
        return (
            f"{type(error).__name__}: {str(error)[:150]!r} at {Path(own[-1].filename).name}:{own[-1].lineno} ({name})"
        )
    finally:
        faulthandler.cancel_dump_traceback_later()
        if "://" in url:
            remove_store(url)
        else:
            shutil.rmtree(url)


def _place(url: str, files: Files) -> None:
    if "://" not in url:
        for key, data in files.items():
            path = Path(url) / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    store = open_store(url)
    for key, data in files.items():
        sync(store.set(key, default_buffer_prototype().buffer.from_bytes(data)))


def _read_all(url: str, rng: random.Random, voxels: np.ndarray | None) -> int:
    """Open and read what a store holds; return the bytes that it announces (chunks, and the boxes that are read)."""
    announced = 0
    for attempt in ("image", "groups", "check", "deep"):
        try:
            if attempt == "image":
                volume = open_image(url, voxel_size=rng.choice((None, 1.0)))
                box = Box((0, 0, 0), index3(min(n, 64) for n in volume.shape))
                itemsize = np.dtype(volume.dtype).itemsize
                announced = itemsize * (int(np.prod([float(n) for n in volume.chunks or (1,)])) + box.size)
                array = ZarrSource(volume).read(box)
                assert array.shape == box.shape, "shape"
                assert array.dtype == volume.dtype, "dtype"
                ImageLevels.of(volume)
                if voxels is not None and volume.shape == voxels.shape:
                    assert array.tobytes() == voxels[box.slices].tobytes(), "other voxels without an error"
            elif attempt == "groups":
                list_groups(url)
            elif attempt == "check" and rng.random() < 0.1:
                check_store(url)
            elif attempt == "deep" and rng.random() < 0.3:
                compare(url, "0")
                deep_check(url, "0")
        except VolengineError as error:
            right = isinstance(error, DamagedError) or voxels is None or attempt != "image"
            if not right:
                raise AssertionError(f"{type(error).__name__} instead of DamagedError: {error}") from error
    return announced


def _other_json(text: bytes, rng: random.Random) -> bytes:
    try:
        data = json.loads(text)
    except ValueError:
        return text
    places = list(_places(data))
    if not places:
        return text
    holder, key = rng.choice(places)
    action = rng.random()
    if action < 0.6:
        holder[key] = rng.choice(VALUES)
    elif action < 0.7:
        del holder[key]
    elif action < 0.8:
        other, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(other.get(name) if isinstance(other, dict) else other[-1:]))
    elif action < 0.88 and isinstance(holder[key], int) and not isinstance(holder[key], bool):
        holder[key] += rng.choice((-1, 1, 1000, -(10**6)))
    elif action < 0.94 and isinstance(holder[key], list):
        holder[key] = holder[key] * rng.choice((0, 2, 1000))
    else:
        deep: Any = 1
        for _ in range(rng.choice((5, 70, 900))):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        holder[key] = deep
    return json.dumps(data).encode()


def _places(data: Any) -> Any:
    waiting = [data]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            yield item, key
            waiting.append(item[key])


def _other_bytes(data: bytes, files: Files, rng: random.Random) -> bytes:
    made = bytearray(data)
    action = rng.randrange(9)
    if action == 0 or not made:
        return b"" if made else rng.randbytes(20)
    at = rng.randrange(len(made))
    if action == 1:
        made[at] ^= 1 << rng.randrange(8)
    elif action == 2:
        for _ in range(rng.randrange(1, 30)):
            made[rng.randrange(len(made))] = rng.randrange(256)
    elif action == 3:
        del made[at:]
    elif action == 4:
        made += rng.randbytes(rng.choice((1, 4, 1000)))
    elif action == 5:
        start = rng.randrange(0, max(1, min(32, len(made) - 4)))
        made[start : start + 4] = rng.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x40"))
    elif action == 6:
        return rng.choice(list(files.values()))
    elif action == 7:
        return _bomb(rng)
    else:
        start = rng.randrange(len(made))
        made[start:start] = made[at : at + rng.randrange(1, 64)]
    return bytes(made)


_bombs: list[bytes] = []


def _bomb(rng: random.Random) -> bytes:
    """Return a small stream that unpacks to 1 GB."""
    if not _bombs:
        zeros = bytes(2**26)
        _bombs.extend((gzip.compress(zeros, 1) * 16, bz2.compress(zeros) * 16, lzma.compress(zeros, preset=0) * 16))
        _bombs.append(bytes(numcodecs.Zstd().encode(bytes(2**30))))
        # the same without a size in the frame: window of 128 KiB, then blocks that repeat one byte
        block = (2**17 << 3 | 2).to_bytes(3, "little") + b"\0"
        _bombs.append(b"\x28\xb5\x2f\xfd\x00\x38" + block * 8192 + (1 | 2**17 << 3 | 2).to_bytes(3, "little") + b"\0")
        _bombs.append(bytes(numcodecs.Blosc(cname="zstd").encode(bytes(2**30))))
        _bombs.append(bytes(numcodecs.LZ4().encode(bytes(2**30))))
    return rng.choice(_bombs)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
