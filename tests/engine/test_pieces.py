"""A stage may read a piece of a larger volume: where it reads, and how much it says that it needs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.memory import io_bytes
from volengine.engine.stage import ArrayInput, Output, Stage

WHOLE = Volume(url="a.mrc", shape=(30, 40, 50), dtype="uint8", voxel_size=(1, 1, 1))


def test_a_piece_begins_at_its_corner_and_halos_reach_beyond_it() -> None:
    source = ArrayInput(WHOLE, (2, 2, 2), (3, 3, 3), corner=(4, 0, 20), extent=(20, 40, 28))
    box = source.box(Box((0, 0, 0), (10, 10, 10)), (20, 40, 28))
    assert box == Box((2, 0, 18), (17, 13, 33))
    last = source.box(Box((10, 30, 20), (20, 40, 28)), (20, 40, 28))
    assert last == Box((12, 28, 38), (27, 40, 50))


@given(
    core=st.tuples(*[st.integers(1, 8)] * 3),
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    extent=st.tuples(*[st.integers(1, 30)] * 3),
    halo=st.integers(0, 4),
)
@settings(max_examples=30)
def test_pieces_at_another_size_cover_their_cores_and_are_counted(
    core: tuple[int, int, int], shape: tuple[int, int, int], extent: tuple[int, int, int], halo: int
) -> None:
    corner = (0, 5, 20)
    source = ArrayInput(WHOLE, (halo,) * 3, (halo,) * 3, scaled=True, corner=corner, extent=extent)
    tiling = Tiling(shape, core)
    out = Volume(url="b.zarr", shape=shape, dtype="uint8", voxel_size=(1, 1, 1), path="0", chunks=core)
    stage = Stage("s", "a:b", tiling, arrays={"a": source}, outputs={"o": Output(out)})
    assert Stage.from_json(stage.to_json(), {"a:b"}).arrays["a"] == source
    most = io_bytes(stage)[0]
    for box in tiling:
        read = source.box(box, shape)
        assert read.size <= most
        for a, b, low, high, n, m, c, w in zip(
            box.start, box.stop, read.start, read.stop, extent, shape, corner, WHOLE.shape, strict=True
        ):
            assert low <= max(a * n / m + c - halo, 0) < low + 1
            assert min(b * n / m + c + halo, w) <= high <= w


def pieces_stage(grid: int, core: tuple[int, int, int] = (1, 60, 60), halo: int = 0) -> Stage:
    """Pieces of 50 x 50 with steps of 40 in a stack, as inputs of a stage on the grid that they make together."""
    stack = Volume("stack.mrc", (grid * grid, 50, 50), "int16", (1, 1, 1))
    shape = (1, 40 * grid + 10, 40 * grid + 10)
    arrays = {
        f"piece{n}": ArrayInput(
            stack, (0, halo, halo), (0, halo, halo), corner=(n, -40 * (n // grid), -40 * (n % grid)), extent=shape
        )
        for n in range(grid * grid)
    }
    return Stage("s", "a:b", Tiling(shape, core), arrays=arrays, emits=True)


@pytest.mark.parametrize("halo", [0, 7])
def test_a_block_reads_what_pieces_have_there(halo: int) -> None:
    """By hand: block 3 (60 to 120) of 2 x 2 pieces has of the piece at (40, 40) its voxels from 20, less the halo."""
    stage = pieces_stage(2, halo=halo)
    tiling = stage.tiling
    regions = [a.region(tiling.box(3), tiling.index(3), tiling.shape) for a in stage.arrays.values()]
    assert regions[3] == Box((3, 20 - halo, 20 - halo), (4, 50, 50))
    assert [box.empty for box in regions] == [True, True, True, False]
    assert regions[0].shape[1] == 0


@pytest.mark.parametrize("halo", [0, 7, 30])
@pytest.mark.parametrize("core", [(1, 60, 60), (1, 16, 130), (1, 500, 500)])
def test_the_memory_of_pieces_is_that_of_the_largest_block(core: tuple[int, int, int], halo: int) -> None:
    stage = pieces_stage(6, core, halo)
    tiling = stage.tiling
    each = [
        sum(a.region(tiling.box(n), tiling.index(n), tiling.shape).size for a in stage.arrays.values()) * 2
        for n in range(len(tiling))
    ]
    planned = io_bytes(stage)[0]
    assert planned >= max(each)
    if core[1] < 500:
        assert planned < 0.75 * 36 * 50 * 50 * 2  # of all pieces together


def test_parts_are_read_by_their_block_and_survive_json() -> None:
    volume = Volume("stack.mrc", (9, 50, 50), "int16", (1, 1, 1))
    parts = (((0, 0, 0), (1, 5, 6)), ((3, 4, 5), (4, 20, 30)))
    stage = Stage(
        "s",
        "volengine.tasks.convert.montage_blocks:correlate_pair",
        Tiling((2, 1, 1), (1, 1, 1)),
        arrays={"a": ArrayInput(volume, parts=parts)},
        emits=True,
    )
    again = Stage.from_json(json.loads(json.dumps(stage.to_json())))
    assert again == stage
    source = again.arrays["a"].widened((9, 9, 9))
    assert source.region(again.tiling.box(1), again.tiling.index(1), again.tiling.shape) == Box((3, 4, 5), (4, 20, 30))
    assert io_bytes(again)[0] == 16 * 25 * 2
    other = replace(stage, arrays={"a": ArrayInput(volume, parts=parts[::-1])})
    assert other.identify({"a": "x"}, {}) != stage.identify({"a": "x"}, {})


def test_identities_of_other_inputs_are_what_they_were() -> None:
    """Results of versions before pieces stay valid: an input without parts says nothing of them."""
    volume = Volume("a.mrc", (4, 4, 4), "int16", (1, 1, 1))
    stage = Stage("s", "a:b", Tiling((4, 4, 4), (4, 4, 4)), arrays={"a": ArrayInput(volume)}, emits=True)
    assert stage.identify({"a": "x"}, {}) == "e4baa555e672658d8cd2"
