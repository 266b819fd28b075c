"""What trust costs: flushing, receipts that list objects, manifests, checks of inputs and results; in one run.

``$FORMER`` may name a checkout of an earlier version of volengine, which is then measured in turn with this one.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from engine_plans import spec
from measure import in_turn, noisy_mrc, size

from volengine.core.tiling import Tiling
from volengine.engine import inventory
from volengine.engine.ledger import PlanFolder
from volengine.engine.plan import Plan
from volengine.engine.receipts import Receipts
from volengine.engine.stage import Output, Stage
from volengine.io.omezarr import image as omezarr

CONVERT = """
import sys
if sys.argv[4]:
    sys.path.insert(0, sys.argv[4])
from volengine import RunOptions, convert
options = {} if sys.argv[3] == "former" else {"durable": sys.argv[3] == "durable"}
convert(sys.argv[1], sys.argv[2], options=RunOptions(progress=False, **options))
"""


def test_conversions(benchmark, tmp_path):
    slices, rounds = size("VOLENGINE_BENCH_SLICES", 24, 256), size("VOLENGINE_BENCH_ROUNDS", 1, 9)
    source = noisy_mrc(tmp_path / "source.mrc", slices)
    script, out = tmp_path / "convert.py", tmp_path / "out"
    script.write_text(CONVERT)
    former = os.environ.get("FORMER", "")
    kinds = ["durable", "not durable", *(["former"] if former else [])]
    commands = {
        kind: [
            *(sys.executable, str(script), str(source), str(out / f"{kind}.ome.zarr"), kind),
            former if kind == "former" else "",
        ]
        for kind in kinds
    }

    def reset() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    found = benchmark.pedantic(lambda: in_turn(commands, rounds, reset), rounds=1)
    base = found["former" if former else "not durable"]
    for kind in kinds:
        benchmark.extra_info[kind] = {"wall_s": round(found[kind].wall_s, 2), "cpu_s": round(found[kind].cpu_s, 2)}
        benchmark.extra_info[f"{kind}_cpu_ratio"] = round(found[kind].cpu_s / base.cpu_s, 3)
        benchmark.extra_info[f"{kind}_wall_ratio"] = round(found[kind].wall_s / base.wall_s, 3)
    print(benchmark.extra_info, file=sys.stderr)


def test_resuming_many_objects(benchmark, tmp_path):
    """A store of many objects: how long the check of receipts against the listing takes, and a poll of the ledger."""
    units = size("VOLENGINE_BENCH_OBJECTS", 512, 100_000)
    side = round(units ** (1 / 3)) + 1
    shape = (4 * side,) * 3
    made = spec(str(tmp_path / "x.ome.zarr"), shape, "uint8", (4, 4, 4))
    stage = Stage("s", "engine_kernels:nothing", Tiling(shape, (4, 4, 4)), outputs={"out": Output(made.volume())})
    plan, folder = Plan("t", (stage,), (made,)), PlanFolder(tmp_path / "run" / "plans" / "t")
    omezarr.create_image(made, token="t")
    keys = [f"c/{z}/{y}/{x}" for z in range(side) for y in range(side) for x in range(side)][:units]
    for parent in {Path(made.url, "0", key).parent for key in keys}:
        parent.mkdir(parents=True)
    for key in keys:
        Path(made.url, "0", key).write_bytes(b"1234")
    facts = {"stage": "s", "identity": plan.identities["s"], "seconds": 0.1, "read": 64, "written": 64, "counts": {}}
    rest = {"peak_rss": 10**8, "host": "node-17.cluster", "pid": 4711, "time": 1795960299.123}
    receipts = [{**facts, "number": n, **rest, "wrote": {"out": {key: [4, 7]}}} for n, key in enumerate(keys)]
    folder.receipts.append(receipts, durable=False)
    follower = Receipts(folder.path / "ledger")
    assert len(follower.news()[1]) == units

    def check() -> None:
        assert inventory.losses(plan, folder) == []

    benchmark.pedantic(check, rounds=1)
    began = time.process_time()
    for _ in range(100):
        assert follower.news() == (False, [])
    benchmark.extra_info["objects"] = units
    benchmark.extra_info["poll_ms"] = round(10 * (time.process_time() - began), 3)
    Path(made.url, "0", keys[-1]).unlink()
    assert [loss.problem.why for loss in inventory.losses(plan, folder)] == ["is missing"]
    print(benchmark.extra_info, file=sys.stderr)
