"""Networks in PyTorch, OpenVINO and onnxruntime: CPU seconds of one thread for one patch, and differences.

    python benchmarks/backends.py                                 # all networks; a table in Markdown
    python benchmarks/backends.py vggnet unet3d --rounds 5        # some
    python benchmarks/backends.py vggnet --side 64                # small, as the test does

The libraries compute the same patch in turn, round by round, and the ratios are medians over the rounds of PyTorch's
time divided by the library's in the same round: so they hold on a machine with other work on it. CPU time of the
process is counted, because OpenVINO computes in a thread of its own. *Difference* is the largest difference of the
logits from PyTorch's, in standard deviations of PyTorch's. The weights are random.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from volengine.core.errors import DependencyError, InputError
from volengine.core.model import ModelFacts
from volengine.nets.backends import converted, named
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.registry import build

FLAT = (
    *("vggnet", "unet", "eman2", "inceptionnet", "pix2pix", "resnet_s", "vggnet_m", "vggnet_x", "unet_m"),
    *("pix2pix_s", "pom", "easymode_2d"),
)
SOLID = ("unet3d", "residual3d", "easymode_3d", "dynunet", "unet_membrain")
LIBRARIES = ("openvino", "onnxruntime")
SLICE, CUBE = (512, 768), 64
WORTH = 1.2
"""Ratio from which a backend is worth its option."""


def facts_of(name: str, sides: tuple[int, ...]) -> ModelFacts:
    """Facts of a network with one feature."""
    solid = name in SOLID
    return ModelFacts(
        network=name,
        features=("f",),
        voxel_size=(10, 10, 10),
        patch=sides if solid else (1, *sides),
        stride=(32, 32, 32) if solid else (1, 32, 32),
        activation="none",
        history=({},),
    )


def measured(name: str, sides: tuple[int, ...], rounds: int) -> dict[str, dict[str, float] | str]:
    """For PyTorch and each library the CPU seconds, the ratio and the difference, or why there are none."""
    facts = facts_of(name, sides)
    batch = torch.randn((1, 1, *sides))
    ways: dict[str, Callable[[], np.ndarray]] = {}
    found: dict[str, dict[str, float] | str] = {}
    for library in ("torch", *LIBRARIES):
        torch.manual_seed(0)
        net = build(name).eval()
        try:
            told = named(library)
            module = converted(net, facts, told, name) if told else net
        except (InputError, DependencyError) as error:
            found[library] = str(error)
            continue
        predictor = Predictor(
            module, Traits(volumetric=facts.volumetric, activation="none"), Execution(device="cpu", backend=told)
        )

        def compute(predictor: Predictor = predictor) -> np.ndarray:
            with predictor.running():
                return predictor(batch).numpy()

        ways[library] = compute
    answers = {library: way() for library, way in ways.items()}  # and what the first use of a library costs
    times: dict[str, list[float]] = {library: [] for library in ways}
    for _ in range(rounds):
        for library, way in ways.items():
            began = time.process_time()
            way()
            times[library].append(time.process_time() - began)
    spread = float(answers["torch"].std())
    for library, seconds in times.items():
        found[library] = {
            "seconds": statistics.median(seconds),
            "ratio": statistics.median(a / b for a, b in zip(times["torch"], seconds, strict=True)),
            "difference": float(np.abs(answers[library] - answers["torch"]).max()) / spread,
        }
    return found


def row(name: str, sides: tuple[int, ...], found: dict[str, dict[str, float] | str]) -> str:
    """A line of the table."""
    cells = [name, " x ".join(map(str, sides))]
    plain = found["torch"]
    assert not isinstance(plain, str)
    cells.append(f"{1e3 * plain['seconds']:,.0f}")
    for library in LIBRARIES:
        told = found[library]
        if isinstance(told, str):
            cells += ["refused", ""]
            print(f"{library}: {told}", flush=True)
            continue
        ratio = f"{told['ratio']:.2f}"
        cells += [f"**{ratio}**" if told["ratio"] >= WORTH else ratio, f"{told['difference']:.0e}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=[*FLAT, *SOLID])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, help="side of a patch, instead of slices of 512 x 768 and cubes of 64")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}, {', '.join(map(named, LIBRARIES))}, rounds: {given.rounds}")
    print("| network | patch | PyTorch, ms | OpenVINO, times faster | difference | onnxruntime | difference |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in given.networks:
        sides = (given.side or CUBE,) * 3 if name in SOLID else (given.side,) * 2 if given.side else SLICE
        print(row(name, sides, measured(name, sides, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
