"""Sums do not depend on how many threads BLAS has."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from volengine.ops.sums import sum_of_squares

SCRIPT = """
import numpy as np
from volengine.ops.normalise import slice_moments, standardise_itself
from volengine.ops.sums import sum_of_squares
from volengine.ops.value_stats import ValueStats
for seed in range(20):
    values = np.random.default_rng(seed).normal(3, 50, 45_760 + seed)
    patch = values.astype(np.float32)
    standardise_itself(patch)
    cells = slice_moments(values[:45_760].reshape(1, 220, 208))
    print(sum_of_squares(values).hex(), ValueStats.of(values).std.hex(), patch.tobytes()[:400], cells.tobytes())
"""


def test_the_number_of_threads_changes_no_bit() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(said) == 1


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4, 5), (100_003,)])
def test_it_is_the_sum_of_squares(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    assert sum_of_squares(values) == pytest.approx(float(np.sum(values.astype(np.longdouble) ** 2)), rel=1e-13)
