"""Requests to object stores and web servers that are made again: each ends in time, with an answer or with an error.

>>> import asyncio
>>> async def once():
...     return 3
>>> asyncio.run(patiently("s3://bucket/a.zarr, 0/c/0/0/0", once))
3

What may pass by itself is tried again: a server that is overloaded (429, 500, 502, 503, 504), a connection that is cut,
an answer that is shorter than it says, or that does not come. What does not pass ends at once: no permission,
credentials that have run out, a bucket that is not there. Only "there is no such object" means that there is none;
nothing else is ever taken for it, because voxels of objects that are not there are zero.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from volengine.core.errors import MissingError, UnreachedError, VolengineError

T = TypeVar("T")

ATTEMPTS = 5
"""Times that a request is made. The libraries of S3 repeat some errors themselves."""

FIRST_WAIT_S = 0.3
"""Wait before the second time; it doubles each time, and a random part of it is added."""

LONGEST_WAIT_S = 20.0
"""Longest wait, also where a server asks for more."""

PATIENCE_S = 120.0
"""Seconds after the first request from which on it is not made again."""

ANSWER_S = 60.0
"""Seconds in which an answer must come."""

LEAST_RATE = 50_000
"""Bytes per second that must arrive on the average; slower ones count as an answer that does not come."""

ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
"""Codes that say that there is no such object."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524})
"""HTTP statuses that may be others a moment later."""

PASSING_CODES = frozenset(
    {"InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException"}
    | {"RequestLimitExceeded", "TooManyRequests", "OperationAborted"}
)
"""Codes of S3 that may be others a moment later."""


class PassingError(Exception):
    """An answer that may be another one a moment later.

    Parameters
    ----------
    message
        What was wrong with it.
    wait_s
        Seconds that the server asks to wait.
    """

    def __init__(self, message: str, wait_s: float = 0.0):
        super().__init__(message)
        self.wait_s = wait_s


class RefusedError(Exception):
    """An answer that says no, and will say so again."""


def seconds_for(count: int | None) -> float:
    """Return the seconds in which an answer of so many bytes must have come; ``None``: their number is not known."""
    return ANSWER_S + (2**26 if count is None else count) / LEAST_RATE


async def patiently(where: str, once: Callable[[], Awaitable[T]], count: int | None = 0) -> T:
    """Make a request until it is answered.

    Parameters
    ----------
    where
        What is asked for: store, and key of the object.
    once
        Makes the request once.
    count
        Bytes that are sent or expected, which need time; ``None`` if they are not known.

    Raises
    ------
    UnreachedError
        There was no usable answer, although it was asked for :data:`ATTEMPTS` times.
    MissingError
        The answer is that it is not allowed, or that there is no such bucket or server.
    FileNotFoundError
        There is no such object.
    """
    began, limit = asyncio.get_running_loop().time(), seconds_for(count)
    for attempt in range(1, ATTEMPTS + 1):
        wait_s = 0.0
        try:
            return await asyncio.wait_for(once(), limit)
        except TimeoutError:
            told: Exception = PassingError("no complete answer came in time")
        except (VolengineError, NotImplementedError, MemoryError):
            raise
        except Exception as error:
            told = judged(error)
            if isinstance(told, FileNotFoundError):
                raise told from error
            if isinstance(told, RefusedError):
                raise _refusal(where, told, error) from error
            wait_s = getattr(told, "wait_s", 0.0)
        elapsed = asyncio.get_running_loop().time() - began
        if attempt == ATTEMPTS or elapsed > PATIENCE_S:
            break
        step = FIRST_WAIT_S * 2 ** (attempt - 1)
        await asyncio.sleep(min(LONGEST_WAIT_S, max(wait_s, step * (1 + random.random()))))
    raise UnreachedError(
        f"{where} cannot be reached: {told} ({attempt} times in {elapsed:.0f} s). The "
        "same command goes on when the server answers."
    )


def judged(error: BaseException) -> Exception:
    """Say what an error of the libraries means: no such object, a refusal, or something that may pass.

    Returns
    -------
    Exception
        A ``FileNotFoundError``, :class:`RefusedError` or :class:`PassingError`.
    """
    if isinstance(error, PassingError | RefusedError):
        return error
    code, status = _code_of(error)
    said = _said(error)
    if code == "NoSuchBucket":
        return RefusedError(f"there is no such bucket ({said})")
    if code in PASSING_CODES or status in PASSING:
        return PassingError(said)
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        # only what an object store says of an object: no code at all comes from other file systems, which mean it
        return FileNotFoundError(said) if code in ABSENT | {""} else RefusedError(said)
    if code or status or isinstance(error, PermissionError) or _is_setting(error):
        return RefusedError(said)
    return PassingError(said)


def _code_of(error: BaseException) -> tuple[str, int]:
    """The code of S3 and the HTTP status that an error, or the one that it was made of, carries; else empty and 0."""
    one: BaseException | None = error
    for _ in range(4):
        if one is None:
            break
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            code = str((response.get("Error") or {}).get("Code") or "")
            status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0
            return code, int(status or (code if code.isdigit() else 0))
        status = getattr(one, "status", None)
        if isinstance(status, int) and status:
            return "", status
        one = one.__cause__
    return "", 0


def _is_setting(error: BaseException) -> bool:
    """Whether an error is about how the store is used: no credentials, a wrong region, an address that is none."""
    names = {one.__name__ for one in type(error).__mro__}
    settings = {"NoCredentialsError", "PartialCredentialsError", "NoRegionError", "TokenRetrievalError", "InvalidURL"}
    settings |= {"UnauthorizedSSOTokenError", "SSOTokenLoadError", "ProfileNotFound", "ParamValidationError"}
    settings |= {
        "InvalidRegionError",
        "TooManyRedirects",
        "ClientConnectorCertificateError",
        "CredentialRetrievalError",
    }
    return bool(names & settings) or isinstance(error, TypeError | ValueError | ImportError | AttributeError)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}".rstrip(": ")


def _refusal(where: str, told: RefusedError, error: BaseException) -> MissingError:
    code, status = _code_of(error)
    advice = "Credentials, region and endpoint come from the environment."
    if isinstance(error, PermissionError) or status in (401, 403):
        advice = (
            "The credentials, which come from the environment, do not allow it, or have run out: renew them, and give "
            "the same command again. A store that may be read but not listed answers so for objects that are not "
            "there, too (S3: allow s3:ListBucket)."
        )
    what = str(told) if str(told) else f"{code or status}"
    return MissingError(f"{where} cannot be reached ({what}). {advice}")
