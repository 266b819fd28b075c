"""Test and measure the CUDA paths: run every part in a worker process, and write what it found as a table.

    python benchmarks/gpu --seconds 400 --out gpu-out          # or benchmarks/gpu.sh, which finds Python

A part that crashes, or that hangs, takes its worker along; a new one goes on with the next part. A part that has no
time left says what it left out. So there is a table in the end whatever happens. The exit code is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rows import BAD, PARTS, Row
from tables import write_tables

POLL_S = 0.1


def main() -> int:
    given = arguments()
    if given.worker:
        from worker import work

        work(given.names, given.device, given.tiny, given.out, given.ends)
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    told = given.out / "rows.jsonl"
    told.write_text("")
    signal.signal(signal.SIGTERM, stopped)
    try:
        supervise(given, told)
    except KeyboardInterrupt as error:
        add(told, Row("the script", "itself", "late", {}, f"stopped: {error}"))
    rows, _ = read(told)
    told.unlink()
    text = write_tables(rows, given.out)
    print(text)
    bad = [f"{row.part}, {row.what}: {row.note}" for row in rows if row.result in BAD]
    print(f"\n{len(rows)} rows in {given.out / 'gpu.md'} and gpu.json; {len(bad)} checks failed.", *bad, sep="\n")
    return 1 if bad else 0


def stopped(number: int, _: object) -> None:
    """End as Ctrl-C does: with the table of what was done."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="gpu.sh", description="Test and measure the CUDA paths of volengine.")
    parser.add_argument("--seconds", type=float, default=400.0, help="time for all parts together (400)")
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ.get("OUT") or "gpu-out"), help="folder of the table"
    )
    parser.add_argument("--parts", default="", help=f"some of {', '.join(PARTS)}, or module:function (all)")
    parser.add_argument("--device", default="auto", help="cuda, cuda:1, cpu (auto)")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to test the script itself")
    parser.add_argument("--grace", type=float, default=25.0, help="seconds that a part may take beyond its time (25)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ends", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    usual = [name for name in PARTS if name != "compile" or not given.tiny]  # to compile takes a minute
    given.names = [name for name in given.parts.split(",") if name] or usual
    unknown = [name for name in given.names if name not in PARTS and ":" not in name]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; known are {', '.join(PARTS)}")
    return given


def ends_of(names: list[str], began: float, seconds: float) -> dict[str, float]:
    """When each part should end (as ``time.time``): it gets its share, and what the parts before it did not use."""
    weights = [PARTS[name].weight if name in PARTS else 1 for name in names]
    return {name: began + seconds * sum(weights[: k + 1]) / sum(weights) for k, name in enumerate(names)}


def supervise(given: argparse.Namespace, told: Path) -> None:
    """Run all parts; their rows are added to the file ``told``."""
    ends = ends_of(given.names, time.time(), given.seconds)
    left = list(given.names)
    with (given.out / "log.txt").open("wb") as log:
        while left:
            code, late = watch(given, left, ends, log)
            _, ended = read(told)
            left = [name for name in left if name not in ended]
            if not left:
                break
            name = left.pop(0)
            log.flush()
            last = (given.out / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
            why = (
                f"it did not end within {given.grace:g} s beyond its time" if late else f"its process ended with {code}"
            )
            crash = Row(name, "the part itself", "late" if late else "crashed", {}, f"{why}: {' '.join(last)}"[:400])
            add(told, crash)


def watch(given: argparse.Namespace, names: list[str], ends: dict[str, float], log: object) -> tuple[int, bool]:
    """Run a worker until it ends, or until a part takes too long: its exit code, and whether it was ended."""
    command = [
        sys.executable,
        str(Path(__file__).parent),
        "--worker",
        "--out",
        str(given.out),
        "--device",
        given.device,
    ]
    command += ["--parts", ",".join(names), "--ends", json.dumps(ends), *["--tiny"][: given.tiny]]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)  # type: ignore[call-overload]
    stop = max(ends.values()) + 2 * given.grace
    begun: dict[str, float] = {}
    try:
        while process.poll() is None:
            _, ended = read(given.out / "rows.jsonl")
            now = next((name for name in names if name not in ended), None)
            if now is not None:
                # one that begins late, because others before it hung, still has its grace
                last = max(ends[now], begun.setdefault(now, time.time())) + given.grace
                if time.time() > min(last, stop):
                    return -1, True
            time.sleep(POLL_S)
        return process.returncode, False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # and what the worker has started
            process.wait()


def add(path: Path, row: Row) -> None:
    """Add a row to those of the workers, whose last line may not be complete."""
    with path.open("a") as file:
        file.write("\n" + json.dumps({"row": row.to_json()}) + "\n")


def read(path: Path) -> tuple[list[Row], set[str]]:
    """The rows so far, and the parts that have ended; lines that are not complete are left out."""
    rows, ended = [], set()
    for line in path.read_text().split("\n")[:-1]:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if "row" in told:
            rows.append(Row(**told["row"]))
        else:
            ended.add(told["ended"])
    return rows, ended


if __name__ == "__main__":
    sys.exit(main())
