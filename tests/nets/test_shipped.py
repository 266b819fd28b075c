"""Networks that come with the package: found by name, small, whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volengine.core.errors import FormatError, MissingError
from volengine.io.mrc.write import write_mrc
from volengine.nets.checkpoint import identity, load_facts, load_model
from volengine.nets.shipped import SHIPPED, is_shipped, model_file
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

LARGEST = 10_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_each_name_has_a_small_whole_file(name: str) -> None:
    assert model_file(name).stat().st_size < LARGEST
    module, facts = load_model(name)
    assert facts == load_facts(name) == load_facts(model_file(name))
    assert identity(name) == identity(model_file(name))
    assert set(SHIPPED[name].split(";")[0].split(", ")) == set(facts.features) - {"background"}
    assert sum(weights.numel() for weights in module.parameters()) > 0
    samples = [sample for entry in facts.history for sample in entry.get("recipe", {}).get("samples", [])]
    assert samples
    assert not any(Path(sample["volume"]).is_absolute() for sample in samples)


def test_what_is_there_comes_before_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_shipped("cytoplasm")
    Path("cytoplasm").write_bytes(b"somebody's own")
    assert not is_shipped("cytoplasm")
    with pytest.raises(FormatError, match=r"cytoplasm is no \.safetensors model file"):
        load_facts("cytoplasm")


def test_another_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(MissingError, match=r"cytosol: no such model file, and none of .*: cytoplasm"):
        load_facts("cytosol")


def test_a_tomogram_is_segmented_by_name(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(6, 128, 128)).astype(np.float32)
    write_mrc(tmp_path / "noise.mrc", [noise], noise.shape, "float32", (12.0, 12.0, 12.0))
    found = segment(str(tmp_path / "noise.mrc"), str(tmp_path / "out"), SegmentRecipe(models=("cytoplasm",)))
    assert sorted(found) == ["actin", "membrane", "microtubule", "ribosome"]
    assert all(volume.shape == noise.shape for volume in found.values())
