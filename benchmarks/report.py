"""Run all benchmarks at their full size and write the results table of docs/benchmarks.md.

    python benchmarks/report.py            # `make bench`

Results are what was measured, also where they miss their goal. The text above the table in docs/benchmarks.md is kept.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: written by benchmarks/report.py -->", "<!-- end of results -->"


def main() -> int:
    out = ROOT / "bench-out"
    out.mkdir(exist_ok=True)
    result = out / "benchmarks.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks",
        "-q",
        "-m",
        "",
        f"--benchmark-json={result}",
        *sys.argv[1:],
    ]
    code = subprocess.run(command, cwd=ROOT, env={**os.environ, "VOLENGINE_BENCH": "full"}, check=False).returncode
    if not result.exists():
        return code or 1
    data = json.loads(result.read_text())
    text = PAGE.read_text()
    head, tail = text.split(BEGIN)[0], text.split(END)[-1]
    PAGE.write_text(f"{head}{BEGIN}\n{results(data)}{END}{tail}")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return code


def results(data: dict[str, Any]) -> str:
    """The machine, the versions, and one table row per benchmark and figure."""
    cpu = data["machine_info"]["cpu"]["brand_raw"]
    names = ("numpy", "zarr", "zarrs", "dask", "torch", "edt", "scikit-image", "mrcfile")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    lines = [
        f"{time.strftime('%Y-%m-%d')}; {os.cpu_count()} cores, {cpu}; Python {platform.python_version()}; {versions}.",
        "",
        "| benchmark | figure | measured |",
        "| --- | --- | --- |",
    ]
    for bench in data["benchmarks"]:
        rows = list(_flat(bench["extra_info"])) or [("median, s", f"{bench['stats']['median']:.3g}")]
        lines += [f"| {bench['name']} | {figure} | {value} |" for figure, value in rows]
    return "\n".join(lines) + "\n"


def _flat(info: dict[str, Any], prefix: str = "") -> Any:
    for key, value in info.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}", f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
