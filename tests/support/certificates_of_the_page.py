"""Certificates for a cluster, made with the commands that the page shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to-run.md"


def certificates(folder: Path) -> Path:
    """Make an authority, a certificate and its key; return the folder of ``ca.pem``, ``cert.pem`` and ``key.pem``."""
    folder.mkdir(parents=True, exist_ok=True)
    (commands,) = re.findall(r"<!-- run -->\n```bash\n(umask.*?)```", PAGE.read_text(), re.S)
    subprocess.run(["bash", "-ec", commands], cwd=folder, check=True, capture_output=True)
    return folder / "certificates"
