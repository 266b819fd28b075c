"""Model files: nothing is lost, nothing runs, PyTorch is not needed for the facts, and broken files say so."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from volengine import __version__
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import KEY, identity, load_facts, load_model, save_model
from volengine.nets.registry import build
from volengine.nets.training.fit.state import load_state, save_state

ARGUMENTS = {"channels": 2, "width": 2, "levels": 2}


def facts(**changes: Any) -> ModelFacts:
    values = {
        "network": "unet3d",
        "arguments": ARGUMENTS,
        "features": ("shell", "core"),
        "voxel_size": (40, 40, 40),
        "patch": (16, 32, 32),
        "stride": (2, 2, 2),
        "receptive_field": (9, 9, 9),
        "history": ({"epoch": 3, "note": "å, π"},),
    }
    return ModelFacts(**{**values, **changes})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "new" / "model.safetensors"
    save_model(path, build("unet3d", ARGUMENTS), facts())
    return path


def test_a_saved_model_is_loaded_with_its_weights_and_facts(model: Path) -> None:
    module, found = load_model(model)
    assert found == facts(version=__version__)
    torch.manual_seed(1)
    want = build("unet3d", ARGUMENTS).state_dict()
    assert not module.training
    assert want.keys() == module.state_dict().keys()
    assert all(torch.equal(want[k], v) for k, v in module.state_dict().items())
    assert [p.name for p in model.parent.iterdir()] == [model.name]


class Tied(torch.nn.Module):
    """Two layers with one weight, and a buffer that is a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        self.other.weight = self.one.weight
        self.register_buffer("part", self.one.weight.detach()[1:])


def test_tied_weights_are_written_under_each_name(tmp_path: Path) -> None:
    module = Tied()
    save_model(tmp_path / "a.safetensors", module, facts())
    found = load_file(tmp_path / "a.safetensors")
    want = module.state_dict()
    assert found.keys() == want.keys()
    assert all(torch.equal(found[name], value) for name, value in want.items())
    save_state(tmp_path, {"module": want, "average": want}, [], {})
    state = load_state(tmp_path, {})
    assert state is not None
    fresh = Tied()
    fresh.load_state_dict(state[0]["module"])
    assert torch.equal(fresh.one.weight, module.one.weight)
    assert fresh.one.weight is fresh.other.weight


@pytest.mark.parametrize("buffer", [torch.eye(3).to_sparse(), torch.zeros(2, dtype=torch.complex128)])
def test_weights_that_the_format_cannot_hold_are_refused(tmp_path: Path, buffer: torch.Tensor) -> None:
    module = torch.nn.Module()
    module.register_buffer("odd", buffer)
    with pytest.raises(InputError, match="cannot be written as"):
        save_model(tmp_path / "a.safetensors", module, facts())
    with pytest.raises(InputError, match="cannot be written as"):
        save_state(tmp_path, {"module": module.state_dict()}, [], {})
    assert [*tmp_path.iterdir()] == []


def test_facts_are_read_without_pytorch(model: Path) -> None:
    code = (
        "import sys; from volengine.nets.checkpoint import load_facts\n"
        f"print(load_facts({str(model)!r}).features, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('shell', 'core') False"


def test_identity_is_of_the_bytes(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(model.read_bytes())
    assert identity(copy) == identity(model)
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert identity(copy) != identity(model)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_a_cut_file_is_refused_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    save_model(path, build("unet3d", ARGUMENTS), facts())
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(FormatError, match=r"cut off|damaged"):
        load_facts(path)
    with pytest.raises(FormatError):
        load_model(path)


def with_header(path: Path, header: Any) -> None:
    raw = json.dumps(header).encode() if not isinstance(header, bytes) else header
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)


@pytest.mark.parametrize("header", [[], 7, {"a": 3}, {"a": {"data_offsets": []}}, b"{not json", b"\xff\xfe\x00"])
def test_a_damaged_header_is_refused(tmp_path: Path, header: Any) -> None:
    path = tmp_path / "odd.safetensors"
    with_header(path, header)
    with pytest.raises(FormatError, match="damaged"):
        load_facts(path)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(FormatError, match="not written by volengine"):
        load_facts(path)
    path.write_bytes(b"\x80\x04\x95 this is a pickle, or anything else that is long enough to have a length")
    with pytest.raises(FormatError, match=r"no \.safetensors model file"):
        load_facts(path)
    with pytest.raises(MissingError, match="no such model file"):
        load_facts(tmp_path / "nothing.safetensors")


def test_facts_that_make_no_sense_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    wrong = {**facts().to_json(), "overlap": 2.0}
    save_file({"weight": torch.zeros(3)}, path, metadata={KEY: json.dumps(wrong)})
    with pytest.raises(FormatError, match=r"odd\.safetensors.*overlap.*below 1, not 2"):
        load_facts(path)


@pytest.mark.parametrize("arguments", [{**ARGUMENTS, "channels": 1}, {**ARGUMENTS, "levels": 3}])
def test_weights_must_fit_the_network(tmp_path: Path, arguments: dict[str, int]) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, build("unet3d", ARGUMENTS), facts(arguments=arguments))
    with pytest.raises(FormatError, match=r"weights do not fit 'unet3d': .* tensors differ"):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ()}, "one or more different names"),
        ({"features": ("a", "a")}, "one or more different names"),
        ({"voxel_size": (40, 0, 40)}, "must be positive"),
        ({"patch": (16, 33, 32)}, "not a multiple of the network's stride"),
        ({"overlap": 1.0}, "below 1"),
        ({"context": 5}, "patches of depth 1"),
        ({"normalisation": "per_block"}, "must be one of none, per_slice"),
    ],
)
def test_wrong_facts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        facts(**changes)


@pytest.mark.parametrize(("context", "slices"), [(1, (0, 0)), (3, (1, 1)), (4, (2, 1)), (5, (2, 2))])
def test_a_context_is_divided_into_slices_below_and_above(context: int, slices: tuple[int, int]) -> None:
    flat = facts(patch=(1, 32, 32), stride=(1, 2, 2), context=context)
    assert flat.context_slices == slices
    assert sum(slices) + 1 == context
    assert not flat.volumetric


def test_what_its_maker_has_chosen_is_kept_and_older_files_say_nothing(model: Path, tmp_path: Path) -> None:
    chosen = {"threshold": 0.4, "colour": (1.0, 0.5, 0.0), "tta": "flips4", "emits": True, "absorbs": False}
    save_model(tmp_path / "chosen.safetensors", build("unet3d", ARGUMENTS), facts(**chosen))
    found = load_facts(tmp_path / "chosen.safetensors")
    assert {name: getattr(found, name) for name in chosen} == chosen
    told = load_facts(model).to_json()
    older = ModelFacts.from_json({name: value for name, value in told.items() if name not in chosen})
    assert all(getattr(older, name) is None for name in chosen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.0}, "threshold is a probability from 0 to below 1, not 1.0"),
        ({"threshold": float("nan")}, "threshold is a probability"),
        ({"colour": (255, 0, 0)}, "colour is red, green, blue from 0 to 1, not .255"),
        ({"tta": 17}, "tta must be from 1 to 16, or flips, not 17"),
        ({"tta": "turns"}, "ModelFacts.tta"),
        ({"emits": "yes"}, "ModelFacts.emits is 'yes'"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        facts(**changes)
