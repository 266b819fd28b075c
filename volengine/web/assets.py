"""The files of pages: ours, and Neuroglancer's from its package; each by its exact name, so no path leads elsewhere."""

from __future__ import annotations

import functools
import gzip
import re
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from volengine.core.errors import require
from volengine.web.guard import PAGE_POLICY

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
"""Media types by ending; files of other endings are not served."""

VIEWER_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""Policy of Neuroglancer, which compiles code for annotations and chunks: its page and the scripts of its workers."""

SEALED = {"x-frame-options": "SAMEORIGIN", "content-security-policy": VIEWER_POLICY}
FOREVER = "private, max-age=31536000, immutable"
_HASHED = re.compile(r"\.?[0-9a-f]{16}\.(js|css|wasm)$")
"""Files whose names change with their contents."""

_PART = re.compile(rb"^<!-- part: (\w+\.html) -->$", re.MULTILINE)
_BEFORE = b'<script src="before.js"></script><script defer'


@dataclass(frozen=True)
class Asset:
    """A file to serve: its bytes, media type, and the headers that are its own."""

    data: bytes
    media_type: str
    headers: dict[str, str]
    packed: bytes | None = None

    def answer(self, request: Request) -> Response:
        """The response, compressed where the browser takes that: tunnels are slow."""
        headers, data = {**self.headers, "vary": "accept-encoding"}, self.data
        if self.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers, data = {**headers, "content-encoding": "gzip"}, self.packed
        return Response(data, headers=headers, media_type=self.media_type)


def _asset(data: bytes, name: str, headers: dict[str, str]) -> Asset:
    packed = gzip.compress(data, 6, mtime=0)
    return Asset(data, TYPES[Path(name).suffix], headers, packed if len(packed) < 0.9 * len(data) else None)


@functools.cache
def page_names() -> frozenset[str]:
    """Names of the files of our pages."""
    return frozenset(
        one.name for one in resources.files("volengine.web.pages").iterdir() if Path(one.name).suffix in TYPES
    )


def _page_file(name: str) -> bytes:
    return (resources.files("volengine.web.pages") / name).read_bytes()


@functools.cache
def page_asset(name: str) -> Asset:
    """A file of our pages; where one has a line ``<!-- part: NAME -->``, that file is put in.

    Raises
    ------
    HTTPException
        404: there is none of this name.
    """
    if name not in page_names():
        raise HTTPException(404)
    data = _PART.sub(lambda found: _page_file(found[1].decode()), _page_file(name))
    return _asset(data, name, {"content-security-policy": PAGE_POLICY, "cache-control": "no-cache"})


@functools.cache
def viewer_files() -> dict[str, Path]:
    """The files of Neuroglancer's client by name.

    Raises
    ------
    DependencyError
        Its package is not installed.
    """
    found = find_spec("neuroglancer")
    if found is None or not found.submodule_search_locations:
        raise require("neuroglancer", "web", "the viewer")
    folder = Path(next(iter(found.submodule_search_locations))) / "static" / "client"
    files = {file.name: file for file in folder.iterdir() if file.suffix in TYPES}
    if "index.html" not in files:
        raise require("neuroglancer==2.41.2 (this one has no client)", "web", "the viewer")
    return files


@functools.lru_cache(maxsize=64)
def viewer_asset(name: str) -> Asset:
    """A file of Neuroglancer's client; its page loads our ``before.js`` before all else.

    Raises
    ------
    HTTPException
        404: there is none of this name.
    """
    if name == "before.js":
        return Asset(page_asset(name).data, TYPES[".js"], {**SEALED, "cache-control": "no-cache"})
    files = viewer_files()
    if name not in files:
        raise HTTPException(404)
    data = files[name].read_bytes()
    if name == "index.html":
        data = data.replace(b"<script defer", _BEFORE, 1)
        if _BEFORE not in data:
            raise require("neuroglancer==2.41.2 (this one has another page)", "web", "the viewer")
    kept = FOREVER if _HASHED.search(name) else "no-cache"
    return _asset(data, name, {**SEALED, "cache-control": kept})
