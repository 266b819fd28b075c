"""Threads that read: a few at a time, not for who has gone, and with the errors of what they call."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

pytest.importorskip("starlette", reason="starlette is not installed (pip install 'volengine[web]')")

from starlette.exceptions import HTTPException
from starlette.requests import Request

from volengine.web.readers import GONE, Readers


def _request(stays: bool = True, sends: bool = True) -> Request:
    """Of somebody who stays or leaves; after the request was read, or before."""
    messages: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}] if sends else []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        if stays:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "headers": []}, receive)


def test_only_so_many_read_at_the_same_time_and_all_are_answered() -> None:
    readers, now, most, lock = Readers(3), [0], [0], threading.Lock()

    def read(number: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.005)
        with lock:
            now[0] -= 1
        return number

    async def ask() -> list[int]:
        return await asyncio.gather(*(readers.read(_request(), read, k) for k in range(20)))

    assert asyncio.run(ask()) == list(range(20))
    assert 1 <= most[0] <= 3


def test_errors_are_those_of_what_is_called() -> None:
    async def ask() -> None:
        await Readers(1).read(_request(), int, "no number")

    with pytest.raises(ValueError, match="no number"):
        asyncio.run(ask())


@pytest.mark.parametrize("sends", [True, False])
def test_nothing_is_read_for_who_has_gone(sends: bool) -> None:
    called: list[int] = []

    async def ask() -> None:
        await Readers(1).read(_request(stays=False, sends=sends), called.append, 1)

    with pytest.raises(HTTPException) as gone:
        asyncio.run(ask())
    assert gone.value.status_code == GONE
    assert called == []


def test_a_loop_that_has_ended_does_not_stop_a_thread() -> None:
    readers, go = Readers(1), threading.Event()

    async def leave() -> None:
        task = asyncio.ensure_future(readers.read(_request(), go.wait))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    go.set()

    async def again() -> int:
        return await readers.read(_request(), int, "7")

    assert asyncio.run(again()) == 7
