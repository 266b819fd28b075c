"""A counter in a file, raised by many processes and threads one at a time."""

from __future__ import annotations

import time
from pathlib import Path

from volengine.engine.lock import critical


def count(folder: Path, times: int) -> None:
    """Raise ``folder / "count"``; an error if another process or thread is inside at the same time."""
    for _ in range(times):
        with critical(folder / "lock"):
            number = int((folder / "count").read_text())
            (folder / "inside").touch(exist_ok=False)
            time.sleep(0.001)
            (folder / "inside").unlink()
            (folder / "count").write_text(str(number + 1))
