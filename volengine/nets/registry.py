"""The registry of networks: find the class of a name, build networks, and measure their receptive fields.

There are three kinds of names: those of the table below; those that installed packages add with the entry-point group
``volengine.networks`` (name = ``package.module:Class``); and a user's own architectures, ``folder/mine.py:Class`` or
``package.module:Class``. An own architecture is Python code that is run. Therefore it is built only if the caller names
it (``own=``), and never because a model file does; its name in a model's facts contains a digest of its file.

>>> build("unet", {"context": 5})                                                            # doctest: +ELLIPSIS
UNet2d(...
>>> build("mine.py:Net")
Traceback (most recent call last):
volengine.core.errors.InputError: The network 'mine.py:Net' is somebody's own Python file or package, ...
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from volengine.core.boxes import Index3
from volengine.core.errors import InputError, MissingError
from volengine.core.paths import path_text

if TYPE_CHECKING:
    from torch import nn


class Entry(NamedTuple):
    """The class or function of a network, and the source of its layout."""

    target: str
    source: str


AIS = "Ais, eLife 13:RP98552"
EASYMODE = "Ais, easymode"
NETWORKS: dict[str, Entry] = {
    "eman2": Entry("volengine.nets.architectures.ais2d_flat:Eman2", AIS),
    "inceptionnet": Entry("volengine.nets.architectures.ais2d_flat:InceptionNet", AIS),
    "resnet": Entry("volengine.nets.architectures.ais2d_flat:ResNet", AIS),
    "resnet_s": Entry("volengine.nets.architectures.ais2d_flat:resnet_s", "Ais"),
    "unet": Entry("volengine.nets.architectures.ais2d:UNet2d", AIS),
    "unet_m": Entry("volengine.nets.architectures.ais2d_deep:unet_m", "Ais"),
    "unet_l": Entry("volengine.nets.architectures.ais2d_deep:unet_l", "Ais"),
    "vggnet": Entry("volengine.nets.architectures.ais2d:VGGNet", AIS),
    "vggnet_m": Entry("volengine.nets.architectures.ais2d:vggnet_m", "Ais"),
    "vggnet_l": Entry("volengine.nets.architectures.ais2d_deep:vggnet_l", "Ais"),
    "vggnet_l_paper": Entry("volengine.nets.architectures.ais2d_deep:vggnet_l_paper", "Ais 1.0"),
    "vggnet_x": Entry("volengine.nets.architectures.ais2d_deep:vggnet_x", "Ais"),
    "pix2pix": Entry("volengine.nets.architectures.ais2d_pix2pix:Pix2pix", AIS),
    "pix2pix_s": Entry("volengine.nets.architectures.ais2d_pix2pix:pix2pix_s", "Ais"),
    "easymode_2d": Entry("volengine.nets.architectures.ais2d_deep:easymode_2d", EASYMODE),
    "pom": Entry("volengine.nets.architectures.ais2d_deep:pom", "Ais, cryoPom"),
    "easymode_3d": Entry("volengine.nets.architectures.ais3d:easymode_3d", EASYMODE),
    "easymode_3d_wide": Entry("volengine.nets.architectures.ais3d:easymode_3d_wide", EASYMODE),
    "unet_membrain": Entry("volengine.nets.architectures.easymode_residual:unet_membrain", "easymode"),
    "unet_membrain_groupnorm": Entry(
        "volengine.nets.architectures.easymode_residual:unet_membrain_groupnorm", "easymode"
    ),
    "unet_easymode": Entry("volengine.nets.architectures.easymode_residual:unet_easymode", "easymode"),
    "unet_easymode_deeper": Entry("volengine.nets.architectures.easymode_residual:unet_easymode_deeper", "easymode"),
    "easymode_denoise": Entry("volengine.nets.architectures.easymode_residual:easymode_denoise", "easymode"),
    "unet2d": Entry("volengine.nets.architectures.unet2d:unet2d", "volengine"),
    "unet3d": Entry("volengine.nets.architectures.unet3d:UNet3d", "volengine"),
    "residual3d": Entry("volengine.nets.architectures.residual3d:ResidualUNet3d", "volengine"),
    "dynunet": Entry("volengine.nets.architectures.dynunet:MembrainUNet", "membrain-seg, bioRxiv 2024.01.05.574336"),
    "graph": Entry("volengine.nets.architectures.graph:GraphNet", "an imported model's own layers"),
    "onnx": Entry("volengine.nets.formats.onnx.read:OnnxSizes", "an ONNX file, which onnxruntime computes"),
}
IMPORTED = ("graph", "onnx")
"""Networks that can be built only from the description in a model file."""
GROUP = "volengine.networks"
DIGEST_LENGTH = 20


def names() -> list[str]:
    """All names of the table and of installed packages."""
    return sorted({*NETWORKS, *(point.name for point in metadata.entry_points(group=GROUP))})


def source(name: str) -> str:
    """The source of a network's layout, in a few words."""
    if name in NETWORKS:
        return NETWORKS[name].source
    return next((point.value for point in metadata.entry_points(group=GROUP) if point.name == name), "")


