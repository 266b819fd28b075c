"""A user's own architecture from training to a prediction, on the command line."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner

from volengine.cli.main import cli
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import load_facts

NET = """
from torch import nn


class Mine(nn.Sequential):
    def __init__(self, channels=1):
        super().__init__(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, channels, 1))
"""


def call(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_own_network_is_trained_and_applied_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    truth = np.zeros((12, 24, 24), np.int8)
    truth[4:8, 4:20, 6:18] = 1
    noise = np.random.default_rng(0).normal(size=truth.shape)
    for name, array in (("t.mrc", (truth * 4 + noise).astype(np.float32)), ("l.mrc", truth)):
        with mrcfile.new(name, array) as mrc:
            mrc.voxel_size = 10.0
    Path("mine.py").write_text(NET)
    call(
        "train", "--volume", "t.mrc", "--labels", "l.mrc", "--out", "m.safetensors", "--features", "box",
        "--network", "mine.py:Mine", "--patch", "8,8,8", "--epochs", "1", "--steps", "20", "--device", "cpu",
    )  # fmt: skip
    assert load_facts("m.safetensors").network.startswith("mine.py:Mine@")
    assert load_facts("m.safetensors").receptive_field == (1, 1, 1)
    given = ("segment", "t.mrc", "--model", "m.safetensors", "--device", "cpu")
    with pytest.raises(InputError, match="somebody's own Python"):
        call(*given, "--out", "refused")
    call(*given, "--out", "p", "--network-file", "mine.py:Mine")
    volume = open_volume("p/t__box.ome.zarr")
    found = open_source(volume).read(Box.of_shape(volume.shape))
    inside = found[truth == 1].mean()
    assert inside > found[truth == 0].mean() + 20  # of 255: it was the trained network that answered
