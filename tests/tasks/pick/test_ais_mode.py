"""pick --compat ais: the picks of Ais's own command without options, at the same voxels, for any blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, label

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.picks import read_picks
from volengine.ops.ais_peaks import block_peaks, spaced
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.verb import pick

QUIET = RunOptions(progress=False)
BLOCKS = RunOptions(progress=False, block=(16, 32, 16))


def blobs(seed: int, shape: tuple[int, int, int] = (48, 56, 64), number: int = 14) -> np.ndarray:
    """Balls and rods of several sizes, some touching, as probabilities."""
    draw = np.random.default_rng(seed)
    grid = np.indices(shape).astype(float)
    best = np.zeros(shape)
    for _ in range(number):
        centre = draw.uniform(2, np.array(shape) - 3)
        stretch = draw.uniform(0.4, 1.6, 3)
        far = np.sqrt(sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, stretch, strict=True)))
        best = np.maximum(best, 1 - far / (2 * draw.uniform(2, 6)))
    return np.clip(best, 0, 1)


def written(path: Path, data: np.ndarray, size: float = 10.0) -> str:
    with mrcfile.new(path, data=data, overwrite=True) as mrc:
        mrc.voxel_size = size
    return str(path)


def stored(path: Path, data: np.ndarray) -> str:
    """A store of chunks of 16 voxels, so that blocks may be small."""
    made = ConvertRecipe(chunk=(16, 16, 16), shard=(16, 16, 16), levels=1, kind="probability")
    convert(written(path.with_suffix(".mrc"), data), str(path), made, QUIET)
    return str(path)


def as_ais_does(
    data: np.ndarray, size: float, spacing_nm: float = 1.0, least_nm3: float = 0.001, margin: int = 16
) -> Any:
    """The steps of Ais 1.2.40, from its source, with the libraries that it calls: (z, y, x), and distances."""
    peak_local_max = pytest.importorskip("skimage.feature", reason="scikit-image is not installed").peak_local_max
    threshold = 128 / 255 if data.dtype == np.float32 else 64 if data.dtype == np.int8 else 128
    mask = data.astype(np.float32) > threshold
    numbered, _ = label(mask)
    small = np.flatnonzero(np.bincount(numbered.ravel()) < least_nm3 / (size / 10) ** 3)
    mask[np.isin(numbered, small)] = False
    distance = distance_transform_edt(mask)
    found = peak_local_max(distance, min_distance=max(3, int(spacing_nm / (size / 10))))
    inside = ((found >= margin) & (found < np.array(mask.shape) - margin)).all(axis=1)
    found = found[inside]
    scores = distance[tuple(found.T)]
    order = sorted(range(len(found)), key=lambda row: scores[row], reverse=True)
    return found[order], scores[order]


CASES = {
    "float32": (np.float32, 1.0, {}, {}),
    "uint8": (np.uint8, 255.0, {}, {}),
    "int8": (np.int8, 127.0, {}, {}),
    "near faces": (np.float32, 1.0, {"margin_vox": (0, 0, 0)}, {"margin": 0}),
    "wide": (np.uint8, 255.0, {"spacing_nm": 7.0, "margin_vox": (5, 5, 5)}, {"spacing_nm": 7.0, "margin": 5}),
    "large": (np.uint8, 255.0, {"min_volume_nm3": 60, "margin_vox": (0, 0, 0)}, {"least_nm3": 60, "margin": 0}),
}


@pytest.mark.parametrize("case", CASES)
def test_picks_are_those_of_ais(tmp_path: Path, case: str) -> None:
    dtype, one, options, theirs = CASES[case]
    count = 0
    for seed in range(3):
        data = (blobs(seed) * one).astype(dtype)
        source = written(tmp_path / f"T{seed}__a.mrc", data)
        found = pick(source, str(tmp_path / f"{seed}.csv"), PickRecipe(compat="ais", labels=False, **options), QUIET)
        expected, scores = as_ais_does(data, 10.0, **theirs)
        assert found.position_vox.tolist() == expected.tolist()
        np.testing.assert_array_equal(found.weight, scores)
        count += len(expected)
    assert count > 2


def test_any_blocks_give_the_same_picks(tmp_path: Path) -> None:
    source = stored(tmp_path / "T__a.zarr", blobs(5).astype(np.float32))
    recipe = PickRecipe(compat="ais", margin_vox=(0, 0, 0), labels=False)
    first = pick(source, str(tmp_path / "a.csv"), recipe, QUIET)
    second = pick(source, str(tmp_path / "b.csv"), recipe, BLOCKS)
    assert len(first) > 5
    assert first.position_vox.tolist() == second.position_vox.tolist()
    assert first.label is not None
    assert second.label is not None
    assert first.label.tolist() == second.label.tolist()


def test_a_thick_region_is_seen_whole_by_every_block(tmp_path: Path) -> None:
    data = np.zeros((70, 70, 70), np.float32)
    data[4:65, 4:65, 4:65] = 1  # the middle is 31 voxels from the background
    source = stored(tmp_path / "T__a.zarr", data)
    found = pick(source, str(tmp_path / "a.csv"), PickRecipe(compat="ais", labels=False), BLOCKS)
    assert found.weight is not None
    assert (found.position_vox.tolist(), found.weight.tolist()) == ([[34, 34, 34]], [31])
    thin = PickRecipe(compat="ais", labels=False, max_distance_vox=20)
    with pytest.raises(InputError, match="thicker than 40 voxels"):
        pick(source, str(tmp_path / "b.csv"), thin, QUIET)


def cube(corner: tuple[int, int, int], shape: tuple[int, int, int], value: float = 1.0) -> np.ndarray:
    data = np.zeros((48, 48, 48), np.float32)
    data[tuple(slice(a, a + n) for a, n in zip(corner, shape, strict=True))] = value
    return data


def test_values_by_hand(tmp_path: Path) -> None:
    def picks(data: np.ndarray, **options: Any) -> Any:
        source = written(tmp_path / "T__a.mrc", data)
        return pick(source, str(tmp_path / "t.csv"), PickRecipe(compat="ais", labels=False, **options), QUIET)

    found = picks(cube((20, 20, 20), (5, 5, 5)))
    assert (found.position_vox.tolist(), found.weight.tolist()) == ([[22, 22, 22]], [3.0])
    # A rod 5 x 5 x 14, x from 16 to 29: the voxels of its axis from 18 to 27 are 3 from the background, all the same;
    # from the first on those that are 3 apart are picks.
    found = picks(cube((20, 20, 16), (5, 5, 14)))
    assert found.position_vox.tolist() == [[22, 22, x] for x in (18, 21, 24, 27)]
    # The margin of 16 voxels keeps 16 <= index < 32.
    assert picks(cube((13, 20, 20), (5, 5, 5))).position_vox.tolist() == []
    assert picks(cube((14, 20, 20), (5, 5, 5))).position_vox.tolist() == [[16, 22, 22]]
    assert picks(cube((29, 20, 20), (5, 5, 5))).position_vox.tolist() == [[31, 22, 22]]
    assert picks(cube((30, 20, 20), (5, 5, 5))).position_vox.tolist() == []
    # Without it there still is one as wide as the least distance, 3 voxels.
    near = {"margin_vox": (0, 0, 0)}
    assert picks(cube((0, 20, 20), (6, 5, 5)), **near).position_vox.tolist() == [[3, 22, 22]]
    assert picks(cube((0, 20, 20), (5, 5, 5)), **near).position_vox.tolist() == []
    # 128 of 255 is background, more is not.
    assert len(picks((cube((20, 20, 20), (5, 5, 5)) * 128).astype(np.uint8))) == 0
    assert len(picks((cube((20, 20, 20), (5, 5, 5)) * 129).astype(np.uint8))) == 1
    assert len(picks((cube((20, 20, 20), (5, 5, 5)) * 64).astype(np.int8))) == 0
    assert len(picks((cube((20, 20, 20), (5, 5, 5)) * 65).astype(np.int8))) == 1


def test_labels_are_those_of_components(tmp_path: Path) -> None:
    from volengine.io.open import open_volume

    data = cube((20, 20, 16), (5, 5, 14)) + cube((30, 30, 20), (3, 3, 3))
    found = pick(written(tmp_path / "T__a.mrc", data), str(tmp_path / "t.csv"), PickRecipe(compat="ais"), QUIET)
    labels = open_volume(f"{tmp_path}/t.csv.ome.zarr#labels/a").read()
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert found.label is not None
    at = tuple(found.position_vox.astype(int).T)
    assert found.label.tolist() == labels[at].tolist()
    assert len(found) == 5


def test_the_table_is_one_of_ais(tmp_path: Path) -> None:
    source = written(tmp_path / "TS_1__ribosome.mrc", cube((20, 20, 20), (5, 5, 5)))
    pick(source, str(tmp_path / "t.star"), PickRecipe(compat="ais", labels=False, format="ais"), QUIET)
    text = (tmp_path / "t.star").read_text()
    assert "_aisParticleSize" in text
    assert "TS_1" in text
    assert read_picks(tmp_path / "t.star", voxel_size=(10.0,) * 3).position_vox.tolist() == [[22, 22, 22]]


def test_least_distance_is_computed_as_there() -> None:
    def reach(spacing_nm: float | None, size: float) -> int:
        return PickRecipe(compat="ais", spacing_nm=spacing_nm).ais_reach(
            Volume("a", (8, 8, 8), "uint8", (size, size, size))
        )

    assert (reach(None, 10.0), reach(None, 2.5), reach(7.0, 10.0), reach(7.9, 10.0)) == (3, 4, 7, 7)


def test_what_ais_has_not_is_refused(tmp_path: Path) -> None:
    for options in (
        {"filament": True},
        {"orient": "normal"},
        {"mode": "2d"},
        {"position": "maximum"},
        {"split": False},
    ):
        with pytest.raises(InputError, match="compat ais picks as Ais does without options"):
            PickRecipe(compat="ais", **options)
    source = written(tmp_path / "T__a.mrc", cube((20, 20, 20), (5, 5, 5)).astype(np.float16))
    with pytest.raises(InputError, match="float16, in which Ais finds nothing"):
        pick(source, str(tmp_path / "t.csv"), PickRecipe(compat="ais"), QUIET)


def test_without_compat_the_defaults_are_what_they_were() -> None:
    done = PickRecipe().resolved()
    assert (done.threshold, done.spacing_nm, done.min_volume_nm3, done.margin_vox) == (0.5, 10.0, 0.0, (0, 0, 0))
    ais = PickRecipe(compat="ais", threshold=0.25).resolved()
    assert (ais.threshold, ais.spacing_nm, ais.min_volume_nm3, ais.margin_vox) == (0.25, 1.0, 0.001, (16, 16, 16))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(3, 5), st.integers(8, 20))
def test_candidates_of_blocks_are_those_of_the_whole(seed: int, reach: int, cut: int) -> None:
    from scipy.ndimage import maximum_filter

    draw = np.random.default_rng(seed)
    shape = (24, 22, 26)
    parts = (maximum_filter(draw.random(shape), 4) > 0.985).astype(np.uint32)
    distance = distance_transform_edt(parts)
    peak = (distance == maximum_filter(distance, 2 * reach + 1, mode="nearest")) & (distance > 0)
    for axis in range(3):
        side = np.moveaxis(peak, axis, 0)
        side[:reach] = side[-reach:] = False
    whole = Box.of_shape(shape)
    found = []
    for core in (Box((0, 0, 0), (cut, 22, 26)), Box((cut, 0, 0), shape)):
        found += block_peaks(parts, whole, core, shape, reach, 64)["index"].tolist()
    assert sorted(found) == np.argwhere(peak).tolist()


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.integers(0, 12)] * 3), max_size=40), st.integers(1, 5))
def test_spacing_is_greedy_in_the_given_order(points: list[tuple[int, int, int]], reach: int) -> None:
    kept: list[tuple[int, int, int]] = []
    expected = []
    for point in points:
        good = all(max(abs(a - b) for a, b in zip(point, other, strict=True)) >= reach for other in kept)
        expected.append(good)
        kept += [point] * good
    assert spaced(np.array(points, np.int64).reshape(-1, 3), reach).tolist() == expected
