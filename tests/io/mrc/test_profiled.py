"""Reading while another thread holds frames of this one, as Dask's profiler does on clusters of other people."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType

import numpy as np

from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_volume


def test_frames_that_another_thread_holds_do_no_harm(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=(8, 64, 64)).astype(np.float32)
    write_mrc(tmp_path / "a.mrc", [voxels], voxels.shape, "float32", (10.0, 10.0, 10.0))
    ended = threading.Event()

    def look() -> None:
        kept: list[FrameType] = []
        while not ended.is_set():
            kept = [*kept[-200:], *sys._current_frames().values()]

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        volume = open_volume(str(tmp_path / "a.mrc"))
        for _ in range(250):
            assert np.array_equal(volume.read(), voxels)
    finally:
        ended.set()
        watcher.join()
