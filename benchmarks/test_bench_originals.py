"""The same models on the same volumes in Ais and in membrain-seg, and here: CPU time and memory, network and the rest.

The originals are measured where they are installed, each in an environment of its own below ``$PEERS``: ``ais``
(Ais-cryoET, TensorFlow) and ``membrain`` (membrain-seg). They make the models themselves (random weights). Whole
processes are run in turn, on two volumes, each once with its network and once with one that answers at once; what is
reported is the difference between the volumes, so that starting the programs and loading the weights do not count, in
CPU seconds of all processes, which other load on the machine changes least. The time of the networks is the shortest
of several calls on a slice or a window instead.
All have as many threads (``$VOLENGINE_BENCH_THREADS``, default 1), and are bound to as many cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from measure import Measured, in_turn, size
from scipy import ndimage

from volengine.core.boxes import Box

HERE = Path(__file__).parent
PEERS = Path(os.environ.get("PEERS", "no peers"))
FULL = os.environ.get("VOLENGINE_BENCH") == "full"
THREADS = size("VOLENGINE_BENCH_THREADS", 1, 1)
ROUNDS = size("VOLENGINE_BENCH_ROUNDS", 1, 3)
LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
SIDE = 512
Command = Callable[[str, str, str], list[str]]
"""Input file, output folder, ``run`` or ``nothing``: the command."""

ais = pytest.mark.skipif(not (PEERS / "ais/bin/python").exists(), reason="Ais is not installed below $PEERS/ais")
membrain = pytest.mark.skipif(
    not (PEERS / "membrain/bin/python").exists(), reason="membrain-seg is not installed below $PEERS/membrain"
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def limited(*command: str) -> list[str]:
    """A command with its threads, on as many cores."""
    cores = ",".join(str(c) for c in sorted(os.sched_getaffinity(0))[:THREADS])
    return ["taskset", "-c", cores, "env", *(f"{name}={THREADS}" for name in LIMITS), *command]


def original(name: str, kind: str, *arguments: str) -> list[str]:
    """A command of an original program."""
    return limited(str(PEERS / name / "bin/python"), str(HERE / f"original_{name}.py"), kind, *arguments)


def ours(kind: str, *arguments: str) -> list[str]:
    """volengine's command line, with or without the networks."""
    program = ["-m", "volengine.cli.main"] if kind == "run" else [str(HERE / "nothing.py")]
    return limited(sys.executable, *program, *arguments, "--no-progress")


def tomogram(path: Path, shape: tuple[int, int, int]) -> str:
    """Smooth noise with an offset, float32, 10 angstrom."""
    slab = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((64, *shape[1:]), "float32"), 1.0)
    with mrcfile.new(path) as file:
        file.set_data(np.resize(slab, shape) * 3 + 5)
        file.voxel_size = 10.0
    return str(path)


def voxels(shape: tuple[int, int, int]) -> int:
    return int(np.prod(shape))


def measure(programs: dict[str, Command], kind: str, files: dict[int, str], folder: Path) -> dict[str, list[Measured]]:
    """Each program on each volume, in turn; outputs stay in ``folder / program-size``."""
    commands = {}
    for units, file in files.items():
        for name, command in programs.items():
            out = folder / f"{kind}-{name}-{units}"
            commands[name, units] = command(file, str(out), kind)
    found = in_turn({f"{n} {u}": c for (n, u), c in commands.items()}, ROUNDS, lambda: None)
    return {name: [found[f"{name} {units}"] for units in files] for name in programs}


def slope(runs: list[Measured], units: list[int], of: str) -> float:
    """What one more unit costs."""
    return (getattr(runs[1], of) - getattr(runs[0], of)) / (units[1] - units[0])


def called(calls: dict[str, list[float]], peer: str, model: str, side: int) -> None:
    """CPU seconds of several calls of a model's network in both programs."""
    ways = {peer: original(peer, "time"), "volengine": limited(sys.executable, str(HERE / "nothing.py"), "time")}
    for name, command in ways.items():
        answer = subprocess.run([*command, model, str(side), "5"], capture_output=True, text=True, check=True).stdout
        calls[name] += json.loads(answer.splitlines()[-1])


@ais
@pytest.mark.parametrize("network", ["unet_s", "vggnet_s"])
def test_ais(benchmark, tmp_path, network):
    """Whole slices. Goals: everything but the network at most half of Ais's time, the network at most its time."""
    in_turn({"make": original("ais", "make", network, str(tmp_path))}, 1, lambda: None)
    model = str(tmp_path / f"{network}.scnm")

    def theirs(file: str, out: str, kind: str) -> list[str]:
        Path(out).mkdir(exist_ok=True)
        return original("ais", kind, "segment", "-m", model, "-d", file, "-ou", out, "-gpu", "0", "-overwrite", "1",
                        "--workers", str(THREADS))  # fmt: skip

    def here(file: str, out: str, kind: str) -> list[str]:
        return ours(kind, "segment", file, "--model", model, "--compat", "ais", "--out", out, "--overwrite")

    programs: dict[str, Command] = {"ais": theirs, "volengine": here}
    depths = {"run": (2,), "nothing": (32, 192) if FULL else (2, 8)}
    shapes = {kind: [(z, SIDE, SIDE) for z in several] for kind, several in depths.items()}
    found = {}
    calls: dict[str, list[float]] = {"ais": [], "volengine": []}

    def all_of_it() -> None:
        for kind, several in shapes.items():
            files = {voxels(s): tomogram(tmp_path / f"{kind}{s[0]}.mrc", s) for s in several}
            found[kind] = measure(programs, kind, files, tmp_path)
        for _ in range(ROUNDS):
            called(calls, "ais", model, SIDE + 64)

    benchmark.pedantic(all_of_it, rounds=1)
    rows: dict[str, dict[str, float]] = {}
    for name in programs:
        sizes = [voxels(s) for s in shapes["nothing"]]
        rows[name] = {
            "network_cpu_ns_per_voxel": 1e9 * min(calls[name]) / SIDE**2,
            "rest_cpu_ns_per_voxel": 1e9 * slope(found["nothing"][name], sizes, "cpu_s"),
            "rest_bytes_per_voxel": slope(found["nothing"][name], sizes, "peak_bytes"),
        }
    report(benchmark, rows, "ais")
    last = voxels(shapes["run"][0])
    same(next((tmp_path / f"run-ais-{last}").glob("*.mrc")), tmp_path / f"run-volengine-{last}", most=1)


