"""Codecs of Zarr stores: every one gives the voxels back, also through the fast pipeline."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import zarr

from volengine.core.errors import InputError
from volengine.io.omezarr.codecs import CODECS, auto_codec, compressors


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_codec_round_trips(zarr_format):
    array = np.random.default_rng(1).normal(0, 30, (20, 20, 20)).astype("int16")
    for name in [*CODECS, "auto"]:
        stored = zarr.create_array(
            {},
            shape=array.shape,
            chunks=(16, 16, 16),
            dtype=array.dtype,
            compressors=compressors(name, "int16", zarr_format=zarr_format),
            zarr_format=zarr_format,
        )
        stored[:] = array
        np.testing.assert_array_equal(stored[:], array)
    with pytest.raises(InputError, match="no codec 'lzma'"):
        compressors("lzma", "int16")
    for kind in ("intensity", "probability", "labels"):
        for dtype in ("uint8", "float16", "float32"):
            assert auto_codec(dtype, kind) in CODECS


FAST = """
import sys, warnings
warnings.simplefilter("error")
import numpy as np
from volengine.core.boxes import Box
from volengine.core.image import ImageSpec, Level
from volengine.io.omezarr.codecs import CODECS, use_fast_codecs
from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
from volengine.io.omezarr.image import create_image, finish_image
from volengine.io.omezarr.read import open_image
use_fast_codecs(threads=1)
array = np.load(sys.argv[2])
for url in (sys.argv[1], "memory://"):
    for ngff in ("0.4", "0.5"):
        for codec in [*CODECS, "auto"]:
            level = Level("0", array.shape, (1, 1, 1), (16, 16, 16), (32, 32, 32) if ngff == "0.5" else None)
            spec = ImageSpec(f"{url}/{ngff}-{codec}.zarr", "a", "float32", "intensity", (1, 1, 1), (level,),
                             ngff=ngff, codec=codec)
            create_image(spec, token="a")
            ZarrSink(spec.volume()).write(Box.of_shape(array.shape), array)
            finish_image(spec)
            back = ZarrSource(open_image(spec.url)).read(Box((1, 2, 3), array.shape))
            assert back.tobytes() == np.ascontiguousarray(array[1:, 2:, 3:]).tobytes(), codec
print("done")
"""


def test_the_fast_pipeline_writes_what_zarr_reads(tmp_path):
    pytest.importorskip("zarrs")
    array = np.random.default_rng(1).normal(0, 30, (37, 20, 41)).astype("float32")
    np.save(tmp_path / "array.npy", array)
    script = [sys.executable, "-c", FAST, str(tmp_path), str(tmp_path / "array.npy")]
    result = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.strip() == "done", result.stderr
    stores = sorted(tmp_path.glob("*.zarr"))
    assert len(stores) == 2 * (len(CODECS) + 1)
    for store in stores:
        np.testing.assert_array_equal(zarr.open_array(str(store / "0"), mode="r")[:], array)
