"""Propose what a recipe of a training leaves open, from what was measured of its data and of the machine.

The rules follow nnU-Net's planner (Isensee et al., Nature Methods 18, 203, 2021): the patch grows with the objects as
far as the memory allows, a batch has two patches or more but at most 5 % of the data, data with voxels three times as
long along z are learnt in 2D, a third of the patches is drawn around the feature. What differs: tomograms are learnt
on CPUs, too, so the length of the training depends on the device; patches are no larger than the objects need; and
normalisation and validation are chosen among those of this package. Nothing here reads a file or depends on chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.units import format_bytes
from volengine.tasks.train.propose_facts import (
    ANISOTROPIC,
    FEW_SLICES,
    INDEPENDENT,
    Candidate,
    MachineFacts,
    SampleFacts,
)
from volengine.tasks.train.propose_greys import normalisation

MEMORY_SHARE = 0.6
"""Share of the free memory that a step may take."""
DATA_SHARE = 0.05
"""Share of the voxels for training that a batch may hold (nnU-Net's)."""
VISITS = 150
"""How often a training sees as many voxels as there are, before the limits of the device."""
STEPS = {"cpu": (50, 500, 2000), "gpu": (250, 2500, 25000)}
"""Steps of an epoch, least and most steps of a training."""
SIDES = {"cpu": {3: (32, 48), 2: (128, 192)}, "gpu": {3: (64, 128), 2: (256, 512)}}
"""Usual and largest side of a patch, by its dimension."""
BATCH_VOXELS = {"cpu": 2 * 32**3, "gpu": 4 * 64**3}
"""Voxels of a step. On a CPU many small steps learn more than few large ones in the same time
(``benchmarks/auto_against_defaults.py``)."""
THICK = 16.0
"""Objects whose thinnest feature has this many voxels or more are learnt better from binned volumes."""
FEW = 4
"""From this number of tomograms on, whole tomograms are kept for validation."""

StepBytes = Callable[[Candidate, Index3, int, int], int]
"""Bytes of a training step, by network, patch, context, batch."""


@dataclass(frozen=True)
class Proposed:
    """The value of a field of the recipe, and why; without a field it is advice.

    Parameters
    ----------
    field, value, reason
        Name of the field (``""``: advice), its value, and the reason in one line.
    """

    field: str
    value: Any
    reason: str


class _Open:
    """What is known, given and proposed so far."""

    def __init__(self, given: Mapping[str, Any]):
        self.given = given
        self.found: dict[str, Proposed] = {}
        self.advice: list[Proposed] = []

    def put(self, field: str, value: Any, reason: str) -> None:
        """Propose a value, unless the user gave one."""
        if field not in self.given:
            self.found[field] = Proposed(field, value, reason)

    def value(self, field: str) -> Any:
        return self.given[field] if field in self.given else self.found[field].value


def propose(
    samples: Sequence[SampleFacts],
    machine: MachineFacts,
    candidates: Sequence[Candidate],
    given: Mapping[str, Any],
    step_bytes: StepBytes,
    *,
    validated: bool = False,
) -> list[Proposed]:
    """Propose the fields of a recipe that are not given.

    Parameters
    ----------
    samples
        What was measured of each sample that is trained on.
    machine
        The device, its free memory.
    candidates
        Networks to choose from; if the network is given, this one alone.
    given
        The fields of the recipe that the user gave, by name.
    step_bytes
        Function that tells the memory of a step.
    validated
        Whether there are other samples that are for validation only.

    Returns
    -------
    list of Proposed
        One for each open field of those that are proposed, then advice.

    Raises
    ------
    InputError
        The data are smaller than the smallest patch, or not even this fits into the memory.
    """
    said = _Open(given)
    _check_features(samples)
    dimension = _dimension(samples, given, candidates)
    network = _network(said, samples, candidates, dimension)
    _context(said, samples, network)
    _patch(said, samples, machine, network, validated)
    _batch(said, samples, machine, network)
    _fit_memory(said, machine, network, step_bytes)
    said.put(*normalisation(samples, network.volumetric))
    _positive_share(said, samples)
    _length(said, samples, machine)
    said.put("overlap", 0.5, "half a patch, as nnU-Net; exact mode needs none")
    _validation(said, samples, validated)
    _sizes(said, samples)
    return [*said.found.values(), *said.advice]


def thickest(samples: Sequence[SampleFacts]) -> float | None:
    """Thickness of the thickest feature, voxels; ``None`` if none was measured."""
    known = [f.thickness_vox for s in samples for f in s.features if f.thickness_vox is not None]
    return max(known) if known else None


def _thinnest(samples: Sequence[SampleFacts]) -> float | None:
    known = [f.thickness_vox for s in samples for f in s.features if f.thickness_vox is not None]
    return min(known) if known else None


def _independent(samples: Sequence[SampleFacts]) -> bool:
    """Whether neighbouring slices are much less alike than neighbouring rows and columns are."""
    known = [s.alike for s in samples if s.alike is not None]
    return bool(known) and all(z < INDEPENDENT * min(y, x) and min(y, x) > 0.3 for z, y, x in known)


def _dimension(samples: Sequence[SampleFacts], given: Mapping[str, Any], candidates: Sequence[Candidate]) -> int:
    if "patch" in given:
        return 3 if given["patch"][0] > 1 else 2
    if "network" in given:
        return 3 if candidates[0].volumetric else 2
    flat = given.get("context", 1) > 1 or given.get("adversarial") or _flat_reason(samples)
    return 2 if flat else 3


def _flat_reason(samples: Sequence[SampleFacts]) -> str:
    """Why the data are learnt in 2D; ``""``: they are not."""
    if any(s.kind in ("slices", "boxes", "flat set") for s in samples):
        return "single slices are annotated"
    longest = max(s.voxel_size[0] / min(s.voxel_size[1:]) for s in samples)
    if longest >= ANISOTROPIC:
        return f"voxels are {longest:.3g} times as long along z as in the plane"
    thinnest = min(samples, key=lambda s: s.shape[0]).shape
    if thinnest[0] < FEW_SLICES and thinnest[0] < min(thinnest[1:]) / 2:
        return f"there are only {thinnest[0]} slices"
    if _independent(samples):
        z, y, x = next(s.alike for s in samples if s.alike is not None)
        return f"neighbouring slices are less alike (correlation {z:.2f}) than rows and columns ({min(y, x):.2f})"
    return ""


def _network(said: _Open, samples: Sequence[SampleFacts], candidates: Sequence[Candidate], dimension: int) -> Candidate:
    fitting = [c for c in candidates if c.volumetric == (dimension == 3)] or list(candidates)
    thick = thickest(samples) or 0.0
    sides = [n for s in samples for n in s.shape[3 - dimension :]]
    small = [c for c in fitting if min(sides) >= 2 * max(c.stride)] or fitting[:1]
    chosen = next((c for c in small if c.radius is None or c.radius >= thick), small[-1])
    why = _flat_reason(samples) or "objects and their surroundings extend along all axes"
    field = f"sees {chosen.radius} voxels to each side" if chosen.radius is not None else "sees the whole patch"
    objects = f", the objects are about {thick:.3g} voxels thick" if thick else ""
    said.put("network", chosen.network, f"{dimension}D: {why}")
    if "network" not in said.given and chosen.arguments:
        said.put("arguments", dict(chosen.arguments), f"{field}{objects}")
    return chosen


def _context(said: _Open, samples: Sequence[SampleFacts], network: Candidate) -> None:
    depth = min(s.depth for s in samples)
    if network.volumetric or not network.takes_context:
        said.put("context", 1, "the network sees all axes" if network.volumetric else "the network sees one slice")
    elif depth < 3:
        said.put("context", 1, "the data have single slices")
    elif _independent(samples) or max(s.voxel_size[0] / min(s.voxel_size[1:]) for s in samples) >= ANISOTROPIC:
        said.put("context", 1, "neighbouring slices are too different to help")
    else:
        thick = _thinnest(samples) or 0.0
        count = 5 if thick >= 5 and depth >= 9 else 3
        said.put("context", count, f"the thinnest feature extends over about {max(thick, 1):.0f} slices")


def _check_features(samples: Sequence[SampleFacts]) -> None:
    """Refuse a feature that no sample holds, as a training does."""
    shares: dict[str, float] = {}
    for feature in (f for s in samples for f in s.features):
        shares[feature.name] = max(shares.get(feature.name, 0.0), feature.share)
    empty = [name for name, share in shares.items() if not share]
    if empty:
        raise InputError(f"No voxel of {', '.join(map(repr, empty))} lies in any sample: nothing to learn from.")


def _room(said: _Open, samples: Sequence[SampleFacts], flat: bool, validated: bool) -> Index3:
    """The largest patch that fits into the part for training, and into the one for validation, of every sample."""
    folds = int(said.given.get("folds", 0) or 0)
    count = _tomograms(samples)
    chosen = said.given.get("validation", "tomogram" if count >= FEW else "ends")
    share = said.given.get("validation_share", 0 if validated else None)
    whole = count >= folds if folds else chosen == "tomogram" or share == 0
    room = []
    for s in samples:
        sides = list(s.shape)
        if whole or s.is_set or s.use != "both":
            room.append(sides)
            continue
        axis = max(range(3), key=lambda a: sides[a])
        parts = max(2, folds)
        sides[axis] = sides[axis] // parts
        room.append(sides)
    least = [min(column) for column in zip(*room, strict=True)]
    return index3([1 if flat else least[0], *least[1:]])


def _patch(
    said: _Open, samples: Sequence[SampleFacts], machine: MachineFacts, network: Candidate, validated: bool
) -> None:
    if "patch" in said.given:
        return
    dimension = 3 if network.volumetric else 2
    usual, most = SIDES[machine.kind][dimension]
    thick = thickest(samples) or 0.0
    want = min(max(usual, 3 * thick), most)
    if any(s.box for s in samples):
        want = min(s.box for s in samples if s.box)
    room = _room(said, samples, not network.volumetric, validated)
    sides = []
    for axis, (stride, most_here) in enumerate(zip(network.stride, room, strict=True)):
        if axis == 0 and not network.volumetric:
            sides.append(1)
            continue
        side = int(min(want, most_here)) // stride * stride
        if side < 2 * stride:
            raise _too_small(samples, axis, most_here, 2 * stride, network)
        sides.append(side)
    objects = f"objects of about {thick:.3g} voxels with their surroundings" if thick else "the usual side"
    limit = f"; the parts of the data allow {'x'.join(map(str, room))}" if min(sides[-2:]) < usual else ""
    said.put("patch", tuple(sides), f"{objects}, multiples of {'x'.join(map(str, network.stride))}{limit}")


def _too_small(samples: Sequence[SampleFacts], axis: int, most: int, least: int, network: Candidate) -> InputError:
    """The data have less than the smallest patch along an axis, with or without a part for validation."""
    there, what = min(s.shape[axis] for s in samples), "can be a patch for training and one for validation"
    ways = "a --patch and --validation-share 0"
    if there < least:
        most, what = there, "are there"
        ways = f"{'--network unet2d, ' if axis == 0 else ''}fewer `levels` in the network's arguments"
    return InputError(
        f"The data are too small to propose a patch: {most} voxels along {'zyx'[axis]} {what}, but {network.network} "
        f"needs {least}. Give {ways}, or larger samples."
    )


def _voxels(samples: Sequence[SampleFacts]) -> int:
    return sum(s.voxels for s in samples)


def _size(patch: Sequence[int]) -> int:
    return int(patch[0] * patch[1] * patch[2])


def _batch(said: _Open, samples: Sequence[SampleFacts], machine: MachineFacts, network: Candidate) -> None:
    patch = _size(said.value("patch"))
    share = max(2, int(DATA_SHARE * _voxels(samples) / patch))
    wish = min(max(2, round(BATCH_VOXELS[machine.kind] / patch)), 8 if machine.kind == "cpu" else 16)
    if share < wish:
        said.put("batch", share, f"{DATA_SHARE:.0%} of the voxels for training, but 2 or more")
    else:
        said.put("batch", wish, f"about {BATCH_VOXELS[machine.kind]:,} voxels a step on {machine.device}")


def _fit_memory(said: _Open, machine: MachineFacts, network: Candidate, step_bytes: StepBytes) -> None:
    """Shrink batch and patch, if they are open, until a step fits into the memory."""
    limit = MEMORY_SHARE * machine.memory
    while True:
        patch, batch = index3(said.value("patch")), int(said.value("batch"))
        need = step_bytes(network, patch, int(said.value("context")), batch)
        if need <= limit:
            break
        axis = max(range(3), key=lambda a: patch[a])
        smaller = patch[axis] - network.stride[axis]
        if "batch" in said.found and batch > 2:
            said.put("batch", batch - 1, "as many patches as fit into the memory")
        elif "patch" in said.found and smaller >= 2 * network.stride[axis]:
            sides = [smaller if a == axis else n for a, n in enumerate(patch)]
            said.put("patch", tuple(sides), "the largest that fits into the memory")
        elif "batch" in said.found and batch > 1:
            said.put("batch", 1, "one patch is what fits into the memory")
        else:
            raise InputError(
                f"A step with {batch} patches of {'x'.join(map(str, patch))} needs about {format_bytes(need)}, and "
                f"{format_bytes(limit)} ({MEMORY_SHARE:.0%} of the free memory of {machine.device}) are there. Give a "
                "smaller --patch or --batch, a narrower network, or another --device."
            )
    said.advice.append(
        Proposed(
            "",
            need,
            f"a step takes about {format_bytes(need)}; {format_bytes(machine.memory)} are free on {machine.device}",
        )
    )


def _positive_share(said: _Open, samples: Sequence[SampleFacts]) -> None:
    shares = [f.share for s in samples for f in s.features]
    if not shares:
        return
    size = _size(said.value("patch"))
    voxels = min(shares) * size
    if min(shares) >= 0.02:
        said.put("positive_share", 0.33, f"the rarest feature fills {min(shares):.1%}: nearly every patch holds it")
    elif voxels < 10:
        said.put("positive_share", 0.67, f"the rarest feature fills {min(shares):.2g} of the voxels: few patches do")
    else:
        said.put("positive_share", 0.5, f"the rarest feature fills {min(shares):.2%} of the voxels")


def _length(said: _Open, samples: Sequence[SampleFacts], machine: MachineFacts) -> None:
    each, least, most = STEPS[machine.kind]
    seen = _size(said.value("patch")) * int(said.value("batch"))
    wish = VISITS * _voxels(samples) / seen
    total = min(max(wish, least), most)
    said.put("steps", each, f"steps between two validations, as usual on {machine.device}")
    steps = int(said.value("steps"))
    epochs = max(1, round(total / steps))
    limits = "" if wish == total else f", within {least:,} to {most:,} on {machine.device}"
    said.put(
        "epochs", epochs, f"{epochs * steps:,} steps: each voxel {epochs * steps * seen / _voxels(samples):.0f} "
        f"times{limits}"
    )  # fmt: skip


def _tomograms(samples: Sequence[SampleFacts]) -> int:
    return len({name for s in samples if s.use == "both" for name in s.tomograms})


def _validation(said: _Open, samples: Sequence[SampleFacts], validated: bool) -> None:
    if said.given.get("folds"):
        return
    count = _tomograms(samples)
    if validated:
        said.put("validation_share", 0.0, "samples with use: validate are the validation")
    elif any(s.is_set and s.use == "both" and not s.reserved and len(s.tomograms) < 2 for s in samples):
        if all(s.is_set for s in samples):
            said.put("validation_share", 0.0, "the set does not say of which tomograms its boxes are")
    elif said.given.get("validation", "tomogram" if count >= FEW else "ends") == "tomogram":
        said.put("validation", "tomogram", f"{count} tomograms: whole ones tell how the model does on others")
        said.put("validation_share", 0.2, f"{max(1, int(0.2 * count + 0.5))} of {count} tomograms")
    else:
        said.put("validation", "ends", f"only {count} tomogram{'s' * (count != 1)}: a part of each")
        said.put("validation_share", 0.15, "of each region, or a patch")


def _sizes(said: _Open, samples: Sequence[SampleFacts]) -> None:
    """Say what the voxel sizes mean, and propose that they may differ if they do."""
    sides = [v for s in samples for v in s.voxel_size]
    size, shown = min(sides), f"{min(sides):.4g}"
    if any(max(along) > 1.05 * min(along) for along in zip(*(s.voxel_size for s in samples), strict=True)):
        shown += f" to {max(sides):.4g}"
        said.put("any_voxel_size", True, f"voxel sizes are {shown} angstrom")
    thin = _thinnest(samples)
    if thin is None or thin < THICK:
        told = "" if thin is None else f"; the thinnest feature has about {thin:.3g} voxels"
        said.advice.append(Proposed("", size, f"voxel size {shown} angstrom as it is{told}"))
        return
    factor = 2
    while thin / (2 * factor) >= THICK / 2:
        factor *= 2
    said.advice.append(
        Proposed(
            "",
            size * factor,
            f"voxel size: the thinnest feature has about {thin:.3g} voxels, so {factor} times larger voxels "
            f"({size * factor:.4g} angstrom) would do, and a patch would see more. Bin the tomogram, and its "
            f"labels by majority, before: after volengine convert (labels: --kind labels), "
            "volengine export --level N writes level N and says its voxel size; here nothing is resampled",
        )
    )
