"""How every verb begins that serves a page."""

from __future__ import annotations

from volengine.core.errors import require


def check_packages(verb: str) -> None:
    """Refuse to go on without the packages of the extra ``web``.

    Raises
    ------
    DependencyError
        They are missing; the message names the verb and says how to install them.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise require("starlette", "web", verb) from error


def open_as_asked(anonymous: bool) -> None:
    """Open object stores without credentials from now on, if that is asked for."""
    if anonymous:
        from volengine.io.anonymous import use_anonymous

        use_anonymous()
