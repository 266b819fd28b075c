"""Networks on surfaces: turned patches, batches, files, training that repeats itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.nets.architectures.surface_rings import SurfaceRings
from volengine.nets.surface_fit import FitState, fit_rings
from volengine.nets.surface_model import (
    BATCH,
    KEY,
    SurfaceModelFacts,
    load_surface_model,
    load_turn_average,
    probabilities,
    save_surface_model,
)

FACTS = SurfaceModelFacts("receptor", (-10.0, 0.0, 10.0), (0.0, 10.0), 8, 6, 2, 12.5, 0.4)


def network(seed: int = 0) -> SurfaceRings:
    torch.manual_seed(seed)
    return SurfaceRings(3, 2, 6, 2).eval()


def patches(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, 3, 2, 8)).astype("f4")


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_a_turned_patch_gets_the_same_answer_and_a_flipped_one_another(steps: int) -> None:
    given = patches(20)
    answer = probabilities(network(), given)
    assert probabilities(network(), np.roll(given, steps, axis=3).copy()) == pytest.approx(answer, abs=1e-6)
    assert np.abs(probabilities(network(), given[:, ::-1].copy()) - answer).max() > 1e-3


def test_no_batch_changes_a_byte() -> None:
    given = patches(BATCH + 37)
    whole = probabilities(network(), given)
    assert probabilities(network(), given[5:9]).tobytes() == whole[5:9].tobytes()
    assert probabilities(network(), given[:0]).shape == (0,)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    save_surface_model(tmp_path / "a.safetensors", network(), FACTS)
    loaded, facts = load_surface_model(tmp_path / "a.safetensors")
    assert facts.version
    assert facts.with_(version="") == FACTS
    assert probabilities(loaded, patches(9)).tobytes() == probabilities(network(), patches(9)).tobytes()


def test_the_average_of_particles_is_written_and_read(tmp_path: Path) -> None:
    average = np.random.default_rng(3).normal(size=(3, 2, 36)).astype("f4")
    facts = FACTS.with_(turn_fold=2, turn_error_deg=4.5)
    save_surface_model(tmp_path / "a.safetensors", network(), facts, average)
    loaded, told = load_surface_model(tmp_path / "a.safetensors")
    assert probabilities(loaded, patches(9)).tobytes() == probabilities(network(), patches(9)).tobytes()
    found = load_turn_average(tmp_path / "a.safetensors")
    assert found is not None
    assert found[0] == told
    assert (told.turn_fold, told.turn_error_deg) == (2, 4.5)
    np.testing.assert_array_equal(found[1], average)
    save_surface_model(tmp_path / "b.safetensors", network(), FACTS)
    assert load_turn_average(tmp_path / "b.safetensors") is None


@pytest.mark.parametrize(
    ("fold", "average", "message"),
    [
        (1, None, "disagree"),
        (0, np.zeros((3, 2, 36), "f4"), "disagree"),
        (1, np.zeros((2, 2, 36), "f4"), "average of particles does not fit"),
        (1, np.zeros((3, 2, 3), "f4"), "average of particles does not fit"),
        (1, np.full((3, 2, 36), np.nan, "f4"), "average of particles does not fit"),
        (-1, np.zeros((3, 2, 36), "f4"), "makes no sense"),
    ],
    ids=["none", "no fold", "heights", "angles", "no number", "fold"],
)
def test_averages_that_cannot_be_are_refused(
    tmp_path: Path, fold: int, average: np.ndarray | None, message: str
) -> None:
    told, state = {**FACTS.to_json(), "turn_fold": fold}, network().state_dict()
    if average is not None:
        state["turn_average"] = torch.from_numpy(average)
    save_file(state, tmp_path / "a.safetensors", {KEY: json.dumps(told)})
    for load in (load_surface_model, load_turn_average):
        with pytest.raises(FormatError, match=message):
            load(tmp_path / "a.safetensors")


def test_a_training_repeats_itself_and_learns() -> None:
    given = patches(600)
    targets = (given[:, :, 0].mean(axis=(1, 2)) > 0).astype("f4")  # what stands in the middle, at any height
    first = fit_rings(given, targets, epochs=12, learning_rate=1e-2, seed=1, width=6, depth=2)
    again = fit_rings(given, targets, epochs=12, learning_rate=1e-2, seed=1, width=6, depth=2)
    assert all((a == b).all() for a, b in zip(first.parameters(), again.parameters(), strict=True))
    fresh = patches(300, 5)
    right = (probabilities(first, fresh) > 0.5) == (fresh[:, :, 0].mean(axis=(1, 2)) > 0)
    assert right.mean() > 0.75


def test_a_training_that_was_stopped_goes_on_with_the_same_result(tmp_path: Path) -> None:
    given = patches(200)
    targets = (given[:, :, 0].mean(axis=(1, 2)) > 0).astype("f4")

    def fit(state: FitState | None, say: Callable[[str], None] = lambda line: None) -> SurfaceRings:
        return fit_rings(given, targets, epochs=4, learning_rate=1e-2, seed=1, width=6, depth=2, say=say, state=state)

    def stop(line: str) -> None:
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    state = FitState(tmp_path / "m.training" / "state.safetensors", {"seed": 1})
    with pytest.raises(KeyboardInterrupt):
        fit(state, stop)
    told: list[str] = []
    resumed, whole = fit(state, told.append), fit(None)
    assert all((a == b).all() for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))
    assert [line.partition(":")[0] for line in told] == ["goes on after epoch 2 of 4", "epoch 3 of 4", "epoch 4 of 4"]
    with pytest.raises(InputError, match=r"with other seed; remove .*m\.training"):
        fit(FitState(state.file, {"seed": 2}))
    state.file.write_bytes(state.file.read_bytes()[:900])
    with pytest.raises(FormatError, match=r"is damaged.*remove .*m\.training"):
        fit(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 7}, "weights do not fit"),
        ({"width": 10**6}, "from 1 to 4096"),
        ({"depth": 9}, "announce 9 layers|do not fit"),
        ({"depth": 4000}, "announce 4000 layers"),
        ({"heights": [1.0] * 5000}, "from 1 to 4096"),
        ({"radii": [-1.0, 0.0]}, "makes no sense"),
        ({"threshold": 2.0}, "makes no sense"),
        ({"nonsense": 1}, "there is no 'nonsense'"),
        ({"angles": "many"}, "whole number"),
    ],
)
def test_facts_that_cannot_be_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    told = {**FACTS.to_json(), **change}
    save_file(network().state_dict(), tmp_path / "a.safetensors", {KEY: json.dumps(told)})
    with pytest.raises(FormatError, match=message):
        load_surface_model(tmp_path / "a.safetensors")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    with pytest.raises(MissingError):
        load_surface_model(file)
    save_file(network().state_dict(), file)
    with pytest.raises(FormatError, match="no model of surfaces"):
        load_surface_model(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(FormatError, match="no usable"):
        load_surface_model(file)
    with pytest.raises(InputError):
        SurfaceModelFacts("x", (), (0.0,), 4, 4, 1)
