"""What a network answers stays where it belongs, and answers that are no numbers are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.lattice import Lattice
from volengine.nets.predictor import Execution, Precision, Predictor, Traits
from volengine.nets.tiles import PatchJob, predict_patches
from volengine.nets.tta import mirrored_depth, views
from volengine.ops.blend import Shares
from volengine.ops.patches import PatchReader

SHAPE = (12, 24, 24)
ALL = [*range(1, 17), "flips", "flips4"]


class Middle(torch.nn.Module):
    """Answers with the grey values of the slice that it answers for, also where they are no numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.dim() == 5 else x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1]


def sums(image: np.ndarray, slices: int, execution: Execution, threads: int = 1) -> np.ndarray:
    """The mean answer at each voxel; ``slices`` 0: a 3D network."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    below, above = (0, 0) if slices == 0 else (slices // 2, slices - 1 - slices // 2)
    patch = (8, 12, 12) if slices == 0 else (1, 12, 12)
    lattice = Lattice.sliding(shape, patch, (0.0, 0.5, 0.5), (0, 0, 0), (below, 0, 0), (above, 0, 0))
    reader = PatchReader(image, Box.of_shape(shape), shape, ("edge", "reflect", "reflect"))
    predictor = Predictor(Middle(), Traits(1, slices == 0, "none", max(slices, 1)), execution)
    job = PatchJob(lattice, reader, Shares(lattice, "hann", predictor.scale), network="middle.safetensors")
    box = Box.of_shape(shape)
    found = predict_patches(predictor, job, list(lattice.owned(box)), box, threads)
    return found[0] / predictor.scale


@pytest.mark.parametrize("tta", ALL)
@pytest.mark.parametrize("slices", [0, 1, 2, 3, 4, 5])
def test_whatever_the_views_the_answer_is_that_of_its_own_voxel(slices: int, tta: int | str) -> None:
    image = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    execution = Execution(device="cpu", tta=tta)
    if isinstance(tta, int) and tta > 8 and mirrored_depth(slices == 0, slices) == 1:
        with pytest.raises(InputError, match="no middle"):
            sums(image, slices, execution)
        return
    np.testing.assert_allclose(sums(image, slices, execution), image, atol=1e-4)


def test_only_an_odd_number_of_slices_is_mirrored_along_z() -> None:
    for slices in range(1, 8):
        mirrored = any(view.flip_z for view in views("flips", mirrored_depth(False, slices)))
        assert mirrored == (slices > 1 and slices % 2 == 1)
    assert any(view.flip_z for view in views("flips", mirrored_depth(True, 1)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("slices", [0, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_answers_that_are_no_numbers_are_refused(wrong: float, slices: int, threads: int) -> None:
    image = np.zeros(SHAPE, np.float32)
    image[9, 20, 21] = image[9, 20, 22] = wrong
    with pytest.raises(InputError, match=r"middle.safetensors answers NaN or infinity in [24] of") as refused:
        sums(image, slices, Execution(device="cpu", tta=2 if slices else 1), threads)
    assert "from voxel (" in str(refused.value)
    assert "damaged" in str(refused.value)


@pytest.mark.parametrize("slices", [0, 3])
def test_answers_that_would_be_cut_off_are_refused(slices: int) -> None:
    image = np.random.default_rng(0).uniform(-1023, 1023, SHAPE).astype(np.float32)
    np.testing.assert_allclose(sums(image, slices, Execution(device="cpu")), image, atol=1e-3)
    image[9, 20, 21] = -1500
    with pytest.raises(InputError, match=r"middle.safetensors answers numbers beyond ±1023 in [12] of \d+ values"):
        sums(image, slices, Execution(device="cpu", tta=2))
    predictor = Predictor(Middle(), Traits(1, True, "sigmoid"), Execution(device="cpu"))
    odd = torch.zeros((2, 1), dtype=torch.int64)
    assert predictor(torch.full((1, 1, 4, 4, 4), 2000.0), odd=odd).min() == 1  # a sigmoid cuts nothing off
    assert odd.tolist() == [[0], [0]]


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_half_precision_is_named(precision: Precision) -> None:
    image = np.zeros(SHAPE, np.float32)
    image[0, 0, 0] = np.inf
    with pytest.raises(InputError, match=f"--precision {precision}.*--precision float32"):
        sums(image, 0, Execution(device="cpu", precision=precision))


def test_empty_patches_that_fill_a_batch_do_not_count() -> None:
    class OfNothing(torch.nn.Module):
        """Infinite where its input is empty everywhere, as after a division by its standard deviation."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x.abs().amax((2, 3, 4), keepdim=True)

    image = np.ones(SHAPE, np.float32)
    lattice = Lattice.sliding(SHAPE, (12, 24, 24))
    reader = PatchReader(image, Box.of_shape(SHAPE), SHAPE, ("edge", "edge", "edge"))
    predictor = Predictor(OfNothing(), Traits(activation="none"), Execution(device="cpu", batch=2))
    box = Box.of_shape(SHAPE)
    found = predict_patches(
        predictor, PatchJob(lattice, reader, Shares(lattice, "hann", predictor.scale)), list(lattice.owned(box)), box
    )
    np.testing.assert_allclose(found[0] / predictor.scale, 1, atol=1e-5)
