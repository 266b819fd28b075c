"""Asks an ASGI application as a server does that has read a request: what is asked for is given byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Reply:
    """Status, headers by their names in lower case, and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One browser: the headers that it always sends, and one event loop.

    >>> client = Client(app, {"host": "localhost"})                                          # doctest: +SKIP
    """

    def __init__(self, app: Any, headers: Mapping[str, str]):
        self.app, self.headers = app, dict(headers)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def get(self, target: str, **headers: str) -> Reply:
        return self.ask("GET", target, headers)

    def ask(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Reply:
        """Ask for a target (path and query as they are sent); ``_`` in names of headers is ``-``."""
        path, _, query = target.partition("?")
        sent = {k.replace("_", "-").lower(): v for k, v in {**self.headers, **(headers or {})}.items()}
        if body:
            sent["content-length"] = str(len(body))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in sent.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        return self._runner.run(self._answered(scope, body))

    async def _answered(self, scope: dict[str, Any], body: bytes) -> Reply:
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        answers: list[Any] = []

        async def receive() -> Any:
            if not messages:
                await asyncio.Event().wait()  # the browser stays
            return messages.pop(0)

        async def send(message: Any) -> None:
            answers.append(message)

        await self.app(scope, receive, send)
        start = next(one for one in answers if one["type"] == "http.response.start")
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in start["headers"]}
        parts = [one.get("body", b"") for one in answers if one["type"] == "http.response.body"]
        return Reply(start["status"], headers, b"".join(parts))


def entered(app: Any, **headers: str) -> Client:
    """A client that has come in: with the cookie of the application's gate."""
    cookie = f"{app.gate.cookie_name}={app.gate.cookie_value}"
    return Client(app, {"host": "localhost:8000", "cookie": cookie, **headers})