@membrain
def test_membrain(benchmark, tmp_path):
    """Windows of 64 every 32, eight mirrors. Goals: at most membrain-seg's time, 0.3 of its memory per voxel."""
    checkpoint = str(tmp_path / "membrain.ckpt")
    in_turn({"make": original("membrain", "make", checkpoint)}, 1, lambda: None)
    models = {"run": checkpoint, "nothing": thin(tmp_path / "thin.safetensors")}

    def theirs(file: str, out: str, kind: str) -> list[str]:
        return original("membrain", kind, "segment", "--tomogram-path", file, "--ckpt-path", checkpoint,
                        "--out-folder", out, "--store-probabilities", "--sliding-window-size", "64")  # fmt: skip

    def here(file: str, out: str, kind: str) -> list[str]:
        return ours(kind, "segment", file, "--model", models[kind], "--compat", "membrain", "--patch", "64,64,64",
                    "--dtype", "float32", "--answer", "logits", "--out", out, "--overwrite")  # fmt: skip

    programs: dict[str, Command] = {"membrain": theirs, "volengine": here}
    few = {8 * 3: (64, 64, 128)} if FULL else {8: (64, 64, 64)}  # windows, of all mirrors
    many = {voxels(s): s for s in (((96, 200, 200), (160, 330, 330)) if FULL else ((64, 64, 64), (64, 96, 96)))}
    found = {}
    calls: dict[str, list[float]] = {"membrain": [], "volengine": []}

    def all_of_it() -> None:
        for _ in range(ROUNDS):
            called(calls, "membrain", checkpoint, 64)
        for kind, shapes in {"run": few, "nothing": many}.items():
            files = {units: tomogram(tmp_path / f"{kind}{units}.mrc", shape) for units, shape in shapes.items()}
            found[kind] = measure(programs, kind, files, tmp_path)

    benchmark.pedantic(all_of_it, rounds=1)
    rows: dict[str, dict[str, float]] = {}
    for name in programs:
        network, rest = found["run"][name], found["nothing"][name]
        rows[name] = {
            "window_cpu_s": min(calls[name]),
            "peak_MB": network[0].peak_bytes / 1e6,
            "rest_cpu_ns_per_voxel": 1e9 * slope(rest, list(many), "cpu_s"),
            "rest_bytes_per_voxel": slope(rest, list(many), "peak_bytes"),
            "rest_peak_MB": rest[1].peak_bytes / 1e6,
        }
    report(benchmark, rows, "membrain")
    last = list(few)[-1]
    scores = next((tmp_path / f"run-membrain-{last}").glob("*_scores.mrc"))
    same(scores, tmp_path / f"run-volengine-{last}", most=1e-3 * float(mrcfile.read(scores).std()))


def thin(path: Path) -> str:
    """A network of MemBrain's levels and windows with hardly any weights, which are not to be measured."""
    from volengine.core.model import ModelFacts
    from volengine.nets.checkpoint import save_model
    from volengine.nets.registry import build

    facts = ModelFacts(
        network="dynunet", arguments={"filters": [4] * 6}, features=("membrane",), voxel_size=(10, 10, 10),
        patch=(64, 64, 64), normalisation="volume", edge="zero", stride=(32, 32, 32),
    )  # fmt: skip
    save_model(path, build("dynunet", facts.arguments), facts)
    return str(path)


def report(benchmark, rows: dict[str, dict[str, float]], peer: str) -> None:
    """Rows of both programs and their ratios into the results."""
    rows["ratio"] = {key: rows["volengine"][key] / rows[peer][key] for key in rows[peer]}
    benchmark.extra_info["rows"] = rows
    benchmark.extra_info["setting"] = {"threads": THREADS, "rounds": ROUNDS}
    print(rows, file=sys.stderr)


def same(theirs: Path, mine: Path, most: float) -> None:
    """Both wrote the same prediction, and it is not constant."""
    from volengine.io.open import open_source, open_volume

    one = mrcfile.read(theirs).astype(np.float64)
    handle = open_volume(str(next(mine.glob("*.ome.zarr"))))
    other = open_source(handle).read(Box.of_shape(handle.shape)).astype(np.float64)
    assert one.std() > 0
    assert np.abs(one - other).max() <= most
