"""Tables of smaller and larger blocks: which ones a unit reads, which units a lost one concerns, what is too much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.errors import MemoryRefusedError
from volengine.core.tiling import Tiling
from volengine.engine.inventory import dependents
from volengine.engine.memory import BASELINE_BYTES, HEADROOM, TABLE_BYTES, check_tables, peak_bytes
from volengine.engine.plan import Plan
from volengine.engine.stage import Stage, TableInput

KERNEL = "engine_kernels:nothing"
triples = st.tuples(*[st.integers(1, 4)] * 3)


def nested(shape, core, factor):
    """A stage of small blocks, one of cells that reads within them, and one of small blocks that reads the cells."""
    large = tuple(c * f for c, f in zip(core, factor, strict=True))
    fine = Stage("fine", KERNEL, Tiling(shape, core), emits=True)
    cells = Stage(
        "cells", KERNEL, Tiling(shape, large), tables={"fine": TableInput("fine", "within", core)}, emits=True
    )
    down = Stage(
        "down", KERNEL, Tiling(shape, core), tables={"cells": TableInput("cells", "holding", large)}, emits=True
    )
    return Plan("nested", (fine, cells, down))


@given(st.tuples(*[st.integers(1, 8)] * 3), triples, triples, st.data())
def test_a_cell_reads_what_lies_in_it_and_a_block_reads_the_cell_that_holds_it(shape, core, factor, data):
    plan = nested(shape, core, factor)
    fine, cells, down = plan.stages
    read = [cells.tables["fine"].numbers(n, cells.tiling) for n in range(len(cells.tiling))]
    for number, blocks in enumerate(read):
        box = cells.tiling.box(number)
        assert blocks == [n for n, one in enumerate(fine.tiling) if box.contains(one)]
    assert sorted(n for blocks in read for n in blocks) == list(range(len(fine.tiling)))
    for number, box in enumerate(down.tiling):
        (cell,) = down.tables["cells"].numbers(number, down.tiling)
        assert cells.tiling.box(cell).contains(box)

    lost = data.draw(st.integers(0, len(fine.tiling) - 1))
    again = dependents(plan, {"fine": [lost]}, {})
    (cell,) = (n for n, blocks in enumerate(read) if lost in blocks)
    assert again == {"fine": {lost}, "cells": {cell}, "down": set(read[cell])}


def test_gathered_tables_count_in_the_plan_and_the_refusal_says_what_to_do():
    blocks = Stage("blocks", KERNEL, Tiling((1, 1, 1_000_000), (1, 1, 1)), emits=True)
    one = Tiling((1, 1, 1), (1, 1, 1))
    gather = Stage("gather", KERNEL, one, tables={"blocks": TableInput("blocks", "all")}, emits=True)
    plan = Plan("gathering", (blocks, gather))
    need = BASELINE_BYTES + 1_000_000 * TABLE_BYTES
    assert plan.peak_of("gather") == need
    plan.check(int(need / HEADROOM) + 1)
    with pytest.raises(MemoryRefusedError, match=r"'gather' reads the tables of all .* 1000000 tables.*in parts"):
        plan.check(4_000_000_000)


def test_tables_that_do_not_fit_are_refused_before_they_are_read():
    stage = Stage("cells", KERNEL, Tiling((8, 8, 8), (4, 4, 4)), emits=True, kernel_bytes=10**9)
    limit = 2_000_000_000
    most = int(limit * HEADROOM) - (peak_bytes(stage) - stage.kernel_bytes)
    check_tables(stage, [most // 2, most - most // 2], limit)
    with pytest.raises(MemoryRefusedError, match=r"'cells' would read tables of 1\.44 GB .* 2 GB may hold 1\.44 GB"):
        check_tables(stage, [most // 2, most - most // 2 + 1], limit)
