"""Integers without a word what they are: labels are refused by every verb that reads predictions, which are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from stats_inputs import mrc

import volengine
from volengine.core.block import Block
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.tiling import Tiling
from volengine.engine.options import RunOptions
from volengine.io.picks import read_picks, write_picks
from volengine.tasks.common.blocks import mask_or_not, span_of_block, span_of_cell
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.picks.measure import measure_picks
from volengine.tasks.skeleton.recipe import SkeletonRecipe
from volengine.tasks.surface.recipe import SurfaceRecipe

QUICK = RunOptions(progress=False)
SHAPE = (30, 34, 40)


def vesicles(numbers: list[int]) -> np.ndarray:
    """Shells with these numbers, of which some touch, or cut each other."""
    rng = np.random.default_rng(2)
    at = np.stack(np.indices(SHAPE)).astype(float)
    labels = np.zeros(SHAPE, np.uint8)
    for number in numbers:
        middle = rng.uniform(0, SHAPE)
        away = np.sqrt(((at - middle[:, None, None, None]) ** 2).sum(0))
        labels[np.abs(away - rng.uniform(3, 9)) < 1.6] = number
    return labels


def probabilities(width: float) -> np.ndarray:
    """What a network gives of the same, with rims of this width."""
    found = ndimage.gaussian_filter((vesicles([1, 2, 3, 4, 5]) > 0).astype(float), width)
    return np.rint(255 * np.clip(1.4 * found / found.max(), 0, 1)).astype(np.uint8)


def decision(values: np.ndarray, core: tuple[int, int, int]) -> Any:
    """What the stages decide with blocks of a shape, and their last table."""
    tables = {}
    for number, box in enumerate(Tiling(values.shape, core)):
        crop = box.grow((0, 0, 1)).clip(values.shape)
        block = Block(number, (0, 0, 0), box, values.shape, {"values": values[crop.slices]}, {"values": crop}, {})
        tables[number] = span_of_block(block).table
    whole = Box.of_shape((1, 1, 1))
    joined = span_of_cell(Block(0, (0, 0, 0), whole, whole.shape, {}, {}, {"spans": tables})).table
    try:
        last = Block(0, (0, 0, 0), whole, whole.shape, {}, {}, {"spans": {0: joined}})
        return mask_or_not(last, "x", labels=False, what="surface", sure=False).table["mask"].tolist()
    except InputError as error:
        return str(error)


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(3, 40)] * 3), st.sampled_from(["int16", "uint8", "uint16", "int32"]))
def test_labels_are_told_from_probabilities_for_any_blocks(core: tuple[int, int, int], dtype: str) -> None:
    for numbers in ([1, 2, 3], [2, 7], list(range(1, 256, 12)), [1, 128, 255], [200, 201]):
        found = decision(vesicles(numbers).astype(dtype), core)
        assert "look like labels" in found
        assert found == decision(vesicles(numbers).astype(dtype), SHAPE)
    for width in (0.6, 1.0, 2.0):
        assert decision(probabilities(width).astype(dtype), core) == [False]
    noise = np.random.default_rng(0).integers(0, 256, SHAPE).astype(dtype if dtype != "int8" else "int16")
    assert decision(noise, core) == [False]
    assert decision(vesicles([1, 1, 1]).astype(dtype), core) == [True]
    assert decision(vesicles([255, 255]).astype(dtype), core) == [False]


CALLS: dict[str, Any] = {
    "surface": (volengine.surface, SurfaceRecipe(feature="membrane"), "a.surfaces", "--instances, an object"),
    "skeleton": (volengine.skeleton, SkeletonRecipe(), "a.ome.zarr", "--input mask"),
    "pick": (volengine.pick, PickRecipe(feature="membrane"), "a.star", "takes no labels"),
}


@pytest.mark.parametrize("verb", sorted(CALLS))
def test_every_verb_refuses_labels_and_names_both_ways_out(tmp_path: Path, verb: str) -> None:
    call, recipe, out, word = CALLS[verb]
    source = mrc(tmp_path / "TS_01__membrane.mrc", vesicles(list(range(1, 256, 40))).astype(np.int16))
    with pytest.raises(InputError, match=rf"look like labels.*{word}.*--scale 255"):
        call(source, tmp_path / out, recipe, QUICK)
    call(source, tmp_path / f"b{out[1:]}", recipe.with_(scale=255.0), QUICK)  # at the user's word
    stated = tmp_path / "TS_01__stated.ome.zarr"
    volengine.convert(source, stated, {"kind": "probability"}, QUICK)
    call(stated, tmp_path / f"c{out[1:]}", recipe, QUICK)


def test_picks_measure_refuses_labels(tmp_path: Path) -> None:
    """As the other verbs; and the values are those of the user's word."""
    at = np.random.default_rng(4).uniform(0, np.array(SHAPE) - 1, (200, 3))
    picks = Picks(at, (10.0,) * 3, shape=SHAPE, tomogram="TS_01")
    write_picks(tmp_path / "picks.csv", picks)
    labels = vesicles(list(range(1, 256, 40)))
    source = mrc(tmp_path / "TS_01__membrane.mrc", labels.astype(np.int16))

    def measured(path: object, **more: Any) -> np.ndarray:
        recipe = {"probability": (str(path),), "overwrite": True, **more}
        measure_picks(tmp_path / "picks.csv", tmp_path / "out.csv", recipe, QUICK)
        return read_picks(tmp_path / "out.csv").extra["membrane.value"]

    with pytest.raises(InputError, match=r"look like labels.*give them with --labels.*--scale 255"):
        measured(source)
    here = labels[tuple(np.rint(at).astype(int).T)] / 255
    assert measured(source, scale=255.0) == pytest.approx(here, abs=1e-6)
    stated = tmp_path / "TS_01__stated.ome.zarr"
    volengine.convert(source, stated, {"kind": "probability"}, QUICK)
    assert measured(stated) == pytest.approx(here, abs=1e-6)
    tomogram = tmp_path / "TS_01__membrane.ome.zarr"
    volengine.convert(source, tomogram, {}, QUICK)
    with pytest.raises(InputError, match="is a tomogram by its own words"):
        measured(tomogram)
    with pytest.raises(InputError, match="scale is about predictions"):
        measure_picks(tmp_path / "picks.csv", tmp_path / "out.csv", {"labels": (source,), "scale": 255.0}, QUICK)


