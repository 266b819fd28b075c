"""Where annotating would help most: scores against formulas, ranks over tomograms, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import volengine as ve
from volengine.core.block import Block
from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError, MissingError
from volengine.core.tiling import Tiling
from volengine.io.picks import read_all
from volengine.ops.uncertain import TOP, outline, uncertainty, whole_probability
from volengine.tasks.annotate.suggest_blocks import uncertain_block

if TYPE_CHECKING:
    from calling import Command

SHAPE = (21, 37, 50)
PATCH = (4, 8, 8)
QUIET = ve.RunOptions(progress=False)


def entropy(p: np.ndarray) -> np.ndarray:
    found: np.ndarray = stats.entropy(np.stack([p, 1 - p]), base=2)
    return found


def near(mask: np.ndarray, reach: int) -> np.ndarray:
    """The voxels in whose cube of this reach there is one of the mask, by shifting it."""
    padded, found = np.pad(mask, reach), np.zeros(mask.shape, bool)
    for shift in np.ndindex(*(2 * reach + 1,) * 3):
        found |= padded[tuple(slice(a, a + n) for a, n in zip(shift, mask.shape, strict=True))]
    return found


def prediction(seed: int) -> np.ndarray:
    """Sure background with a ball that is sure, one that is not, and noise."""
    z, y, x = np.indices(SHAPE)
    values = np.random.default_rng(seed).integers(0, 12, SHAPE)
    values[(z - 10) ** 2 + (y - 18) ** 2 + (x - 12) ** 2 < 49] = 250
    values[(z - 9) ** 2 + (y - 14 - seed) ** 2 + (x - 36) ** 2 < 25] = 128
    return values.astype(np.uint8)


def test_uncertainty_is_the_entropy_but_for_borders_of_what_is_sure() -> None:
    values = prediction(0)
    p = values / 255
    levels = whole_probability(p)
    left_out = near(p >= 0.8, 2) & near(p <= 0.2, 2)
    assert np.array_equal(outline(levels, 2, 0.8), left_out)
    assert left_out.any()
    assert np.allclose(uncertainty(levels, None, 2, 0.8) / TOP, np.where(left_out, 0, entropy(p)), atol=1e-5)
    other = prediction(3) / 255
    both = left_out | (near(other >= 0.8, 2) & near(other <= 0.2, 2))
    differ = np.where(both, 0, np.abs(p - other))
    assert np.allclose(uncertainty(levels, whole_probability(other), 2, 0.8) / TOP, differ, atol=1e-4)


@given(st.tuples(*(st.integers(1, 5),) * 3), st.integers(0, 4), st.booleans())
@settings(max_examples=12)
def test_any_blocks_give_the_scores_of_the_whole(blocks: Any, reach: int, two: bool) -> None:
    arrays = {"prediction": prediction(1), **({"other": (prediction(2) / 255).astype(np.float32)} if two else {})}
    start = index3(n % p // 2 for n, p in zip(SHAPE, PATCH, strict=True))
    stop = index3(s + n // p * p for s, n, p in zip(start, SHAPE, PATCH, strict=True))

    def scored(core: Any) -> set[tuple[int, ...]]:
        tiling, rows = Tiling(SHAPE, core, start, stop), set()
        for number, box in enumerate(tiling):
            read = box.grow((reach,) * 3).clip(SHAPE)
            cut = {name: array[read.slices] for name, array in arrays.items()}
            block = Block(number, tiling.index(number), box, SHAPE, cut, dict.fromkeys(cut, read))
            table = uncertain_block(block, PATCH, reach, 0.8, list(arrays)).table or {}
            rows |= {
                (*a, b, c) for a, b, c in zip(*(table[k].tolist() for k in ("start", "slice", "total")), strict=True)
            }
        return rows

    whole = scored(stop)
    assert scored(index3(n * p for n, p in zip(blocks, PATCH, strict=True))) == whole
    levels = [whole_probability(a / 255 if a.dtype == np.uint8 else a) for a in arrays.values()]
    voxels = uncertainty(levels[0], levels[1] if two else None, reach, 0.8)
    for z, y, x, at, total in whole:
        own = voxels[z : z + 4, y : y + 8, x : x + 8]
        assert total == own.sum()
        assert own[at].sum() == own.sum(axis=(1, 2)).max()


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    for seed, name in ((0, "TS_01"), (4, "TS_02")):
        for kind, values in (("", prediction(seed)), ("other", prediction(seed + 2))):
            (folder / kind).mkdir(exist_ok=True)
            with mrcfile.new(folder / kind / f"{name}__core.mrc") as file:
                file.set_data(values.astype(np.float32) / 255)
                file.voxel_size = 10.0
    return folder


def test_the_worst_patches_of_all_tomograms_come_first(predictions: Path, tmp_path: Path, volengine: Command) -> None:
    recipe = ve.SuggestRecipe(patch=PATCH, outline_vox=2, count=9)
    files = [predictions / f"TS_0{n}__core.mrc" for n in (1, 2)]
    found = ve.suggest(files, tmp_path / "next", recipe, QUIET)
    rows = sorted(
        (int(rank), one.tomogram, *place, weight)
        for one in found
        for rank, place, weight in zip(one.extra["rank"], one.position_vox.tolist(), one.weight, strict=True)
    )
    assert [row[0] for row in rows] == list(range(1, 10))
    weights = [row[-1] for row in rows]
    assert weights == sorted(weights, reverse=True)
    assert {row[1] for row in rows} == {"TS_01", "TS_02"}
    for _, name, z, y, x, _ in rows:
        seed = {"TS_01": 0, "TS_02": 4}[name]
        assert abs(z - 9) < 9
        assert abs(y - 14 - seed) <= 12
        assert abs(x - 36) <= 12
    assert sum(map(len, read_all(tmp_path / "next" / "suggested.star").values())) == 9
    # where a box is, nothing is suggested; and the command says the same as the function
    with mrcfile.new(tmp_path / "TS_01.mrc") as file:
        file.set_data(np.zeros(SHAPE, np.float32))
        file.voxel_size = 10.0
    _, name, z, y, x, _ = next(row for row in rows if row[1] == "TS_01")
    with ve.new_annotations(tmp_path / "TS_01.mrc", tmp_path / "TS_01.annotations", ("core",)) as annotations:
        annotations.do({"op": "box", "feature": "core", "slice": int(z), "centre": [int(y), int(x)], "side": 8})
    options = ("--patch", "4,8,8", "--outline-vox", "2", "--count", "9", "--annotations", str(tmp_path))
    code, *said = volengine("annotate", "suggest", *map(str, files), "--out", str(tmp_path / "again"), *options, "-q")
    assert code == 0, said
    again = ve.suggest(files, tmp_path / "third", recipe, QUIET.with_(block=(4, 8, 16)), annotations=tmp_path)
    assert (tmp_path / "again" / "suggested.star").read_bytes() == (tmp_path / "third" / "suggested.star").read_bytes()
    places = {(one.tomogram, *place) for one in again for place in one.position_vox.tolist()}
    assert (name, z, y, x) not in places
    with pytest.raises(MissingError, match="mistyped: no such folder"):
        ve.suggest(files, tmp_path / "fourth", recipe, QUIET, annotations=tmp_path / "mistyped")
    (tmp_path / "binned").mkdir()
    with mrcfile.new(tmp_path / "binned" / "TS_01.mrc") as file:
        file.set_data(np.zeros((10, 18, 25), np.float32))
        file.voxel_size = 20.0
    other = tmp_path / "binned" / "TS_01.annotations"
    with ve.new_annotations(tmp_path / "binned" / "TS_01.mrc", other, ("core",)) as annotations:
        annotations.do({"op": "box", "feature": "core", "slice": 4, "centre": [8, 8], "side": 8})
    with pytest.raises(InputError, match="of the same voxels"):
        ve.suggest(files, tmp_path / "fourth", recipe, QUIET, annotations=other)
    taken = Box((int(z), int(y) - 4, int(x) - 4), (int(z) + 1, int(y) + 4, int(x) + 4))
    for _, c, b, a in (place for place in places if place[0] == name):
        assert Box((int(c), int(b) - 4, int(a) - 4), (int(c) + 1, int(b) + 4, int(a) + 4)).intersect(taken).empty


def test_two_models_and_what_is_refused(predictions: Path, tmp_path: Path) -> None:
    one, recipe = predictions / "TS_01__core.mrc", ve.SuggestRecipe(patch=PATCH, outline_vox=0, count=3)
    (found,) = ve.suggest(one, tmp_path / "differ", recipe, QUIET, other=predictions / "other")
    differ = np.abs(prediction(0) - prediction(2).astype(float)) / 255
    z, y, x = found.position_vox[0].astype(int)
    assert differ[z, y - 4 : y + 4, x - 4 : x + 4].mean() > 0.1
    with pytest.raises(MissingError, match="no other prediction"):
        ve.suggest(one, tmp_path / "a", recipe, QUIET, other=predictions / "other" / "TS_02__core.mrc")
    with pytest.raises(InputError, match="smaller --patch"):
        ve.suggest(one, tmp_path / "b", ve.SuggestRecipe(), QUIET)
    with pytest.raises(InputError, match="both of TS_01"):
        ve.suggest([one, predictions / "other" / "TS_01__core.mrc"], tmp_path / "c", recipe, QUIET)
    with pytest.raises(MissingError, match="no prediction of actin"):
        ve.suggest(one, tmp_path / "d", recipe.with_(feature="actin"), QUIET)
    with pytest.raises(InputError, match="square"):
        ve.SuggestRecipe(patch=(1, 8, 16))
