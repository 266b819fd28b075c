"""Where the command begins: signals are taken before anything that takes time is imported.

>>> from volengine.cli.start import main      # what the program ``volengine`` and ``python -m volengine`` call
"""

from __future__ import annotations

import sys

from volengine.cli.signals import take_signals


def main() -> None:
    """Run the command line (:func:`volengine.cli.main.main`)."""
    take_signals()
    try:
        from volengine.cli.main import main as run
    except KeyboardInterrupt as stop:  # raised when the import was done
        print("Stopped.", file=sys.stderr)
        sys.exit(143 if stop.args else 130)
    run()
