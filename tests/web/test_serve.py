"""The server itself: its socket, its link, and that it ends although a stream does not."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install 'volengine[web]')")

from volengine.core.errors import InputError
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.recipe import ServeRecipe
from volengine.web.serve import has_display, serve

STREAMING = """
import asyncio, json, sys, time
from starlette.responses import StreamingResponse
from starlette.routing import Route
from volengine.web.app import make_app
from volengine.web.readers import Readers
from volengine.web.recipe import ServeRecipe
from volengine.web.serve import gate_of, serve

readers = Readers(1)

async def slow(request):
    await readers.read(request, time.sleep, 600)

async def stream(request):
    async def endless():
        while True:
            yield b"data: 1\\n\\n"
            await asyncio.sleep(0.05)
    return StreamingResponse(endless(), media_type="text/event-stream")

recipe = ServeRecipe.from_json(json.loads(sys.argv[1]))
app = make_app(gate_of(recipe), [Route("/api/stream", stream), Route("/api/slow", slow)], page="view.html")
serve(app, recipe, lambda line: print(line, flush=True))
"""


class _Local(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path):
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self.path))


@pytest.mark.parametrize("kind", ["port", "socket"])
def test_a_server_gives_one_link_and_ends_though_a_stream_is_open(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "view.sock"
    recipe = "{}" if kind == "port" else f'{{"uds": "{path}"}}'
    if kind == "socket":  # one that a killed server has left
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    process = subprocess.Popen([sys.executable, "-c", STREAMING, recipe], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        link = next(found[1] for line in process.stdout if (found := re.match(r"Open (\S+)", line)))
        parts = urlsplit(link)
        asking = _Local(path) if kind == "socket" else http.client.HTTPConnection(parts.netloc)
        asking.request("GET", f"{parts.path}?{parts.query}")
        answer = asking.getresponse()
        answer.read()
        assert (answer.status, answer.headers["location"]) == (303, "./")
        assert "server" not in answer.headers
        cookie = answer.headers["set-cookie"].partition(";")[0]
        asking.request("GET", "/api/stream", headers={"cookie": cookie})
        stream = asking.getresponse()
        assert stream.read(9) == b"data: 1\n\n"
        other = _Local(path) if kind == "socket" else http.client.HTTPConnection(parts.netloc)
        other.request("GET", "/api/slow", headers={"cookie": cookie})  # a chunk that takes ten minutes
        if kind == "socket":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_is_in_the_way_is_not_removed(tmp_path: Path) -> None:
    app = make_app(Gate(), [], page="view.html")
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InputError, match="no socket"):
        serve(app, ServeRecipe(uds=str(tmp_path / "notes"), browser=False))
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(tmp_path / "living"))
        living.listen()
        with pytest.raises(InputError, match="another server"):
            serve(app, ServeRecipe(uds=str(tmp_path / "living"), browser=False))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="Give another port"):
            serve(app, ServeRecipe(port=taken.getsockname()[1], browser=False))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["living", "notes"]
    with pytest.raises(InputError, match="no such file"):
        serve(app, ServeRecipe(tls_cert=str(tmp_path / "a"), tls_key=str(tmp_path / "b"), browser=False))
    with pytest.raises(InputError, match="no certificate"):
        serve(app, ServeRecipe(tls_cert=str(tmp_path / "notes"), tls_key=str(tmp_path / "notes"), browser=False))


def test_a_browser_is_opened_only_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not has_display()
    os.environ["WAYLAND_DISPLAY"] = "wayland-0"
    assert has_display()
