"""volengine: a distributed engine for chunked volumes of cryo-electron tomography.

>>> import volengine
>>> volume = volengine.convert("TS_01.mrc", "TS_01.ome.zarr")                                # doctest: +SKIP
>>> volume[100], volume.at_level(1).to_dask()                                                 # doctest: +SKIP
>>> recipe = volengine.SegmentRecipe(models=("ribosome.safetensors",))
>>> predictions = volengine.segment("TS_01.ome.zarr", "predictions", recipe)                 # doctest: +SKIP
>>> picks = volengine.pick(predictions["ribosome"].url, "TS_01.star")                        # doctest: +SKIP

Verbs, recipes and handles are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volengine.core.errors import VolengineError
    from volengine.core.picks import Picks
    from volengine.core.rules import Compete, Interact
    from volengine.core.volume import Volume
    from volengine.engine.options import RunOptions
    from volengine.io import OpenVolume, open_volume
    from volengine.io.picks import read_picks, write_picks
    from volengine.tasks.convert import ConvertRecipe, convert
    from volengine.tasks.export import ExportRecipe, export
    from volengine.tasks.info import info
    from volengine.tasks.interact import InteractRecipe, interact
    from volengine.tasks.pick import PickRecipe, pick
    from volengine.tasks.run import RunRecipe, run
    from volengine.tasks.score import ScoreRecipe, score
    from volengine.tasks.segment import segment
    from volengine.tasks.segment_recipe import SegmentRecipe
    from volengine.tasks.simulate import simulate
    from volengine.tasks.simulate_recipe import SimulateRecipe
    from volengine.tasks.stats import stats
    from volengine.tasks.stats_recipe import StatsRecipe
    from volengine.tasks.stats_tables import Stats
    from volengine.tasks.train import train
    from volengine.tasks.train_recipe import TrainRecipe
    from volengine.tasks.train_samples import TrainSample

__version__ = "0.1.0"

_MODULES = {
    "core.errors": ("VolengineError",),
    "core.picks": ("Picks",),
    "core.rules": ("Compete", "Interact"),
    "core.volume": ("Volume",),
    "engine.options": ("RunOptions",),
    "io": ("OpenVolume", "open_volume"),
    "io.picks": ("read_picks", "write_picks"),
    "tasks.convert": ("ConvertRecipe", "convert"),
    "tasks.export": ("ExportRecipe", "export"),
    "tasks.info": ("info",),
    "tasks.interact": ("InteractRecipe", "interact"),
    "tasks.pick": ("PickRecipe", "pick"),
    "tasks.run": ("RunRecipe", "run"),
    "tasks.score": ("ScoreRecipe", "score"),
    "tasks.segment": ("segment",),
    "tasks.segment_recipe": ("SegmentRecipe",),
    "tasks.simulate": ("simulate",),
    "tasks.simulate_recipe": ("SimulateRecipe",),
    "tasks.stats": ("stats",),
    "tasks.stats_recipe": ("StatsRecipe",),
    "tasks.stats_tables": ("Stats",),
    "tasks.train": ("train",),
    "tasks.train_recipe": ("TrainRecipe",),
    "tasks.train_samples": ("TrainSample",),
}
_WHERE = {name: f"volengine.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "Compete",
    "ConvertRecipe",
    "ExportRecipe",
    "Interact",
    "InteractRecipe",
    "OpenVolume",
    "PickRecipe",
    "Picks",
    "RunOptions",
    "RunRecipe",
    "ScoreRecipe",
    "SegmentRecipe",
    "SimulateRecipe",
    "Stats",
    "StatsRecipe",
    "TrainRecipe",
    "TrainSample",
    "VolengineError",
    "Volume",
    "__version__",
    "convert",
    "export",
    "info",
    "interact",
    "open_volume",
    "pick",
    "read_picks",
    "run",
    "score",
    "segment",
    "simulate",
    "stats",
    "train",
    "write_picks",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    try:
        module = importlib.import_module(_WHERE[name])
    except KeyError:
        raise AttributeError(f"module 'volengine' has no attribute {name!r}") from None
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
