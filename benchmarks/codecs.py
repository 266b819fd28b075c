"""Which compression for which voxels: ratio and speed on real data, one thread.

    python benchmarks/codecs.py DATA            the table of codecs (DATA: the folder with the real data)
    python benchmarks/codecs.py --pipelines     writing and reading one shard: zarr-python against zarrs

Every array is cut into 64 x 64 x 64 chunks, as in a store; each chunk is encoded and decoded alone. The best of
several rounds counts. Prints Markdown.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
CHUNK = 64
ROUNDS = 5


def mrc(path: Path) -> Array:
    import mrcfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(path, permissive=True) as file:
            return np.array(file.data)


def to_int8(array: Array) -> Array:
    """Mean and standard deviation onto 0 and 32, as 8-bit tomograms are usually stored."""
    values = array.astype(np.float32)
    return np.clip(np.round((values - values.mean()) / values.std() * 32), -128, 127).astype(np.int8)


def datasets(data: Path) -> Iterator[tuple[str, str, Array]]:
    """Name, kind and voxels. What is derived from a real volume says so."""
    import tifffile
    from scipy import ndimage

    hiv = mrc(data / "hiv_tomogram" / "hiv_crop_x000-062.mrc")
    haadf = mrc(data / "electron_tomography_haadf" / "haadf_fbp_tip_128cube_int16.mrc.gz")
    tilts = mrc(data / "mrc_oddities" / "serialem_SERI_ext_mode1.mrc")
    yield "HIV tomogram", "intensity", hiv
    yield "HIV tomogram, cast", "intensity", hiv.astype(np.float16)
    yield "HIV tomogram, 8 bit", "intensity", to_int8(hiv)
    yield "HAADF tomogram", "intensity", haadf
    yield "SerialEM tilt images", "intensity", tilts.astype(np.uint16)
    yield "microtubule tomogram", "intensity", tifffile.imread(data / "real_tomograms" / "cylindra_13pf_MT.tif")
    organelles = mrc(data / "segmentations" / "mito_TE1_labels.mrc.gz")[100:228, 300:556, 300:556]
    organelles = organelles.astype(np.uint8)
    yield "organelle labels", "labels", organelles
    with gzip.open(data / "segmentations" / "connectomics_crop_160cube_u16.npy.gz") as file:
        yield "neuron labels, cast", "labels", np.load(file).astype(np.uint32)
    soft = ndimage.gaussian_filter((organelles > 0).astype(np.float32), 2)
    soft += np.random.default_rng(0).normal(0, 0.004, soft.shape).astype(np.float32)
    soft = np.clip(soft, 0, 1)
    yield "blurred organelles", "probability", np.round(soft * 255).astype(np.uint8)
    yield "blurred organelles", "probability", soft


def chunks_of(array: Array) -> list[Array]:
    return [
        np.ascontiguousarray(array[z : z + CHUNK, y : y + CHUNK, x : x + CHUNK])
        for z in range(0, array.shape[0], CHUNK)
        for y in range(0, array.shape[1], CHUNK)
        for x in range(0, array.shape[2], CHUNK)
    ]


def best(action: Callable[[], object]) -> float:
    """Least CPU seconds of one round."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def codec_table(data: Path) -> None:
    import numcodecs.blosc

    from volengine.io.omezarr.codecs import CODECS, auto_codec, compressors

    numcodecs.blosc.set_nthreads(1)
    names = [name for name in CODECS if name != "none"]
    print("| voxels | kind | dtype | " + " | ".join(names) + " | auto |")
    print("|---" * (len(names) + 4) + "|")
    for title, kind, array in datasets(data):
        pieces, size = chunks_of(array), array.nbytes / 1e6
        cells = []
        for name in names:
            codec = compressors(name, array.dtype.name, zarr_format=2)
            packed = [codec.encode(piece) for piece in pieces]
            ratio = array.nbytes / sum(len(p) for p in packed)
            encode = size / best(lambda c=codec, p=pieces: [c.encode(piece) for piece in p])
            decode = size / best(lambda c=codec, p=packed: [c.decode(piece) for piece in p])
            cells.append(f"{ratio:.2f}, {encode:.0f}, {decode:.0f}")
        auto = auto_codec(array.dtype.name, kind)
        print(f"| {title} | {kind} | {array.dtype} | " + " | ".join(cells) + f" | {auto} |", flush=True)


def one_pipeline(fast: bool, threads: int, codec: str, shard: int) -> None:
    """Write and read one float32 shard in this process; prints two cells of the table."""
    from volengine.core.boxes import Box
    from volengine.core.image import ImageSpec, Level
    from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
    from volengine.io.omezarr.codecs import use_fast_codecs
    from volengine.io.omezarr.image import create_image

    if fast:
        use_fast_codecs(threads=threads)
    voxels = np.random.default_rng(0).normal(0, 1, (shard,) * 3).astype(np.float32)
    level = Level("0", voxels.shape, (1, 1, 1), (CHUNK,) * 3, voxels.shape)
    shm = Path("/dev/shm")  # memory, so that no disk is measured
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        spec = ImageSpec(f"{folder}/a.zarr", "a", "float32", "intensity", (10.0,) * 3, (level,), codec=codec)
        create_image(spec, token="bench")
        volume = spec.volume()
        box = Box.of_shape(voxels.shape)
        sink, source = ZarrSink(volume), ZarrSource(volume)
        half = Box((shard // 4,) * 3, (shard // 4 + 96,) * 3)
        cells = []
        for action, size, writes in (
            (lambda: sink.write(box, voxels), voxels.nbytes, True),
            (lambda: source.read(box), voxels.nbytes, False),
            (lambda: source.read(half), half.size * 4, False),
        ):
            action()
            wall, cpu = [], []
            for _ in range(ROUNDS):
                if writes:
                    shutil.rmtree(Path(spec.url) / volume.path / "c", ignore_errors=True)  # as in a conversion
                start, used = time.perf_counter(), time.process_time()
                action()
                wall.append(time.perf_counter() - start)
                cpu.append(time.process_time() - used)
            cells.append(f"{size / 1e6 / min(wall):.0f} ({size / 1e6 / min(cpu):.0f})")
    print(" | ".join(cells))


def pipeline_table(shard: int) -> None:
    print("| codec | pipeline | write MB/s (per CPU second) | read | read 96 x 96 x 96 |")
    print("|---|---|---|---|---|")
    for codec in ("none", "blosc-lz4-bitshuffle", "blosc-zstd1-bitshuffle"):
        for fast, threads in ((False, 0), (True, 1), (True, 2)):
            here = [sys.executable, __file__, "--one", str(int(fast)), str(threads), codec, str(shard)]
            cells = subprocess.run(here, check=True, capture_output=True, text=True).stdout.strip()
            name = f"zarrs, {threads} threads" if fast else "zarr-python"
            print(f"| {codec} | {name} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--pipelines", action="store_true")
    parser.add_argument("--shard", type=int, default=256)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        fast, threads, codec, shard = args.one
        one_pipeline(bool(int(fast)), int(threads), codec, int(shard))
    elif args.pipelines:
        pipeline_table(args.shard)
    elif args.data:
        codec_table(args.data)
    else:
        parser.error("give the folder of the real data, or --pipelines")


if __name__ == "__main__":
    main()
