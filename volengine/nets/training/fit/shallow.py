"""Training in bfloat16 on a CPU: convolutions of few slices are computed in float32, because PyTorch's are wrong.

The gradient of the weights of a 3D convolution in bfloat16 is made of numbers that nobody wrote, and other memory is
overwritten, if the input has fewer slices along z than the kernel (but more than one). It is so with oneDNN on CPUs
that have instructions for bfloat16 (found with PyTorch 2.13 on AVX-512: 3 x 3 x 3 kernels over two slices, at the
coarsest level of a network; errors from twice the gradient to infinity). Answers, gradients of the input, 2D and
transposed convolutions, and float32 are right. These layers see few voxels, so float32 costs little.

>>> layer, x = torch.nn.Conv3d(1, 1, 3, padding=1), torch.ones(1, 1, 2, 4, 4)
>>> with torch.autocast("cpu", torch.bfloat16):
...     print(layer(x).dtype)
...     with ExactWhereShallow():
...         print(layer(x).dtype, layer(torch.ones(1, 1, 3, 4, 4)).dtype)
torch.bfloat16
torch.float32 torch.bfloat16
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class ExactWhereShallow(TorchFunctionMode):
    """Context in which 3D convolutions of fewer slices than their kernel has are computed in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is not torch.conv3d:
            return func(*args, **given)
        x, weight = (args[k] if len(args) > k else given[name] for k, name in enumerate(("input", "weight")))
        if x.shape[-3] >= weight.shape[-3]:
            return func(*args, **given)

        def exact(value: Any) -> Any:
            return value.float() if isinstance(value, torch.Tensor) else value

        with torch.autocast(x.device.type, enabled=False):
            return func(*map(exact, args), **{name: exact(value) for name, value in given.items()})
