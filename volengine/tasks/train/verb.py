"""train: fit a network to volumes with their truth, to boxes in annotated slices, to training sets, or to a mixture.

Samples are streamed: each step reads its patches from the files; a share of them is drawn around voxels of the feature.
Slabs of each volume, or whole tomograms, are kept for validation. :mod:`volengine.tasks.train.samples` describes what
can be trained on; :mod:`volengine.tasks.train.volumes`, :mod:`~volengine.tasks.train.boxes` and
:mod:`~volengine.tasks.train.sets` describe what is read from each kind of sample.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.stopping import how_it_goes_on, if_stopped
from volengine.tasks.common.card_files import write_card
from volengine.tasks.train.data import TrainingData
from volengine.tasks.train.model import drawing, make_discriminator, make_model
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import SampleSource
from volengine.tasks.train.sources import held_out_of, open_sources, validation_of
from volengine.tasks.train.tied import overlaps
from volengine.tasks.train.volumes import OpenVolume

if TYPE_CHECKING:
    from volengine.nets.training.fit.fit import Fit as Fitting

MOST_SAID = 8
"""Of at most this many samples it is said where their part for validation lies."""


def train(recipe: TrainRecipe, out: PathLike, *, progress: bool = True) -> list[dict[str, float]]:
    """Train a network, and write its weights: those of the last epoch, or of an earlier one that is clearly better.

    The folder ``<out>.training`` holds the models of the best and of the last epoch, the state of the last epoch, a
    page to look at (``index.html``: curves, validation patches, scores, data, recipe), the model's card to hand on
    (``card.md``), the log (``training.log``), a table and a plot of the losses, and a picture of validation patches. If
    a training was stopped, call it again with the same recipe: it continues from this state, and its result is the same
    as without the stop. If it was finished, and the model is gone, it is written again. Under ``torchrun`` each process
    computes its share of every batch.

    Parameters
    ----------
    recipe
        What to train, on what, and how long.
    out
        The model file to write (``.safetensors``).
    progress
        Show a progress bar, or without a terminal a line every 15 seconds, and say what is to be noted. All of it is
        in the log in any case.

    Returns
    -------
    list of dict
        One row per epoch, with the columns of ``history.csv``: losses, Dice, the standard error of the difference
        between this validation loss and the lowest one so far (``validation_noise``), seconds, learning rate; Dice,
        precision and recall of each feature.

    Raises
    ------
    InputError
        The samples do not fit the recipe or each other, a region is smaller than a patch, or the folder
        ``<out>.training`` holds the training of another recipe, or of samples that have changed since. Or ``out``
        exists, and no training is beside it.
    ChangedError
        A sample is replaced while it is read.

    Examples
    --------
    >>> import volengine
    >>> sample = volengine.TrainSample(volume="TS_01.mrc", labels=("TS_01_ribosome.mrc",))
    >>> recipe = volengine.TrainRecipe(
    ...     samples=(sample,), features=("ribosome",), network="unet3d", arguments={"width": 2, "levels": 2},
    ...     patch=(8, 8, 8), epochs=1, steps=2, batch=2, device="cpu",
    ... )
    >>> history = volengine.train(recipe, "new.safetensors", progress=False)
    >>> len(history), history[0]["loss"] > 0
    (1, True)
    """
    from volengine.nets.threads import apart
    from volengine.nets.training.fit.ranks import Ranks
    from volengine.nets.training.fit.state import STATE
    from volengine.nets.training.place import folder_of

    out, asked = path_text(out), TrainRecipe.of(recipe)
    recipe = asked.resolved()
    check_name(out)
    _check_place(Path(out))
    if recipe.folds and not recipe.fold:
        raise InputError(
            f"The recipe has {recipe.folds} folds, which are as many trainings: call train_folds, or give fold."
        )
    if Path(out).exists() and not folder_of(Path(out)).exists():
        raise InputError(
            f"--out {out} exists and no training is beside it ({folder_of(Path(out)).name}), so it would be lost: "
            "remove it, or give another --out."
        )
    kept = folder_of(Path(out)) / STATE
    with if_stopped(lambda: how_it_goes_on(kept)):
        history = apart(
            lambda stopped: _fit(recipe, out, progress, asked.note()).run(progress=progress, stopped=stopped)
        )
    if Ranks.from_environment().first and Path(out).is_file():
        write_card(Path(out))
    return history


def _check_place(out: Path) -> None:
    """Refuse a place where no model can be written, before samples are read (:class:`InputError`)."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents)[1:] if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "may not be written to" if there.is_dir() else "is a file, and no folder"
        raise InputError(f"--out {out}: {there} {why}; give another place.")


def check_name(out: str) -> None:
    """Refuse a model file with another ending (:class:`InputError`)."""
    if not out.endswith(".safetensors"):
        raise InputError(f"--out {out}: a model file ends with .safetensors.")


def opened(recipe: TrainRecipe) -> list[SampleSource]:
    """The samples of a recipe, open.

    Raises
    ------
    InputError
        A sample does not fit the recipe, or no sample has a feature in its part for training.
    """
    sources = open_sources(recipe.samples, recipe.rules())
    for k, feature in enumerate(recipe.features):
        if not any(source.positives[k] for source in sources):
            raise InputError(f"No voxel of {feature!r} lies in the training part of any sample: nothing to learn from.")
    return sources


def check_training(recipe: TrainRecipe) -> None:
    """Refuse a recipe that :func:`train` would refuse; the samples are read as it reads them, and nothing is trained.

    Of a recipe with folds the first one is looked at.

    Raises
    ------
    InputError
        As for :func:`train`.
    """
    recipe = recipe.with_(fold=recipe.fold or min(1, recipe.folds)).resolved()
    sources = opened(recipe)
    make_model(recipe, [source.voxel_size for source in sources], {}, held_out_of(sources))
    make_discriminator(recipe)
    recipe.changes()


def _fit(recipe: TrainRecipe, out: str, progress: bool, told: str) -> Fitting:
    """The training of a recipe without open fields; ``told`` is to be said of how they were filled in."""
    from volengine.nets.predictor import resolve_device
    from volengine.nets.training.fit.fit import Fit
    from volengine.nets.training.fit.progress import say
    from volengine.nets.training.fit.ranks import Ranks
    from volengine.tasks.train.page import TrainingPage

    data = TrainingData.of(recipe)
    shown = progress and Ranks.from_environment().first
    notes = [*filter(None, [told]), *data.notes]
    for note in notes if shown else ():
        say(note)
    device = Ranks.from_environment().device(resolve_device(recipe.device))
    sources = opened(recipe)
    places = [
        f"{source.name}: {source.place} is kept for validation"
        for source in sources[:MOST_SAID]
        if isinstance(source, OpenVolume) and source.weight and source.place
    ]
    places += overlaps(sources)
    for place in places if shown else ():
        say(place)
    sizes = [source.voxel_size for source in sources]
    module, facts = make_model(recipe, sizes, data.to_json(), held_out_of(sources))
    draw = drawing(sources, recipe.changes(), device)
    discriminator = make_discriminator(recipe)
    page = TrainingPage(recipe, data.to_json(), sources, out)
    values = (module, facts, draw, validation_of(sources), recipe.fitting(), Path(out), device, discriminator)
    return Fit(*values, data.check, (*notes, *places), page)
