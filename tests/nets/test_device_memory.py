"""Too little memory on a device: batches are halved, nothing is added twice, and what cannot fit is refused in words.

The networks here say that the memory is full as PyTorch does. ``benchmarks/gpu`` fills that of a real GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_fits import fit_of, short
from torch import nn

from volengine.core.boxes import Box
from volengine.core.errors import MemoryRefusedError
from volengine.core.lattice import Lattice
from volengine.nets.device_memory import fitting, is_full, refusal
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.tiles import PatchJob, predict_patches
from volengine.ops.blend import Shares
from volengine.ops.patches import PatchReader

SHAPE, PATCH = (16, 20, 24), (8, 8, 8)
EDGES = ("reflect", "reflect", "reflect")
CPU = torch.device("cpu")


class Large(nn.Module):
    """A convolution whose device holds a few patches; it counts the patches of each call."""

    def __init__(self, most: int, text: str | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.most, self.text = nn.Conv3d(1, 1, 3, padding=1), most, text
        self.calls: list[int] = []

    def forward(self, x: torch.Tensor) -> Any:
        self.calls.append(len(x))
        if len(x) > self.most:
            raise RuntimeError(self.text) if self.text else torch.OutOfMemoryError("CUDA out of memory.")
        return self.layer(x)


def predicted(module: nn.Module, batch: int, threads: int = 1, shares: type[Shares] = Shares) -> tuple[Any, Predictor]:
    predictor = Predictor(module, Traits(), Execution(batch=batch, device="cpu"))
    lattice = Lattice.sliding(SHAPE, PATCH, (0.5, 0.5, 0.5))
    box = Box.of_shape(SHAPE)
    reader = PatchReader(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), box, SHAPE, EDGES)
    job = PatchJob(lattice, reader, shares(lattice, "gaussian", predictor.scale))
    return predict_patches(predictor, job, list(lattice.owned(box)), box, threads), predictor


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("text", [None, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"])
def test_a_batch_that_does_not_fit_is_halved_for_good(threads: int, text: str | None) -> None:
    wanted, _ = predicted(Large(100), batch=2)
    module = Large(3, text)
    found, predictor = predicted(module, 8, threads)
    np.testing.assert_array_equal(found, wanted)
    assert predictor.batch(PATCH) == 2
    assert predictor.batch((16, 16, 16)) == 8  # other patches were not tried
    if threads == 1:
        assert module.calls[:3] == [8, 4, 2]
        assert set(module.calls[3:]) == {2}


def test_patches_that_were_added_before_the_memory_was_full_are_not_added_again() -> None:
    class Full(Shares):
        """Its third share finds no memory, once."""

        asked = 0

        def __getitem__(self, key: Any) -> Any:
            Full.asked += 1
            if Full.asked == 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().__getitem__(key)

    wanted, _ = predicted(Large(100), batch=1)
    found, predictor = predicted(Large(100), batch=8, shares=Full)
    assert Full.asked > 3
    assert predictor.batch(PATCH) == 4
    np.testing.assert_allclose(found / predictor.scale, wanted / predictor.scale, atol=1e-6)


def test_a_patch_that_does_not_fit_alone_is_refused() -> None:
    with pytest.raises(MemoryRefusedError, match=r"cpu does not suffice for one patch of \(8, 8, 8\) voxels.*bfloat16"):
        predicted(Large(0), batch=4)


def test_other_errors_are_not_taken_for_it() -> None:
    module = Large(0, "CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        predicted(module, batch=4)
    assert module.calls == [4]
    assert not is_full(ValueError("CUDA error: out of memory"))
    with pytest.raises(KeyError), fitting(CPU, "a book", "Read less."):
        raise KeyError
    with pytest.raises(MemoryRefusedError, match=r"^The memory of cpu does not suffice for a book\. Read less\.$"):
        raise refusal(CPU, "a book", "Read less.")


def test_a_training_says_what_does_not_fit(tmp_path: Path) -> None:
    fit = fit_of(tmp_path, short(), Large(1))
    with pytest.raises(
        MemoryRefusedError, match=r"a step with 2 patches of \(8, 8, 8\) voxels\. Give a smaller --batch"
    ):
        fit.run(progress=False)


@pytest.mark.gpu
def test_a_gpu_says_how_much_it_has() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    said = pytest.raises(MemoryRefusedError, match=r"cuda:0 \(.*, .*B, .*B free\)")
    with said, fitting(torch.device("cuda", 0), "a book", "Read less."):
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda:0")
