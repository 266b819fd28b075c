"""Record what a fixed set of small runs of every verb makes, and compare two records.

    python tests/references/make_results.py record FILE [--demo] [--files] [--case NAME]
    python tests/references/make_results.py compare BEFORE AFTER

``record`` runs every case of :mod:`small_runs` (with ``--case`` some; the others stay as the file has them) with the
``volengine`` that Python finds (set ``PYTHONPATH`` to try another tree), digests what the runs have made
(:mod:`products`), and writes it as JSON, together with the machine and the libraries. ``--demo`` adds both parts of the
demo, ``--files`` the digests of the files as they are stored. ``compare`` prints what differs, and ends with 1 if
anything does.

The tests compare with ``results.json`` beside this script (``tests/test_results.py``). Results changed on purpose?

    python tests/references/make_results.py record tests/references/results.json

Then say in the changelog what has changed, and why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # for a test that loads this file by its path

from products import digest_folder
from small_runs import CASES, SmallRuns, command

RESULTS = Path(__file__).with_name("results.json")
ANEW = "python tests/references/make_results.py record tests/references/results.json"
LIBRARIES = ("numpy", "scipy", "scikit-image", "torch", "zarr", "edt", "gemmi", "onnx", "onnxruntime", "monai")
INSTRUCTIONS = r"\b(sse4_2|avx|avx2|fma|avx512\w*|avx_vnni|amx_\w+|asimd\w*|sve\w*)\b"
"""Of the processor's flags: those that decide which code of the libraries runs."""
SETTINGS = r"MKL_CBWR|MKL_ENABLE_INSTRUCTIONS|(DNNL|ONEDNN)_MAX_CPU_ISA|NPY_(DIS|EN)ABLE_CPU_FEATURES"
"""Of the environment: those that decide the same."""
DEMO = "demo"
DEMO_TOLERANCE = 5e-2

Record = dict[str, Any]


def fingerprint() -> dict[str, str]:
    """The processor and the libraries: where they are the same, results have the same bytes."""
    import torch

    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    found = {
        "processor": model.group(1) if model else platform.processor() or platform.machine(),
        "instructions": " ".join(sorted(set(re.findall(INSTRUCTIONS, flags.group(1))))) if flags else "",
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "settings": " ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if re.fullmatch(SETTINGS, k)),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def record_case(runs: SmallRuns, name: str, *, files: bool = False) -> dict[str, dict[str, Any]]:
    """Run a case and digest what it has made."""
    import volengine

    return digest_folder(runs.run(name), volengine.__version__, files)


def record_demo(folder: Path, *, files: bool = False) -> dict[str, dict[str, Any]]:
    """Run both parts of the demo and digest what they have made."""
    import volengine

    out = folder / DEMO
    command("demo", "--out", out, "--workers", 2)
    return digest_folder(out.resolve(), volengine.__version__, files)


def record(names: Iterable[str], *, demo: bool = False, files: bool = False) -> Record:
    """Everything: the machine, and the products of each case."""
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="volengine_results_") as folder:
        runs = SmallRuns(Path(folder))
        for name in names:
            began = time.perf_counter()
            cases[name] = record_case(runs, name, files=files)
            _say(f"{name}: {len(cases[name])} products, {time.perf_counter() - began:.1f} s")
        if demo:
            began = time.perf_counter()
            cases[DEMO] = record_demo(Path(folder), files=files)
            _say(f"{DEMO}: {len(cases[DEMO])} products, {time.perf_counter() - began:.1f} s")
    return {"machine": fingerprint(), "cases": cases}


# -- comparing -------------------------------------------------------------------------------------------------------


def differences(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], *, same_machine: bool = True
) -> list[str]:
    """What differs between two records of a case, one line each.

    On another machine, or with other libraries, results of networks, FFTs and random draws are compared by mean and
    standard deviation within the tolerance of the case; those of whole-number arithmetic are the same everywhere.
    """
    lines = []
    for product in sorted({*before, *after}):
        old, new = before.get(product), after.get(product)
        if old is None or new is None:
            lines.append(f"{name}/{product}: {'is new' if old is None else 'is missing'}")
            continue
        if "bytes" in old and "bytes" in new and old["bytes"] != new["bytes"] and old["digest"] == new["digest"]:
            lines.append(f"{name}/{product}: the same values, but other bytes in the file")
        if old["digest"] == new["digest"]:
            continue
        tolerance = 0.0 if same_machine else (DEMO_TOLERANCE if name == DEMO else CASES[name].tolerance)
        what = _farther(old["summary"], new["summary"], tolerance)
        if what:
            lines.append(f"{name}/{product}: {what}")
    return lines


