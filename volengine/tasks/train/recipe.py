"""The recipe of ``train``, and the checks that read no file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from volengine.core.errors import InputError
from volengine.core.model import Normalisation, TargetUnits
from volengine.core.recipe import Recipe
from volengine.nets.registry import check_known
from volengine.nets.training.augment.recipe import Augmentation, preset
from volengine.nets.training.fit.recipe import FitRecipe, Optimiser
from volengine.nets.training.losses.recipe import Term
from volengine.tasks.train.samples import PatchRules, TrainSample

EXCLUSIVE = ("cross_entropy",)
REGRESSION = ("l1", "l2")
OPEN: dict[str, Any] = {"loss": "bce_dice", "schedule": "cosine", "augment": "light"}
"""What fields are that a recipe leaves open."""
OPEN_BOXES: dict[str, Any] = {"loss": "bce", "schedule": "constant", "augment": "flips"}
"""The same for a training on boxes alone; ``benchmarks/box_defaults.py`` compares both."""
LossName = Literal["bce", "dice", "bce_dice", "cross_entropy", "focal", "surface_dice", "l1", "l2"]


@dataclass(frozen=True)
class TrainRecipe(Recipe):
    """What to train, on what, and how long.

    Parameters
    ----------
    samples
        Volumes with their truth, or training sets.
    features
        Names of the features, in the order of the labels.
    network
        Name in the registry of networks (``volengine models`` lists them). Or your own architecture: ``FILE.py:Class``
        or ``package.module:Class``; this Python code is run.
    arguments
        The arguments to build the network with.
    patch
        The patch that the network sees, voxels z, y, x; z is 1 for 2D networks.
    context
        For 2.5D networks: number of slices that the network sees around the one that it predicts.
    overlap
        Default overlap of patches when the model is applied.
    normalisation
        How the input is normalised: ``volume``, ``per_slice``, ``per_patch``, ``global_mad`` (Ais's) or ``none``.
    any_voxel_size
        Samples may differ in voxel size: none is resampled, and the model accepts all sizes between the smallest and
        the largest. Otherwise the sizes must agree within 5 %.
    target_normalisation
        How targets are normalised; the network predicts in these units. ``volume``: (t - mean) / std of the sample's
        region; ``none``: unchanged (numbers within ±1023).
    epochs
        Number of epochs; after each the network is validated and its state is kept.
    steps
        Number of steps in each epoch.
    batch
        Patches per step (of all processes together, under ``torchrun``).
    loss
        The loss to minimise: ``bce``, ``dice``, both (``bce_dice``), ``focal``, ``surface_dice``; or ``cross_entropy``
        for features that exclude each other (the network then has a channel for the background, and a softmax); or
        ``l2``, ``l1`` for targets: the mean of the squared or absolute difference. Default: ``bce_dice``; if all
        samples are boxes: ``bce``.
    losses
        Several losses instead, each with its ``loss``, its ``weight`` and the ``datasets`` (tokens of samples) to which
        it applies.
    adversarial
        For 2D networks: train against a discriminator, as in Pix2pix (least squares + 100 L1; momentum 0.5 and rate
        2e-4 are usual); ``loss`` is then used for the validation only.
    optimiser
        ``adam``, ``adamw``, ``sgd`` (Nesterov) or ``adadelta``.
    learning_rate
        Learning rate at the beginning.
    schedule
        How the learning rate falls: ``cosine`` (to a hundredth), ``polynomial`` (power 0.9) or ``constant``.
        Default: ``cosine``; if all samples are boxes: ``constant``.
    weight_decay
        Weight decay of the optimiser: decoupled for ``adamw``, an L2 penalty for the others.
    momentum
        Momentum of ``sgd`` (default: 0.99), and beta 1 of ``adam`` and ``adamw`` (default: 0.9).
    clip
        Largest norm of the gradient; 0: no limit.
    precision
        ``float32``; or mixed precision with ``bfloat16`` or ``float16`` (CUDA only).
    average
        Decay of a moving average of the weights, such as 0.99: about the last 1 / (1 - decay) steps count. The averaged
        network is validated and becomes the model. 0: no average.
    patience
        Stop after this many epochs without a lower validation loss (without validation: loss); 0: never.
    start
        A model file of the same network (or ``NAME@FOLDER``, a shared one) whose weights are the first ones
        (fine-tuning); layers of another shape are initialised anew.
    tensorboard
        Write a log for TensorBoard, too (needs the extra ``tensorboard``).
    positive_share
        Share of the patches that are drawn around a voxel of a feature, of those that the sample knows.
    validation
        What is kept for validation. ends: two slabs of each volume, one at each end of an axis, or where they would
        leave too little, or hold too little of a feature, one slab; and some of the tomograms of a training set. slab:
        one slab of each volume. tomogram: whole tomograms of all samples.
    validation_share
        Share of each region along one axis that is kept for validation (at least a patch in each slab), or share of the
        tomograms (at least one); 0: none.
    folds
        Train this many times (2 or more; 0: once), each time with another part kept for validation: whole tomograms, if
        there are enough, otherwise a slab of each volume; every part once. ``validation`` does not count then.
    fold
        Train only this one of the folds (1, 2, ...), for example as one job of a job array; 0: all of them.
    augment
        How patches are augmented: ``none``, ``flips``, ``light``, ``ais`` or ``membrain``, see
        ``volengine.nets.training.augment``. Default: ``light``; if all samples are boxes: ``flips``.
    augmentation
        Every strength and probability of the augmentation, instead of a preset.
    noise
        Strength of the noise in the augmentation of every patch. Default: the preset's (``light``: 0.2).
    contrast
        Strength of the relative change of grey values in the augmentation. Default: the preset's (``light``: 0.1).
    brightness
        Strength of the absolute change of grey values in the augmentation. Default: the preset's (``light``: 0.1).
    seed
        The same seed gives the same network, on the same machine.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Examples
    --------
    >>> from volengine.tasks.train.samples import TrainSample
    >>> sample = TrainSample(volume="TS_01.ome.zarr", points=("ribosomes.star",), radius_nm=(12,))
    >>> recipe = TrainRecipe(samples=(sample,), features=("ribosome",), epochs=20)
    >>> recipe.resolved().loss, recipe.patch
    ('bce_dice', (32, 32, 32))
    """

    samples: tuple[TrainSample, ...]
    features: tuple[str, ...]
    network: str = "unet3d"
    arguments: dict[str, Any] = field(default_factory=dict)
    patch: tuple[int, int, int] = (32, 32, 32)
    context: int = 1
    overlap: float = 0.5
    normalisation: Normalisation = "volume"
    any_voxel_size: bool = False
    target_normalisation: TargetUnits = "volume"
    epochs: int = 30
    steps: int = 50
    batch: int = 4
    loss: LossName | None = None
    losses: tuple[Term, ...] = ()
    adversarial: bool = False
    optimiser: Literal["adam", "adamw", "sgd", "adadelta"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "polynomial", "constant"] | None = None
    weight_decay: float = 0.0
    momentum: float | None = None
    clip: float = 5.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    average: float = 0.0
    patience: int = 0
    start: str = ""
    tensorboard: bool = False
    positive_share: float = 0.5
    validation: Literal["ends", "slab", "tomogram"] = "ends"
    validation_share: float = 0.15
    folds: int = 0
    fold: int = 0
    augment: Literal["none", "flips", "light", "ais", "membrain"] | None = None
    augmentation: Augmentation | None = None
    noise: float | None = None
    contrast: float | None = None
    brightness: float | None = None
    seed: int = 0
    device: str = "auto"

    def check(self) -> None:
        check_known(self.network)
        if not self.samples:
            raise InputError("Training needs at least one sample: a volume with labels or points.")
        for sample in self.samples:
            sample.check_features(self.features)
        for name in ("positive_share", "validation_share"):
            if not 0 <= getattr(self, name) < 1 + (name == "positive_share"):
                raise InputError(f"--{name.replace('_', '-')} must be between 0 and 1, not {getattr(self, name)}.")
        for name in ("noise", "contrast", "brightness", "seed"):
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"--{name} must be 0 or more, not {getattr(self, name)}.")
        if self.folds < 0 or self.folds == 1 or not 0 <= self.fold <= self.folds:
            raise InputError(
                f"--folds is 2 or more (0: no folds), and --fold one of them, not {self.folds} and {self.fold}."
            )
        if self.folds and any(sample.use == "validate" for sample in self.samples):
            raise InputError(
                "--folds keeps every part for validation once; a sample with use: validate would be there in each "
                "fold. Leave it out, and score the models on it afterwards."
            )
        terms = self.fitting().terms
        if len({term.loss in EXCLUSIVE for term in terms}) > 1:
            raise InputError("losses: cross_entropy needs a channel for the background; the others have none.")
        if len({term.loss in REGRESSION for term in terms}) > 1:
            raise InputError("losses: l1 and l2 compare numbers (targets), the others labels; they cannot be added.")
        if self.regression and self.adversarial:
            raise InputError(f"--adversarial trains on labels; it has no loss {terms[0].loss}.")
        for sample in self.samples:
            if self.regression and not sample.targets:
                raise InputError(
                    f"{sample.volume}: the loss {terms[0].loss} compares numbers; give targets (--target), not labels, "
                    "points or a training set."
                )
            if sample.targets and not self.regression:
                raise InputError(
                    f"{sample.volume}: the loss {terms[0].loss} needs labels; with targets give --loss l2 (or l1)."
                )

    @property
    def on_boxes(self) -> bool:
        """Whether all samples to learn from are boxes in annotated slices."""
        return all(sample.in_boxes for sample in self.samples if sample.use != "validate")

    def resolved(self) -> TrainRecipe:
        """The recipe with the fields that it leaves open filled in; a model keeps this one in its history.

        A recipe that mixes boxes with other samples gets the general defaults.
        """
        filled = {name: value for name, value in self._defaults.items() if getattr(self, name) is None}
        return self.with_(**filled) if filled else self

    @property
    def _defaults(self) -> dict[str, Any]:
        return OPEN_BOXES if self.on_boxes else OPEN

    def note(self) -> str:
        """What is to be said of the fields that are filled in because of the samples; empty: nothing."""
        filled = [name for name in OPEN_BOXES if getattr(self, name) is None and not (self.losses and name == "loss")]
        if self.augmentation is not None:
            filled = [name for name in filled if name != "augment"]
        if not filled or not any(sample.in_boxes for sample in self.samples):
            return ""
        said = ", ".join(f"--{name} {self._defaults[name]}" for name in filled)
        if self.on_boxes:
            return f"All samples are boxes in slices; for what the recipe leaves open: {said}."
        return f"Some samples are boxes, others are not; for what the recipe leaves open the general defaults: {said}."

    @property
    def exclusive(self) -> bool:
        """Whether the features exclude each other."""
        return self.fitting().terms[0].loss in EXCLUSIVE

    @property
    def regression(self) -> bool:
        """Whether the network predicts numbers, not probabilities."""
        return self.fitting().terms[0].loss in REGRESSION

    def fitting(self) -> FitRecipe:
        """The fields that the fit needs."""
        loss, schedule = self.loss or self._defaults["loss"], self.schedule or self._defaults["schedule"]
        optimiser = Optimiser(self.optimiser, self.learning_rate, schedule, self.weight_decay, self.momentum, self.clip)
        same = ("epochs", "steps", "batch", "seed", "average", "patience", "precision", "tensorboard")
        terms = self.losses or (Term(loss),)
        return FitRecipe(terms=terms, optimiser=optimiser, **{name: getattr(self, name) for name in same})

    def changes(self) -> Augmentation:
        """The augmentation of patches: the recipe's, or the preset with the recipe's strengths."""
        base = self.augmentation or preset(self.augment or self._defaults["augment"])
        own = {name: getattr(self, name) for name in ("noise", "contrast", "brightness")}
        return base.with_(**{name: value for name, value in own.items() if value is not None})

    def rules(self) -> PatchRules:
        """The fields that the sources of samples need."""
        return PatchRules(**{f.name: getattr(self, f.name) for f in fields(PatchRules)})
