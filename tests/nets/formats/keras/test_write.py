"""Networks as descriptions, and models written for other programs: the same numbers there."""

from __future__ import annotations

import io
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from volengine.core.errors import FormatError, InputError
from volengine.core.model import ModelFacts
from volengine.nets.architectures.graph import GraphNet
from volengine.nets.architectures.trace import describe
from volengine.nets.checkpoint import load_model
from volengine.nets.formats.archives import read_archive
from volengine.nets.formats.keras.h5_apart import read_h5
from volengine.nets.formats.keras.layers import Reader
from volengine.nets.formats.keras.read import read_keras
from volengine.nets.formats.keras.scnm_write import scnm_bytes
from volengine.nets.formats.keras.write import write_keras
from volengine.nets.registry import build

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation", "ignore:Argument `alpha` is deprecated")

PLAIN = ("eman2", "inceptionnet", "resnet_s", "unet", "unet_m", "vggnet", "pix2pix_s")
VOLUMETRIC = ("easymode_3d", "unet3d", "residual3d")
SHAPES = {2: (1, 1, 32, 64), 3: (1, 1, 8, 16, 32)}


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    return pytest.importorskip("keras", reason="Keras, the reference, is not installed")


def trained(module: nn.Module) -> nn.Module:
    """The network as if it had been trained: no weight and no statistic is what it began as."""
    source = torch.Generator().manual_seed(1)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.05 * torch.rand(tensor.shape, generator=source) - 0.02
    return module.eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def keras_answer(model: Any, x: torch.Tensor) -> np.ndarray:
    """Keras's answer, its axes y, x, z (3D) or y, x turned to ours."""
    last = x.permute(0, 2, 3, 1) if x.ndim == 4 else x.permute(0, 3, 4, 2, 1)
    with torch.inference_mode():
        answer = model(last.contiguous()).detach().cpu()
    return (answer.permute(0, 3, 1, 2) if x.ndim == 4 else answer.permute(0, 4, 3, 1, 2)).numpy()


@pytest.mark.parametrize("name", [*PLAIN, *VOLUMETRIC, pytest.param("easymode_3d_wide", marks=pytest.mark.slow)])
def test_networks_of_the_library_answer_the_same_in_keras(keras: Any, tmp_path: Path, name: str) -> None:
    x = noise(*SHAPES[3 if "3d" in name else 2])
    module = trained(build(name))
    layers, state = describe(module, x)
    shape = (*x.shape[2:], 1) if x.ndim == 4 else (*x.shape[3:], x.shape[2], 1)
    content = write_keras(layers, state, shape, axes="yxz")
    (tmp_path / "m.h5").write_bytes(content)
    with torch.inference_mode():
        expected = module(x).numpy()
        again = read_keras(content, "m.h5", axes="yxz").module()(x).numpy()
    answer = keras_answer(keras.models.load_model(tmp_path / "m.h5", compile=False), x)
    assert np.abs(answer - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(again - expected).max() <= 1e-5 * np.abs(expected).max()


class Mixed(nn.Module):
    """Parts in every spelling that a user's own network may have."""

    def __init__(self, how: dict[str, Any]):
        super().__init__()
        k, s = how["kernel"], how["stride"]
        self.first = nn.Conv2d(2, 4, k, s, how["pad"], bias=how["bias"], padding_mode="zeros")
        self.dilated = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=how["groups"])
        self.norm = {"batch": nn.BatchNorm2d(4), "group": nn.GroupNorm(2, 4), "instance": nn.InstanceNorm2d(4)}[
            how["norm"]
        ]
        self.act = {"prelu": nn.PReLU(4), "elu": nn.ELU(), "leaky": nn.LeakyReLU(0.3), "tanh": nn.Tanh()}[how["act"]]
        self.pool = nn.MaxPool2d(3, 1, 1) if how["pool"] == "max" else nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.up = nn.ConvTranspose2d(4, 3, how["up"], 2, (how["up"] - 2) // 2)
        self.upsample = nn.Upsample(scale_factor=2, mode=how["mode"])
        self.join = how["join"]
        self.last = nn.Conv2d(7, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.act(self.norm(self.first(x))))
        y = self.dilated(x)
        z = {"add": lambda: x + y, "mul": lambda: torch.mul(x, y), "max": lambda: torch.maximum(x, y)}[self.join]()
        z = nn.functional.leaky_relu(z, 0.1)
        return self.last(torch.cat([self.up(z), self.upsample(x)], dim=1))


@settings(max_examples=15, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "kernel": st.sampled_from([1, 2, 3, 5]),
            "stride": st.sampled_from([1, 2, 3]),
            "pad": st.sampled_from([0, 1, 2]),
            "bias": st.booleans(),
            "groups": st.sampled_from([1, 2, 4]),
            "norm": st.sampled_from(["batch", "group", "instance"]),
            "act": st.sampled_from(["prelu", "elu", "leaky", "tanh"]),
            "pool": st.sampled_from(["max", "average"]),
            "up": st.sampled_from([2, 4]),
            "mode": st.sampled_from(["nearest", "bilinear"]),
            "join": st.sampled_from(["add", "mul", "max"]),
        }
    )
)
def test_own_networks_are_described_and_answer_the_same_in_keras(
    keras: Any, tmp_path_factory: pytest.TempPathFactory, how: dict[str, Any]
) -> None:
    module = trained(Mixed(how))
    x = noise(1, 2, 13, 16)
    layers, state = describe(module, x)
    path = tmp_path_factory.mktemp("own") / "m.h5"
    path.write_bytes(write_keras(layers, state, (13, 16, 2)))
    with torch.inference_mode():
        expected = module(x).numpy()
    answer = keras_answer(keras.models.load_model(path, compile=False), x)
    assert np.abs(answer - expected).max() <= 1e-4 * np.abs(expected).max()


