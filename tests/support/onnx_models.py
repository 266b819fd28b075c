"""Small networks and their facts, written as ONNX files; what any program gets that runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from volengine.core.model import ModelFacts
from volengine.nets.formats.onnx.write import onnx_bytes
from volengine.nets.registry import build


def facts_of(name: str, stride: tuple[int, int, int], **more: Any) -> ModelFacts:
    """Facts of a network with one feature and small patches."""
    volumetric = stride[0] > 1
    patch = tuple(s * (2 if volumetric else 1) * max(1, 32 // s) for s in stride) if volumetric else (1, 64, 64)
    values = {"network": name, "features": ["a"], "voxel_size": [10, 9, 8], "patch": patch, "stride": stride}
    return ModelFacts.from_json({**values, **more})


def trained(module: nn.Module, seed: int = 1) -> nn.Module:
    """The network as if it had been trained: no weight and no statistic is what it began as."""
    source = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.04 * torch.rand(tensor.shape, generator=source) - 0.02
    return module.eval()


def noise(*shape: int, seed: int = 2) -> torch.Tensor:
    """Standard normal values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain_run(content: bytes, x: torch.Tensor) -> np.ndarray:
    """What any program gets that runs ONNX."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return np.asarray(answer)


def differ(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((a - b).abs().max() / b.abs().max())


SMALL = {"width": 2, "levels": 2}
"""Arguments of a 3D network that is built in no time."""


def small(tmp_path: Path, **more: Any) -> tuple[nn.Module, ModelFacts, Path]:
    """A 3D network as an ONNX file."""
    features = more.get("features", ["a"])
    module = trained(build("unet3d", {**SMALL, "channels": len(features)}))
    facts = facts_of("unet3d", (2, 2, 2), arguments={**SMALL, "channels": len(features)}, **more)
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(module, facts)[0])
    return module, facts, tmp_path / "m.onnx"
