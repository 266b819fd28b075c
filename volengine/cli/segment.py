"""volengine segment"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.options import from_options, recipe_options, texts_option
from volengine.engine.options import RunOptions
from volengine.io.names import suffix_of
from volengine.io.shared_models import split
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import SEGMENT

NETWORK = (
    *("ensemble", "patch", "overlap", "window", "edge", "margin_vox", "exact", "tta", "tta_of", "mean_of"),
    *("batch", "precision", "channels_last", "compile"),
)
"""Options about how a network is applied."""


MODELS = (".safetensors", ".scnm", ".ckpt", ".keras", ".onnx")
"""Endings of model files that no volume has."""


@click.command(
    "segment",
    cls=Command,
    examples=(
        "volengine segment TS_01.ome.zarr --models membrane.safetensors --out predictions",
        "volengine segment tomograms --models cytoplasm --out predictions --match isotropic --device cuda",
        "volengine segment TS_01.mrc --out predictions --ensemble --models fold_*.safetensors",
    ),
    sections={"Network": NETWORK},
)
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for NAME__FEATURE.ome.zarr, or a store for one feature.")
@recipe_options(SegmentRecipe)
@texts_option("--model", "model_files", "A model file; repeat for several. The same as --models.")
@texts_option("--network-file", "own", "The same as --network-files.", hidden=True)
@recipe_options(RunOptions)
def command(
    sources: tuple[str, ...], out: str, model_files: tuple[str, ...], own: tuple[str, ...], **values: Any
) -> None:
    """Apply networks to SOURCES (files, folders, globs, .txt lists): one prediction per feature."""
    options = from_options(RunOptions, values)
    sources, more = _apart(sources)
    values["models"] = (*(values["models"] or ()), *model_files, *more) or None
    values["network_files"] = (*(values["network_files"] or ()), *own) or None
    recipe = from_options(SegmentRecipe, values)
    jobs, run_dir = jobs_of(SEGMENT, expand(sources), out, recipe, options)
    execute(jobs, run_dir, options)


def _apart(sources: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Volumes and model files: a shell makes several words of ``--models fold_*.safetensors``, and the later ones would
    be sources.
    """
    models = tuple(source for source in sources if suffix_of(source) in MODELS or split(source))
    return tuple(source for source in sources if source not in models), models
