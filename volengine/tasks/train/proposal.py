"""A proposal: the recipe of a training whose open fields were filled from the data, the reasons, and its file.

:func:`propose_training` measures (:mod:`volengine.tasks.train.propose_measure`), applies the rules
(:mod:`volengine.tasks.train.propose`), and tries a step of the training on the device. :func:`kept_proposal` keeps what
was proposed beside the model, so that a training that goes on another day, or a fold on another machine, is the same.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volengine.core.atomic import write_atomic
from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_json
from volengine.tasks.train.propose import MEMORY_SHARE, Proposed, propose
from volengine.tasks.train.propose_facts import MachineFacts
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample

WIDTH = 118
"""Longest line of a comment in a recipe file."""


@dataclass(frozen=True)
class Proposal:
    """A recipe of which some fields were proposed.

    Parameters
    ----------
    recipe
        The whole recipe; fields that nobody gave or proposed have their defaults.
    given
        The fields that the user gave, as JSON values.
    reasons
        The proposed fields with the reason of each, and advice (without a field).
    """

    recipe: TrainRecipe
    given: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[Proposed, ...] = ()

    def lines(self) -> list[str]:
        """What was proposed and why, a line each."""
        return [f"{_named(p)}{p.reason}" for p in self.reasons]

    def yaml(self) -> str:
        """The recipe as YAML that ``volengine train`` takes, with the reasons as comments.

        >>> sample = TrainSample(volume="a.mrc", labels=("b.mrc",))
        >>> recipe = TrainRecipe(samples=(sample,), features=("membrane",), batch=2)
        >>> print(Proposal(recipe, {"features": ["membrane"]}, (Proposed("batch", 2, "5 % of the data"),)).yaml())
        # A recipe for volengine train. Lines with a comment above were proposed from the data; change what you like.
        features: ["membrane"]
        samples:
          - volume: "a.mrc"
            labels: ["b.mrc"]
        # 5 % of the data
        batch: 2
        <BLANKLINE>
        """
        told = {p.field: p for p in self.reasons if p.field}
        values = self.recipe.to_json()
        text = [
            "# A recipe for volengine train. Lines with a comment above were proposed from the data; change what you "
            "like."
        ]
        text += [line for p in self.reasons if not p.field for line in _comment(p.reason)]
        text += [f"features: {_json(values['features'])}", "samples:"]
        for sample in self.recipe.samples:
            some = _changed(sample)
            text += [f"  {'-' if n == 0 else ' '} {name}: {_json(v)}" for n, (name, v) in enumerate(some.items())]
        text += [
            f"{name}: {_json(values[name])}"
            for name in self.given
            if name not in ("features", "samples") and values.get(name) is not None
        ]
        for name, proposed in told.items():
            text += [*_comment(proposed.reason), f"{name}: {_json(values[name])}"]
        return "\n".join(text) + "\n"

    def to_json(self) -> dict[str, Any]:
        """JSON values, of which :meth:`from_json` makes an equal proposal."""
        reasons = [dataclasses.asdict(p) for p in self.reasons]
        told = {"given": dict(self.given), "recipe": self.recipe.to_json(), "reasons": reasons}
        plain: dict[str, Any] = json.loads(json.dumps(told))
        return plain

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Proposal:
        """The proposal of its JSON values.

        Raises
        ------
        FormatError
            They are not those of a proposal.
        """
        try:
            reasons = tuple(Proposed(r["field"], r["value"], r["reason"]) for r in told["reasons"])
            return cls(TrainRecipe.from_json(told["recipe"]), dict(told["given"]), reasons)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"This is no proposal: {error}") from error


def _named(proposed: Proposed) -> str:
    value = proposed.value
    shown = ",".join(map(str, value)) if isinstance(value, (tuple, list)) else value
    return f"{proposed.field} {shown}: " if proposed.field else ""


def _json(value: Any) -> str:
    """JSON that is YAML, too, which takes no control characters."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(value, ensure_ascii=False))


def _changed(sample: TrainSample) -> dict[str, Any]:
    """The fields of a sample that are not the defaults."""
    plain = sample.to_json()
    return {
        f.name: plain[f.name]
        for f in dataclasses.fields(sample)
        if f.name == "volume" or getattr(sample, f.name) != f.default
    }


def _comment(text: str) -> list[str]:
    import textwrap

    shown = "".join(c if c.isprintable() else " " for c in text)
    return textwrap.wrap(" ".join(shown.split()), WIDTH, initial_indent="# ", subsequent_indent="#   ")


