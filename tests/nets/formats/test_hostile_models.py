"""Model files that want to harm, or that would silently be read as another network: one error, which says what."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import stat
import tarfile
import time
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from volengine.core.errors import FormatError, InputError
from volengine.nets.checkpoint import load_facts
from volengine.nets.formats.archives import read_archive, read_zip
from volengine.nets.formats.foreign import import_model, load_ckpt
from volengine.nets.formats.keras.read import read_keras

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation", "ignore:Duplicate name")
TENSOR = {"class_name": "__keras_tensor__", "config": {"shape": [None, 8, 8, 1], "keras_history": ["in", 0, 0]}}
CODE = {"class_name": "__lambda__", "config": {"value": ["4wEAAAAA", None, None]}}
OWN = {"class_name": "LeakyReLU", "module": "mine", "config": {}}


def weights_h5() -> bytes:
    """Weights of one convolution, as Keras 3 stores them."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers/conv2d/vars/0"] = np.ones((1, 1, 1, 1), np.float32)
        file["layers/conv2d/vars/1"] = np.zeros(1, np.float32)
    return stream.getvalue()


def layer(
    kind: str, name: str, inbound: list[Any], module: str | None = "keras.layers", **config: Any
) -> dict[str, Any]:
    settings = {"name": name, **config}
    return {"class_name": kind, "module": module, "name": name, "config": settings, "inbound_nodes": inbound}


def reads(*tensors: Any, **kwargs: Any) -> list[Any]:
    return [{"args": list(tensors), "kwargs": kwargs}]


def model(*extra: dict[str, Any], last: str = "conv", convolution: bool = True, **changes: Any) -> dict[str, Any]:
    """A convolution, what is given behind it, and the model around them."""
    conv = layer("Conv2D", "conv", reads(TENSOR), strides=[1, 1], padding="same", activation="linear")
    layers = [layer("InputLayer", "in", [], batch_shape=[None, 8, 8, 1]), *([conv] if convolution else []), *extra]
    config = {"name": "m", "layers": layers, "input_layers": ["in", 0, 0], "output_layers": [last, 0, 0]}
    return {"class_name": "Functional", "module": "keras.src.models.functional", "config": config, **changes}


