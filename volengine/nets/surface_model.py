"""Model files of networks on surfaces: weights, and what is needed to use them, in one ``.safetensors`` file.

No pickle, so opening one runs no code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import write_atomic
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import parse_object
from volengine.core.recipe import Recipe

if TYPE_CHECKING:
    from volengine.nets.architectures.surface_rings import SurfaceRings

KEY = "volengine surface model"
AVERAGE = "turn_average"
"""Name of the tensor with the average of particles."""
BATCH = 512
"""Patches that are computed at a time; always as many, because libraries use other sums for other sizes."""
MOST = 4096
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class SurfaceModelFacts(Recipe):
    """What a network on surfaces sees and finds.

    Parameters
    ----------
    feature
        Name of the particle.
    heights, radii
        Distances along the normal and from the axis, angstrom.
    angles
        Number of angles.
    width, depth
        Arguments of the network.
    height
        Height of the particles' middle above the surface, angstrom.
    threshold
        Probability from which on a vertex counts.
    turn_fold
        Symmetry of the average of the training's particles about the normal; 0: it says no angle, and there is none.
    turn_error_deg
        Median error of the angles that it says, modulo 360 / ``turn_fold``.
    history
        How it was trained (JSON values).
    version
        Version of volengine that wrote it.
    """

    feature: str
    heights: tuple[float, ...]
    radii: tuple[float, ...]
    angles: int
    width: int
    depth: int
    height: float = 0.0
    threshold: float = 0.5
    turn_fold: int = 0
    turn_error_deg: float = 0.0
    history: tuple[dict[str, Any], ...] = ()
    version: str = ""

    def check(self) -> None:
        """Refuse sizes that no network has."""
        sizes = (len(self.heights), len(self.radii), self.angles, self.width, self.depth)
        if not all(1 <= n <= MOST for n in sizes) or math.prod(sizes[:3]) > 1 << 20 or self.width > 512:
            raise InputError(f"A network on surfaces has from 1 to {MOST} heights, radii, angles, channels: {sizes}.")
        numbers = (*self.heights, *self.radii, self.height, self.threshold, self.turn_error_deg)
        sound = 0 <= self.threshold <= 1 and 0 <= self.turn_fold <= MOST and min(self.radii) >= 0
        if not sound or not all(map(math.isfinite, numbers)):
            raise InputError("A height, a radius, the threshold or an angle of a network on surfaces makes no sense.")


def save_surface_model(
    path: str | Path, network: SurfaceRings, facts: SurfaceModelFacts, average: NDArray[np.float32] | None = None
) -> None:
    """Write weights, facts, and the average (heights, radii, any number of angles) of particles if there is one.

    The file appears when it is complete.
    """
    import torch

    from volengine import __version__
    from volengine.nets.packed import packed

    state = dict(network.state_dict())
    if average is not None:
        state[AVERAGE] = torch.from_numpy(np.ascontiguousarray(average, np.float32))
    text = json.dumps(replace(facts, version=__version__).to_json())
    write_atomic(path, packed(state, {KEY: text}, path))


def load_surface_model(path: str | Path) -> tuple[SurfaceRings, SurfaceModelFacts]:
    """Read a network, in evaluation mode, and its facts.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is damaged, or no model of surfaces.
    """
    import torch

    from volengine.nets.architectures.surface_rings import SurfaceRings

    state, facts = _read(path)
    _check_average(state.pop(AVERAGE, None), facts, path)
    if facts.depth > len(state):
        raise FormatError(f"{path}: its facts announce {facts.depth} layers, and it has {len(state)} tensors.")
    with torch.device("meta"):
        wanted = {k: v.shape for k, v in _network(facts).state_dict().items()}
    if wanted != {k: v.shape for k, v in state.items()} or any(v.dtype != torch.float32 for v in state.values()):
        raise FormatError(f"{path}: the weights do not fit what the file says of its network.")
    network = _network(facts)
    assert isinstance(network, SurfaceRings)
    network.load_state_dict(state)
    return network.eval(), facts


def load_turn_average(path: str | Path) -> tuple[SurfaceModelFacts, NDArray[np.float64]] | None:
    """Read the facts and the average of particles (heights, radii, angles) of a model file; ``None``: it has none.

    Raises
    ------
    MissingError, FormatError
        As :func:`load_surface_model`.
    """
    state, facts = _read(path)
    average = _check_average(state.get(AVERAGE), facts, path)
    return None if average is None else (facts, average)


def _check_average(average: Any, facts: SurfaceModelFacts, path: str | Path) -> NDArray[np.float64] | None:
    """The average of a file, as the facts announce it."""
    if (average is None) != (facts.turn_fold == 0):
        raise FormatError(f"{path}: its facts and its tensors disagree on whether it has an average of particles.")
    if average is None:
        return None
    values = average.double().numpy()
    fits = values.ndim == 3 and values.shape[:2] == (len(facts.heights), len(facts.radii))
    if not fits or not 4 <= values.shape[2] <= MOST or not np.isfinite(values).all():
        raise FormatError(f"{path}: its average of particles does not fit what the file says of its network.")
    found: NDArray[np.float64] = values
    return found


def _read(path: str | Path) -> tuple[dict[str, Any], SurfaceModelFacts]:
    """The tensors and the facts of a model file."""
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    if not file.is_file():
        raise MissingError(f"{path}: there is no such model file.")
    if file.stat().st_size > MOST_BYTES:
        raise FormatError(f"{path}: has {file.stat().st_size} bytes, more than any model of surfaces.")
    try:
        with safe_open(str(file), "pt") as stream:
            told = stream.metadata() or {}
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise FormatError(f"{path}: is no usable .safetensors file: {error}.") from error
    if KEY not in told:
        raise FormatError(
            f"{path}: is no model of surfaces. Those are made by volengine surfaces train; models of volumes are for "
            "volengine segment."
        )
    try:
        facts = SurfaceModelFacts.from_json(parse_object(told[KEY], "the model's facts"), where=str(path))
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{path}: {error}") from error
    return state, facts


def _network(facts: SurfaceModelFacts) -> SurfaceRings:
    from volengine.nets.architectures.surface_rings import SurfaceRings

    return SurfaceRings(len(facts.heights), len(facts.radii), facts.width, facts.depth)


def probabilities(network: SurfaceRings, patches: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) probabilities of normalised patches (n, heights, radii, angles), in one thread and fixed batches."""
    import torch

    from volengine.nets.threads import own_threads

    found = np.empty(len(patches))
    with own_threads(1), torch.inference_mode():
        for first, batch in _batches(patches):
            answers = torch.sigmoid(network(torch.from_numpy(batch))).double().numpy()
            found[first : first + BATCH] = answers[: len(found) - first]
    return found


def _batches(patches: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for first in range(0, len(patches), BATCH):
        batch = patches[first : first + BATCH]
        lacking = BATCH - len(batch)
        yield first, np.concatenate([batch, np.zeros((lacking, *batch.shape[1:]), np.float32)]) if lacking else batch
