"""Run by an interpreter that has membrain-seg: makes a checkpoint, and segments, with or without the network.

    python original_membrain.py make FILE.ckpt     # membrain-seg's own network with random weights
    python original_membrain.py run ARGUMENTS      # membrain ARGUMENTS
    python original_membrain.py nothing ARGUMENTS  # membrain ARGUMENTS, with a network that answers its input at once

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
    if kind == "nothing":
        without_network()
    from membrain_seg.segmentation.cli import cli

    sys.argv = ["membrain", *rest]
    cli()


if __name__ == "__main__":
    main()
