"""volengine: a distributed engine for chunked volumes of cryo-electron tomography.

Convert a tomogram to OME-Zarr, predict a feature with a network, and pick particles from the prediction:

>>> import volengine
>>> volume = volengine.convert("TS_01.mrc", "converted.ome.zarr")
>>> volume[8].shape                                             # one slice, as a NumPy array
(32, 32)
>>> recipe = volengine.SegmentRecipe(models=("ribosome.safetensors",))
>>> predictions = volengine.segment(volume.url, "found", recipe)
>>> picks = volengine.pick(predictions["ribosome"].url, "TS_01.star")
>>> picks.feature
'ribosome'

``import volengine`` is quick, because it loads no other package: each verb, recipe and handle is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volengine.core.errors import VolengineError
    from volengine.core.picks import Picks
    from volengine.core.rules import Compete, Interact
    from volengine.core.surface import Surface
    from volengine.core.volume import Volume
    from volengine.engine.options import RunOptions
    from volengine.io.open import OpenVolume, open_volume
    from volengine.io.picks import read_picks, write_picks
    from volengine.io.surfaces import SurfaceFacts, SurfaceSet, open_surfaces, write_surfaces
    from volengine.tasks.annotate.export import export_training
    from volengine.tasks.annotate.export_all import export_all
    from volengine.tasks.annotate.store import Annotations, new_annotations
    from volengine.tasks.annotate.suggest import suggest
    from volengine.tasks.annotate.suggest_recipe import SuggestRecipe
    from volengine.tasks.annotate.verb import annotate
    from volengine.tasks.convert.recipe import ConvertRecipe
    from volengine.tasks.convert.verb import convert
    from volengine.tasks.crop import CropRecipe, crop
    from volengine.tasks.curate.recipe import CurateRecipe
    from volengine.tasks.curate.store import Curation, new_curation
    from volengine.tasks.curate.verb import curate, write_curated
    from volengine.tasks.denoise.recipe import DenoiseRecipe
    from volengine.tasks.denoise.verb import denoise
    from volengine.tasks.env import env
    from volengine.tasks.export import ExportRecipe, export
    from volengine.tasks.filter.recipe import FilterRecipe
    from volengine.tasks.filter.verb import filter
    from volengine.tasks.info.verb import info
    from volengine.tasks.interact.recipe import InteractRecipe
    from volengine.tasks.interact.verb import interact
    from volengine.tasks.pick.recipe import PickRecipe
    from volengine.tasks.pick.verb import pick
    from volengine.tasks.picture.recipe import MovieRecipe, PictureRecipe
    from volengine.tasks.picture.verb import movie, picture
    from volengine.tasks.report.recipe import ReportRecipe
    from volengine.tasks.report.verb import report
    from volengine.tasks.run import RunRecipe, run
    from volengine.tasks.score.recipe import ScoreRecipe
    from volengine.tasks.score.verb import score
    from volengine.tasks.segment.recipe import SegmentRecipe
    from volengine.tasks.segment.verb import segment
    from volengine.tasks.simulate.recipe import SimulateRecipe
    from volengine.tasks.simulate.verb import simulate
    from volengine.tasks.skeleton.recipe import SkeletonRecipe
    from volengine.tasks.skeleton.verb import skeleton
    from volengine.tasks.stats.recipe import StatsRecipe
    from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
    from volengine.tasks.stats.tables import Stats
    from volengine.tasks.stats.verb import stats
    from volengine.tasks.surface.recipe import SurfaceRecipe
    from volengine.tasks.surface.verb import surface
    from volengine.tasks.sweep.recipe import SweepRecipe
    from volengine.tasks.sweep.verb import sweep
    from volengine.tasks.teach.recipe import ModelScoresRecipe
    from volengine.tasks.teach.scores import score_models
    from volengine.tasks.train.folds import train_folds
    from volengine.tasks.train.proposal import propose_training
    from volengine.tasks.train.recipe import TrainRecipe
    from volengine.tasks.train.samples import TrainSample
    from volengine.tasks.train.verb import train
    from volengine.tasks.verify.verb import verify
    from volengine.web.recipe import ServeRecipe
    from volengine.web.view.recipe import ViewRecipe
    from volengine.web.view.verb import view
    from volengine.web.workbench.recipe import WorkbenchRecipe
    from volengine.web.workbench.verb import workbench

__version__ = "0.1.0"

_MODULES = {
    "core.errors": ("VolengineError",),
    "core.picks": ("Picks",),
    "core.rules": ("Compete", "Interact"),
    "core.surface": ("Surface",),
    "core.volume": ("Volume",),
    "engine.options": ("RunOptions",),
    "io.open": ("OpenVolume", "open_volume"),
    "io.picks": ("read_picks", "write_picks"),
    "io.surfaces": ("SurfaceFacts", "SurfaceSet", "open_surfaces", "write_surfaces"),
    "tasks.annotate.export": ("export_training",),
    "tasks.annotate.export_all": ("export_all",),
    "tasks.annotate.store": ("Annotations", "new_annotations"),
    "tasks.annotate.suggest": ("suggest",),
    "tasks.annotate.suggest_recipe": ("SuggestRecipe",),
    "tasks.annotate.verb": ("annotate",),
    "tasks.curate.recipe": ("CurateRecipe",),
    "tasks.curate.store": ("Curation", "new_curation"),
    "tasks.curate.verb": ("curate", "write_curated"),
    "tasks.convert.recipe": ("ConvertRecipe",),
    "tasks.convert.verb": ("convert",),
    "tasks.crop": ("CropRecipe", "crop"),
    "tasks.denoise.recipe": ("DenoiseRecipe",),
    "tasks.denoise.verb": ("denoise",),
    "tasks.env": ("env",),
    "tasks.export": ("ExportRecipe", "export"),
    "tasks.filter.recipe": ("FilterRecipe",),
    "tasks.filter.verb": ("filter",),
    "tasks.info.verb": ("info",),
    "tasks.interact.recipe": ("InteractRecipe",),
    "tasks.interact.verb": ("interact",),
    "tasks.pick.recipe": ("PickRecipe",),
    "tasks.pick.verb": ("pick",),
    "tasks.picture.recipe": ("MovieRecipe", "PictureRecipe"),
    "tasks.picture.verb": ("movie", "picture"),
    "tasks.report.recipe": ("ReportRecipe",),
    "tasks.report.verb": ("report",),
    "tasks.run": ("RunRecipe", "run"),
    "tasks.score.recipe": ("ScoreRecipe",),
    "tasks.score.verb": ("score",),
    "tasks.segment.recipe": ("SegmentRecipe",),
    "tasks.segment.verb": ("segment",),
    "tasks.simulate.recipe": ("SimulateRecipe",),
    "tasks.simulate.verb": ("simulate",),
    "tasks.skeleton.recipe": ("SkeletonRecipe",),
    "tasks.skeleton.verb": ("skeleton",),
    "tasks.stats.recipe": ("StatsRecipe",),
    "tasks.stats.surface_recipe": ("SurfaceStatsRecipe",),
    "tasks.stats.tables": ("Stats",),
    "tasks.stats.verb": ("stats",),
    "tasks.surface.recipe": ("SurfaceRecipe",),
    "tasks.surface.verb": ("surface",),
    "tasks.sweep.recipe": ("SweepRecipe",),
    "tasks.sweep.verb": ("sweep",),
    "tasks.teach.recipe": ("ModelScoresRecipe",),
    "tasks.teach.scores": ("score_models",),
    "tasks.train.folds": ("train_folds",),
    "tasks.train.proposal": ("propose_training",),
    "tasks.train.recipe": ("TrainRecipe",),
    "tasks.train.samples": ("TrainSample",),
    "tasks.train.verb": ("train",),
    "tasks.verify.verb": ("verify",),
    "web.recipe": ("ServeRecipe",),
    "web.view.recipe": ("ViewRecipe",),
    "web.view.verb": ("view",),
    "web.workbench.recipe": ("WorkbenchRecipe",),
    "web.workbench.verb": ("workbench",),
}
_WHERE = {name: f"volengine.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "Annotations",
    "Compete",
    "ConvertRecipe",
    "CropRecipe",
    "CurateRecipe",
    "Curation",
    "DenoiseRecipe",
    "ExportRecipe",
    "FilterRecipe",
    "Interact",
    "InteractRecipe",
    "ModelScoresRecipe",
    "MovieRecipe",
    "OpenVolume",
    "PickRecipe",
    "Picks",
    "PictureRecipe",
    "ReportRecipe",
    "RunOptions",
    "RunRecipe",
    "ScoreRecipe",
    "SegmentRecipe",
    "ServeRecipe",
    "SimulateRecipe",
    "SkeletonRecipe",
    "Stats",
    "StatsRecipe",
    "SuggestRecipe",
    "Surface",
    "SurfaceFacts",
    "SurfaceRecipe",
    "SurfaceSet",
    "SurfaceStatsRecipe",
    "SweepRecipe",
    "TrainRecipe",
    "TrainSample",
    "ViewRecipe",
    "VolengineError",
    "Volume",
    "WorkbenchRecipe",
    "__version__",
    "annotate",
    "convert",
    "crop",
    "curate",
    "denoise",
    "env",
    "export",
    "export_all",
    "export_training",
    "filter",
    "info",
    "interact",
    "movie",
    "new_annotations",
    "new_curation",
    "open_surfaces",
    "open_volume",
    "pick",
    "picture",
    "propose_training",
    "read_picks",
    "report",
    "run",
    "score",
    "score_models",
    "segment",
    "simulate",
    "skeleton",
    "stats",
    "suggest",
    "surface",
    "sweep",
    "train",
    "train_folds",
    "verify",
    "view",
    "workbench",
    "write_curated",
    "write_picks",
    "write_surfaces",
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
