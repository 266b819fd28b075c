"""Models of other programs: the same numbers as the program that made them, and nothing that is not a plain model."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.rules import Compete, Interact
from volengine.nets.architectures.graph import GraphNet
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.formats.foreign import import_model, read_group
from volengine.nets.formats.keras.read import read_keras

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation", "ignore:You are saving your model")
METADATA = {"title": "Membrane", "apix": 13.5, "box_size": 32, "overlap": 0.2, "threshold": 0.4, "emit": True}


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    return pytest.importorskip("keras", reason="Keras, the reference, is not installed")


def saved(model: Any, path: Path) -> Path:
    """A Keras model in the layout of whole-model HDF5 files."""
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            (rng.random(w.shape) + 0.5 if "variance" in v.name else rng.normal(0, 0.3, w.shape)).astype("float32")
            for v, w in zip(model.weights, model.get_weights(), strict=True)
        ]
    )
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
        path.with_name("config.json").write_text(model.to_json())
    else:
        model.save(path)
    return path


def reference(model: Any, x: np.ndarray) -> np.ndarray:
    """The model's own answer, channels first."""
    last = np.moveaxis(x, 1, -1)
    return np.moveaxis(model(last).detach().cpu().numpy(), -1, 1)


def answer(path: Path, x: np.ndarray) -> np.ndarray:
    """Ours, the last activation put back."""
    model = read_keras(path)
    with torch.inference_mode():
        logits = model.module()(torch.from_numpy(x))
    final = {"sigmoid": torch.sigmoid, "softmax": lambda t: torch.softmax(t, 1), "none": lambda t: t}
    return final[model.activation](logits).numpy()


@st.composite
def drawn(draw: Any) -> dict[str, Any]:
    return {
        "ndim": draw(st.sampled_from([2, 3])),
        "stem": draw(st.sampled_from([1, 2, 3, 4, 15])),
        "stride": draw(st.sampled_from([1, 2, 3])),
        "dilation": draw(st.sampled_from([1, 2])),
        "padding": draw(st.sampled_from(["same", "valid"])),
        "pool": draw(st.sampled_from(["max", "average"])),
        "pool_padding": draw(st.sampled_from(["same", "valid"])),
        "up": draw(st.sampled_from(["nearest", "transpose"])),
        "up_kernel": draw(st.sampled_from([1, 2, 3, 4])),
        "activation": draw(st.sampled_from(["relu", "elu", "tanh", "linear", "selu", "softplus", "silu"])),
        "norm": draw(st.booleans()),
        "head": draw(st.sampled_from(["sigmoid", "softmax", "linear"])),
        "join": draw(st.sampled_from(["Add", "Multiply", "Average", "Maximum", "Concatenate", "+", "*", "join"])),
        "inner": draw(st.sampled_from(["", "chain", "model"])),
    }


def build(keras: Any, how: dict[str, Any], size: int = 16, channels: int = 2) -> Any:
    """A drawn graph of all kinds of layers."""
    n, layers = how["ndim"], keras.layers
    given_ = keras.Input((size,) * n + (channels,))
    step = {"dilation_rate": how["dilation"]} if how["stride"] == 1 else {"strides": how["stride"]}
    stem = 3 if n == 3 and how["stem"] == 15 else how["stem"]
    x = getattr(layers, f"Conv{n}D")(4, stem, padding="same", activation=how["activation"], **step)(given_)
    if how["norm"]:
        x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.2)(x)
    pool = "MaxPooling" if how["pool"] == "max" else "AveragePooling"
    low = getattr(layers, f"{pool}{n}D")(2, padding=how["pool_padding"])(x)
    low = layers.LeakyReLU(negative_slope=0.2)(low)
    if how["up"] == "nearest":
        low = getattr(layers, f"UpSampling{n}D")(2)(low)
    else:
        low = getattr(layers, f"Conv{n}DTranspose")(4, how["up_kernel"], strides=2, padding="same")(low)
    cut = [a - b for a, b in zip(low.shape[1:-1], x.shape[1:-1], strict=True)]
    if any(c > 0 for c in cut):
        low = getattr(layers, f"Cropping{n}D")([(0, max(c, 0)) for c in cut])(low)
    if any(c < 0 for c in cut):
        low = getattr(layers, f"ZeroPadding{n}D")([(0, max(-c, 0)) for c in cut])(low)
    x = inner_model(keras, how, x)
    if how["join"] in ("+", "*"):
        joined = keras.ops.leaky_relu(x + low if how["join"] == "+" else x * low)
    elif how["join"] == "join":
        joined = keras.ops.concatenate([keras.ops.relu(x), keras.ops.tanh(low)], axis=-1)
    else:
        joined = getattr(layers, how["join"])()([x, low])
    out = getattr(layers, f"Conv{n}D")(3, 2, padding=how["padding"])(joined)
    out = layers.PReLU(shared_axes=list(range(1, n + 1)))(out)
    return keras.Model(given_, getattr(layers, f"Conv{n}D")(3, 1, activation=how["head"])(out))