def keras(path: Path, config: Any = None, **members: bytes) -> Path:
    """A ``.keras`` archive."""
    content = {
        "config.json": json.dumps(model() if config is None else config).encode(),
        "metadata.json": b'{"keras_version": "3.15.0"}',
        "model.weights.h5": weights_h5(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**content, **members}.items():
            archive.writestr(name, data)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read_keras(path)
    assert path.name in str(caught.value)


def test_the_good_one_is_read(tmp_path: Path) -> None:
    found = read_keras(keras(tmp_path / "m.keras"))
    x = torch.randn(1, 1, 8, 8)
    assert torch.equal(found.module()(x), x)
    with pytest.raises(InputError, match="models import"):
        load_facts(tmp_path / "m.keras")
    facts = import_model(tmp_path / "m.keras", tmp_path / "m.safetensors", voxel_size=10, features=("a",))
    assert (facts.features, facts.patch) == (("a",), (1, 8, 8))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (layer("Lambda", "evil", reads(TENSOR), function="x"), "layer 'evil' is a Lambda.*never run"),
        (layer("Activation", "act", reads(TENSOR), activation="mish"), "'act' has the activation 'mish', which is not"),
        (layer("Activation", "act", reads(TENSOR), activation=CODE), "'act' .*code is never run"),
        (layer("Activation", "act", reads(TENSOR), activation=OWN), "'act' is a LeakyReLU.*no class of Keras's own"),
        (layer("Attention", "odd", reads(TENSOR)), "layer 'odd' is a Attention, which is not supported"),
        (layer("Conv2D", "mine", reads(TENSOR), "os"), "layer 'mine' is a Conv2D.*no class of Keras's own"),
        (layer("Conv2D", "mine", reads(TENSOR), "keras_evil.layers"), "no class of Keras's own"),
        ({**layer("ReLU", "mine", reads(TENSOR)), "registered_name": "pack>ReLU"}, "is a pack>ReLU, .*never run"),
        (layer("Add", "plus", reads(TENSOR, 1.0), "keras.src.ops.numpy"), r"'plus' \(Add\) is called with 1.0 beside"),
        (layer("Exp", "exp", reads(TENSOR), "keras.src.ops.numpy"), "'exp' is the function Exp of 1 tensors"),
        (
            layer("Concatenate", "two", reads([TENSOR, TENSOR]), "keras.src.ops.numpy", axis=0),
            "'two' joins along axis 0",
        ),
        (layer("Concatenate", "two", reads([TENSOR, TENSOR]), "keras.src.ops.numpy"), "'two' .Concatenate. cannot be"),
        (layer("Dropout", "drop", reads(TENSOR, training=True)), r"'drop' \(Dropout\) is called with training=True"),
        (layer("Add", "sum", reads([TENSOR, {"class_name": "__numpy__"}])), "called with a __numpy__ beside"),
        (layer("Add", "sum", reads([TENSOR])), r"'sum' .Add. joins 1 inputs"),
        (layer("ReLU", "twice", reads(TENSOR) * 2), "'twice' is used 2 times"),
        (layer("ReLU", "conv", reads(TENSOR)), "two layers are called 'conv'"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_layers_that_are_not_what_they_seem_are_named(tmp_path: Path, extra: dict[str, Any], message: str) -> None:
    refused(keras(tmp_path / "m.keras", model(extra, last=extra["name"])), message)


def test_what_lies_in_inner_models_is_named_with_them(tmp_path: Path) -> None:
    evil = layer("Lambda", "evil", reads(TENSOR), function="x")
    inner = {**model(evil, last="evil", convolution=False), "name": "inner", "inbound_nodes": reads(TENSOR)}
    refused(keras(tmp_path / "m.keras", model(inner, last="inner")), "layer 'inner::evil' is a Lambda")
    deep: dict[str, Any] = model()
    for _ in range(60):
        deep = model({**deep, "name": "inner", "inbound_nodes": reads(TENSOR)}, last="inner")
    refused(keras(tmp_path / "deep.keras", deep), "nested too deeply")
    (tmp_path / "deeper.keras").write_bytes(keras(tmp_path / "x.keras").read_bytes())
    keras(tmp_path / "deeper.keras", **{"config.json": b"[" * 200_000})
    refused(tmp_path / "deeper.keras", r"config\.json .*nested too deeply")


def test_models_of_own_classes_are_refused(tmp_path: Path) -> None:
    refused(keras(tmp_path / "a.keras", model(class_name="Mine", module="mine")), "is a Mine")
    refused(keras(tmp_path / "b.keras", model(class_name="Wrapper", module="keras")), "the model is a Wrapper")
    refused(keras(tmp_path / "c.keras", ["no", "model"]), r"config\.json cannot be read .*it is a list")


def test_weights_must_be_those_of_the_layers(tmp_path: Path) -> None:
    def stored(change: Any) -> bytes:
        stream = io.BytesIO(weights_h5())
        with h5py.File(stream, "a") as file:
            change(file)
        return stream.getvalue()

    def named(file: Any) -> None:
        file["layers/conv2d/vars"].attrs["name"] = "another"

    def more(file: Any) -> None:
        file["layers/conv2d_1/vars/0"] = np.ones(3, np.float32)

    def linked(file: Any) -> None:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")

    for change, message in (
        (named, "weights of 'conv' are not at 'layers/conv2d': those are 'another'"),
        (more, "'layers/conv2d_1' belong to no layer"),
        (linked, "lies in another file"),
        (lambda file: file.pop("layers/conv2d/vars/1"), "'conv' has 1 weights in the file; it needs 2"),
    ):
        refused(keras(tmp_path / "m.keras", **{"model.weights.h5": stored(change)}), message)
    refused(keras(tmp_path / "p.keras", **{"model.weights.h5": pickle.dumps(print)}), "no HDF5 file")


def test_malicious_zips_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("../x", "/etc/x", "a\\x", "C:x", "a/../../x")):
        refused(keras(tmp_path / f"{number}.keras", **{name: b""}), "leaves the archive")
    refused(keras(tmp_path / "many.keras", **{f"assets/{n}": b"" for n in range(300)}), "more than 200 files")
    with zipfile.ZipFile(keras(tmp_path / "twice.keras"), "a") as archive:
        archive.writestr("config.json", b"{}")
    refused(tmp_path / "twice.keras", "comes twice")
    with zipfile.ZipFile(keras(tmp_path / "link.keras"), "a") as archive:
        info = zipfile.ZipInfo("assets")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "link.keras", "link or a device")
    with zipfile.ZipFile(keras(tmp_path / "bomb.keras"), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(50_000_000))
    refused(tmp_path / "bomb.keras", "would unpack from 48[0-9]{3} to 50000000 bytes")
    with zipfile.ZipFile(tmp_path / "npz.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.npz", "x")
    refused(tmp_path / "npz.keras", r"holds no model\.weights\.h5")
    whole = keras(tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.keras", "no zip archive, or it is damaged or cut off")
    secret = bytearray(whole)
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        secret[secret.find(sign) + at] |= 1
    (tmp_path / "secret.keras").write_bytes(secret)
    refused(tmp_path / "secret.keras", "encrypted")


def test_a_member_longer_than_it_says_is_not_unpacked_further(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(10_000_000))
    lying = bytearray(stream.getvalue())
    for sign, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = lying.find(sign) + at
        lying[start : start + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(FormatError, match=r"m\.keras"):
        read_zip(bytes(lying), ("config.json",), "m.keras")


def test_sparse_members_of_tars_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("m_weights.h5")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, 512)
    header[483:495] = b"%011o\0" % (2**31)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 256 + sum(header[156:512]))
    with pytest.raises(FormatError, match="sparse file"):
        read_archive(bytes(header) + bytes(512), "m.scnm")


