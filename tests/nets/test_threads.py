"""Settings of the process: put back after a prediction, also if several overlap in any order."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.nets.threads import apart, own_threads, reproducible, set_own_threads

T = TypeVar("T")


def elsewhere(function: Callable[[], T]) -> T:
    """The result of a function in a thread that has not computed yet."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@pytest.fixture(autouse=True)
def _as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@settings(deadline=None, max_examples=20)
@given(st.permutations([0, 0, 1, 1, 2, 2]))
def test_overlapping_contexts_put_back_what_there_was(order: list[int]) -> None:
    """Three threads enter and leave in any order; nobody sees the setting of another."""
    assert elsewhere(torch.get_num_threads) == 3
    pools = [ThreadPoolExecutor(1) for _ in range(3)]
    contexts: dict[int, object] = {}
    for who in order:
        if who not in contexts:
            contexts[who] = own_threads(1)
            assert pools[who].submit(contexts[who].__enter__).result() == 3  # type: ignore[attr-defined]
            assert pools[who].submit(torch.get_num_threads).result() == 1
        else:
            pools[who].submit(contexts[who].__exit__, None, None, None).result()  # type: ignore[attr-defined]
            assert pools[who].submit(torch.get_num_threads).result() == 3
        assert torch.get_num_threads() == 3
        assert elsewhere(torch.get_num_threads) == 3
    for pool in pools:
        pool.shutdown()


def test_a_thread_that_has_not_computed_yet_keeps_its_own_number() -> None:
    def in_new_thread() -> tuple[int, int]:
        set_own_threads(1)
        found = torch.get_num_threads()
        (torch.ones(1_000_000) * 2).sum()
        return found, torch.get_num_threads()

    assert elsewhere(in_new_thread) == (1, 1)
    assert elsewhere(torch.get_num_threads) == 3


def test_a_failure_puts_the_threads_back() -> None:
    with pytest.raises(KeyError), own_threads(1):
        raise KeyError
    assert torch.get_num_threads() == 3


def flushed() -> float:
    """Share of a large array's numbers that are flushed to zero; several threads compute it."""
    return float((torch.full((1_000_000,), 2.0**-140) * 1.0 == 0).float().mean())


def test_whatever_the_process_computed_before_all_denormals_are_flushed() -> None:
    """PyTorch's helper threads of this thread run already, and do not flush."""
    (torch.ones(1_000_000) * 2).sum()
    assert flushed() == 0
    assert apart(lambda _: (flushed(), torch.get_num_threads())) == (1, 3)
    assert flushed() == 0
    assert torch.get_num_threads() == 3


def test_errors_come_back_as_they_are() -> None:
    error = KeyError("x")

    def fails(stopped: threading.Event) -> None:
        raise error

    with pytest.raises(KeyError) as found:
        apart(fails)
    assert found.value is error


INTERRUPTED = """
import os, signal, threading
from volengine.nets.threads import apart

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
ended = []

def waits(stopped):
    os.kill(os.getpid(), signal.SIGINT)
    assert stopped.wait(60)
    ended.append(True)

try:
    apart(waits)
except KeyboardInterrupt:
    print("interrupted", ended)
"""


def test_an_interrupt_ends_what_runs_apart() -> None:
    """Ctrl-C comes to the main thread; the function is told, and has ended when the caller goes on."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "interrupted [True]"


def test_flags_of_cudnn_last_until_the_last_user_leaves() -> None:
    cudnn = torch.backends.cudnn

    def state() -> tuple[bool, bool]:
        return cudnn.deterministic, cudnn.allow_tf32

    before = state()
    first, second = reproducible(False), reproducible(False)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert state() == (True, False)
    second.__exit__(None, None, None)
    assert state() == before


def test_users_of_another_setting_wait() -> None:
    inside, done = threading.Event(), []

    def other() -> None:
        with reproducible(True):
            done.append(torch.backends.cudnn.allow_tf32)
        inside.set()

    with reproducible(False):
        thread = threading.Thread(target=other)
        thread.start()
        assert not inside.wait(0.2)
        assert torch.backends.cudnn.allow_tf32 is False
    thread.join()
    assert done == [True]


def test_float32_stays_float32_whatever_the_program_asks_for_elsewhere() -> None:
    """A setting of PyTorch 2.9 for everything is followed by what is not set itself: TF32 in spite of allow_tf32."""
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this PyTorch has one setting only")
    conv, products = torch.backends.cudnn.conv, torch.backends.cuda.matmul

    def state() -> tuple[str, str]:
        return conv.fp32_precision, products.fp32_precision

    before = state()
    torch.set_float32_matmul_precision("high")
    asked = state()
    try:
        for tf32, wanted in ((False, "ieee"), (True, "tf32")):
            with reproducible(tf32):
                assert state() == (wanted, wanted)
                assert torch.backends.cudnn.allow_tf32 is products.allow_tf32 is tf32  # torch.compile asks these
            assert state() == asked
    finally:
        torch.set_float32_matmul_precision("highest")
    with reproducible(False):
        torch.backends.fp32_precision = "tf32"
        try:
            assert state() == ("ieee", "ieee")
        finally:
            torch.backends.fp32_precision = "none"
    assert before[0] == conv.fp32_precision