def inner_model(keras: Any, how: dict[str, Any], x: Any) -> Any:
    """What a model in the model makes of a layer's answer: as many channels."""
    conv, norm = getattr(keras.layers, f"Conv{how['ndim']}D"), keras.layers.BatchNormalization
    if how["inner"] == "chain":
        return keras.Sequential([conv(3, 3, padding="same"), norm(), conv(4, 1), norm()], name="inner")(x)
    if how["inner"] == "model":
        given_ = keras.Input(x.shape[1:])
        chain = keras.Sequential([conv(4, 1), norm()], name="chain")(conv(4, 1, name="first")(given_))
        return keras.Model(given_, keras.layers.Add()([chain, given_]), name="inner")(x)
    return x


@settings(max_examples=16, deadline=None)
@given(drawn(), st.sampled_from(["h5", "keras", "weights.h5"]))
def test_drawn_graphs_give_the_numbers_of_keras(
    keras: Any, tmp_path_factory: Any, how: dict[str, Any], ending: str
) -> None:
    model = build(keras, how)
    path = saved(model, tmp_path_factory.mktemp("keras") / f"model.{ending}")
    x = np.random.default_rng(1).normal(size=(2, 2, *(16,) * how["ndim"])).astype("float32")
    expected = reference(model, x)
    assert np.abs(answer(path, x) - expected).max() <= 1e-4 * max(1e-3, np.abs(expected).max())


def test_a_sequential_model_answers_as_keras_does(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(2, 3, padding="same"), layers.Activation("relu")])
    path = saved(model, tmp_path / "model.h5")
    x = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype("float32")
    assert np.allclose(answer(path, x), reference(model, x), atol=1e-5)


def test_a_graph_survives_its_native_file_and_runs_at_any_size(keras: Any, tmp_path: Path) -> None:
    how = {"ndim": 2, "stem": 3, "stride": 1, "dilation": 1, "padding": "same", "pool": "max", "pool_padding": "valid"}
    how |= {
        "up": "nearest",
        "up_kernel": 2,
        "activation": "relu",
        "norm": True,
        "head": "softmax",
        "join": "Add",
        "inner": "",
    }
    path = saved(build(keras, how), tmp_path / "model.h5")
    with pytest.raises(InputError, match=r"models import .*--voxel-size"):
        load_facts(path)
    with pytest.raises(InputError, match="3 channels, but 1 features"):
        import_model(path, tmp_path / "m.safetensors", voxel_size=10, features=("a",))
    facts = import_model(path, tmp_path / "m.safetensors", voxel_size=10, features=("a", "b"))
    assert (facts.features, facts.activation, facts.stride) == (("background", "a", "b"), "softmax", (1, 2, 2))
    assert (facts.context, facts.patch, facts.voxel_size) == (2, (1, 16, 16), (10, 10, 10))
    module, again = load_model(tmp_path / "m.safetensors")
    assert again.features == facts.features
    x = torch.randn(1, 2, 32, 20)
    with torch.inference_mode():
        assert torch.equal(module(x), read_keras(path).module()(x))