def _farther(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> str:
    """In which way two summaries differ by more than the tolerance; empty: in none."""
    if not tolerance:
        changed = [f"{key} {old.get(key)} -> {new.get(key)}" for key in old if old.get(key) != new.get(key)]
        return ", ".join(changed) or "some values differ; count, range, mean and deviation do not"
    if old["n"] != new["n"] and "words" in old and abs(old["n"] - new["n"]) <= tolerance * old["n"]:
        return ""  # a table that has gained or lost a row
    for key in ("kind", "words", "n"):
        if old.get(key) != new.get(key):
            return f"{key} {old.get(key)} -> {new.get(key)}"
    if "std" not in old:
        return ""
    scale = max(abs(old["std"]), 1e-6 * abs(old["mean"]), 1e-12)
    for key in ("mean", "std"):
        if abs(old[key] - new[key]) > tolerance * scale:
            share = abs(old[key] - new[key]) / scale
            return f"{key} {old[key]} -> {new[key]}: {share:.1g} standard deviations, more than {tolerance:g}"
    return ""


def compare(before: Record, after: Record) -> list[str]:
    """What differs between two records: lines of text, machines first."""
    same = before["machine"] == after["machine"]
    lines = []
    for name in sorted({*before["cases"], *after["cases"]}):
        old, new = before["cases"].get(name), after["cases"].get(name)
        if old is None or new is None:
            lines.append(f"{name}: only in the {'second' if old is None else 'first'} record")
        else:
            lines += differences(name, old, new, same_machine=same)
    return lines


def machine_changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What is another machine's or another library's, in words."""
    keys = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    return "; ".join(f"{key}: {before.get(key, '-')} -> {after.get(key, '-')}" for key in keys)


# -- the command -----------------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write(path: Path, made: Record) -> None:
    """One line for each product, so that a change can be read in a diff."""
    lines = ["{", f'"machine": {json.dumps(made["machine"])},', '"cases": {']
    cases = []
    for name, products in made["cases"].items():
        rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in products.items())
        cases.append(f"{json.dumps(name)}: {{\n{rows}\n}}")
    path.write_text("\n".join([*lines, ",\n".join(cases), "}", "}", ""]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run everything and write what was made")
    recording.add_argument("file", type=Path)
    recording.add_argument("--demo", action="store_true", help="both parts of the demo, too")
    recording.add_argument("--files", action="store_true", help="digest the files as they are stored, too")
    recording.add_argument("--case", action="append", choices=list(CASES), help="only this one; repeat for several")
    comparing = commands.add_parser("compare", help="print what differs between two records; ends with 1 if any does")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "record":
        import volengine

        _say(f"volengine of {Path(volengine.__file__).parent}")
        made = record(given.case or CASES, demo=given.demo, files=given.files)
        if given.case and given.file.exists():  # the other cases stay
            former = json.loads(given.file.read_text())
            if former["machine"] != made["machine"]:
                _say(f"{given.file} is of another machine or other libraries: record all cases.")
                return 2
            made["cases"] = {**former["cases"], **made["cases"]}
        write(given.file, made)
        _say(f"{given.file}: {sum(map(len, made['cases'].values()))} products")
        return 0
    before, after = (json.loads(path.read_text()) for path in (given.before, given.after))
    if machines := machine_changes(before["machine"], after["machine"]):
        print(f"Not the same machine and libraries, so floating-point results may differ a little. {machines}")
    lines = compare(before, after)
    print("\n".join(lines) or f"No differences in {sum(map(len, after['cases'].values()))} products.")
    if lines:
        print(f"{len(lines)} products differ. If that is meant: {ANEW}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