def build(name: str, arguments: Mapping[str, Any] | None = None, *, own: str | None = None) -> nn.Module:
    """Build a new network.

    Parameters
    ----------
    name
        Name of the architecture, as in the facts of a model.
    arguments
        Arguments of the class or function.
    own
        The user's own architecture that may be run: ``folder/mine.py:Class`` or ``package.module:Class``. It is used
        for ``name`` if its file has the same bytes (see :func:`own_name`); the folder may differ.

    Raises
    ------
    InputError
        The name is unknown, or the arguments do not fit; or ``name`` is an own architecture that ``own`` does not
        allow, or whose file has another digest.
    MissingError
        The own file or package does not exist.
    DependencyError
        The network needs an extra that is not installed.
    """
    found = _own(name, own) if is_own(name) else _find(name)
    try:
        module: nn.Module = found(**dict(arguments or {}))
    except TypeError as error:
        raise InputError(f"The network {name!r} cannot be built with {dict(arguments or {})}: {error}.") from error
    return module


def _find(name: str) -> Any:
    if name in NETWORKS:
        module, _, attribute = NETWORKS[name].target.partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in metadata.entry_points(group=GROUP):
        if point.name == name:
            return point.load()
    raise _unknown(name)


def check_known(name: str) -> None:
    """Refuse a name that no network has; nothing is imported, and of an own architecture nothing is looked up.

    Raises
    ------
    InputError
        The name is not in the table, no installed package adds it, and it is not that of an own architecture.
    """
    if not is_own(name) and name not in names():
        raise _unknown(name)


def _unknown(name: str) -> InputError:
    near = get_close_matches(name.lower(), names(), n=2, cutoff=0.6)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    own = f" A class of your own is named {name}:Class." if name.endswith(".py") else ""
    return InputError(f"There is no network {name!r}.{hint}{own} Known are {', '.join(names())}.")


def is_own(name: str) -> bool:
    """Whether a name is the name of a user's own architecture."""
    return ":" in name


def allowed(name: str, specs: Sequence[str]) -> str | None:
    """The first of the user's own architectures (``specs``) that has the class of a model's architecture ``name``.

    ``None`` if the model's architecture is not an own one, or if the user named no such class.
    """
    if not is_own(name):
        return None
    return next((spec for spec in specs if _class(spec) == _class(name)), None)


def located(spec: str, name: str) -> str:
    """The name of an own architecture with an absolute path, so that it means the same file in every process.

    If neither ``spec`` nor the model's own ``name`` of it contains a digest, that of the file is added: results of
    another state of the file are not these.
    """
    where = _where(spec)
    attribute, _, digest = spec.rpartition(":")[2].partition("@")
    if not digest and "@" not in name.rpartition(":")[2]:
        digest = _digest(_split(spec)[0])
    if where.endswith(".py"):
        where = str(Path(path_text(where)).absolute())
    return f"{where}:{attribute}@{digest}" if digest else f"{where}:{attribute}"


