"""The registry of networks: a name, where its class is, and how far it sees.

Three kinds of names: the literal table below; what installed packages add under the entry-point group
``volengine.networks`` (name = ``package.module:Class``); and a user's own, ``folder/mine.py:Class`` or
``package.module:Class``. An own one is Python that is run, so it is built only where the caller names it (``own=``),
never because a model file does; its name in a model's facts carries a digest of its file.

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
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from volengine.core.boxes import Index3
from volengine.core.errors import InputError, MissingError

if TYPE_CHECKING:
    from torch import nn


class Entry(NamedTuple):
    """Where a network's class or function is, and where its layout comes from."""

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
    "unet2d": Entry("volengine.nets.architectures.unet2d:unet2d", "volengine"),
    "unet3d": Entry("volengine.nets.architectures.unet3d:UNet3d", "volengine"),
    "residual3d": Entry("volengine.nets.architectures.residual3d:ResidualUNet3d", "volengine"),
    "dynunet": Entry("volengine.nets.architectures.dynunet:MembrainUNet", "membrain-seg, bioRxiv 2024.01.05.574336"),
    "graph": Entry("volengine.nets.architectures.graph:GraphNet", "an imported model's own layers"),
    "onnx": Entry("volengine.nets.formats.onnx.read:OnnxSizes", "an ONNX file, which onnxruntime computes"),
}
IMPORTED = ("graph", "onnx")
"""Networks that are built from what a model file describes, and are nothing without it."""
GROUP = "volengine.networks"
DIGEST_LENGTH = 20


def names() -> list[str]:
    """All names, own and added."""
    return sorted({*NETWORKS, *(point.name for point in metadata.entry_points(group=GROUP))})


def source(name: str) -> str:
    """Where a network's layout comes from, in a few words."""
    if name in NETWORKS:
        return NETWORKS[name].source
    return next((point.value for point in metadata.entry_points(group=GROUP) if point.name == name), "")


def build(name: str, arguments: Mapping[str, Any] | None = None, *, own: str | None = None) -> nn.Module:
    """A new network.

    Parameters
    ----------
    name
        As the facts of a model have it.
    arguments
        What it is built with.
    own
        Allows one own architecture: ``folder/mine.py:Class`` or ``package.module:Class``, as somebody named it on the
        command line or in a call. It stands for ``name``, whose file may have lain elsewhere but must have the same
        bytes (see :func:`own_name`).

    Raises
    ------
    InputError
        There is no network of this name, or it takes no such arguments; or it is an own one that nobody allowed, or
        its file is another than the name's digest says.
    MissingError
        The own file or package is not there.
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
    raise InputError(f"There is no network {name!r}; known are {', '.join(names())}.")


def is_own(name: str) -> bool:
    """Whether a name is that of a user's own architecture."""
    return ":" in name


def allowed(name: str, specs: Sequence[str]) -> str | None:
    """Which of the own architectures that a user named stands for the one of a model: the first of the same class.

    ``None`` where the model's is none of somebody's own, or no such class was named.
    """
    if not is_own(name):
        return None
    return next((spec for spec in specs if _class(spec) == _class(name)), None)


def located(spec: str) -> str:
    """An own architecture's name with its file's path made absolute, so that every process means the same."""
    where = _where(spec)
    if not where.endswith(".py"):
        return spec
    return f"{Path(where).expanduser().absolute()}:{spec.rpartition(':')[2]}"


def _class(spec: str) -> str:
    return spec.rpartition(":")[2].partition("@")[0]


def own_name(spec: str) -> str:
    """The name under which an own architecture stands in a model's facts: ``mine.py:Class@DIGEST``.

    Of a file only its name remains, not its folder. The digest is of the file that holds the class: the beginning of
    its SHA-256. Nothing is run, except that the packages above a module are imported to find it.
    """
    file, attribute, _ = _split(spec)
    shown = file.name if _where(spec).endswith(".py") else _where(spec)
    return f"{shown}:{attribute}@{_digest(file)}"


def _where(spec: str) -> str:
    return spec.rpartition(":")[0]


def _split(spec: str) -> tuple[Path, str, str]:
    """File, class, and digest ("" where none is given) of ``where:Class@digest``."""
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
    """The class of an own architecture, if it is allowed and the one that is meant."""
    if own is None:
        raise InputError(
            f"The network {name!r} is somebody's own Python file or package, and is not run because a model names it. "
            "If you trust it, name it yourself: --network-file FILE.py:Class, or network='FILE.py:Class' in Python."
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
    """A Python file as a module of its own, loaded once per content."""
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
    """Number of weights as Keras counts them: trained ones, and the moving means and variances of batch normalisation.

    Published counts of Ais's networks are such sums.
    """
    buffers = sum(b.numel() for b in module.buffers() if b.is_floating_point())
    return buffers + sum(p.numel() for p in module.parameters())


def reach(module: nn.Module, volumetric: bool) -> tuple[Index3, Index3]:
    """Receptive field (radius) and total stride of a convolutional network, voxels z, y, x; found by probing.

    A network whose convolutions keep the size is equivariant to shifts by its stride. The radius is found with
    all-positive weights and no non-linearity that could hide a dependence: the gradient of the answers at one stride
    cell shows every input voxel they can depend on.

    Raises
    ------
    InputError
        The network normalises over its patch: there is no finite receptive field.
    """
    from volengine.nets.architectures.receptive import probe

    return probe(module, volumetric)
