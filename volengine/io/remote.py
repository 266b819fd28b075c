"""One object of an object store or web server: read whole or in part, and looked at; what comes is what was asked for.

>>> piece = asyncio.run(fetched(fs, "bucket/a.zarr/0/c/0/0/0", 0, 1024))               # doctest: +SKIP
>>> piece.data, piece.total, piece.stamp                                               # doctest: +SKIP

fsspec gives the bytes of an answer and drops what the server says of them, so a server that knows no ranges and sends
the whole object in place of a part would be believed. Here status, ``Content-Range`` and length are compared with what
was asked for (RFC 9110, sections 14 and 15.3.7): a whole object is cut to the part, and what does not fit is asked for
again. The ETag of each answer tells whether two parts are of the same object.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volengine.core.errors import InputError
from volengine.core.units import format_bytes
from volengine.io import patience
from volengine.io.patience import PASSING, PassingError, RefusedError

LARGEST_WHOLE = 2**28
"""Largest object that is read whole where a server does not send parts, bytes."""

S3_PROTOCOLS = frozenset({"s3", "s3a"})
HTTP_PROTOCOLS = frozenset({"http", "https"})


@dataclass(frozen=True)
class Piece:
    """An object, or a part of it.

    Parameters
    ----------
    data
        The bytes.
    total
        Size of the whole object, bytes; ``None`` if the store does not say it.
    stamp
        What changes with the object: its ETag, or the time of its last change; empty if the store says neither.
    """

    data: bytes
    total: int | None = None
    stamp: str = ""


@dataclass(frozen=True)
class Part:
    """Which bytes of an object are wanted: from ``start`` to before ``stop``, or the last ``-start``; or all.

    >>> Part(0, 100).header, Part(-8).header, Part(16).header, Part().header
    ('bytes=0-99', 'bytes=-8', 'bytes=16-', '')
    """

    start: int = 0
    stop: int | None = None

    @property
    def whole(self) -> bool:
        """Whether all bytes are wanted."""
        return self.start == 0 and self.stop is None

    @property
    def header(self) -> str:
        """The text of a ``Range`` header; empty for the whole."""
        if self.whole:
            return ""
        if self.start < 0:
            return f"bytes={self.start}"
        return f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}"

    @property
    def count(self) -> int | None:
        """Number of bytes, if it can be told."""
        if self.start < 0:
            return -self.start
        return None if self.stop is None else self.stop - self.start

    def ends(self, total: int) -> tuple[int, int]:
        """Return where the part begins and ends in an object of ``total`` bytes."""
        if self.start < 0:
            return max(0, total + self.start), total
        return min(self.start, total), total if self.stop is None else min(self.stop, total)

    def of(self, data: bytes) -> bytes:
        """Cut the part out of the whole object."""
        low, high = self.ends(len(data))
        return data[low:high]


def protocols_of(fs: Any) -> frozenset[str]:
    """Return the schemes that a file system of fsspec serves."""
    named = getattr(fs, "protocol", ())
    return frozenset({named} if isinstance(named, str) else named)


async def fetched(fs: Any, place: str, part: Part) -> Piece:
    """Ask once for an object or a part of it.

    Parameters
    ----------
    fs
        An asynchronous file system of fsspec.
    place
        The object, as the file system calls it.
    part
        What is wanted.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    PassingError
        The answer does not fit to what was asked for, or came incomplete.
    RefusedError
        The server refuses.
    InputError
        The server sends the whole object in place of a part, and it is too large for that.
    """
    if part.count == 0:
        return Piece(b"")
    if protocols_of(fs) & S3_PROTOCOLS:
        return await _from_s3(fs, place, part)
    if protocols_of(fs) & HTTP_PROTOCOLS:
        return await _from_http(fs, place, part)
    ends = {} if part.whole else {"start": part.start, "end": part.stop}
    data = bytes(await fs._cat_file(place, **ends))
    if part.count is not None and len(data) > part.count:
        data = part.of(data)
    return Piece(data)


async def _from_s3(fs: Any, place: str, part: Part) -> Piece:
    bucket, key, version = fs.split_path(place)
    asked = {"Range": part.header} if part.header else {}
    asked |= {"VersionId": version} if version else {}
    async with _in_time() as clock:
        try:
            answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, **asked, **fs.req_kw)
        except OSError as error:
            if "InvalidRange" in str(error.__cause__ or error):  # empty, or it ends before the part begins
                return Piece(b"")
            raise
        body = answer["Body"]
        try:
            length = answer.get("ContentLength")
            span = answer.get("ContentRange") or ""
            _refuse_large(place, part, span, length)
            clock.reschedule(asyncio.get_running_loop().time() + patience.seconds_for(length))
            data = await body.read()
        finally:
            body.close()
    return _checked(data, part, span, length, str(answer.get("ETag") or answer.get("LastModified") or ""))


async def _from_http(fs: Any, place: str, part: Part) -> Piece:
    session = await fs.set_session()
    settings = dict(fs.kwargs)
    headers = {**settings.pop("headers", {}), "Accept-Encoding": "identity"}
    if part.header:
        headers["Range"] = part.header
    settings.setdefault("timeout", None)  # that of this function counts
    url = fs.encode_url(place)
    async with _in_time() as clock, session.get(url, headers=headers, **settings) as answer:
        check_status(answer.status, answer.reason, answer.headers, place, fine=(200, 206, 416))
        if answer.status == 416:
            return Piece(b"", _total(answer.headers.get("Content-Range", "")))
        coded = answer.headers.get("Content-Encoding", "identity").lower()
        length = int(answer.headers.get("Content-Length", -1))
        span = answer.headers.get("Content-Range", "") if answer.status == 206 else ""
        if coded != "identity":
            if span:
                raise RefusedError(f"the server compresses parts ({coded}), which cannot be put together")
            length = -1  # that of the compressed bytes
        elif answer.status == 206 and not span:
            raise RefusedError("the server sends a part and does not say which (no Content-Range)")
        _refuse_large(place, part, span, length)
        count = length if length >= 0 else None
        clock.reschedule(asyncio.get_running_loop().time() + patience.seconds_for(count))
        data = await answer.read()
        stamp = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    return _checked(data, part, span, count, stamp)


def _in_time() -> asyncio.Timeout:
    """The time in which an answer must begin; that for its body is set when its length is known."""
    return asyncio.timeout(patience.ANSWER_S)


def check_status(
    status: int, reason: str | None, headers: Mapping[str, str], place: str, fine: tuple[int, ...]
) -> None:
    """Turn the status of an HTTP answer into an error, unless it is fine.

    Raises
    ------
    FileNotFoundError
        404: there is no such object. (410, "gone", says that there was one, which is no chunk of zeros.)
    PassingError
        The server is busy, or broken for the moment.
    RefusedError
        All else.
    """
    if status in fine:
        return
    said = f"HTTP {status} {reason or ''}".rstrip()
    if status == 404:
        raise FileNotFoundError(f"{place}: {said}")
    if status in PASSING:
        after = headers.get("Retry-After", "")
        raise PassingError(said, float(after) if after.isdigit() else 0.0)
    raise RefusedError(said)


def _refuse_large(place: str, part: Part, span: str, length: int | None) -> None:
    """Refuse a whole object in place of a part if it is large, before it is read."""
    if part.whole or span:
        return
    if length is None or length < 0 or length > LARGEST_WHOLE:
        size = format_bytes(length) if length and length > 0 else "an object of unknown size"
        raise InputError(
            f"{place}: the server sends no parts of files (HTTP ranges), but {size} for each part that is asked for. "
            "Download it first, or use a server that knows ranges."
        )


def _total(span: str) -> int | None:
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", span.strip())
    return int(found[1]) if found else None


def _checked(data: bytes, part: Part, span: str, length: int | None, stamp: str) -> Piece:
    """Compare an answer with what was asked for."""
    if length is not None and len(data) != length:
        raise PassingError(f"the answer was cut: {len(data)} of {length} bytes came")
    if part.whole:
        if span and span.strip() != f"bytes 0-{len(data) - 1}/{len(data)}":
            raise PassingError(f"the answer is a part of the object ({span}), not all of it")
        return Piece(data, len(data), stamp)
    if not span:  # the whole object in place of the part
        return Piece(part.of(data), len(data), stamp)
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", span.strip())
    if found is None:
        raise PassingError(f"the answer says {span!r} of which part it is")
    low, high, total = int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])
    if high - low != len(data):
        raise PassingError(f"the answer has {len(data)} bytes and says {span!r}")
    if total is None:
        if part.start < 0 or low != part.start or (part.stop is not None and high > part.stop):
            raise PassingError(f"{part.header} was asked for, and {span!r} came")
        return Piece(data, None, stamp)
    if (low, high) != part.ends(total):
        raise PassingError(f"{part.header} was asked for, and {span!r} came")
    return Piece(data, total, stamp)


async def looked_at(fs: Any, place: str) -> Piece:
    """Ask once for the size and the stamp of an object; the piece holds no bytes of it.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    PassingError, RefusedError
        As :func:`fetched`.
    """
    if protocols_of(fs) & S3_PROTOCOLS:
        bucket, key, version = fs.split_path(place)
        asked = {"VersionId": version} if version else {}
        answer = await fs._call_s3("head_object", Bucket=bucket, Key=key, **asked, **fs.req_kw)
        return Piece(b"", int(answer["ContentLength"]), str(answer.get("ETag") or answer.get("LastModified") or ""))
    if protocols_of(fs) & HTTP_PROTOCOLS:
        return await _looked_at_http(fs, place)
    fs.invalidate_cache()
    facts = await fs._info(place)
    if facts.get("type") == "directory":
        raise FileNotFoundError(place)
    stamp = next((facts[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime") if key in facts), "")
    return Piece(b"", None if facts.get("size") is None else int(facts["size"]), str(stamp))


async def _looked_at_http(fs: Any, place: str) -> Piece:
    """HEAD; some servers refuse that or say no size, then the first byte is asked for."""
    session = await fs.set_session()
    settings = dict(fs.kwargs)
    headers = {**settings.pop("headers", {}), "Accept-Encoding": "identity"}
    async with session.head(fs.encode_url(place), headers=headers, allow_redirects=True, **settings) as answer:
        if answer.status == 200 and answer.headers.get("Content-Length", "").isdigit():
            stamp = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            return Piece(b"", int(answer.headers["Content-Length"]), stamp)
        check_status(answer.status, answer.reason, answer.headers, place, fine=(200, 400, 401, 403, 405, 501))
    piece = await _from_http(fs, place, Part(0, 1))
    return Piece(b"", piece.total, piece.stamp)
