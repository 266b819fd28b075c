"""Types of the fixture that calls the command line."""

from __future__ import annotations

from collections.abc import Callable

Answer = tuple[int, str, str]
"""Exit code, output, messages."""
Command = Callable[..., Answer]
