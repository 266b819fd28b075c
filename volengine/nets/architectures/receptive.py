"""Receptive field and stride of a convolutional network, found by probing a thin copy of it.

The copy has the same geometry, but each convolution takes the mean of its input channels, has equal positive weights,
and outputs a single channel (or, if the network needs all channels, the same one several times); maximum pooling is
replaced by average pooling. The copy depends on exactly the voxels that the network can depend on, and costs little:
for the networks of the registry the probe takes less than a second, for the deep one of MemBrain-Seg about ten.
"""

from __future__ import annotations

import contextlib
import copy
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.nets.threads import own_threads

_WHOLE_PATCH = (
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)
_PARTS = ("slice", "split", "split_with_sizes", "chunk", "narrow", "select", "unbind", "index", "index_select", "view")
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def probe(module: nn.Module, volumetric: bool) -> tuple[Index3, Index3]:
    """Radius of the receptive field, and stride, in voxels z, y, x; for 2D networks they are 0 and 1 along z.

    ``module`` may be on the ``meta`` device; its weights are not used and not changed. See
    :func:`volengine.nets.registry.reach`.

    Raises
    ------
    InputError
        The network normalises over its patch, so it has no finite receptive field.
    """
    for part in module.modules():
        if isinstance(part, _WHOLE_PATCH):
            raise InputError(
                f"{type(part).__name__} looks at the whole patch: this network has no finite receptive field and "
                "cannot be applied exactly in blocks."
            )
    steps = stride_of(module, volumetric)
    strides = list(steps if volumetric else steps[1:])
    with own_threads(1):  # these tensors are tiny: several threads take twice the time
        radii = _probe(module, strides)
    return index3(radii if volumetric else [0, *radii]), steps


def _probe(module: nn.Module, strides: list[int]) -> list[int]:
    """The radius along each axis."""
    inputs = inputs_of(module)
    # A network that splits its channels, or has weights for each, fails with one channel in various ways.
    with contextlib.suppress(Exception):
        return _radii(_thin_copy(module, narrow=True), strides, inputs, _NoParts())  # type: ignore[no-untyped-call]
    return _radii(_thin_copy(module, narrow=False), strides, inputs, contextlib.nullcontext())


def stride_of(module: nn.Module, volumetric: bool) -> Index3:
    """Total pooling factor, z, y, x (1 along z for 2D networks); also of networks that normalise over their patch."""
    if volumetric:
        return index3(_stride(module, 3))
    return index3([1, *_stride(module, 2)])


def dimensions(module: nn.Module) -> int:
    """Dimension of a network's convolutions, 2 or 3; 0 if it has no known convolution."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Conv3d)):
            return 3 if isinstance(part, nn.Conv3d) else 2
    return 0


def hollow(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose parameters and buffers are on the ``meta`` device: shapes without numbers."""
    memo: dict[int, Any] = {id(b): b.to("meta") for b in module.buffers()}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    return copy.deepcopy(module, memo).eval()


