"""models: the list of networks, and the facts of model files, in Python and on the command line."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from volengine.cli.main import cli
from volengine.core.errors import InputError, MissingError
from volengine.core.model import ModelFacts
from volengine.nets import registry
from volengine.nets.checkpoint import save_model
from volengine.tasks.models.networks import networks


def said(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["models", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_holds_every_network_with_its_numbers() -> None:
    rows = json.loads(said("--json"))
    own = [name for name in registry.NETWORKS if name not in registry.IMPORTED]
    assert [row["name"] for row in rows][: len(own)] == own
    assert all(row["missing"] or (row["parameters"] > 0 and row["macs"] > 0 and row["source"]) for row in rows)
    found = {row["name"]: row for row in rows}
    assert found["unet"]["parameters"] == 922_881
    assert found["unet"]["receptive_field"] == [0, 13, 13]
    assert found["easymode_3d"]["stride"] == [4, 16, 16]
    assert found["easymode_3d"]["dimensions"] == 3


def test_the_text_of_some() -> None:
    head, unet, residual = said("--network", "unet", "--network", "unet3d").splitlines()
    assert head.split() == ["network", "parameters", "kMAC/voxel", "sees", "(voxels)", "stride", "from"]
    assert unet.split()[:9] == ["unet", "2D", "922,881", "259", "13,", "13", "4,", "4", "Ais,"]
    assert residual.split() == ["unet3d", "3D", "198,865", "32", "23,", "23,", "23", "4,", "4,", "4", "volengine"]


def test_a_network_without_a_finite_field_and_one_that_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("groups", "volengine.nets.architectures.residual3d:ResidualUNet3d", registry.GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point])
    monkeypatch.setattr(point.load(), "__init__", _grouped(point.load().__init__))
    assert "  patch " in said("--network", "groups")
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    (row,) = networks(["dynunet"])
    assert "volengine[membrain]" in row.missing
    assert "volengine[membrain]" in said("--network", "dynunet")


def _grouped(init):  # type: ignore[no-untyped-def]
    def grouped(self, channels=1):  # type: ignore[no-untyped-def]
        init(self, channels, width=8, levels=2, norm="group")

    return grouped


def test_an_own_network_is_listed_and_its_absence_said(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from torch import nn\nclass Net(nn.Conv3d):\n    def __init__(self):\n"
                                     "        super().__init__(1, 1, 5, padding=2)\n")  # fmt: skip
    (row,) = networks([f"{tmp_path / 'own.py'}:Net"])
    assert row.name.startswith("own.py:Net@")
    assert (row.parameters, row.macs, row.receptive_field) == (126, 125, (2, 2, 2))
    with pytest.raises(MissingError, match=r"nowhere\.py"):
        networks(["nowhere.py:Net"])
    with pytest.raises(InputError, match="no network 'unett'"):
        networks(["unett"])


def test_show_prints_the_facts_of_a_model(tmp_path: Path) -> None:
    facts = ModelFacts(network="unet", features=("a",), voxel_size=(10, 10, 10), patch=(1, 64, 64))
    save_model(tmp_path / "m.safetensors", registry.build("unet"), facts)
    assert json.loads(said("show", str(tmp_path / "m.safetensors"), "--json"))["network"] == "unet"
    lines = dict(line.split(None, 1) for line in said("show", str(tmp_path / "m.safetensors")).splitlines())
    assert (lines["features"], lines["patch"]) == ("a", "1, 64, 64")
    with pytest.raises(MissingError, match=r"nothing\.safetensors"):
        said("show", "nothing.safetensors")