def test_what_cannot_be_described_is_named() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.mean() > 0 else -x

    class Aliased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)
            nn.init.constant_(self.conv.weight, -1.0)  # by chance all answers could be positive, and relu change none

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return torch.cat([y.relu_(), y], 1)  # the second is the first

    sample = torch.zeros(1, 1, 8, 8)
    with pytest.raises(InputError, match="Branching cannot be described"):
        describe(Branching(), sample)
    with pytest.raises(InputError, match=r"Aliased .*in place"):
        describe(Aliased(), sample)
    with pytest.raises(InputError, match="Fold"):
        describe(nn.Sequential(nn.Conv2d(1, 4, 1), nn.Fold((8, 8), 2)), sample)
    with pytest.raises(InputError, match="reflect"):
        describe(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")), sample)


# -- archives of Ais ----------------------------------------------------------------------------------------


def facts(**changes: Any) -> ModelFacts:
    given_ = {"network": "unet", "features": ("a b",), "voxel_size": (12, 9.6, 9.6), "patch": (1, 64, 64)}
    return ModelFacts(**{**given_, "normalisation": "per_slice", "stride": (1, 4, 4), "overlap": 0.25, **changes})


def test_an_archive_comes_back_as_the_model_it_was(tmp_path: Path) -> None:
    module = trained(build("unet", {"context": 5}))
    told = {"imported": "Ais", "facts": {"threshold": 0.7, "z_jitter": 2, "colour": [1, 0, 0], "title": "x"}}
    given_ = facts(context=5, normalisation="global_mad", history=(told,), threshold=0.3, emits=True, tta="flips")
    content = scnm_bytes(module, given_)
    assert content == scnm_bytes(module, given_)
    (tmp_path / "a.scnm").write_bytes(content)
    assert set(read_archive(content, "a")) == {"a_b_weights.h5", "a_b_metadata.json"}
    metadata = json.loads(read_archive(content, "a")["a_b_metadata.json"])
    assert (metadata["threshold"], metadata["emit"], metadata["absorb"]) == (0.3, True, False)
    assert (metadata["colour"], metadata["tta"], metadata["z_jitter"]) == ([1, 0, 0], 8, 2)
    assert (metadata["box_size"], metadata["model_depth"], metadata["n_parameters"]) == (64, 5, 925_185)
    again, found = load_model(tmp_path / "a.scnm")
    assert (found.features, found.context, found.patch, found.overlap) == (("a b",), 5, (1, 64, 64), 0.25)
    assert (found.normalisation, found.activation, found.voxel_size[1:]) == ("global_mad", "sigmoid", (9.6, 9.6))
    assert (found.threshold, found.emits, found.absorbs, found.colour) == (0.3, True, False, (1.0, 0.0, 0.0))
    x = noise(1, 5, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(again(x), module(x), atol=1e-6)


@pytest.mark.parametrize(("channels", "activation"), [(3, "sigmoid"), (3, "softmax"), (2, "softmax")])
def test_one_of_several_features_is_written_with_its_probability(
    tmp_path: Path, channels: int, activation: str
) -> None:
    names = tuple("abc"[:channels])
    module = trained(build("unet3d", {"channels": channels, "width": 4, "levels": 2}))
    given_ = facts(features=names, activation=activation, patch=(8, 16, 16), stride=(2, 2, 2))
    with pytest.raises(InputError, match="one feature; name one of a, b"):
        scnm_bytes(module, given_)
    (tmp_path / "a.scnm").write_bytes(scnm_bytes(module, given_, "b"))
    again, found = load_model(tmp_path / "a.scnm")
    assert (found.features, found.patch) == (("b",), (8, 16, 16))
    x = noise(1, 1, 8, 16, 32)
    with torch.inference_mode():
        expected = module(x).sigmoid() if activation == "sigmoid" else module(x).softmax(1)
        answer = again(x).sigmoid() if found.activation == "sigmoid" else again(x)
    assert torch.allclose(answer, expected[:, 1:2], atol=1e-6)


def test_what_ais_does_not_have_is_refused() -> None:
    module = build("unet")
    with pytest.raises(InputError, match="normalisation 'volume'"):
        scnm_bytes(module, facts(normalisation="volume"))
    with pytest.raises(InputError, match="square pixels"):
        scnm_bytes(module, facts(voxel_size=(10, 10, 12)))


# -- files that are not what they should be -----------------------------------------------------------------


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, inner in items for p in _paths(inner, (*path, key)))]


