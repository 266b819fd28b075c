"""Tables of amplitude spectra: this package's, MemBrain's, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from places import DATA

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.spectra import read_spectrum, write_spectrum
from volengine.ops.filters.spectra import Curve

CASES = DATA.parent / "cases" / "parity" / "membrain_preprocessing"


def test_what_is_written_is_read(tmp_path):
    curve = Curve.of([1 / 300, 2 / 300, 0.1], [1.25, 1 / 3, 0])
    write_spectrum(tmp_path / "a.tsv", curve)
    assert (tmp_path / "a.tsv").read_text().startswith("freq_1_a\tamplitude\n0.0033")
    found = read_spectrum(tmp_path / "a.tsv")
    np.testing.assert_array_equal(found.frequency, curve.frequency)
    np.testing.assert_array_equal(found.amplitude, curve.amplitude)


def test_shells_of_membrain_by_hand(tmp_path):
    """A cube of 8 voxels: the corner is 4 sqrt(3) = 6.93 waves away, in 4 shells of sqrt(3) waves; the first is left
    out, the next reaches from 1.73 to 3.46, middle 2.60 of 8 voxels of 10 angstrom; the last is the corner itself."""
    (tmp_path / "m.tsv").write_text("freq\tintensity\n0\t4\n1\t3\n2\t2\n3\t1\n")
    found = read_spectrum(tmp_path / "m.tsv", 10.0)
    r = np.sqrt(3)
    assert found.frequency.tolist() == pytest.approx([1.5 * r / 80, 2.5 * r / 80, 3.5 * r / 80, 4 * r / 80])
    assert found.amplitude.tolist() == [4, 3, 2, 1]


def test_a_table_by_membrain_has_the_spectrum_of_its_volume():
    """Its own table of a cube against the transform of the same cube, in the shells that the reader gives it."""
    if not CASES.is_dir():
        pytest.skip("the reference files of membrain-seg (shared/cases beside the checkout) are not here")
    import mrcfile

    volume = mrcfile.read(CASES / "target.mrc").astype(float)
    found = read_spectrum(CASES / "spec_target.tsv", 15.0)
    f = [np.fft.fftfreq(n, 15.0) for n in volume.shape]
    radius = np.sqrt(sum(np.square(one) for one in np.meshgrid(*f, indexing="ij")))
    amplitude = np.abs(np.fft.fftn(volume)) / np.ptp(volume)
    edges = np.array([0.5, *np.diff(found.frequency[:-1]) / 2]).max(initial=0, where=[False] + [True] * 14)
    wanted = [amplitude[np.abs(radius - at) <= edges].mean() for at in found.frequency[:-1]]
    np.testing.assert_allclose(found.amplitude[:-1], wanted, rtol=0.03)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a\tb\n1\t2\n", "begins with the names freq_1_a amplitude"),
        ("freq_1_a\tamplitude\n0.1\t2\nx\t1\n", "line 3: 'x"),
        ("freq_1_a\tamplitude\n0.1\t2\n0.2\tnan\n", "line 3"),
        ("freq_1_a\tamplitude\n0.1\t2\t3\n", "line 2"),
        ("freq_1_a\tamplitude\n0.1\t2\n0.1\t1\n", "rise"),
        ("freq_1_a\tamplitude\n0.1\t2\n", "at least two rows"),
        ("freq_1_a\tamplitude\n0.1\t-2\n0.2\t1\n", "not negative"),
        ("freq_1_a\tamplitude\n1_0\t2\n20\t1\n", "line 2"),
        ("freq\tintensity\n1\t2\n2\t1\n", "MemBrain's spectra are numbered"),
    ],
)
def test_what_is_no_spectrum_is_an_error_that_says_where(tmp_path, text, said):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(FormatError, match=said):
        read_spectrum(tmp_path / "a.tsv", 10.0 if text.startswith("freq\t") else None)


def test_the_voxel_size_is_needed_by_one_and_refused_by_the_other(tmp_path):
    (tmp_path / "m.tsv").write_text("freq\tintensity\n0\t4\n1\t3\n")
    with pytest.raises(InputError, match=r"count voxels; give the voxel size .*target_voxel_size"):
        read_spectrum(tmp_path / "m.tsv")
    write_spectrum(tmp_path / "a.tsv", Curve.of([0.1, 0.2], [1, 1]))
    with pytest.raises(InputError, match="leave out the voxel size"):
        read_spectrum(tmp_path / "a.tsv", 10.0)
    with pytest.raises(MissingError):
        read_spectrum(tmp_path / "none.tsv")