def _class(spec: str) -> str:
    return spec.rpartition(":")[2].partition("@")[0]


def own_name(spec: str) -> str:
    """The name of an own architecture in a model's facts: ``mine.py:Class@DIGEST``.

    It contains the name of the file without its folder. The digest is the beginning of the SHA-256 of the file that
    holds the class. The file is not run; but to find a module, the packages above it are imported.
    """
    file, attribute, _ = _split(spec)
    shown = file.name if _where(spec).endswith(".py") else _where(spec)
    return f"{shown}:{attribute}@{_digest(file)}"


def _where(spec: str) -> str:
    return spec.rpartition(":")[0]


def _split(spec: str) -> tuple[Path, str, str]:
    """File, class, and digest ("" if none is given) of ``where:Class@digest``."""
    where = _where(spec)
    attribute, _, digest = spec.rpartition(":")[2].partition("@")
    if not where or not attribute.isidentifier():
        raise InputError(f"An own network is named folder/file.py:Class or package.module:Class, not {spec!r}.")
    if where.endswith(".py"):
        file = Path(where)
    else:
        try:
            found = importlib.util.find_spec(where)
        except (ModuleNotFoundError, ValueError):
            found = None
        if found is None or not found.origin:
            raise MissingError(f"There is no installed module {where!r} (of the network {spec!r}).")
        file = Path(found.origin)
    if not file.is_file():
        raise MissingError(f"{file}: no such file (of the network {spec!r}).")
    return file, attribute, digest


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:DIGEST_LENGTH]


def _own(name: str, own: str | None) -> Any:
    """The class of an own architecture; refuses one that is not allowed, or whose digest differs."""
    if own is None:
        raise InputError(
            f"The network {name!r} is somebody's own Python file or package, and is not run because a model names it. "
            "If you trust it, name it yourself: --network-files FILE.py:Class, or network='FILE.py:Class' in Python."
        )
    file, attribute, sure = _split(own)
    wanted = name.rpartition(":")[2].partition("@")
    if attribute != wanted[0]:
        raise InputError(f"The model's network is {name!r}, but {own!r} was given: another class.")
    given = _digest(file)
    expected = sure or wanted[2]
    if expected and given != expected:
        raise InputError(
            f"{file} has the digest {given}, but {expected} is expected (network {name!r}): it has changed, or is "
            f"another file. If it is right all the same, say so: {_where(own)}:{attribute}@{given}."
        )
    module = _load_file(file, given) if _where(own).endswith(".py") else importlib.import_module(_where(own))
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise InputError(f"{file} has no class {attribute!r}.") from None


def _load_file(file: Path, digest: str) -> Any:
    """Load a Python file as a module; a file with the same content is loaded once."""
    key = f"_volengine_own_{digest}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, file)
        if spec is None or spec.loader is None:
            raise InputError(f"{file} is no Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[key] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[key]
            raise
    return sys.modules[key]


def parameters(module: nn.Module) -> int:
    """Number of weights as Keras counts them: trained weights, and moving means and variances of batch normalisation.

    The published counts of Ais's networks are such numbers.
    """
    buffers = sum(b.numel() for b in module.buffers() if b.is_floating_point())
    return buffers + sum(p.numel() for p in module.parameters())


def reach(module: nn.Module, volumetric: bool) -> tuple[Index3, Index3]:
    """Receptive field (radius) and total stride of a convolutional network, voxels z, y, x, found by probing.

    A network whose convolutions keep the size is equivariant to shifts by its stride. The radius is found with positive
    weights and without non-linearities that could hide a dependence: the gradient of the outputs of one stride cell
    shows every input voxel that they can depend on.

    Raises
    ------
    InputError
        The network normalises over its patch, so its receptive field is not finite.
    """
    from volengine.nets.architectures.receptive import probe

    return probe(module, volumetric)
