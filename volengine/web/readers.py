"""Threads in which a server reads: a few at a time, and none that holds up its end.

A page asks for hundreds of chunks, and forgets most of them when its user turns to another slice. So only a few are
read at the same time, which bounds the server's memory; who has gone meanwhile is not read for; and when the server
ends, nobody waits for a chunk that takes long.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")

GONE = 499
"""Status of an answer that nobody is there to read."""


class Readers:
    """Threads that read for one event loop.

    Parameters
    ----------
    count
        Number of threads.
    """

    def __init__(self, count: int):
        self.count = count
        self._waiting: SimpleQueue[Any] = SimpleQueue()
        self._started = 0
        self._free = asyncio.Semaphore(count)

    async def read(self, request: Request, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a thread when one is free.

        Parameters
        ----------
        request
            For whom.
        function, arguments
            What is called; its errors are raised here.

        Raises
        ------
        HTTPException
            Who has asked is gone.
        """
        async with self._free:
            if await _gone(request):
                raise HTTPException(GONE)
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[T] = loop.create_future()
            if self._started < self.count:
                self._started += 1
                threading.Thread(target=self._work, name=f"reader {self._started}", daemon=True).start()
            self._waiting.put((loop, answer, function, arguments))
            return await answer

    def _work(self) -> None:
        while True:
            loop, answer, function, arguments = self._waiting.get()
            result, error = None, None
            try:
                result = function(*arguments)
            except Exception as caught:
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, answer, result, error)


async def _gone(request: Request) -> bool:
    """Whether nobody waits for the answer any more; only after the body is it known whether somebody does."""
    try:
        await request.body()
    except ClientDisconnect:
        return True
    return await request.is_disconnected()


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():  # who has asked was told to stop
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
