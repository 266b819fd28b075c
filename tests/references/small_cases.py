"""What a small run is, and the list of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_inputs import Inputs


@dataclass(frozen=True)
class Case:
    """One small run.

    Parameters
    ----------
    name
        The verb, and what is special.
    tolerance
        How far mean and standard deviation may differ, in standard deviations, on a machine with another processor or
        other libraries (a table may have that share of numbers more or less). 0: equal on every machine, since nothing
        depends on how floating-point sums are rounded.
    needs
        Extras that it needs: names of modules.
    """

    name: str
    run: Callable[[SmallRuns, Path], None]
    tolerance: float
    needs: tuple[str, ...]


CASES: dict[str, Case] = {}


def case(
    name: str, tolerance: float = 0.0, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[SmallRuns, Path], None]], Any]:
    """Register a case."""

    def register(run: Callable[[SmallRuns, Path], None]) -> Any:
        CASES[name] = Case(name, run, tolerance, needs)
        return run

    return register


class SmallRuns(Inputs):
    """The cases, run in folders below ``base``, and their inputs."""

    def run(self, name: str) -> Path:
        """Run a case; returns its folder."""
        out = self.base / name
        out.mkdir()
        with one_thread():
            CASES[name].run(self, out)
        return out


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order: PyTorch with one thread, and seeded."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def command(*words: object) -> str:
    """What the command line prints."""
    from click.testing import CliRunner

    from volengine.cli.main import cli

    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    if done.exit_code:
        raise RuntimeError(f"volengine {' '.join(map(str, words))}: {done.output}")
    return done.stdout
