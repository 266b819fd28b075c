"""Fuzz every reader of files with seeded mutations of valid files; print what ends in another error than the package's.

    python tests/fuzz/fuzz_readers.py --seconds 600 --seed 1 [picks mrc ...] [--keep FOLDER]

A reader must return values or raise ``VolengineError``: no other error, no warning, nothing on the terminal, in the
memory that its target states (a limit on the address space) and in a few seconds. Each target runs in processes of its
own, which may hang or crash; the next process goes on behind the case. Seconds are those of the processor. ``--keep``
writes the files that were found, one for each place in the code. A case is named by seed and number.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from fuzz_samples import Sample, change
from fuzz_targets import TARGETS

SLOW_S = 10.0
"""Seconds of one case after which it counts as hanging; valid files of these sizes take milliseconds."""


class TooSlow(BaseException):
    """The alarm of a case."""


def cases(name: str, seed: int, first: int, samples: list[Sample]) -> Iterator[tuple[int, Sample, bytes]]:
    """Numbered mutations of the samples of a target, without end."""
    everything = tuple(s.data for s in samples)
    number = first
    while True:
        rng = random.Random(f"{name}-{seed}-{number}")
        sample = rng.choice(samples)
        yield number, sample, change(sample, rng, everything)
        number += 1


def try_one(name: str, sample: Sample, data: bytes, folder: Path) -> dict[str, Any] | None:
    """Read one file; return what is wrong, or ``None``."""
    from volengine.core.errors import VolengineError

    shutil.rmtree(folder, ignore_errors=True)
    for other, content in {**sample.beside, sample.name: data}.items():
        path = folder / other
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    signal.setitimer(signal.ITIMER_REAL, SLOW_S)
    with silent() as noise:
        try:
            TARGETS[name].read(folder / sample.name)
            found = None
        except VolengineError:
            found = None
        except TooSlow:
            found = {
                "error": f"more than {SLOW_S} s",
                "where": where(sys.exc_info()[2]),
                "trace": traceback.format_exc(),
            }
        except Exception as error:
            text = f"{type(error).__name__}: {str(error)[:200]}"
            found = {"error": text, "where": where(error.__traceback__), "trace": traceback.format_exc()}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    if found is None and noise:
        return {"error": f"on the terminal: {noise[0][:200]}", "where": "terminal", "trace": noise[0]}
    return found


def where(trace: Any) -> str:
    """The last frame of the package in a traceback."""
    frames = [f for f in traceback.extract_tb(trace) if "/volengine/" in f.filename]
    return f"{frames[-1].filename.rpartition('/volengine/')[2]}:{frames[-1].lineno}" if frames else "?"


@contextlib.contextmanager
def silent() -> Iterator[list[str]]:
    """Catch what is written to the terminal, also by libraries in C; a list with the text, if there is any."""
    noise: list[str] = []
    with tempfile.TemporaryFile() as file:
        kept = [os.dup(1), os.dup(2)]
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield noise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, saved in zip((1, 2), kept, strict=True):
                os.dup2(saved, number)
                os.close(saved)
            file.seek(0)
            text = file.read().decode(errors="replace").strip()
            if text:
                noise.append(text)


def limit_memory(megabytes: int) -> None:
    """Allow so much more address space than the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(
        resource.RLIMIT_AS,
        (pages * resource.getpagesize() + megabytes * 2**20, resource.getrlimit(resource.RLIMIT_AS)[1]),
    )


