"""Labels that are several voxels thick become membranes about their middle, the same in every block."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.render import distances, render
from volengine.sim.scene import LabelBilayer, Scene
from volengine.sim.seeds import stream
from volengine.sim.shapes.label_membranes import LabelRidge, label_distance
from volengine.sim.shapes.membranes import bilayer


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


ROUGH = LabelRidge(10.0, smoothing_vox=1.0, reach_a=40)


@cache
def _rough(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A label without any plan, and the distance from its middle."""
    from scipy.ndimage import gaussian_filter

    rough = gaussian_filter(stream(seed, "labels").standard_normal((45, 45, 45)), 4)
    labels = (np.abs(rough) < 0.15 * rough.std()).astype(np.uint8)
    labels[:, :4] = 0
    return labels, label_distance(labels, 1, ROUGH)


@given(start=st.tuples(*[st.integers(0, 25)] * 3), size=st.tuples(*[st.integers(3, 20)] * 3), seed=st.integers(0, 1))
@settings(max_examples=8)
def test_membranes_in_blocks_equal_those_of_the_whole(
    start: tuple[int, int, int], size: tuple[int, int, int], seed: int
) -> None:
    labels, whole = _rough(seed)
    core = tuple(slice(a, min(a + n, 45)) for a, n in zip(start, size, strict=True))
    wide = tuple(slice(max(s.start - ROUGH.halo, 0), min(s.stop + ROUGH.halo, 45)) for s in core)
    z, y, x = (s.start for s in wide)
    part = label_distance(labels[wide], 1, ROUGH, (z, y, x))
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


@given(
    start=st.tuples(*[st.integers(0, 40)] * 3),
    size=st.tuples(*[st.integers(2, 20)] * 3),
    fine=st.sampled_from([(60, 60, 60), (30, 45, 50), (20, 61, 33)]),
)
@settings(max_examples=6)
def test_another_grid_in_blocks_is_the_same_grid_whole(
    start: tuple[int, int, int], size: tuple[int, int, int], fine: tuple[int, int, int]
) -> None:
    """Places between voxels, such as those of a specimen with voxels of another size."""
    labels, _ = _shell(45, 13.0, 1.5, (21.7, 20.2, 23.1))
    how = LabelRidge(10.0, smoothing_vox=1.0, reach_a=30)
    axes = [(np.arange(n) + 0.5) * (45 / n) - 0.5 for n in fine]
    whole = label_distance(labels, 2, how, at=(axes[0], axes[1], axes[2]))
    core = [slice(min(a, n - 1), min(a + s, n)) for a, s, n in zip(start, size, fine, strict=True)]
    wide = tuple(
        slice(max(c.start * 45 // n - how.halo, 0), min(-(-c.stop * 45 // n) + how.halo, 45))
        for c, n in zip(core, fine, strict=True)
    )
    z, y, x = (axis[c] for axis, c in zip(axes, core, strict=True))
    part = label_distance(labels[wide], 2, how, (wide[0].start, wide[1].start, wide[2].start), (z, y, x))
    assert np.array_equal(part, whole[tuple(core)])
    place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - (21.7, 20.2, 23.1)
    true = np.abs(np.sqrt((place**2).sum(axis=-1)) - 13.0)
    near = true < 2
    assert np.abs(whole[near] / 10 - true[near]).max() < 0.7


def test_a_rendered_shell_weighs_as_much_as_its_area_of_bilayer() -> None:
    """And it lies at the radius of the label, within half a voxel, in every block."""
    labels, _ = _shell(56, 18.0, 1.5, (27.3, 27.8, 26.9))
    where = Box.of_shape(labels.shape)
    found = label_distance(labels, 2, LabelRidge(10.0))
    scene = Scene(labels=(LabelBilayer(2, "outer", 5, 38.0),), classes={"outer": 3})
    whole = render(scene, where, 10.0, {2: found})
    area = 4 * np.pi * 180.0**2
    assert whole.potential.sum(dtype=float) * 10.0**3 / area == pytest.approx(bilayer(38.0).total, rel=0.04)
    at = np.argwhere(whole.instances == 5) - (27.3, 27.8, 26.9)
    radius = np.sqrt((at**2).sum(axis=1))
    assert abs(np.median(radius) - 18.0) < 0.5
    assert np.abs(radius - 18.0).max() < 2.3 + 0.7  # half the bilayer and its heads
    assert np.array_equal(whole.classes == 3, whole.instances == 5)
    box = Box((3, 20, 31), (30, 40, 56))
    part = render(scene, box, 10.0, {2: found[box.slices]})
    for name in ("potential", "classes", "instances"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[box.slices])
    assert np.array_equal(distances(scene, where, 10.0, {2: found}), found)
    table = Scene.from_table(scene.to_table())
    assert table.labels == scene.labels
    assert table.objects == 5


def test_a_piece_of_cells_is_taken_in_place() -> None:
    grid = Occupancy((6, 7, 8), voxel_size_a=10.0)
    mask = np.zeros((2, 3, 4), bool)
    mask[1, 2, 3] = mask[0, 0, 0] = True
    assert grid.take_mask(mask, corner=(4, 1, 2)) == 2
    assert np.argwhere(grid.owner).tolist() == [[4, 1, 2], [5, 3, 5]]
    for corner in ((5, 0, 0), (0, 5, 0), (-1, 0, 0)):
        with pytest.raises(InputError, match="leaves the grid"):
            grid.take_mask(mask, corner=corner)
