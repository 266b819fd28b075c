"""The facts of model files for a process that stays small, such as a server: PyTorch is not loaded into it.

A native file says its facts in its header. A file of another program is opened by a process of its own, which takes
some seconds, and which a hostile file may crash without harm.

``python -P -m volengine.nets.facts_apart FILE`` is that process; it prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, VolengineError
from volengine.core.json_text import parse_object
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import FORMATS, load_facts

SECONDS = 300
"""Until which the facts of a file must be there."""


def facts_apart(path: Path) -> ModelFacts:
    """Read the facts of a model file as :func:`volengine.nets.checkpoint.load_facts` does, without loading PyTorch.

    Parameters
    ----------
    path
        The file, in any format.

    Raises
    ------
    MissingError
        A native file does not exist.
    FormatError
        The file is damaged, does not say its facts, or an extra that reads it is not installed; the message is that of
        ``load_facts``.
    """
    if path.suffix.lower() not in FORMATS:
        return load_facts(path)
    command = [sys.executable, "-P", "-m", "volengine.nets.facts_apart", str(path.absolute())]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise FormatError(f"{path}: its facts could not be read in {SECONDS} s; it is damaged or too large.") from error
    if done.returncode:
        last = "".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:])
        raise FormatError(f"{path}: cannot be read; its reader ended with exit code {done.returncode}. {last}")
    told = parse_object(done.stdout, f"{path}: what was read")
    if "wrong" in told:
        raise FormatError(str(told["wrong"]))
    return ModelFacts.from_json(told["facts"], where=str(path))


def main() -> None:
    """Print the facts of a file, or why they cannot be read."""
    said: dict[str, Any]
    try:
        said = {"facts": load_facts(Path(sys.argv[1])).to_json()}
    except (VolengineError, OSError) as error:
        said = {"wrong": str(error)}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
