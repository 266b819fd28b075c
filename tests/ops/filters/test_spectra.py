"""Amplitude spectra, and the gain that turns one into another."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.core.errors import InputError
from volengine.ops.filters.gains import gain_of
from volengine.ops.filters.spectra import Curve, Shells, finished, matching_gain, quantum
from volengine.ops.filters.transforms import SpectralGrid, filter_whole, forward_slices, transformed_columns


def spectrum_of(volume, voxel=(10.0, 10.0, 10.0), **how):
    """The spectrum, with the rows of columns in a random order."""
    grid = SpectralGrid(volume.shape, volume.shape, voxel)
    shells = Shells(grid, **how)
    unit = quantum(float(np.mean(np.square(volume, dtype=float)))) * np.sqrt(volume.size)
    sums, counts = (np.zeros((shells.count, shells.sectors), np.int64) for _ in range(2))
    rows = list(transformed_columns(forward_slices(volume, grid), grid))
    for at in np.random.default_rng().permutation(len(rows)):
        (row, a, b), wave = rows[at]
        shells.add(sums, counts, grid.columns(row, row + 1, a, b), wave, unit)
    return finished(sums, counts, shells, unit / np.sqrt(volume.size))


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(24, 24, 24), (15, 48, 33)])
def test_white_noise_has_one_amplitude_whatever_the_shape(shape):
    """The mean of |F| / sqrt(N) of normal noise is sqrt(pi) / 2."""
    table = spectrum_of(2 * noise(shape) + 5)
    weight = table["count"][:, 0] / table["count"].sum()
    assert (weight * table["amplitude"][:, 0]).sum() == pytest.approx(2 * np.sqrt(np.pi) / 2, rel=0.02)
    assert table["count"].sum() == np.prod(shape) - 1  # every frequency once, without the mean


def test_shells_are_spheres_of_physical_frequency():
    """A plane wave of 3 waves in 12 voxels of 20 angstrom lies at 1/80, though the volume is no cube."""
    z, _, _ = np.meshgrid(np.arange(12), np.arange(30), np.arange(40), indexing="ij")
    table = spectrum_of(np.cos(2 * np.pi * 3 * z / 12).astype(np.float32), (20.0, 8.0, 10.0))
    at = table["frequency"][np.argmax(table["amplitude"][:, 0])]
    assert at == pytest.approx(1 / 80)
    assert table["frequency"][0] == pytest.approx(1 / 400)


def test_a_plain_sum_gives_the_same():
    volume = noise((9, 10, 12))
    table = spectrum_of(volume)
    f = [np.fft.fftfreq(n, 10.0) for n in volume.shape]
    radius = np.sqrt(sum(np.square(one) for one in np.meshgrid(*f, indexing="ij")))
    shell = np.floor(radius * 120 + 0.5).astype(int)
    amplitude = np.abs(np.fft.fftn(volume.astype(float))) / np.sqrt(volume.size)
    wanted = [amplitude[shell == s].mean() for s in range(1, shell.max() + 1) if (shell == s).any()]
    np.testing.assert_allclose(table["amplitude"][:, 0], wanted, rtol=1e-5)


def test_sums_do_not_depend_on_the_order():
    volume = noise((8, 21, 13)) * 1e-7 + 3
    first, second = spectrum_of(volume, sectors=3), spectrum_of(volume, sectors=3)
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize("how", [{}, {"sectors": 4}, {"tilts": (-60.0, 60.0)}], ids=str)
def test_matched_to_its_own_spectrum_a_volume_stays_the_same(how):
    """MemBrain's correlates 0.72 to 0.89 with itself."""
    volume = filter_whole(noise((20, 31, 26), 4), gain=lambda c: gain_of(c, LOW, {})) + np.float32(7)
    own = spectrum_of(volume, **how)
    target = Curve.from_table(spectrum_of(volume)).to_json()
    target["amplitude"] = [row[0] for row in target["amplitude"]]
    gains = [{"kind": "match", "table": "own", "target": target, "most": 50.0, "axis": "y"}]
    found = filter_whole(volume, gain=lambda c: gain_of(c, gains, {"own": own}), voxel_size=(10.0,) * 3)
    assert np.corrcoef(found.ravel(), volume.ravel())[0, 1] > (0.999 if not how else 0.97)
    assert found.mean() == pytest.approx(volume.mean(), abs=1e-3)
    if not how:
        np.testing.assert_allclose(found, volume, atol=1e-4)


LOW = [{"kind": "low", "resolution_a": 3.0, "edge": 0.9}]


def test_matched_to_another_spectrum_a_volume_has_it():
    other = filter_whole(noise((30, 30, 30), 1), gain=lambda c: gain_of(c, LOW, {})) * np.float32(3)
    target = Curve.from_table(spectrum_of(other, (12.0,) * 3))
    wanted = Curve(target.frequency, target.amplitude[:, 0])
    volume = noise((24, 40, 30), 2)
    gains = [{"kind": "match", "table": "own", "target": wanted.to_json(), "most": 1e9, "axis": "y"}]
    tables = {"own": spectrum_of(volume)}
    found = spectrum_of(filter_whole(volume, gain=lambda c: gain_of(c, gains, tables), voxel_size=(10.0,) * 3))
    near = (found["frequency"] > 0.005) & (found["frequency"] < 0.04)
    expected = np.interp(found["frequency"], wanted.frequency, wanted.amplitude)
    strong = near & (expected > 0.05 * expected.max())
    np.testing.assert_allclose(found["amplitude"][strong, 0], expected[strong], rtol=0.1)


def test_beyond_the_target_nothing_is_made_up_and_gains_have_an_end():
    own = Curve.of([0.01, 0.02, 0.03, 0.04, 0.05], [1, 1, 1e-3, 1, 1])
    target = Curve.of([0.01, 0.02, 0.03], [1, 1, 1])
    f = np.array([0.0, 0.01, 0.03, 0.031, 0.05])
    assert matching_gain(f, f, own, target, 5.0).tolist() == pytest.approx([1, 1, 0, 0, 0])
    longer = Curve.of([0.01, 0.05], [1, 1])
    assert matching_gain(np.array([0.03]), f[:1], own, longer, 5.0).tolist() == [5.0]


def test_empty_shells_stay_empty():
    own = Curve.of([0.01, 0.02, 0.03], [1, 0, 1])
    assert matching_gain(np.array([0.02]), np.zeros(1), own, Curve.of([0.01, 0.03], [1, 1]), 50.0).tolist() == [0.0]


def test_sectors_have_gains_of_their_own():
    own = Curve(np.array([0.01, 0.02]), np.array([[1.0, 2.0], [1.0, 2.0]]), 60.0)
    target = Curve.of([0.01, 0.02], [1, 1])
    found = matching_gain(np.full(4, 0.01), np.array([0.0, 15.0, 30.0, 60.0]), own, target, 50.0)
    assert found.tolist() == pytest.approx([1, 1, 1 / 1.5, 0.5])


@pytest.mark.parametrize(
    ("f", "a"),
    [([0.1], [1]), ([0.2, 0.1], [1, 1]), ([0.0, 0.1], [1, 1]), ([0.1, 0.2], [1, -1]), ([0.1, 0.2], [1, np.nan]),
     ([0.1, 0.2], [0, 0]), ([0.1, 0.2], [1])],
)  # fmt: skip
def test_what_is_no_spectrum_is_refused(f, a):
    with pytest.raises(InputError, match="spectrum"):
        Curve.of(f, a)
