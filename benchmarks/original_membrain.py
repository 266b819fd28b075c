"""Run by an interpreter that has membrain-seg: makes a checkpoint, and segments, with or without the network.

    python original_membrain.py make FILE.ckpt     # membrain-seg's own network with random weights
    python original_membrain.py run ARGUMENTS      # membrain ARGUMENTS
    python original_membrain.py nothing ARGUMENTS  # membrain ARGUMENTS, with a network that answers its input at once
    python original_membrain.py time FILE.ckpt 64 5  # CPU seconds of the network, for a window of 64 x 64 x 64, 5 times

Nothing of volengine is imported: the environment need not have it.
"""

from __future__ import annotations

import sys
from typing import Any


def make(path: str) -> None:
    """A checkpoint as training writes it."""
    import pytorch_lightning as lightning
    import torch
    from membrain_seg.segmentation.networks.unet import SemanticSegmentationUnet

    torch.manual_seed(3)
    trainer = lightning.Trainer(accelerator="cpu", logger=False, max_epochs=1, enable_checkpointing=False)
    trainer.strategy.connect(SemanticSegmentationUnet(max_epochs=1))
    trainer.save_checkpoint(path, weights_only=True)


def time_network(path: str, side: str, times: str) -> None:
    """Print the CPU seconds of the network for a window, called as membrain-seg calls it, after the first time."""
    import json
    import time

    import torch
    from membrain_seg.segmentation.networks.inference_unet import PreprocessedSemanticSegmentationUnet

    network = PreprocessedSemanticSegmentationUnet.load_from_checkpoint(path, map_location="cpu", strict=False).eval()
    values = torch.randn(1, 1, *(int(side),) * 3)
    found = []
    with torch.no_grad():
        for _ in range(int(times) + 1):
            began = time.process_time()
            network(values)
            found.append(time.process_time() - began)
    print(json.dumps(found[1:]))


def without_network() -> None:
    """Let membrain-seg segment with a network that answers its input, whose weights are not loaded either."""
    import torch
    from membrain_seg.segmentation import segment

    class Nothing(torch.nn.Module):
        @classmethod
        def load_from_checkpoint(cls, *_: Any, **__: Any) -> Nothing:
            return cls()

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x]

    segment.PreprocessedSemanticSegmentationUnet = Nothing


def main() -> None:
    kind, *rest = sys.argv[1:]
    if kind == "make":
        make(*rest)
        return
    if kind == "time":
        time_network(*rest)
        return
    if kind == "nothing":
        without_network()
    from membrain_seg.segmentation.cli import cli

    sys.argv = ["membrain", *rest]
    cli()


if __name__ == "__main__":
    main()
