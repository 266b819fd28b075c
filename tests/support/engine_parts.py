"""Two live parts of one plan, step by step in one process, so that a test decides what happens when."""

from __future__ import annotations

import threading
from pathlib import Path

from engine_plans import spec

from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.engine.state import PlanState
from volengine.engine.work import Bundle, Worker, without_claims

LIMIT = 10**12


def long_plan(folder: Path, source: Volume, name: str = "t") -> Plan:
    """Five stages: a kept image, tables of blocks, their sum, a scratch array, a kept image; and a product.

    Each kind of result is read by a later stage, with and without a halo.
    """
    run, shape, core = folder / "run" / "plans" / name, source.shape, (4, 4, 4)
    x = spec(str(folder / f"{name}-x.ome.zarr"), shape, "int32", core)
    d = spec(str(run / "scratch" / "d.zarr"), shape, "int32", core, scratch=True)
    y = spec(str(folder / f"{name}-y.ome.zarr"), shape, "int32", core)

    def summed(stage: str, volume: Volume, radius: int, out: Volume) -> Stage:
        halo = (radius,) * 3
        read = {"source": ArrayInput(volume, halo, halo)}
        kernel = "engine_kernels:clipped_sum"
        return Stage(stage, kernel, Tiling(shape, core), {"radius": radius}, read, outputs={"out": Output(out)})

    stages = (
        summed("sum", source, 1, x.volume()),
        Stage(
            "parts", "engine_kernels:partial", Tiling(shape, core), {}, {"source": ArrayInput(x.volume())}, emits=True
        ),
        Stage(
            "total",
            "engine_kernels:combine",
            Tiling((1, 1, 1), (1, 1, 1)),
            tables={"parts": TableInput("parts", "all")},
            emits=True,
        ),
        Stage(
            "less",
            "engine_kernels:subtract",
            Tiling(shape, core),
            arrays={"source": ArrayInput(x.volume())},
            tables={"total": TableInput("total", "all")},
            outputs={"out": Output(d.volume())},
        ),
        summed("again", d.volume(), 2, y.volume()),
    )
    product = str(folder / f"{name}.txt")
    return Plan(name, stages, (x, d, y), finish=(Call("engine_kernels:write_total", {"out": product}),))


class Late(Worker):
    """A worker that has read and computed its units, and stands still before it writes the first one."""

    def __init__(self, bundle: Bundle):
        super().__init__(bundle)
        self.computed = threading.Event()
        self.go = threading.Event()
        self.receipts: list[dict] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()
        while not self.computed.wait(0.01) and self.thread.is_alive():
            pass

    def write(self, block, result):
        self.computed.set()
        self.go.wait()
        return super().write(block, result)

    def _work(self) -> None:
        try:
            for receipts in self.run():
                self.receipts += receipts
        except Exception as error:
            self.error = error

    def wake(self) -> None:
        """Go on to the end."""
        self.go.set()
        self.thread.join()


class Part:
    """A driver of one part, which does one thing at each :meth:`step`."""

    def __init__(self, plan: Plan, folder: Path, part: str | None):
        self.plan, self.folder, self.part = plan, folder, part
        self.late: list[tuple[Bundle, Late]] = []
        self.start()

    def start(self) -> None:
        """Start, or start again after a kill: nothing but the disk is known then."""
        options = RunOptions(part=self.part, progress=False, durable=False)
        self.state = PlanState(self.plan, PlanFolder(self.folder / "run" / "plans" / self.plan.name), options, LIMIT)
        self.state.prepare()

    @property
    def ended(self) -> bool:
        return not self.state.active

    def fall_behind(self) -> Late | None:
        """Take a bundle and stand still before its first write."""
        bundle = None if self.ended else self.state.next_bundle(4)
        if bundle is None:
            return None
        late = Late(bundle)
        self.late.append((bundle, late))
        return late

    def wake(self) -> None:
        """Let all late workers of this part go on; their driver hears of it."""
        late, self.late = self.late, []
        for bundle, worker in late:
            worker.wake()
            self._end(bundle, worker.receipts, worker.error)

    def kill(self) -> None:
        """Kill the driver; its late workers live on, as orphans."""
        self.late = []
        self.start()

    def step(self) -> None:
        """Run a bundle, or see what other parts have done, or finish."""
        if self.ended:
            return
        bundle = self.state.next_bundle(4)
        if bundle is not None:
            receipts, error = [], None
            try:
                for some in Worker(bundle).run():
                    receipts += some
            except Exception as raised:
                error = raised
            self._end(bundle, receipts, error)
        elif not self.state.at_end and not self.state.catch_up() and not self.state.under_way:
            self.state.take_over()
        self.state.advance()
        if self.state.active and self.state.at_end and not self.state.under_way:
            try:
                self.state.finish()
            except Exception as raised:
                self.state.error = raised

    def _end(self, bundle: Bundle, receipts: list[dict], error: BaseException | None) -> None:
        self.state.received([without_claims(r) for r in receipts])
        self.state.under_way -= 1
        if error is not None:
            self.state.failed(bundle, error, isinstance(error, InputError))
        self.state.advance()
