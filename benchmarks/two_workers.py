"""Processor time of two workers against one process: pick, interact and stats on one large segmentation.

    python benchmarks/two_workers.py LABELS.mrc.gz --folder /scratch/two            # a segmentation of class ids
    python benchmarks/two_workers.py --shape 128,512,512 --folder /scratch/two      # made: shells of organelles

The classes become predictions (0 and 255) of one tomogram, and one label volume. Each verb runs as a command of its
own, as users run it, in turn without workers, with ``--workers``, and with workers that are started at once
(``--cluster local``); all must write the same bytes. Printed for each:
wall time; user and system seconds of driver, scheduler and workers together, and what of them is *start*: the seconds
of the same command on a volume of a few voxels (interpreter, imports, start and end of workers). *units*: wall seconds
that the units report, with the time in which they wait for a core. *read*: bytes that units read per voxel of the
volume, halos included. The last line of each verb is the ratio of the seconds, as measured and without the starts.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from measure import Measured, run_once

NAMES = ("outer", "inner", "reticulum")
VOXEL_SIZE = (12.44,) * 3
RULES = """rules:
- {interact: {child: outer, parent: inner, kind: colocalize, threshold: 0.5, radius_nm: 30, shape: 3d}}
- {interact: {child: reticulum, parent: outer, kind: avoid, threshold: 0.5, radius_nm: 20, shape: 2d}}
"""


def labels_of(path: str | None, shape: tuple[int, ...]) -> np.ndarray:
    """Class ids 1 to 3 (z, y, x): those of an MRC file of bytes, maybe gzipped, or shells at random places."""
    if path is None:
        return shells(shape)
    data = gzip.decompress(Path(path).read_bytes()) if path.endswith(".gz") else Path(path).read_bytes()
    nx, ny, nz = np.frombuffer(data[:12], "<i4")
    begin = 1024 + int(np.frombuffer(data[92:96], "<i4")[0])
    return np.frombuffer(data, np.uint8, offset=begin).reshape(nz, ny, nx)


def shells(shape: tuple[int, ...]) -> np.ndarray:
    """Spherical shells, 4 voxels thick, with radii from 10 voxels to a third of the thickness."""
    rng, found = np.random.default_rng(0), np.zeros(shape, np.uint8)
    for number in range(int(np.prod(shape) // 2_000_000) + 3):
        radius = int(rng.integers(10, max(12, shape[0] // 3)))
        low = [int(rng.integers(0, max(1, n - 2 * radius - 1))) for n in shape]
        part = found[tuple(slice(a, a + 2 * radius + 1) for a in low)]
        distance = np.sqrt(sum((g - radius) ** 2 for g in np.ogrid[tuple(map(slice, part.shape))]))
        part[(distance <= radius) & (distance > radius - 4)] = number % 3 + 1
    return found


def make(folder: Path, labels: np.ndarray) -> Path:
    """Write the stores of one tomogram: a prediction for each class, and the class ids."""
    from volengine.core.image import ImageSpec
    from volengine.core.tiling import Tiling
    from volengine.io.omezarr import image as omezarr
    from volengine.io.omezarr.arrays import ZarrSink
    from volengine.io.omezarr.levels import auto_chunk, plan_levels
    from volengine.tasks.common.images import auto_shard

    folder.mkdir(parents=True)
    chunk = auto_chunk(labels.shape)
    shard = auto_shard(labels.shape, chunk)
    levels = plan_levels(labels.shape, chunk=chunk, shard=shard, ngff="0.5", levels=1)
    for number, name in enumerate((*NAMES, "classes")):
        kind, facts = ("labels", {}) if name == "classes" else ("probability", {"feature": name})
        spec = ImageSpec(str(folder / f"TE1__{name}.ome.zarr"), "TE1", "uint8", kind, VOXEL_SIZE, levels, facts=facts)
        omezarr.create_image(spec, token="input")
        sink = ZarrSink(spec.volume())
        for box in Tiling(labels.shape, (shard[0], *labels.shape[1:])):
            part = labels[box.slices]
            sink.write(box, part if kind == "labels" else np.uint8(255) * (part == number + 1))
        omezarr.finish_image(spec)
    (folder / "rules.yaml").write_text(RULES)
    return folder


def command(verb: str, stores: Path, out: Path, workers: int) -> list[str]:
    """The command of a verb on the stores of a folder; ``workers`` below 0: so many, from the beginning on."""
    names = [str(stores / f"TE1__{name}.ome.zarr") for name in NAMES]
    what = {
        "pick": [names[1], "--out", str(out / "picks.csv"), "--max-distance-vox", "64"],
        "interact": [*names, "--rules", str(stores / "rules.yaml"), "--out", str(out)],
        "stats": [str(stores / "TE1__classes.ome.zarr"), "--kind", "atlas", "--out", str(out)],
    }[verb]
    started = ["--workers", str(abs(workers)), *(["--cluster", "local"] if workers < 0 else [])]
    return [sys.executable, "-m", "volengine.cli.main", verb, *what, *started, "-q"]


def digest(out: Path) -> str:
    """Digest of the results below a folder: tables, and chunks of arrays; not of run folders."""
    found = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        inside = path.relative_to(out)
        of_run = any(part.endswith(".run") for part in inside.parts)
        if path.is_file() and not of_run and (path.suffix == ".csv" or "c" in inside.parts):
            found.update(str(inside).encode() + path.read_bytes())
    return found.hexdigest()


def reports(out: Path) -> list[dict]:
    """The stages of all plans of a run, from the report in its run folder."""
    data = [json.loads(path.read_text()) for path in out.rglob("report.json")]
    return [stage for one in data for plan in one["plans"].values() for stage in plan["stages"]]


def show(name: str, took: Measured, start: Measured, stages: list[dict], voxels: int) -> None:
    """Print one line, and one for each stage."""
    print(
        f"  {name:10} wall {took.wall_s:6.2f} s, cpu {took.cpu_s:6.2f} s (system {took.system_s:5.2f}; start "
        f"{start.cpu_s:5.2f}), largest process {took.peak_bytes / 1e6:.0f} MB"
    )
    for stage in stages:
        print(
            f"      {stage['stage']:24} {stage['units']:5} units {stage['seconds']:7.2f} s, read "
            f"{stage['read_bytes'] / voxels:5.2f} bytes per voxel, blocks of {tuple(stage['block'])}"
        )


def main() -> None:
    """Measure the verbs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="?", help="MRC file of class ids; default: shells")
    parser.add_argument("--shape", default="128,512,512", help="of the shells")
    parser.add_argument("--folder", type=Path, default=Path("two-workers"), help="for stores and results; replaced")
    parser.add_argument("--verbs", default="pick,interact,stats")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="use the stores that are there")
    given = parser.parse_args()
    shape = tuple(int(n) for n in given.shape.split(","))
    if not (given.keep and (given.folder / "large" / "rules.yaml").exists()):
        shutil.rmtree(given.folder, ignore_errors=True)
        made = labels_of(given.labels, shape)
        make(given.folder / "large", made)
        make(given.folder / "small", shells((16, 64, 64)))
        (given.folder / "voxels").write_text(str(made.size))
    voxels = int((given.folder / "voxels").read_text())
    print(f"{voxels} voxels, 0 and {given.workers} workers, medians of {given.rounds}")
    for verb in given.verbs.split(","):
        measure(verb, given.folder, given.workers, given.rounds, voxels)


