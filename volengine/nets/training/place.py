"""Where a fit keeps what it writes beside its model; this alone needs no PyTorch."""

from __future__ import annotations

from pathlib import Path


def folder_of(out: Path) -> Path:
    """Return the folder of the fit that writes a model: ``NAME.safetensors.training`` beside it."""
    return out.with_name(out.name + ".training")
