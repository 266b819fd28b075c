"""Samples of one object: what one of them keeps for validation is not trained on in another one, or it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.io.mrc.write import write_mrc
from volengine.tasks.train.samples import PatchRules, SampleSource, TrainSample
from volengine.tasks.train.sources import open_sources
from volengine.tasks.train.tied import overlaps, tied
from volengine.tasks.train.volumes import OpenVolume

SHAPE = (24, 64, 64)


def write(path: Path, array: np.ndarray) -> str:
    write_mrc(path, [array], array.shape, str(array.dtype), (10.0, 10.0, 10.0))
    return str(path)


def common(sources: list[SampleSource]) -> int:
    """Voxels of the volume that one source keeps for validation, and any of them trains on."""
    both = np.zeros((2, *SHAPE), bool)
    for source in sources:
        assert isinstance(source, OpenVolume)
        for mask, boxes in zip(both, (source.held_out, source.training), strict=True):
            for box in boxes:
                mask[box.slices_in(Box.of_shape(SHAPE))] = True
    assert both[0].any()
    assert both[1].any()
    return int(both.all(0).sum())


@pytest.fixture
def two(tmp_path: Path) -> list[TrainSample]:
    """Two features of one tomogram, in samples of their own, for which the best slabs lie along other axes."""
    sheets, blob = np.zeros((2, *SHAPE), np.int8)
    sheets[:, :, 10:54:7] = 1  # no slab at the ends of x holds its share
    blob[4:20, 26:38, 40:60] = 1  # and no slab at the ends of y
    volume = write(tmp_path / "v.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    truth = {"a": sheets, "b": blob}
    return [
        TrainSample(volume, labels=(write(tmp_path / f"{name}.mrc", mask),), features=(name,))
        for name, mask in truth.items()
    ]


@pytest.mark.parametrize("boxes", [False, True])
def test_two_samples_of_one_tomogram_keep_the_same_slabs(two: list[TrainSample], boxes: bool) -> None:
    if boxes:
        two = [two[0], two[1].with_(slices=(6, 12, 18), boxes="auto", box_vox=8)]
    rules = PatchRules(("a", "b"), (1, 8, 8) if boxes else (8, 8, 8))
    alone = [source for sample in two for source in open_sources([sample], rules)]
    assert common(alone) > 0
    sources = open_sources(two, rules)
    assert common(sources) == 0
    assert not list(overlaps(sources))
    for k, source in enumerate(sources):
        assert source.positives[k]
        assert any((labels[k] == 1).any() for _, labels in source.validation())
    assert common(open_sources(two[::-1], rules)) == 0


@pytest.mark.parametrize("boxes", [False, True])
def test_folds_of_two_samples_of_one_tomogram_keep_the_same_slab(
    tmp_path: Path, two: list[TrainSample], boxes: bool
) -> None:
    """Also of two reconstructions of one name; no fold trains on a voxel that it keeps, and each is kept once."""
    (tmp_path / "other").mkdir()
    again = write(tmp_path / "other" / "v.mrc", np.random.default_rng(1).normal(size=SHAPE).astype(np.float32))
    if boxes:
        two = [two[0], two[1].with_(slices=(6, 12, 18), boxes="auto", box_vox=8)]
    patch = (1, 8, 8) if boxes else (8, 8, 8)
    alone = []
    for sample in two:
        alone += open_sources([sample], PatchRules(("a", "b"), patch, folds=3, fold=2))
    assert common(alone) > 0  # each by itself is divided along another axis
    for samples in (two, [two[0], two[1].with_(volume=again)]):
        kept = np.zeros(SHAPE, int)
        for fold in (1, 2, 3):
            sources = open_sources(samples, PatchRules(("a", "b"), patch, folds=3, fold=fold))
            assert common(sources) == 0
            (slabs,) = {s.held_out for s in sources if isinstance(s, OpenVolume)}
            for box in slabs:
                kept[box.slices] += 1
        assert (kept == 1).all()


def test_folds_of_regions_that_differ_and_overlap_are_refused(tmp_path: Path, two: list[TrainSample]) -> None:
    rules = PatchRules(("a", "b"), (8, 8, 8), folds=2, fold=1)
    low, high = two[0].with_(region=(0, 0, 0, -1, 40, -1)), two[1].with_(region=(0, 24, 0, -1, -1, -1))
    with pytest.raises(InputError, match=r"two samples are of 'v'.*\(0, 0, 0\) to \(24, 40, 64\).*overlap and differ"):
        open_sources([low, high], rules)
    assert common(open_sources([low, high.with_(region=(0, 40, 0, -1, -1, -1))], rules)) == 0
    (tmp_path / "other").mkdir()
    noise = np.random.default_rng(1).normal(size=(12, 32, 32)).astype(np.float32)
    binned = write(tmp_path / "other" / "v.mrc", noise)
    labels = write(tmp_path / "other" / "b.mrc", (noise > 1).astype(np.int8))
    with pytest.raises(InputError, match=r"'v'.*v.mrc has \(24, 64, 64\) voxels, .*v.mrc \(12, 32, 32\)"):
        open_sources([two[0], two[1].with_(volume=binned, labels=(labels,))], rules)


def test_ties_are_found_through_any_number_of_others() -> None:
    rng = np.random.default_rng(0)
    names = [{f"n{a}", f"n{b}"} for a, b in rng.integers(0, 400, (200, 2)).tolist()]
    whole = [{*some} for some in names]
    for _ in names:  # the plain way: join whatever shares a name, until nothing changes
        for one in whole:
            for other in whole:
                if one & other and one != other:
                    one |= other
                    other |= one
    assert tied(names) == [min(some) for some in whole]


def test_an_overlap_that_the_recipe_asks_for_is_said(two: list[TrainSample]) -> None:
    rules = PatchRules(("a", "b"), (8, 8, 8))
    low, high = two[0].with_(region=(0, 0, 0, -1, 40, -1)), two[0].with_(region=(0, 24, 0, -1, -1, -1))
    for samples in ([low, high], [two[0], two[1].with_(use="train")]):
        (said,) = {*overlaps(open_sources(samples, rules))}
        assert said.startswith("v: voxels that are kept for validation are trained on in another sample")
    apart = [low, high.with_(region=(0, 40, 0, -1, -1, -1))]
    assert not list(overlaps(open_sources(apart, rules)))


def test_both_halves_of_a_tilt_series_are_kept_together(tmp_path: Path) -> None:
    """Their noise differs, and the object does not: as input or as target it is the same."""
    rng, samples = np.random.default_rng(1), []
    for name in "abc":
        even, odd = (write(tmp_path / f"{name}_{h}.mrc", rng.normal(size=SHAPE).astype(np.float32)) for h in "eo")
        samples += [TrainSample(even, targets=(odd,)), TrainSample(odd, targets=(even,))]
    held = []
    for fold in (1, 2, 3):
        sources = open_sources(samples, PatchRules(("f",), (8, 8, 8), folds=3, fold=fold))
        kept = {s.name for s in sources if not s.weight}
        (name,) = {one[0] for one in kept}
        assert kept == {f"{name}_e", f"{name}_o"}
        held.append(name)
    assert sorted(held) == ["a", "b", "c"]
    sources = open_sources(samples, PatchRules(("f",), (8, 8, 8), validation="tomogram"))
    assert len({s.name[0] for s in sources if not s.weight} & {s.name[0] for s in sources if s.weight}) == 0


def test_targets_of_one_name_in_several_folders_are_several(tmp_path: Path) -> None:
    samples = []
    for name in ("s1", "s2"):
        (tmp_path / name).mkdir()
        array = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
        ideal, volume = write(tmp_path / name / "ideal.mrc", array), write(tmp_path / f"{name}.mrc", array)
        samples.append(TrainSample(volume, targets=(ideal,)))
    sources = open_sources(samples, PatchRules(("f",), (8, 8, 8), folds=2, fold=1))
    assert [bool(s.weight) for s in sources].count(True) == 1
