"""Run benchmarks at their full size and write the results of docs/benchmarks.md.

    python benchmarks/report.py                        # all of them: `make bench`
    python benchmarks/report.py -k networks            # some: pytest's arguments; the results of others stay
    python benchmarks/report.py --from FILE.json ...   # results of earlier runs (pytest --benchmark-json=FILE)

Results are what was measured, also where they miss their goal. The text above the results in docs/benchmarks.md is
kept. A benchmark whose extra information holds ``rows`` gets a table of its own, with its date, which stays until that
benchmark runs again (some need other programs).
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: written by benchmarks/report.py -->", "<!-- end of results -->"


def main() -> int:
    arguments = sys.argv[1:]
    code = 0
    if arguments[:1] == ["--from"]:
        files = [Path(name) for name in arguments[1:]]
    else:
        code, files = run(arguments)
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    old, tail = rest.split(END)
    for file in files:
        old = updated(old, json.loads(file.read_text()), everything=not arguments)
    if files:
        PAGE.write_text(f"{head}{BEGIN}\n{old.strip()}\n{END}{tail}")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return code


def run(arguments: list[str]) -> tuple[int, list[Path]]:
    """Run the benchmarks; the exit status, and the file of their results, if there is one."""
    out = ROOT / "bench-out"
    out.mkdir(exist_ok=True)
    result = out / "benchmarks.json"
    result.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks",
        "-q",
        "-m",
        "",
        f"--benchmark-json={result}",
        *arguments,
    ]
    code = subprocess.run(command, cwd=ROOT, env={**os.environ, "VOLENGINE_BENCH": "full"}, check=False).returncode
    return (code, [result]) if result.exists() and result.stat().st_size else (code or 1, [])


def updated(old: str, data: dict[str, Any], *, everything: bool) -> str:
    """The results with those of a run in their places; of ``everything``, figures that were not measured go."""
    first, *parts = re.split(r"^(?=### )", old.strip(), flags=re.MULTILINE)
    tables = {part.split("\n", 1)[0].removeprefix("### ").strip(): part.strip() for part in parts}
    figures: dict[str, list[str]] = {}
    if not everything:
        for line in first.splitlines():
            if line.startswith("| test_"):
                figures.setdefault(line.split("|")[1].strip(), []).append(line)
    machine = first.splitlines()[0] if first and not everything else _machine(data)
    for bench in data["benchmarks"]:
        name, info = bench["name"], dict(bench["extra_info"])
        if "rows" in info:
            when = data["datetime"][:10]
            tables[name] = f"### {name}\n\n{when}; {_setting(info)}.\n\n{_table(info['rows'])}"
            continue
        rows = list(_flat(info)) or [("median, s", f"{bench['stats']['median']:.3g}")]
        figures[name] = [f"| {name} | {figure} | {value} |" for figure, value in rows]
    lines = [machine, "", "| benchmark | figure | measured |", "| --- | --- | --- |", *chain(*figures.values())]
    return "\n\n".join(["\n".join(lines), *tables.values()]) + "\n"


def _machine(data: dict[str, Any]) -> str:
    """The machine and the versions."""
    cpu = data["machine_info"]["cpu"]["brand_raw"]
    names = ("numpy", "zarr", "zarrs", "dask", "torch", "edt", "scikit-image", "mrcfile")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    cores = f"{os.cpu_count()} cores, {cpu}"
    return f"{time.strftime('%Y-%m-%d')}; {cores}; Python {platform.python_version()}; {versions}."


def _setting(info: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')}: {_shown(value)}" for key, value in info.get("setting", {}).items())


def _table(rows: dict[str, dict[str, Any]]) -> str:
    """One row per name, one column per figure."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = [["", *(c.replace("_", " ") for c in columns)], ["---", *("---:" for _ in columns)]]
    lines += [[name, *(_shown(row.get(c, "")) for c in columns)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " x ".join(map(_shown, value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _flat(info: dict[str, Any], prefix: str = "") -> Any:
    for key, value in info.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}", f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
