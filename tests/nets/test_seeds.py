"""Random numbers of PyTorch depend on the seed alone, whatever other threads draw."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from small_fits import CPU, fit_of, network, same, short
from torch import nn

from volengine.nets.seeds import seeded


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop = network(), nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.body(self.drop(x))
        return answer


def test_trainings_side_by_side_are_those_alone(tmp_path: Path) -> None:
    first = Dropping()
    alone = [fit_of(tmp_path, short(seed=seed), copy.deepcopy(first), name=f"alone{seed}") for seed in (1, 2, 3)]
    for fit in alone:
        fit.run(progress=False)
    together = [fit_of(tmp_path, short(seed=seed), copy.deepcopy(first), name=f"side{seed}") for seed in (1, 2, 3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda fit: fit.run(progress=False), together))
    assert all(same(a.module, b.module) for a, b in zip(alone, together, strict=True))
    assert not same(alone[0].module, alone[1].module)


def test_only_one_thread_draws() -> None:
    with seeded(5, CPU):
        wanted = [torch.rand(1).item() for _ in range(2)]
    here, there = threading.Event(), threading.Event()

    def draws() -> list[float]:
        with seeded(5):
            first = torch.rand(1).item()
            here.set()
            there.wait(0.3)
            return [first, torch.rand(1).item()]

    def disturbs() -> None:
        here.wait()
        with seeded(6):
            torch.rand(3)
        there.set()

    before = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        found = pool.submit(draws)
        pool.submit(disturbs).result()
        assert found.result() == wanted
    assert torch.equal(before, torch.get_rng_state())