def given_of(recipe: TrainRecipe | Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a user gave, as JSON values: the names of a mapping; of a recipe those that are no defaults.

    Raises
    ------
    InputError
        The values make no recipe.
    """
    if isinstance(recipe, TrainRecipe):
        plain = recipe.to_json()
        names = [f.name for f in dataclasses.fields(recipe) if f.name in ("samples", "features") or _other(recipe, f)]
    else:
        plain = TrainRecipe.from_json(recipe).to_json()
        names = [str(name).replace("-", "_") for name in recipe]
    found: dict[str, Any] = json.loads(json.dumps({name: plain[name] for name in names}))
    return found


def _other(recipe: TrainRecipe, f: dataclasses.Field[Any]) -> bool:
    default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
    return bool(getattr(recipe, f.name) != default)


def propose_training(recipe: TrainRecipe | Mapping[str, Any]) -> Proposal:
    """Propose what a recipe leaves open, from its data, the device and the networks; nothing is trained.

    The samples are opened as a training opens them, so that what it would refuse is refused here (of a recipe with
    folds the first one is looked at). Measured are the size of the samples, the share and the thickness of each
    feature, how grey values differ between slices and between a region and its volume, the free memory, and the time
    of a step. Proposed are network, patch, context, batch, normalisation, positive share, steps and epochs, overlap,
    and what is kept for validation. Fields that the recipe gives stay as they are.

    Parameters
    ----------
    recipe
        The fields that are known (``samples`` and ``features`` at least), by name; or a recipe, of which those fields
        are known that do not have their defaults.

    Returns
    -------
    Proposal
        ``recipe`` can be given to :func:`volengine.train`; ``yaml()`` is the text of a recipe file, ``lines()`` says
        why.

    Raises
    ------
    InputError
        A sample cannot be read, its part for training or validation is smaller than the smallest patch, no step fits
        into the memory, or :func:`volengine.train` would refuse the samples and the network.

    Examples
    --------
    >>> import volengine
    >>> proposal = volengine.propose_training({
    ...     "samples": [{"volume": "TS_01.mrc", "labels": ["TS_01_ribosome.mrc"]}], "features": ["ribosome"],
    ...     "network": "unet3d", "device": "cpu",
    ... })
    >>> proposal.recipe.patch, proposal.recipe.network
    ((16, 16, 32), 'unet3d')
    """
    from volengine.nets.threads import own_threads
    from volengine.tasks.train.propose_measure import candidates, machine_facts, measure, step_memory
    from volengine.tasks.train.verb import check_training

    given = given_of(recipe)
    if given.get("start") and "network" not in given:
        raise InputError(
            f"The recipe starts from {given['start']}: give the --network of that model (and its arguments, patch and "
            "normalisation, which `volengine info` tells), so that the others are proposed for it."
        )
    known = TrainRecipe.from_json(given)
    channels = len(known.features) + known.exclusive
    samples = measure(known.samples, known.features)
    machine = machine_facts(known.device)
    with own_threads(1):
        networks = candidates(given, channels)
    trained = [s for s in samples if s.use != "validate"]
    held = [s for s in samples if s.use == "validate"]
    for attempt in range(20):
        reasons = propose(
            trained, machine, networks, given, lambda *step: step_memory(channels, *step), validated=bool(held)
        )
        filled = {**given, **{p.field: p.value for p in reasons if p.field}}
        whole = TrainRecipe.from_json(filled)
        if not attempt:
            check_training(whole)
        seconds = _seconds_of_step(whole, channels)
        if seconds is not None:
            break
        machine = dataclasses.replace(machine, memory=int(0.8 * _need(reasons) / MEMORY_SHARE))  # it did not fit
    else:
        raise InputError(f"No step of this training fits into the memory of {machine.device}; give a smaller --patch.")
    advice = Proposed("", seconds, _time(whole, seconds, machine))
    return Proposal(whole, given, (*reasons, advice))


def _need(reasons: list[Proposed]) -> int:
    return next(int(p.value) for p in reasons if not p.field)


def _time(recipe: TrainRecipe, seconds: float, machine: MachineFacts) -> str:
    total = recipe.epochs * recipe.steps
    folds = 0 if recipe.fold else recipe.folds
    length = seconds * total * max(1, folds)
    told = f"{length / 60:.0f} minutes" if length < 3 * 3600 else f"{length / 3600:.1f} hours"
    told = f"{length:.0f} seconds" if length < 120 else told
    times = f"{folds} folds of " if folds else ""
    return f"a step took {seconds:.2g} s on {machine.device}: {times}{total:,} steps take about {told}"


def _seconds_of_step(recipe: TrainRecipe, channels: int) -> float | None:
    """Seconds of a step of random numbers on the device, after another one; ``None`` if it does not fit."""
    import torch

    from volengine.nets.device_memory import is_full, release
    from volengine.nets.predictor import resolve_device
    from volengine.nets.seeds import seeded
    from volengine.nets.threads import apart
    from volengine.nets.training.fit.optimise import Descent
    from volengine.nets.training.losses.combined import Objective
    from volengine.tasks.train.model import built

    device = resolve_device(recipe.device)
    fit = recipe.fitting()

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def run(stopped: Any) -> float | None:
        module = built(recipe.network, recipe.arguments, channels, recipe.context)
        objective, volumetric = Objective(fit.terms), recipe.patch[0] > 1
        shape = (recipe.batch, 1, *recipe.patch) if volumetric else (recipe.batch, recipe.context, *recipe.patch[1:])
        rows = (recipe.batch, len(recipe.features), *shape[2:])
        with seeded(0, device):
            images = torch.randn(shape)
            labels = torch.rand(rows) if recipe.regression else (torch.rand(rows) < 0.1).to(torch.uint8)
            if volumetric:
                module = module.to(memory_format=torch.channels_last_3d)
                images = images.contiguous(memory_format=torch.channels_last_3d)
            module, images, labels = module.to(device).train(), images.to(device), labels.to(device)
            descent = Descent(module, fit.optimiser, fit.precision, device)
            began = time.perf_counter()
            for _ in range(2):
                wait()
                began = time.perf_counter()
                with descent.autocast():
                    answers = module(images)
                descent.step(objective(answers, labels, [""] * recipe.batch), fit.optimiser.learning_rate, "A step")
            wait()
        return time.perf_counter() - began

    try:
        return apart(run)
    except RuntimeError as error:
        if not is_full(error) and "allocate memory" not in str(error):  # the last is PyTorch's message on a CPU
            raise
    release(device)  # now that the error, which held what was computed, is forgotten
    return None


def kept_proposal(recipe: TrainRecipe | Mapping[str, Any], out: str) -> tuple[Proposal, bool]:
    """The proposal for a model: what was proposed before for the same fields and data, otherwise a new one.

    It is kept in ``NAME.proposal.json`` beside the model. It stands as long as the training that began with it does.

    Parameters
    ----------
    recipe
        As for :func:`propose_training`.
    out
        The model file (``.safetensors``).

    Returns
    -------
    Proposal, bool
        The proposal, and whether it was made before.

    Raises
    ------
    InputError
        A training with other fields is there. And what :func:`propose_training` refuses.
    FormatError
        The file of the proposal is damaged.
    """
    from volengine.tasks.train.data import TrainingData
    from volengine.tasks.train.verb import check_name

    check_name(out)
    given = given_of(recipe)
    same = {k: v for k, v in given.items() if k != "fold"}
    path = Path(f"{out.removesuffix('.safetensors')}.proposal.json")
    data = TrainingData.of(TrainRecipe.from_json(given)).to_json()
    if path.exists():
        before, known = _read(path)
        begun = _begun(out, before.recipe.folds)
        if before.given == same and (begun or known == data):
            return dataclasses.replace(before, recipe=before.recipe.with_(fold=given.get("fold", 0))), True
        if begun:
            raise InputError(
                f"{begun} is a training that was proposed for other fields ({_differing(before.given, same)}); give "
                "those, another --out, or remove the training and its proposal."
            )
    made = propose_training(same)
    write_atomic(path, json.dumps({**made.to_json(), "data": data}, indent=1).encode())
    return dataclasses.replace(made, recipe=made.recipe.with_(fold=given.get("fold", 0))), False


def _read(path: Path) -> tuple[Proposal, Any]:
    """The proposal of a file, and the identities of the data that it was made for."""
    told = parse_json(path.read_text(errors="replace"), str(path))
    try:
        if not isinstance(told, dict):
            raise FormatError("it holds no names and values")
        return Proposal.from_json(told), told["data"]
    except (FormatError, KeyError) as error:
        raise FormatError(f"{path} is damaged ({error}); remove it for a new proposal.") from error


def _begun(out: str, folds: int) -> Path | None:
    """The folder of a training (or of one of its folds) that has finished an epoch."""
    from volengine.nets.training.place import folder_of
    from volengine.tasks.train.folds import fold_file

    files = [fold_file(out, k) for k in range(1, folds + 1)] or [out]
    folders = [folder_of(Path(file)) for file in files]
    return next((folder for folder in folders if (folder / "last.safetensors").exists()), None)


def _differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> str:
    return ", ".join(sorted(k for k in {*one, *two} if one.get(k) != two.get(k)))
