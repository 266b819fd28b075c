"""An object store that speaks as much of the S3 protocol as s3fs uses for stores: over HTTP, in memory.

>>> with serving() as url: ...                     # http://127.0.0.1:PORT

Objects are put, read whole or in ranges, listed with and without delimiter, and deleted one by one or many at a time.
Signatures are not checked. It is a plain web server as well: ``http://127.0.0.1:PORT/bucket/key``.

Faults are put into ``server.faults``: what is answered to which requests, how often::

    server.faults.append(Fault("status", "c/0/0/0", status=503, code="SlowDown", times=2))
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass
class Fault:
    """A fault of the server.

    Parameters
    ----------
    kind
        ``status``: an error; ``cut``: half of the body, then the connection ends; ``lie``: half of the body, whose
        length is said to be all; ``slow``: some bytes, then one a second; ``silent``: no answer; ``whole``: ranges are
        not known; ``redirect``: to the same place (once), or to itself; ``shifted``: another range than was asked for;
        ``lost``: the request is carried out, and the connection ends without an answer; ``dropped``: of a PUT, which
        is confirmed and not carried out.
    part
        Text that the key must contain.
    method
        Which requests.
    times
        How often; -1: always.
    status, code, headers
        Of ``status``.
    ranged
        Whether only requests of parts are meant.
    before
        Is called before the answer, for example to replace the object.
    """

    kind: str
    part: str = ""
    method: str = "GET"
    times: int = -1
    status: int = 500
    code: str = "InternalError"
    headers: dict[str, str] | None = None
    ranged: bool = False
    before: Callable[[], None] | None = None


class Handler(BaseHTTPRequestHandler):
    """Requests to ``/bucket`` and ``/bucket/key``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait for the client to confirm the head
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.answer(status, body, headers)

    def faulty(self, key: str) -> str:
        """Answer with a fault; return its kind where the request is carried out in another way, ``done`` if it was."""
        with self.server.lock:
            fits = (
                f
                for f in self.server.faults
                if f.times and f.part in key and f.method in (self.command, "*")
                if not f.ranged or self.headers.get("Range")
            )
            fault = next(fits, None)
            if fault is None:
                return ""
            fault.times -= 1
            self.server.struck.append((fault.kind, key))
        if fault.before is not None:
            fault.before()
        if fault.kind == "status":
            if self.command in ("PUT", "POST"):
                self.content()
            self.refuse(fault.status, fault.code, fault.headers)
            return "done"
        if fault.kind == "silent":
            self.server.ending.wait(60)
            self.close_connection = True
            return "done"
        if fault.kind == "redirect":
            self.answer(307, headers={"Location": self.path})
            return "done"
        return fault.kind

    def crippled(self, kind: str, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send a body in a faulty way, and end the connection."""
        half = body[: len(body) // 2]
        self.send_response(status)
        length = len(half) if kind == "lie" else len(body)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(half)
        self.wfile.flush()
        if kind == "slow":
            for byte in body[len(half) :]:
                if self.server.ending.wait(1.0):
                    break
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        self.close_connection = True

    def parts(self) -> tuple[str, str, dict[str, str]]:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).strip("/").partition("/")
        self.server.seen.append((self.command, key, self.headers.get("Authorization", "")))
        return bucket, key, {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}

    def content(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_PUT(self) -> None:
        bucket, key, _ = self.parts()
        fault = self.faulty(key)
        if fault == "done":
            return None
        body = self.content()
        if not key:
            self.server.buckets.setdefault(bucket, {})
        elif bucket not in self.server.buckets:
            return self.refuse(404, "NoSuchBucket")
        elif fault != "dropped":
            self.server.buckets[bucket][key] = body
        if fault == "lost":
            self.close_connection = True
            return None
        return self.answer(200, headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def do_GET(self) -> None:
        bucket, key, query = self.parts()
        fault = self.faulty(key or query.get("prefix", ""))
        if fault == "done":
            return None
        objects = self.server.buckets.get(bucket)
        if objects is None:
            return self.refuse(404, "NoSuchBucket")
        if not key:
            return self.answer(200, listing(bucket, objects, query), {"Content-Type": "application/xml"})
        if key not in objects:
            return self.refuse(404, "NoSuchKey")
        body = objects[key]
        headers = {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if not wanted or fault == "whole":
            return self.sent(fault, 200, body, headers)
        first, _, last = wanted.partition("-")
        begin = int(first) if first else max(0, len(body) - int(last))
        end = min(int(last) + 1, len(body)) if first and last else len(body)
        if begin >= end:
            return self.refuse(416, "InvalidRange", {"Content-Range": f"bytes */{len(body)}"})
        if fault == "shifted":
            begin, end = max(0, begin - 1), end - 1
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(body)}"
        return self.sent(fault, 206, body[begin:end], headers)

    def sent(self, fault: str, status: int, body: bytes, headers: dict[str, str]) -> None:
        if fault in ("cut", "lie", "slow") and self.command == "GET":
            self.crippled(fault, status, body, headers)
        else:
            self.answer(status, body, headers)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        bucket, key, _ = self.parts()
        fault = self.faulty(key)
        if fault == "done":
            return
        self.server.buckets[bucket].pop(key, None)
        if fault == "lost":
            self.close_connection = True
        else:
            self.answer(204)

    def do_POST(self) -> None:
        bucket, _, query = self.parts()
        body = self.content()
        if "delete" not in query:
            return self.refuse(501, "NotImplemented")
        keys = [e.text or "" for e in ElementTree.fromstring(body).iter() if e.tag.rpartition("}")[2] == "Key"]
        for key in keys:
            self.server.buckets[bucket].pop(key, None)
        return self.answer(200, f"<DeleteResult {NAMESPACE}></DeleteResult>".encode())


def listing(bucket: str, objects: dict[str, bytes], query: dict[str, str]) -> bytes:
    """ListObjectsV2, in one page."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    found, folders = [], set()
    for key in sorted(k for k in objects if k.startswith(prefix)):
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            folders.add(prefix + rest.split(delimiter)[0] + delimiter)
        else:
            found.append(key)
    entries = "".join(
        f"<Contents><Key>{escape(k)}</Key><Size>{len(objects[k])}</Size>"
        f"<ETag>&quot;{hashlib.md5(objects[k]).hexdigest()}&quot;</ETag>"
        "<LastModified>2025-01-01T00:00:00.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
        for k in found
    )
    entries += "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders))
    count = len(found) + len(folders)
    return (
        f"<ListBucketResult {NAMESPACE}><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
        f"<KeyCount>{count}</KeyCount><MaxKeys>100000</MaxKeys><IsTruncated>false</IsTruncated>"
        f"{entries}</ListBucketResult>"
    ).encode()


class Server(ThreadingHTTPServer):
    """Buckets in memory, and (method, key, Authorization header) of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.seen: list[tuple[str, str, str]] = []
        self.faults: list[Fault] = []
        self.struck: list[tuple[str, str]] = []
        """Kind and key of each fault that happened."""
        self.lock = threading.Lock()
        self.ending = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server in a thread of this process, for as long as the context lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


def use_server(monkeypatch: pytest.MonkeyPatch, endpoint: str, key: str = "k", **more: str) -> None:
    """Have s3fs and obstore of this process, and of those that it starts, speak to a server; forget former ones."""
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }.items():
        monkeypatch.setenv(name, value)
