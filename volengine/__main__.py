"""``python -m volengine``: the command, where the program ``volengine`` is not on the path."""

from __future__ import annotations

from volengine.cli.start import main

if __name__ == "__main__":
    main()
