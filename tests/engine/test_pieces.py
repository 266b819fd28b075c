"""A stage may read a piece of a larger volume: where it reads, and how much it says that it needs."""

from __future__ import annotations

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
