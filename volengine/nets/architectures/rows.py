"""Chains of inception modules, computed some rows at a time from the first module to the last.

A module has several branches of one map: a 1x1 convolution of the map, or of its maximum over 3x3 pixels; perhaps a
larger convolution; each with ReLU. Their outputs are joined, and the next module reads them. Layer by layer, some
twenty maps are written to memory and read again, which costs as much as a third of the convolutions. Here rows go
through all modules while they are in the cache: a module keeps the few rows that it needs again, and hands on those for
which it has all that they depend on. No map is ever whole, and no row is computed twice.

Convolutions are those of oneDNN. PyTorch itself does not use it for 1x1 convolutions in one thread, and takes twice as
long on AMD's processors.

>>> branch = {"width": 2, "pooled": False, "relu": True, "then": {"kernel": [3, 3], "width": 4, "relu": False}}
>>> Rows([[branch, {"width": 3, "pooled": True, "relu": True, "then": None}]], 1)(torch.zeros(1, 1, 9, 6)).shape
torch.Size([1, 7, 9, 6])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

Branch = Mapping[str, Any]
Weights = tuple[torch.Tensor, torch.Tensor]

CHUNK = 6144
"""Pixels that go through the modules together. Outputs of 64 channels stay below 2 MB, so that their memory is used
again: workers return larger pieces to the system at once, and to get them back costs as much as a convolution."""
_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
POOLED = 1024
"""Pixels of which the maximum is found together: with 256 channels 1 MB, about the second cache of a core."""


class Rows(nn.Module):
    """Inception modules one after the other; the answer is the joined map of the last one.

    Parameters
    ----------
    chain
        The modules. Each is a list of branches in the order in which they are joined: ``width`` (output channels of the
        1x1 convolution), ``pooled`` (it reads the maximum over 3x3 pixels), ``relu`` (it follows), and ``then``:
        ``None``, or the ``kernel`` (y, x; odd), ``width`` and ``relu`` of a second convolution, which pads with zeros.
    channels
        Channels of the input.
    """

    def __init__(self, chain: Sequence[Sequence[Branch]], channels: int):
        super().__init__()
        self.chain = [[dict(branch) for branch in module] for module in chain]
        self.convs = nn.ModuleList()
        for module in self.chain:
            for branch in module:
                self.convs.append(nn.Conv2d(channels, branch["width"], 1))
                if then := branch["then"]:
                    self.convs.append(nn.Conv2d(branch["width"], then["width"], tuple(then["kernel"])))
            channels = _width(module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The joined map, (batch, channels, y, x), channels last; the input is (batch, channels, y, x)."""
        last = torch.channels_last
        numbers = [p.detach() for p in self.convs.parameters()]  # weight, bias, weight ...
        weights = [(w.contiguous(memory_format=last), b) for w, b in zip(numbers[::2], numbers[1::2], strict=True)]
        kind = weights[0][0].dtype
        maps = x.to(kind).permute(0, 2, 3, 1).contiguous()
        batch, height, width, _ = maps.shape
        found = torch.empty((batch, height, width, _width(self.chain[-1])), dtype=kind, device=x.device)
        step = max(1, CHUNK // width)
        with torch.autocast(x.device.type, enabled=False):  # no layer here is worth less than float32
            for one, answer in zip(maps, found, strict=True):
                given = iter(weights)
                modules = [_Module(branches, given, height) for branches in self.chain]
                for first in range(0, height, step):
                    _through(modules, one[first : first + step], answer)
        return found.permute(0, 3, 1, 2)


def _width(branches: Sequence[Branch]) -> int:
    return sum((branch["then"] or branch)["width"] for branch in branches)


def _through(modules: Sequence[_Module], rows: torch.Tensor, answer: torch.Tensor) -> None:
    """Send rows of the input through all modules; those that come out are set in ``answer``, the whole map."""
    modules[0].source.room(len(rows), rows).copy_(rows)
    for module, after in zip(modules, [*modules[1:], None], strict=True):
        first, last = module.given, module.ready()
        if first == last:
            return
        like = module.source.rows(first, last)[:, :, :1].expand(-1, -1, module.width)
        module.compute(first, last, after.source.room(last - first, like) if after else answer[first:last])


class _Window:
    """Consecutive rows of a map (y, x, channels): the first ones are given up, others are added at the end.

    ``before`` rows of zeros precede row 0.
    """

    def __init__(self, before: int = 0):
        self.first, self.last = -before, 0
        self._kept: torch.Tensor | None = None

    def room(self, count: int, like: torch.Tensor) -> torch.Tensor:
        """Make place for rows at the end, (count, x, channels); the caller sets them."""
        have = self.last - self.first
        if self._kept is None or len(self._kept) < have + count:
            larger = like.new_zeros((have + count, *like.shape[1:]))
            if self._kept is not None:
                larger[:have] = self._kept[:have]
            self._kept = larger
        self.last += count
        return self._kept[have : have + count]

    def rows(self, first: int, last: int) -> torch.Tensor:
        """The rows from ``first`` to the one before ``last``."""
        assert self._kept is not None
        return self._kept[first - self.first : last - self.first]

    def drop(self, first: int) -> None:
        """Give up the rows before ``first``."""
        if first > self.first:
            kept = self.rows(first, self.last).clone()
            self.rows(self.first, self.first + len(kept)).copy_(kept)
            self.first = first


class _Module:
    """One module at work on one map of ``height`` rows; ``source`` holds the rows that it was given."""

    def __init__(self, branches: Sequence[Branch], weights: Iterator[Weights], height: int):
        self.height, self.width = height, _width(branches)
        self.branches = [_Branching(branch, weights, height) for branch in branches]
        self.reach = max(branch.reach for branch in self.branches)
        self.source = _Window()
        self.given = 0

    def ready(self) -> int:
        """The row behind the last one that can be computed."""
        return self.height if self.source.last == self.height else max(self.given, self.source.last - self.reach)

    def compute(self, first: int, last: int, out: torch.Tensor) -> None:
        """Set ``out`` to the joined outputs of some rows."""
        start = 0
        for branch in self.branches:
            branch.compute(self.source, first, last, out[:, :, start : start + branch.width])
            start += branch.width
        self.given = last
        self.source.drop(last - 1)  # the maximum of the next row reaches back by one


class _Branching:
    """One branch at work on one map."""

    def __init__(self, branch: Branch, weights: Iterator[Weights], height: int):
        self.pooled, self.relu, self.then = branch["pooled"], branch["relu"], branch["then"]
        self.height, self.width = height, (self.then or branch)["width"]
        self.first = next(weights)
        self.second = next(weights) if self.then else None
        self.pads = tuple(n // 2 for n in self.then["kernel"]) if self.then else (0, 0)
        self.reach = int(self.pooled) + self.pads[0]
        self.between = _Window(self.pads[0])
        self.largest: torch.Tensor | None = None

    def compute(self, source: _Window, first: int, last: int, out: torch.Tensor) -> None:
        """Set ``out``, (y, x, channels), to the outputs of the rows from ``first`` to the one before ``last``."""
        if self.second is None:
            self._pointwise(source, first, last, out)
            return
        pad, between = self.pads[0], self.between
        start, stop = between.last, min(last + pad, self.height)
        like = source.rows(first, last)[:, :, :1].expand(-1, -1, len(self.first[0]))
        self._pointwise(source, start, stop, between.room(stop - start, like))
        if last + pad > stop:  # zeros below the map
            between.room(last + pad - stop, like).zero_()
        _set(out, _convolved(between.rows(first - pad, last + pad), *self.second, self.pads[1]), self.then["relu"])
        between.drop(last - pad)

    def _pointwise(self, source: _Window, first: int, last: int, out: torch.Tensor) -> None:
        """The 1x1 convolution and its ReLU."""
        if first < last:
            rows = self._pool(source, first, last) if self.pooled else source.rows(first, last)
            _set(out, _convolved(rows, *self.first, 0), self.relu)

    def _pool(self, source: _Window, first: int, last: int) -> torch.Tensor:
        """The maximum over 3x3 pixels; pixels outside of the map do not count."""
        _, width, channels = source.rows(first, last).shape
        if self.largest is None or len(self.largest) < last - first:
            self.largest = source.rows(first, last).new_empty((last - first, width, channels))
        step = max(1, POOLED // width)
        down, pair = (self.largest.new_empty((step + extra, width, channels)) for extra in (0, 1))
        for start in range(first, last, step):
            stop = min(start + step, last)
            near = source.rows(max(start - 1, 0), min(stop + 1, self.height))
            if start == 0:
                near = torch.cat([near[:1], near])
            if stop == self.height:
                near = torch.cat([near, near[-1:]])
            _largest(near, pair, down, self.largest[start - first : stop - first])
        return self.largest[: last - first]


def _largest(near: torch.Tensor, pair: torch.Tensor, down: torch.Tensor, out: torch.Tensor) -> None:
    """Set ``out`` to the maximum over 3x3 pixels; ``near`` has one more row on each side, the others are work space."""
    rows, width = out.shape[:2]
    pair, down = pair[: rows + 1], down[:rows]
    torch.maximum(near[:-1], near[1:], out=pair)
    torch.maximum(pair[:-1], pair[1:], out=down)
    if width == 1:
        out.copy_(down)
        return
    pair = pair[:rows, :-1]
    torch.maximum(down[:, :-1], down[:, 1:], out=pair)
    torch.maximum(pair[:, :-1], pair[:, 1:], out=out[:, 1:-1])
    out[:, 0], out[:, -1] = pair[:, 0], pair[:, -1]


def _set(out: torch.Tensor, values: torch.Tensor, relu: bool) -> None:
    if relu:
        torch.clamp_min(values, 0, out=out)
    else:
        out.copy_(values)


def _convolved(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pad: int) -> torch.Tensor:
    """Convolve rows (y, x, channels), padded with zeros along x; along y they shrink by the kernel."""
    x = rows[None].permute(0, 3, 1, 2)
    if x.device.type == "cpu" and x.dtype == torch.float32 and _ONEDNN:
        found = torch.mkldnn_convolution(x, weight, bias, (0, pad), (1, 1), (1, 1), 1)
    else:
        found = torch.conv2d(x, weight, bias, padding=(0, pad))
    return found.permute(0, 2, 3, 1)[0]