def test_a_changed_description_is_refused_or_read_but_never_ends_otherwise() -> None:
    draw = random.Random(0)
    how = {"kernel": 3, "stride": 2, "pad": 1, "bias": True, "groups": 2, "norm": "batch", "act": "prelu"}
    module = trained(Mixed({**how, "pool": "max", "up": 4, "mode": "bilinear", "join": "add"}))
    whole = write_keras(*describe(module, torch.zeros(1, 2, 12, 12)), (12, 12, 2))
    values = [None, -1, 0, 10**9, 1.5, "x", "", [], {}, [[1]], True, {"class_name": "X"}]
    refused = 0
    content = read_h5(whole, "m.h5")
    for _ in range(300):
        config = json.loads(content.config or "")
        *way, last = draw.choice(_paths(config)[1:])
        part = config
        for key in way:
            part = part[key]
        if draw.random() < 0.3:
            del part[last]
        else:
            part[last] = draw.choice(values)
        try:
            assert isinstance(Reader("m.h5", "zyx", content).read(config).module(), GraphNet)
        except FormatError:
            refused += 1
    assert refused > 100


def test_weights_that_only_claim_to_be_there_and_links_are_refused() -> None:
    whole = write_keras(*describe(trained(build("unet")), torch.zeros(1, 1, 16, 16)), (16, 16, 1))

    def changed(change: Any) -> bytes:
        stream = io.BytesIO(whole)
        with h5py.File(stream, "a") as file:
            group = file["model_weights"]
            change(group, next(name for name in group if name.startswith("conv2d_")))
        return stream.getvalue()

    def hollow(group: Any, name: str) -> None:
        del group[name][name]["kernel:0"]
        group[name][name].create_dataset("kernel:0", (15000, 15000), "f4", chunks=(100, 100))

    def linked(group: Any, name: str) -> None:
        group.move(name, "elsewhere")
        group[name] = h5py.SoftLink("/model_weights/elsewhere")

    def external(group: Any, name: str) -> None:
        del group[name]
        group[name] = h5py.ExternalLink("other.h5", "/")

    def text(group: Any, name: str) -> None:
        del group[name][name]["kernel:0"]
        group[name][name]["kernel:0"] = np.array([b"os.system"], "S9")

    for change, message in (
        (hollow, "does not hold what it announces"),
        (text, "no plain array"),
        (linked, "has 0 weights in the file; it needs 2"),
        (external, "has 0 weights in the file; it needs 2"),
    ):
        with pytest.raises(FormatError, match=message):
            read_keras(changed(change), "m.h5")


UP = {"kind": "upsample", "factor": [2, 2]}


@pytest.mark.parametrize(
    ("function", "after", "activation"),
    [
        ("sigmoid", [{**UP, "mode": "nearest"}], "sigmoid"),  # Ais's EMAN2 network
        ("softmax", [{**UP, "mode": "nearest"}], "softmax"),
        ("sigmoid", [{**UP, "mode": "nearest"}, {"kind": "frame", "widths": [[-1, -2], [0, -3]]}], "sigmoid"),
        ("sigmoid", [{**UP, "mode": "linear"}], "none"),  # between two probabilities is not between two logits
        ("sigmoid", [{"kind": "frame", "widths": [[1, 0], [0, 0]]}], "none"),  # a frame of zeros is not one of 0.5
        ("sigmoid", [{"kind": "join", "function": "add", "inputs": ["last", "last"]}], "none"),
    ],
)
def test_an_activation_before_the_up_sampling_is_found(
    tmp_path: Path, function: str, after: list[dict[str, Any]], activation: str
) -> None:
    x = noise(1, 1, 12, 16)
    layers, state = describe(trained(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2))), x)
    layers = [*layers, {"name": "last", "kind": "activation", "inputs": [layers[-1]["name"]], "function": function}]
    for number, layer in enumerate(after):
        layers = [*layers, {"name": f"after_{number}", "inputs": [layers[-1]["name"]], **layer}]
    path = tmp_path / "m.h5"
    path.write_bytes(write_keras(layers, state, (12, 16, 1)))
    whole = GraphNet(layers)
    whole.load_state_dict(state)
    model = read_keras(path)
    assert model.activation == activation
    with torch.inference_mode():
        expected, answer = whole(x), model.module()(x)
    last = {"sigmoid": torch.sigmoid, "softmax": lambda t: torch.softmax(t, 1), "none": lambda t: t}[activation]
    assert torch.allclose(last(answer), expected, rtol=0, atol=2e-7)
