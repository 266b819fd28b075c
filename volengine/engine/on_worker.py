"""What a Dask worker runs: a bundle, with this worker's own GPU and number of threads."""

from __future__ import annotations

import os
import re

from volengine.core.units import WORKER_NUMBER
from volengine.engine.receipts import Receipt
from volengine.engine.work import Bundle, run_units
from volengine.engine.workers import Expected, check_here


def run_here(bundle: Bundle, expected: Expected) -> list[Receipt]:
    """Run a bundle in a Dask worker. The worker's number selects its GPU if the machine has several.

    Networks get the threads that the plan gives them: Dask's nanny tells PyTorch to use one.

    Raises
    ------
    WorkersRefusedError
        This worker has other versions than the driver, or does not share the run folder.
    """
    from distributed import get_worker

    check_here(expected)
    name = re.search(r"(\d+)$", str(get_worker().name))
    os.environ.setdefault(WORKER_NUMBER, name[1] if name else "0")
    threads = bundle.stage.hints.get("threads")
    if not threads:
        return run_units(bundle)
    from volengine.nets.threads import own_threads  # only networks load torch

    with own_threads(int(threads)):
        return run_units(bundle)
