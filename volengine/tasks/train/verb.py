"""train: a network from volumes with their truth, from boxes in annotated slices, from training sets; or from all.

Samples are streamed: each step reads its patches from where they lie, a share of them around voxels of the feature.
What is kept for validation is a slab of each volume, or whole tomograms. See :mod:`volengine.tasks.train.samples` for
what can be trained on, :mod:`volengine.tasks.train.volumes`, :mod:`~volengine.tasks.train.boxes` and
:mod:`~volengine.tasks.train.sets` for what is read from it.

>>> from volengine.tasks.train.samples import TrainSample
>>> sample = TrainSample(volume="TS_01.ome.zarr", points=("ribosomes.star",), radius_nm=(12,))
>>> recipe = TrainRecipe(samples=(sample,), features=("ribosome",), epochs=20)
>>> history = train(recipe, "ribosome.safetensors")                                          # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.tasks.train.model import drawing, make_discriminator, make_model
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.sources import open_sources, validation_of

if TYPE_CHECKING:
    from volengine.nets.training.fit.fit import Fit as Fitting


def train(recipe: TrainRecipe, out: PathLike, *, progress: bool = True) -> list[dict[str, float]]:
    """Train a network; the best state is written to ``out`` (``.safetensors``).

    The state of each epoch lies in the folder ``<out>.training``: a training that was stopped goes on from there when
    it is called again with the same recipe, and ends as if it had not been stopped. It holds the losses as a table and
    as a curve, and a picture of validation patches. Under ``torchrun`` every process takes its part of each batch.

    Returns
    -------
    list of dict
        One row per epoch: loss, validation loss and Dice, seconds.

    Raises
    ------
    InputError
        Samples that do not fit, a region smaller than a patch, another recipe's training in the way.
    """
    from volengine.nets.training.fit.fit import flush_denormals

    out = path_text(out)
    if not out.endswith(".safetensors"):
        raise InputError(f"--out {out}: a model file ends with .safetensors.")
    with flush_denormals():
        return _fit(recipe, out).run(progress=progress)


def _fit(recipe: TrainRecipe, out: str) -> Fitting:
    from volengine.nets.predictor import resolve_device
    from volengine.nets.training.fit.fit import Fit
    from volengine.nets.training.fit.ranks import Ranks

    device = Ranks.from_environment().device(resolve_device(recipe.device))
    sources = open_sources(recipe.samples, recipe.rules())
    for k, feature in enumerate(recipe.features):
        if not any(source.positives[k] for source in sources):
            raise InputError(f"No voxel of {feature!r} lies in the training part of any sample: nothing to learn from.")
    module, facts = make_model(recipe, [source.voxel_size for source in sources])
    draw = drawing(sources, recipe.changes(), device)
    discriminator = make_discriminator(recipe)
    return Fit(module, facts, draw, validation_of(sources), recipe.fitting(), Path(out), device, discriminator)
