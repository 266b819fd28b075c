"""Labels that are several voxels thick become membranes about their middle, the same in every block."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.sim.label_membranes import LabelRidge, label_distance
from volengine.sim.seeds import stream


def _shell(n: int, radius: float, half: float, centre: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A spherical shell drawn as a label, and the true signed distance from its middle in voxels."""
    z, y, x = np.indices((n, n, n)) - np.reshape(centre, (3, 1, 1, 1))
    true = np.sqrt(z**2 + y**2 + x**2) - radius
    return (np.abs(true) <= half).astype(np.uint8) * 2, true


@pytest.mark.parametrize("half", [1.0, 1.5, 2.0])
def test_a_shell_is_found_without_stairs(half: float) -> None:
    """The label is drawn in whole voxels; its middle is right to a fraction of one."""
    labels, true = _shell(56, 17.0, half, (27.3, 27.8, 26.9))
    found = label_distance(labels, 2, LabelRidge(10.0, reach_a=60)) / 10
    near = np.abs(true) < 5
    error = found[near] - np.abs(true[near])
    assert np.sqrt((error**2).mean()) < 0.15
    assert np.abs(error).max() < 0.8
    away = np.abs(true) > 7
    assert (found[away] == 6).all()


@pytest.mark.parametrize("normal", [(1, 0, 0), (0, 1, 1), (1, 2, 3)])
def test_a_plane_is_a_plane_however_it_lies(normal: tuple[int, int, int]) -> None:
    unit = np.array(normal) / np.linalg.norm(normal)
    where = np.moveaxis(np.indices((40, 40, 40)), 0, -1) @ unit
    true = where - where.max() / 2 - 0.3
    labels = (np.abs(true) <= 1.5).astype(np.int16)
    found = label_distance(labels, 1, LabelRidge(8.0, reach_a=40)) / 8
    inner = np.zeros(true.shape, bool)
    inner[10:30, 10:30, 10:30] = True
    inner &= np.abs(true) < 4
    error = found[inner] - np.abs(true[inner])
    # where the plane lies between whole voxels the label itself is off by up to half a voxel
    bias = 0.5 if normal == (1, 0, 0) else 0.2
    assert np.abs(error).max() < bias + 0.05


@given(start=st.tuples(*[st.integers(0, 25)] * 3), size=st.tuples(*[st.integers(3, 20)] * 3), seed=st.integers(0, 3))
@settings(max_examples=8)
def test_blocked_is_whole(start: tuple[int, int, int], size: tuple[int, int, int], seed: int) -> None:
    from scipy.ndimage import gaussian_filter

    rough = gaussian_filter(stream(seed, "labels").standard_normal((45, 45, 45)), 4)
    labels = (np.abs(rough) < 0.15 * rough.std()).astype(np.uint8)
    labels[:, :4] = 0
    how = LabelRidge(10.0, smoothing_vox=1.0, reach_a=40)
    whole = label_distance(labels, 1, how)
    core = tuple(slice(a, min(a + n, 45)) for a, n in zip(start, size, strict=True))
    wide = tuple(slice(max(s.start - how.halo, 0), min(s.stop + how.halo, 45)) for s in core)
    z, y, x = (s.start for s in wide)
    part = label_distance(labels[wide], 1, how, (z, y, x))
    inner = tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(core, wide, strict=True))
    assert np.array_equal(part[inner], whole[core])


def test_a_rim_is_round_and_other_labels_do_not_matter() -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[19:22, 10:30, :20] = 1  # ends at x = 20
    labels[30:33] = 2
    found = label_distance(labels, 1, LabelRidge(10.0, reach_a=80)) / 10
    assert found[20, 20, 10] == pytest.approx(0, abs=0.05)
    assert found[23, 20, 10] == pytest.approx(3, abs=0.05)
    beyond = found[20, 20, 19:28]
    assert (np.diff(beyond) >= 0).all()
    assert beyond[-1] > 4
    assert (label_distance(labels, 7, LabelRidge(10.0)) == 60).all()


def test_real_membranes_stay_where_they_were_drawn(real_data: Path) -> None:
    """A mitochondrion's outer and inner membrane, one to five voxels thick in the segmentation."""
    file = next((real_data / "real").rglob("mito_TE1_labels.mrc.gz"), None)
    if file is None:
        pytest.skip("the segmented mitochondrion is not here")
    with mrcfile.open(file, permissive=True) as mrc:
        data = mrc.data[140:164]
    for label in (1, 2):
        _, y, x = np.nonzero(data == label)
        cut = np.histogram2d(y, x, bins=[29, 30], range=[[0, 928], [0, 960]])[0]
        row, column = (int(i) * 32 for i in np.unravel_index(cut.argmax(), cut.shape))
        crop = data[:, max(row - 32, 0) : row + 64, max(column - 32, 0) : column + 64]
        found = label_distance(crop, label, LabelRidge(12.44)) / 12.44
        inner = crop == label
        assert inner.sum() > 1000
        assert np.median(found[inner]) < 1.2
        assert found[inner].max() < 4.5
        assert (found < 1.5).sum() < 2.5 * inner.sum()


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="two voxels"):
        LabelRidge(50.0, reach_a=60)
    with pytest.raises(InputError, match="smoothing_vox"):
        LabelRidge(10.0, smoothing_vox=0.1)
