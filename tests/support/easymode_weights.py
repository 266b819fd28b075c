"""Files of easymode's weights in the layout of Keras 2, and the networks written out in plain functions.

The layout is that of ``save_weights`` of a model that is Python code (TensorFlow 2.11): a group for each block,
``weight_names`` with the trained weights first and moving means behind them, and numbers in the names that Keras gives
when a layer is made; a block's skip convolution is made last of all, when the model first runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

Weights = dict[str, np.ndarray[Any, Any]]


class Keras:
    """Makes the weights of a network block by block, as Keras does: it numbers layers when they are made."""

    def __init__(self, filters: tuple[int, ...], batch: bool, bias: bool, seed: int = 1):
        self.rng, self.batch, self.count = np.random.default_rng(seed), batch, {"conv": 4, "norm": 0, "up": 0}
        self.blocks: dict[str, list[tuple[str, Weights]]] = {}
        last: list[
            tuple[list[tuple[str, Weights]], int, int]
        ] = []  # skip convolutions, which are made at the first run
        for n, f in enumerate(filters):
            before = 1 if n == 0 else filters[n - 1]
            layers = [] if n == 0 else [self.conv("", 3, before, f), self.norm("", f)]
            last.append((self.residual(layers, before if n == 0 else f, f), before if n == 0 else f, f))
            self.blocks[f"encoder_{n}"] = layers
        for n, f in enumerate(filters[-2::-1]):
            layers = [self.up(filters[-1 - n], f), self.norm("", f)]
            last.append((self.residual(layers, 2 * f, f), 2 * f, f))
            self.blocks[f"decoder_{n}"] = layers
        for layers, inputs, outputs in last:
            if inputs != outputs:
                layers += [self.conv("res_block3d/", 1, inputs, outputs), self.norm("res_block3d/", outputs)]
        head: Weights = {"kernel": self.values(1, 1, 1, filters[0], 1, fan=filters[0])}
        if bias:
            head["bias"] = self.values(1)
        self.blocks["output"] = [("", head)]

    def values(self, *shape: int, fan: int = 1, about: float = 0.0) -> np.ndarray[Any, Any]:
        return (self.rng.normal(0, 1 / np.sqrt(fan), shape) + about).astype(np.float32)

    def number(self, kind: str, name: str) -> str:
        self.count[kind] += 1
        return name if self.count[kind] == 1 else f"{name}_{self.count[kind] - 1}"

    def conv(self, scope: str, side: int, inputs: int, outputs: int) -> tuple[str, Weights]:
        kernel = self.values(side, side, side, inputs, outputs, fan=side**3 * inputs)
        return scope + self.number("conv", "conv3d"), {"kernel": kernel}

    def up(self, inputs: int, outputs: int) -> tuple[str, Weights]:
        kernel = self.values(2, 2, 2, outputs, inputs, fan=inputs)
        return self.number("up", "conv3d_transpose"), {"kernel": kernel}

    def norm(self, scope: str, channels: int) -> tuple[str, Weights]:
        name = "batch_normalization" if self.batch else "group_normalization"
        weights = {"gamma": self.values(channels, about=1, fan=9), "beta": self.values(channels, fan=9)}
        if self.batch:
            weights["moving_mean"] = self.values(channels, fan=9)
            weights["moving_variance"] = np.abs(self.values(channels)) + 0.5
        return scope + self.number("norm", name), weights

    def residual(self, layers: list[tuple[str, Weights]], inputs: int, outputs: int) -> list[tuple[str, Weights]]:
        for before in (inputs, outputs):
            layers += [self.conv("res_block3d/", 3, before, outputs), self.norm("res_block3d/", outputs)]
        return layers

    def write(self, path: Path, **storage: Any) -> Path:
        """Write the file; ``storage`` are h5py's options for each array."""
        import h5py

        with h5py.File(path, "w") as file:
            file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.11.0"
            file.create_group("top_level_model_weights").attrs["weight_names"] = np.array([], "S1")
            for block, layers in self.blocks.items():
                group, trained, kept = file.create_group(block), [], []
                for layer, weights in layers:
                    for part, values in weights.items():
                        name = "/".join(filter(None, ("u_net", block, layer, f"{part}:0")))
                        (kept if part.startswith("moving") else trained).append(name)
                        group.create_dataset(name, data=values, **storage)
                group.attrs["weight_names"] = [name.encode() for name in trained + kept]
        return path

    def answer(self, image: torch.Tensor, denoise: bool) -> torch.Tensor:
        """The network written out from the layout alone: plain functions, layers taken by their names."""
        x, skips = image, []
        for n in range(len([b for b in self.blocks if b.startswith("encoder")])):
            layers = [*self.blocks[f"encoder_{n}"]]
            if n:
                x = F.relu(self.normed(F.conv3d(F.pad(x, (0, 1) * 3), kernel(layers[0]), stride=2), layers[1]))
                layers = layers[2:]
            x = self.block(x, layers)
            skips.append(x)
        for n, skip in enumerate(skips[-2::-1]):
            layers = self.blocks[f"decoder_{n}"]
            weight = torch.from_numpy(layers[0][1]["kernel"])  # z, y, x, out, in
            up = torch.zeros(x.shape[0], weight.shape[3], *(2 * s for s in x.shape[2:]))
            for place in np.ndindex(2, 2, 2):
                at = tuple(slice(p, None, 2) for p in place)
                up[(slice(None), slice(None), *at)] = torch.einsum("bizyx,oi->bozyx", x, weight[place])
            x = F.relu(self.normed(up, layers[1]))
            x = self.block(torch.cat([x, skip], 1), layers[2:])
        head = self.blocks["output"][0]
        bias = torch.from_numpy(head[1]["bias"]) if "bias" in head[1] else None
        x = F.conv3d(x, kernel(head), bias)
        return image - x if denoise else x

    def block(self, x: torch.Tensor, layers: list[tuple[str, Weights]]) -> torch.Tensor:
        first = F.relu(self.normed(F.conv3d(x, kernel(layers[0]), padding=1), layers[1]))
        main = self.normed(F.conv3d(first, kernel(layers[2]), padding=1), layers[3])
        beside = self.normed(F.conv3d(x, kernel(layers[4])), layers[5]) if len(layers) > 4 else x
        return F.relu(main + beside)

    def normed(self, x: torch.Tensor, layer: tuple[str, Weights]) -> torch.Tensor:
        held = {part: torch.from_numpy(values)[:, None, None, None] for part, values in layer[1].items()}
        if self.batch:
            return (x - held["moving_mean"]) / (held["moving_variance"] + 1e-3).sqrt() * held["gamma"] + held["beta"]
        groups = x.reshape(x.shape[0], 8, -1)
        mean, variance = groups.mean(2, keepdim=True), groups.var(2, keepdim=True, unbiased=False)
        return ((groups - mean) / (variance + 1e-3).sqrt()).reshape(x.shape) * held["gamma"] + held["beta"]


def kernel(layer: tuple[str, Weights]) -> torch.Tensor:
    return torch.from_numpy(layer[1]["kernel"].transpose(4, 3, 0, 1, 2).copy())