def test_checkpoints_that_unpack_to_more_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"state_dict": {}}, 2))
        archive.writestr("m/data/0", bytes(50_000_000))
    with pytest.raises(FormatError, match="would unpack"):
        load_ckpt(tmp_path / "bomb.ckpt")


def test_a_pickle_called_a_model_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "owned"),))

    for ending in ("h5", "keras", "scnm", "ckpt"):
        (tmp_path / f"m.{ending}").write_bytes(pickle.dumps(Evil()))
        with pytest.raises((FormatError, InputError)):
            import_model(tmp_path / f"m.{ending}", tmp_path / "x.safetensors", voxel_size=1, features=("a",))
    assert not (tmp_path / "owned").exists()


def test_changed_archives_are_read_or_refused_within_a_second(tmp_path: Path) -> None:
    draw = random.Random(0)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("m_weights.h5", "å" * 60 + "_metadata.json"):
            info = tarfile.TarInfo(name)
            info.size = 1500
            archive.addfile(info, io.BytesIO(bytes(1500)))
    whole = {"tar": stream.getvalue(), "zip": keras(tmp_path / "m.keras").read_bytes()}
    for _ in range(3000):
        kind = draw.choice(("tar", "zip"))
        content = bytearray(whole[kind])
        for _ in range(draw.choice((1, 2, 4, 8))):
            content[draw.randrange(len(content))] = draw.choice(
                (0, 255, draw.randrange(256), 0x30 + draw.randrange(10))
            )
        if kind == "tar":
            _sum_up(content)
        start = time.monotonic()
        with suppress(FormatError):
            read_archive(bytes(content), "m") if kind == "tar" else read_zip(bytes(content), ("config.json",), "m")
        assert time.monotonic() - start < 5


def _sum_up(tar: bytearray) -> None:
    """Right check sums, so that changed headers are believed."""
    for start in range(0, len(tar) - 511, 512):
        if tar[start + 257 : start + 262] == b"ustar":
            total = sum(tar[start : start + 148]) + 256 + sum(tar[start + 156 : start + 512])
            tar[start + 148 : start + 156] = b"%06o\0 " % total


def test_a_checkpoint_of_another_pickle_protocol_is_no_warning(tmp_path: Path) -> None:
    """The byte that states the protocol is another one; PyTorch warns, and reads on."""
    torch.save({"epoch": 1}, tmp_path / "a.ckpt")
    with zipfile.ZipFile(tmp_path / "a.ckpt") as whole, zipfile.ZipFile(tmp_path / "b.ckpt", "w") as changed:
        for name in whole.namelist():
            data = whole.read(name)
            changed.writestr(name, data.replace(b"\x80\x02", b"\x80\x00", 1) if name.endswith("data.pkl") else data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FormatError, match="no state_dict"):
            load_ckpt(tmp_path / "b.ckpt")
