"""PyTorch's number of threads is what it was, whatever has overlapped; imports change nothing of the process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from volengine.core.boxes import Box
from volengine.core.lattice import Lattice
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.threads import own_threads, set_own_threads
from volengine.nets.tiles import PatchJob, predict_patches
from volengine.ops.blend import Shares
from volengine.ops.patches import PatchReader


@pytest.fixture
def three() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_new_thread(call: Callable[[], int]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("first_out", [0, 1])
def test_two_that_overlap_leave_the_number_that_was_before(first_out: int) -> None:
    """They come in one after the other, each in its thread, and go out in either order."""
    inside = [threading.Event(), threading.Event()]
    leave = [threading.Event(), threading.Event()]
    seen: dict[str, int] = {}

    def work(k: int) -> None:
        with own_threads(1) as before:
            seen[f"{k} before"] = before
            inside[k].set()
            leave[k].wait(60)
            seen[f"{k} inside"] = torch.get_num_threads()
            with own_threads(2) as outer:
                seen[f"{k} outer"] = outer
                seen[f"{k} deeper"] = torch.get_num_threads()
            seen[f"{k} inside again"] = torch.get_num_threads()
        seen[f"{k} after"] = torch.get_num_threads()

    threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
    for k in (0, 1):
        threads[k].start()
        assert inside[k].wait(60)
    for k in (first_out, 1 - first_out):
        leave[k].set()
        threads[k].join()
    for k in (0, 1):
        facts = [seen[f"{k} {what}"] for what in ("before", "inside", "outer", "deeper", "inside again", "after")]
        assert facts == [3, 1, 1, 2, 1, 3]
    assert torch.get_num_threads() == 3
    assert in_new_thread(torch.get_num_threads) == 3


@pytest.mark.usefixtures("three")
def test_a_thread_that_settled_keeps_its_number_when_others_leave() -> None:
    """Otherwise a convolution would be divided among threads, and its last bit would depend on what else runs."""
    settled, left = threading.Event(), threading.Event()

    def work() -> int:
        set_own_threads(1)
        settled.set()
        left.wait(60)
        return torch.get_num_threads()

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    with own_threads(2):
        thread.start()
        assert settled.wait(60)
    left.set()
    thread.join()
    assert found == [1]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three")
def test_an_error_inside_leaves_the_number_that_was_before() -> None:
    with pytest.raises(ZeroDivisionError), own_threads(1):
        1 / 0
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three")
def test_predictions_that_overlap_give_the_same_sums_and_leave_the_number() -> None:
    lattice = Lattice.sliding((24, 32, 32), (8, 16, 16), (0.5, 0.5, 0.5))
    block = Box((0, 0, 0), (24, 32, 32))
    voxels = np.random.default_rng(0).normal(size=block.shape).astype(np.float32)
    reader = PatchReader(voxels, block, block.shape, ("reflect", "reflect", "reflect"))
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(8, 1, 3, padding=1)
    )
    predictor = Predictor(module, Traits(features=1, volumetric=True), Execution(device="cpu", batch=2))
    job = PatchJob(lattice, reader, Shares(lattice, "gaussian", predictor.scale))
    patches = list(lattice.owned(block))
    alone = predict_patches(predictor, job, patches, block)
    with ThreadPoolExecutor(3) as pool:
        for sums in pool.map(lambda k: predict_patches(predictor, job, patches, block, 1 + k % 3), range(9)):
            assert np.array_equal(sums, alone)
        assert set(pool.map(lambda _: torch.get_num_threads(), range(9))) == {3}
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three")
def test_new_threads_find_the_number_while_others_change_theirs() -> None:
    """A thread that computes for the first time while another sets its own number does not take over the other's."""

    def work(found: list[int]) -> None:
        with own_threads(1) as before:
            found.append(before)
        found.append(torch.get_num_threads())

    for _ in range(40):
        found: list[int] = []
        threads = [threading.Thread(target=work, args=(found,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [3] * 12


def test_importing_the_package_changes_nothing_of_the_process() -> None:
    """Environment, warnings, signals, error states, numbers of threads, random numbers, settings of libraries."""
    script = """
import os, signal, warnings
import numpy, torch, zarr, dask.config, matplotlib
def state():
    return {
        "environment": dict(os.environ),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "errors": numpy.geterr(),
        "printing": numpy.get_printoptions(),
        "random": numpy.random.get_state()[1].tolist(),
        "torch": [torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.initial_seed()],
        "zarr": zarr.config.to_dict() if hasattr(zarr.config, "to_dict") else str(zarr.config.config),
        "dask": str(dask.config.config),
        "matplotlib": dict(matplotlib.rcParams),
    }
import pkgutil, importlib
import distributed, skimage, scipy.ndimage, pandas  # what they change is not ours
before, filters = state(), list(warnings.filters)
import volengine
for module in pkgutil.walk_packages(volengine.__path__, "volengine."):
    if module.name.endswith("__main__") or "apart_child" in module.name:
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        assert not str(error).startswith("volengine"), error
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, {name: (before[name], after[name]) for name in changed}
ours = [f for f in warnings.filters if f not in filters and "volengine" in str(f)]
assert not ours, ours
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