def measure(verb: str, folder: Path, workers: int, rounds: int, voxels: int) -> None:
    """Measure one verb, and print."""
    runs: dict[tuple[str, int], list[Measured]] = {}
    for _ in range(rounds):
        for which in ("small", "large"):
            for count in (0, workers, -workers):
                out = folder / "out" / f"{which}-{count}" / verb
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir(parents=True)
                runs.setdefault((which, count), []).append(run_once(command(verb, folder / which, out, count)))
                for labels in (folder / which).glob("*.ome.zarr/labels"):  # pick writes them into the prediction
                    labels.rename(out / "labels")
    middle = {key: sorted(of, key=lambda one: one.cpu_s)[len(of) // 2] for key, of in runs.items()}
    print(verb)
    digests = set()
    for count in (0, workers, -workers):
        out = folder / "out" / f"large-{count}" / verb
        digests.add(digest(out))
        show(
            f"{abs(count)} {'started' if count < 0 else 'workers'}",
            middle["large", count],
            middle["small", count],
            reports(out),
            voxels,
        )
    one, two, started = (middle["large", n].cpu_s for n in (0, workers, -workers))
    rest = [max(0.01, middle["large", n].cpu_s - middle["small", n].cpu_s) for n in (0, -workers)]
    print(f"  ratio {two / one:.2f}; if workers are started {started / one:.2f}", end="")
    print(f", without the starts {rest[1] / rest[0]:.2f}", flush=True)
    if len(digests) != 1:
        raise SystemExit(f"{verb}: the results differ")


if __name__ == "__main__":
    main()