def _stride(module: nn.Module, ndim: int) -> list[int]:
    """Size of the input divided by that of the smallest feature map, along each axis."""
    side = 64 if ndim == 3 else 512
    smallest = [side] * ndim

    def seen(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == ndim + 2:
            smallest[:] = [min(a, b) for a, b in zip(smallest, output.shape[2:], strict=True)]

    clear = hollow(module)
    handles = [part.register_forward_hook(seen) for part in clear.modules()]
    with torch.no_grad():
        clear(torch.empty((1, inputs_of(module), *[side] * ndim), device="meta"))
    for handle in handles:
        handle.remove()
    return [side // n for n in smallest]


def inputs_of(module: nn.Module) -> int:
    """Number of input channels, from the shape of the first weights."""
    return int(next(p for p in module.parameters() if p.ndim > 1).shape[1])


class _NoParts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations that take parts of a tensor, because a thin copy has only one channel."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in _PARTS:
            raise NotImplementedError(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class _Average(nn.Module):
    """Average pooling in place of maximum pooling: it passes a gradient to every voxel of its window."""

    def __init__(self, pool: nn.MaxPool2d | nn.MaxPool3d):
        super().__init__()
        kind: Any = nn.AvgPool3d if isinstance(pool, nn.MaxPool3d) else nn.AvgPool2d
        self.pool = kind(pool.kernel_size, pool.stride, pool.padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(x)
        return pooled


class _Thin(nn.Module):
    """A one-channel convolution with the geometry of a given one; it outputs one channel, or the same for all."""

    def __init__(self, wide: Any, narrow: bool):
        super().__init__()
        given = {k: getattr(wide, k) for k in ("kernel_size", "stride", "padding", "dilation")}
        if isinstance(wide, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            given["output_padding"] = wide.output_padding
        self.conv = type(wide)(1, 1, bias=False, **given)
        self.outputs = 1 if narrow else wide.out_channels
        for name in ("kernel_size", "stride", "in_channels", "out_channels"):  # wrapping modules may read them
            setattr(self, name, getattr(wide, name))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.conv(x.mean(1, keepdim=True))
        return answer.repeat(1, self.outputs, *(1,) * (answer.ndim - 2))


def _thin_copy(module: nn.Module, *, narrow: bool) -> nn.Module:
    """A copy in which every dependence shows in the gradient: positive weights, averages instead of maxima."""
    clear = hollow(module)
    for name, part in list(clear.named_modules()):
        new: nn.Module | None = None
        if isinstance(part, (nn.MaxPool2d, nn.MaxPool3d)):
            new = _Average(part)
        elif type(part) in _CONVOLUTIONS and part.groups == 1:
            new = _Thin(part, narrow)
        elif narrow and isinstance(part, nn.modules.batchnorm._BatchNorm):
            new = nn.Identity()
        if new is not None and not name:
            return _filled(new)
        if new is not None:
            parent = clear.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], new)
    return _filled(clear)


def _filled(clear: nn.Module) -> nn.Module:
    """Fill the copy with numbers: each weight computes a mean, and normalisations change nothing."""
    clear = clear.to_empty(device="cpu").double().eval()
    with torch.no_grad():
        for name, buffer in clear.named_buffers():
            buffer.fill_(1 if name.endswith("running_var") else 0)
        for name, parameter in clear.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(0.0)
            else:  # one-dimensional weights are the scales of a normalisation
                parameter.fill_(1.0 / parameter[0].numel() if parameter.ndim > 1 else 1.0)
            parameter.requires_grad_(False)
    return clear


def _radii(module: nn.Module, strides: list[int], inputs: int, watch: AbstractContextManager[Any]) -> list[int]:
    return [_radius(module, axis, strides, inputs, watch) for axis in range(len(strides))]


def _radius(module: nn.Module, axis: int, strides: list[int], inputs: int, watch: AbstractContextManager[Any]) -> int:
    """Largest distance, along an axis, of an input voxel that can change the outputs of one stride cell.

    The other axes are as short as the network allows. What all outputs of the cell see together bounds what each one
    can reach; from the ends of the cell on, an output is looked at only if it could reach further than those before.
    """
    stride, size = strides[axis], 16 * strides[axis]
    while True:
        sides = list(strides)
        sides[axis] = size
        x = torch.ones((1, inputs, *sides), dtype=torch.float64, requires_grad=True)
        with watch:
            answer = module(x)
        with torch.no_grad():
            still = (module(2 * x) == answer).movedim(2 + axis, -1).flatten(0, -2).all(0)
        answer = answer.movedim(2 + axis, -1)
        start = size // 2 // stride * stride
        cell = range(start, start + stride)
        lowest, highest = _seen(answer[..., start : start + stride], x, axis)
        reach = 0
        for at in sorted(cell, key=lambda at: min(at - start, cell[-1] - at)):
            if lowest == 0 or highest == size - 1:
                break
            if still[at] or max(at - lowest, highest - at) > reach:  # may it depend on nothing at all?
                low, high = _seen(answer[..., at], x, axis)
                reach = max(reach, at - low, high - at)
        else:
            return reach
        size *= 2


def _seen(outputs: torch.Tensor, x: torch.Tensor, axis: int) -> tuple[int, int]:
    """First and last index, along an axis, of the voxels of ``x`` that the outputs depend on."""
    (gradient,) = torch.autograd.grad(outputs.sum(), x, retain_graph=True)
    along = gradient.abs().movedim(2 + axis, -1)
    seen = along.sum(dim=tuple(range(along.ndim - 1))).nonzero().flatten()
    if not len(seen):
        raise InputError("This network has answers that depend on no voxel: it has no receptive field.")
    return int(seen.min()), int(seen.max())