def test_a_model_of_deepfinder_answers_as_keras_does(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "real" / "models_deepfinder" / "net_weights_chlamydomonas.h5"
    facts = import_model(path, tmp_path / "m.safetensors", voxel_size=13.68, features=("membrane", "mb", "ribo"))
    assert (facts.patch, facts.stride, facts.activation) == ((56, 56, 56), (4, 4, 4), "softmax")
    module, _ = load_model(tmp_path / "m.safetensors")
    stored: list[int] = []
    with h5py.File(path) as file:
        file["model_weights"].visititems(lambda _, n: stored.append(n.size) if isinstance(n, h5py.Dataset) else None)
    assert sum(p.numel() for p in module.parameters()) == sum(stored) == 903_060
    with torch.inference_mode():
        assert module(torch.randn(1, 1, 16, 20, 24)).shape == (1, 4, 16, 20, 24)


# -- Ais's archives -----------------------------------------------------------------------------------------


def h5_bytes(layers: list[dict[str, Any]], weights: dict[str, list[np.ndarray]]) -> bytes:
    """A whole-model file, as Keras 2 writes it."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        last = layers[-1]["name"]
        config = {"layers": layers, "input_layers": [["in", 0, 0]], "output_layers": [[last, 0, 0]]}
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        for name, arrays in weights.items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = [f"{name}/{n}:0" for n in range(len(arrays))]
            for n, array in enumerate(arrays):
                group[f"{name}/{n}:0"] = array
    return stream.getvalue()


def plain_h5(extra: list[dict[str, Any]] | None = None, shape: tuple[Any, ...] = (None, 32, 32, 1)) -> bytes:
    """One convolution with a sigmoid, between an input and what is asked for."""
    ndim = len(shape) - 2
    conv = {"filters": 1, "strides": [1] * ndim, "padding": "same", "activation": "sigmoid"}
    layers = [
        {"class_name": "InputLayer", "name": "in", "config": {"batch_input_shape": shape}, "inbound_nodes": []},
        *(extra or []),
    ]
    before = layers[-1]["name"]
    layers.append(
        {"class_name": f"Conv{ndim}D", "name": "conv", "config": conv, "inbound_nodes": [[[before, 0, 0, {}]]]}
    )
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(*range(1, ndim + 1), 1, 1)).astype("float32")
    return h5_bytes(layers, {"conv": [kernel, np.ones(1, "float32")]})


def tar_of(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def scnm(path: Path, h5: bytes | None = None, **changes: Any) -> Path:
    text = json.dumps({**METADATA, **changes}).encode()
    return tar_of(path, {"m_weights.h5": h5 or plain_h5(), "m_metadata.json": text})


def test_an_archive_of_ais_says_what_it_is(tmp_path: Path) -> None:
    facts = load_facts(scnm(tmp_path / "a.scnm"))
    assert (facts.features, facts.voxel_size, facts.patch) == (("Membrane",), (13.5, 13.5, 13.5), (1, 32, 32))
    assert (facts.normalisation, facts.activation, facts.overlap) == ("per_slice", "sigmoid", 0.2)
    assert (facts.threshold, facts.emits, facts.absorbs, facts.colour, facts.tta) == (0.4, True, None, None, None)
    told = load_facts(scnm(tmp_path / "e.scnm", colour=[1, 0.5, 0], tta=4, absorb=False, emit=0, z_jitter=3))
    assert (told.colour, told.tta, told.emits, told.absorbs) == ((1.0, 0.5, 0.0), 4, False, False)
    assert told.history[0]["facts"] == {"z_jitter": 3}
    odd = load_facts(scnm(tmp_path / "f.scnm", colour=[300, 0, 0], threshold=1.5, tta=99))
    assert (odd.colour, odd.threshold, odd.tta) == (None, None, None)
    assert odd.history[0]["facts"] == {"threshold": 1.5, "colour": [300, 0, 0], "tta": 99}
    assert load_facts(scnm(tmp_path / "b.scnm", apix=-1.0)).voxel_size == (10.0, 10.0, 10.0)
    mad = scnm(tmp_path / "c.scnm", normalization="global_mad")
    assert load_facts(mad).normalisation == "global_mad"
    with pytest.raises(FormatError, match="'global_std' is not known"):
        load_facts(scnm(tmp_path / "d.scnm", normalization="global_std"))
    assert import_model(mad, tmp_path / "c.safetensors", normalisation="volume").normalisation == "volume"


def test_slabs_of_ais_are_turned_to_z_y_x(tmp_path: Path) -> None:
    h5 = plain_h5(shape=(None, 32, 32, 8, 1))
    module, facts = load_model(scnm(tmp_path / "a.scnm", h5))
    assert (facts.patch, facts.volumetric) == ((8, 32, 32), True)
    assert isinstance(module, GraphNet)
    kernel = module.state_dict()["layers.1.conv.weight"]
    assert kernel.shape == (1, 1, 3, 1, 2)  # y, x, z of 1, 2, 3 become z, y, x


def test_a_group_is_models_and_rules_in_the_order_of_ais(tmp_path: Path) -> None:
    one = scnm(tmp_path / "1.scnm", title="membrane", emit=True, absorb=True).read_bytes()
    two = scnm(tmp_path / "2.scnm", title="ribosome", emit=True, absorb=False).read_bytes()
    rules = [
        {"parent_title": "ribosome", "partner_title": "membrane", "type": 1, "radius": 12.0, "threshold": 0.5},
        {"parent_title": "membrane", "partner_title": "ribosome", "type": 0, "radius": 30.0, "threshold": 0.3},
    ]
    members = {"g_model_0.scnm": one, "g_model_1.scnm": two, "g_interactions.json": json.dumps(rules).encode()}
    models, found = read_group(tar_of(tmp_path / "g.scnmgroup", members))
    assert [facts.features[0] for _, facts in models] == ["membrane", "ribosome"]
    assert found == (
        Compete(("membrane", "ribosome"), ("membrane",)),
        Interact("ribosome", "membrane", "avoid", 12.0, 0.5),
        Interact("membrane", "ribosome", "colocalize", 30.0, 0.3),
    )
    rules[0]["partner_title"] = "actin"
    members["g_interactions.json"] = json.dumps(rules).encode()
    with pytest.raises(FormatError, match="'actin'"):
        read_group(tar_of(tmp_path / "h.scnmgroup", members))


def lambda_layer() -> list[dict[str, Any]]:
    return [
        {"class_name": "Lambda", "name": "evil", "config": {"function": "x"}, "inbound_nodes": [[["in", 0, 0, {}]]]}
    ]


def test_layers_with_code_and_unknown_ones_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a\.scnm: layer 'evil' is a Lambda.*never run"):
        load_facts(scnm(tmp_path / "a.scnm", plain_h5(lambda_layer())))
    strange = lambda_layer()
    strange[0]["class_name"] = "Attention"
    with pytest.raises(FormatError, match="layer 'evil' is a Attention, which is not supported"):
        load_facts(scnm(tmp_path / "b.scnm", plain_h5(strange)))


def test_malicious_archives_are_refused(tmp_path: Path) -> None:
    good = {"m_weights.h5": plain_h5(), "m_metadata.json": json.dumps(METADATA).encode()}

    def refused(path: Path, message: str) -> None:
        with pytest.raises(FormatError, match=message):
            load_model(path)

    for number, name in enumerate(("../m_weights.h5", "/etc/m_weights.h5", "a\\m_weights.h5", "C:m_weights.h5")):
        refused(tar_of(tmp_path / f"t{number}.scnm", {**good, name: b"x"}), "leaves the archive")
    refused(tar_of(tmp_path / "z.scnm", good, "w:gz"), "no uncompressed tar")
    refused(tar_of(tmp_path / "many.scnm", {f"f{n}": b"" for n in range(300)}), "more than 200")
    refused(tar_of(tmp_path / "none.scnm", {"m_metadata.json": b"{}"}), r"0 files \*_weights.h5")
    refused(tar_of(tmp_path / "json.scnm", {**good, "m_metadata.json": b"[1"}), r"metadata (cannot be read|is damaged)")
    refused(tar_of(tmp_path / "pickle.scnm", {**good, "m_weights.h5": pickle.dumps(print)}), "no HDF5 file")
    (tmp_path / "cut.scnm").write_bytes(tar_of(tmp_path / "whole.scnm", good).read_bytes()[:3000])
    refused(tmp_path / "cut.scnm", "cut off|unexpected end")
    (tmp_path / "short.scnm").write_bytes(b"no tar")
    refused(tmp_path / "short.scnm", "no uncompressed tar")
    with pytest.raises(MissingError):
        load_model(tmp_path / "nowhere.scnm")
    with tarfile.open(tmp_path / "link.scnm", "w") as archive:
        info = tarfile.TarInfo("m_weights.h5")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    refused(tmp_path / "link.scnm", "link or a device")
    bomb = tarfile.TarInfo("m_weights.h5")
    bomb.size = 2**45
    (tmp_path / "bomb.scnm").write_bytes(bomb.tobuf(tarfile.GNU_FORMAT))
    refused(tmp_path / "bomb.scnm", "claims 35184372088832 bytes|cut off")


def test_weights_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO(plain_h5())
    with h5py.File(stream, "a") as file:
        group = file["model_weights/conv/conv"]
        del group["0:0"]
        group["0:0"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(FormatError, match=r"lacks the weight .*lies in another file"):
        load_model(scnm(tmp_path / "a.scnm", stream.getvalue()))
    stream = io.BytesIO(plain_h5())
    with h5py.File(stream, "a") as file:
        group = file["model_weights/conv/conv"]
        del group["0:0"]
        group.create_dataset("0:0", shape=(2**20, 2**20), dtype="f4", chunks=(16, 16))
    with pytest.raises(FormatError, match="does not hold what it announces"):
        load_model(scnm(tmp_path / "b.scnm", stream.getvalue()))
    with pytest.raises(FormatError, match="no HDF5 file, or it is damaged"):
        load_model(scnm(tmp_path / "c.scnm", plain_h5()[:-2000]))


# -- membrain-seg's checkpoints -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_checkpoint_of_membrain_is_read_strictly(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    from volengine.nets.registry import build as new

    with torch.random.fork_rng():
        torch.manual_seed(0)
        source = new("dynunet").eval()
    state = {f"_model.{key}": value for key, value in source.state_dict().items()}
    state |= {
        "_model.skip_layers.downsample.conv1.conv.weight": torch.zeros(1),
        "loss_function.pos_weight": torch.ones(1),
    }
    path = tmp_path / "m.ckpt"
    torch.save({"state_dict": state, "epoch": 3}, path)
    module, facts = load_model(path)
    assert (facts.patch, facts.features, facts.stride) == ((160, 160, 160), ("membrane",), (32, 32, 32))
    x = torch.randn(1, 1, 32, 64, 32)
    with torch.inference_mode():  # the original sees x, y, z
        turned = source(x.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
        assert torch.allclose(module(x), turned, atol=1e-4)
    del state["_model.bottleneck.conv1.conv.weight"]
    torch.save({"state_dict": state}, path)
    with pytest.raises(FormatError, match=r"1 of 95 tensors.*bottleneck\.conv1"):
        load_model(path)


def test_checkpoints_that_run_code_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("monai")

    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"state_dict": Evil()}, tmp_path / "m.ckpt")
    with pytest.raises(FormatError, match="without running code"):
        load_model(tmp_path / "m.ckpt")
    assert not (tmp_path / "owned").exists()
    (tmp_path / "t.ckpt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(FormatError, match=r"t\.ckpt"):
        load_model(tmp_path / "t.ckpt")