@pytest.mark.parametrize("blocks", [None, (16, 16, 16), (8, 40, 24)])
def test_picks_measure_decides_by_the_whole_volume(tmp_path: Path, blocks: Any) -> None:
    """A mask and its picks far from one another; where a single 255 lies far from all picks it is a prediction."""
    at = np.random.default_rng(5).uniform(0, 8, (20, 3))
    write_picks(tmp_path / "picks.csv", Picks(at, (10.0,) * 3, shape=SHAPE, tomogram="TS_01"))
    mask = np.zeros(SHAPE, np.int16)
    mask[:6, :6, :6] = 1
    for last, one in ((1, 1.0), (200, 1 / 255)):
        mask[29, 33, 20:40] = last
        mask[29, 33, 20:26] = 1 if last == 1 else range(40, 160, 20)
        (tmp_path / "TS_01__a.mrc").unlink(missing_ok=True)
        path = mrc(tmp_path / "TS_01__a.mrc", mask)
        recipe = {"probability": (path,), "overwrite": True, "threshold": 0.0}
        told = measure_picks(tmp_path / "picks.csv", tmp_path / "out.csv", recipe, QUICK.with_(block=blocks))
        found = read_picks(tmp_path / "out.csv").extra["a.value"]
        inside = (np.rint(at) < 6).all(axis=1)
        assert found == pytest.approx(inside * one)
        assert inside.any()
        assert any("was taken for a mask" in note for note in told.notes) == (last == 1)


def test_interact_refuses_labels(tmp_path: Path) -> None:
    one = mrc(tmp_path / "TS_01__membrane.mrc", vesicles([1, 2, 3]).astype(np.int16))
    two = mrc(tmp_path / "TS_01__carbon.mrc", probabilities(1.0).astype(np.int16))
    recipe = InteractRecipe.from_json({"rules": [{"compete": {"emit": ["carbon"], "absorb": ["membrane"]}}]})
    with pytest.raises(InputError, match="look like labels"):
        volengine.interact({"membrane": one, "carbon": two}, tmp_path / "out", recipe, QUICK)