def work(name: str, seed: int, first: int, most: int, seconds: float, samples: list[Sample], place: Path) -> None:
    """Run cases in this process until time or number is spent; lines of ``found.jsonl`` are the findings."""

    def alarm(*_: object) -> None:
        raise TooSlow

    # whatever they were (a test runner replaces them): what is printed goes where libraries in C write
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    signal.signal(signal.SIGALRM, alarm)
    warnings.simplefilter("error")
    for ignored in ("numpy._core.records", "mrcfile.*", "monai.*"):
        warnings.filterwarnings("ignore", module=ignored)
    with contextlib.suppress(Exception):  # imports, and caches of libraries, before the limit
        TARGETS[name].read(_written(samples[0], place / "case"))
    limit_memory(TARGETS[name].megabytes)
    began = spent()
    for number, sample, data in cases(name, seed, first, samples):
        if number >= most or spent() - began > seconds:
            break
        (place / "now").write_text(f"{number} {spent() - began}")
        found = try_one(name, sample, data, place / "case")
        if found is not None:
            with (place / "found.jsonl").open("a") as file:
                file.write(json.dumps({"number": number, "sample": sample.name, **found}) + "\n")
    (place / "now").write_text(f"{number} {spent() - began} end")


def spent() -> float:
    """Processor time of this process and of those that it has started and that have ended, s."""
    return sum(os.times()[:4])


def _written(sample: Sample, folder: Path) -> Path:
    for other, content in {**sample.beside, sample.name: sample.data}.items():
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / other).write_bytes(content)
    return folder / sample.name


def fuzz(
    name: str, seed: int, *, seconds: float, most: int = 10**9, first: int = 0
) -> tuple[list[dict[str, Any]], int, float]:
    """Fuzz one target; return the findings (one for each place in the code), the number of cases, and the seconds."""
    findings: list[dict[str, Any]] = []
    spent, begin = 0.0, first
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "samples").mkdir()
        samples = TARGETS[name].samples(place / "samples")
        while spent < seconds and first < most:
            (place / "now").write_text(f"{first} 0")
            child = os.fork()
            if child == 0:
                try:
                    work(name, seed, first, most, seconds - spent, samples, place)
                except BaseException:
                    traceback.print_exc()
                    os._exit(3)
                os._exit(0)
            status = _wait(child, place)
            number, used, *ended = (place / "now").read_text().split()
            spent += float(used)
            if ended:
                first = int(number)
                break
            findings.append(
                {
                    "number": int(number),
                    "error": f"the process ended with {status}",
                    "where": "crash",
                    "sample": "",
                    "trace": "",
                }
            )
            spent += 0.1
            first = int(number) + 1
        if (place / "found.jsonl").exists():
            findings += [json.loads(line) for line in (place / "found.jsonl").read_text().splitlines()]
    kinds: dict[tuple[str, str], dict[str, Any]] = {}
    for one in findings:
        kinds.setdefault(
            (one["where"], one["error"].partition(":")[0]), {**one, "target": name, "seed": seed, "times": 0}
        )["times"] += 1
    return list(kinds.values()), first - begin, spent


def _wait(child: int, place: Path) -> int:
    """Wait for a process; kill it if one case takes far too long (in C, where no alarm is heard)."""
    last, since = "", time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        now = (place / "now").read_text()
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 12 * SLOW_S:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def data_of(name: str, seed: int, number: int) -> tuple[Sample, bytes]:
    """The file of a case."""
    with tempfile.TemporaryDirectory() as folder:
        samples = TARGETS[name].samples(Path(folder))
    _, sample, data = next(cases(name, seed, number, samples))
    return sample, data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="processor time of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the files that were found")
    given = parser.parse_args()
    bad = 0
    for name in given.targets or TARGETS:
        findings, count, spent = fuzz(name, given.seed, seconds=given.seconds)
        print(f"{name}: {count} cases in {spent:.0f} s of processor time, {len(findings)} findings", flush=True)
        for one in findings:
            bad += 1
            print(
                f"  {one['where']}: {one['error']} ({one['sample']}, case {one['number']}, {one['times']} times)",
                flush=True,
            )
            if given.keep:
                _, data = data_of(name, given.seed, one["number"])
                digest = hashlib.sha256(data).hexdigest()[:8]
                (given.keep / name).mkdir(parents=True, exist_ok=True)
                (given.keep / name / f"{digest}-{one['sample'].replace('/', '_')}").write_bytes(data)
                (given.keep / name / f"{digest}.txt").write_text(json.dumps(one, indent=1) + "\n" + one["trace"])
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
