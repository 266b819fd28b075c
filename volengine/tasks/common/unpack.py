"""The stage that unpacks a compressed file, so that blocks of it can be read."""

from __future__ import annotations

from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.stage import Stage, TableInput
from volengine.io.names import is_packed, suffix_of

UNPACK = "unpack"
"""Name of the stage."""


def unpacked(volume: Volume, folder: PlanFolder, stem: str = "source") -> tuple[Volume, list[Stage]]:
    """Plan the unpacking of a file that is compressed as a whole (``.gz``, ``.bz2``).

    The file is unpacked into the scratch folder, which the engine removes at the end of the run.

    Returns
    -------
    Volume, list of Stage
        The volume that blocks are read from, and the stage that unpacks it; no stage if the file is not compressed.
    """
    if not is_packed(volume.url):
        return volume, []
    target = str(folder.scratch / f"{stem}{suffix_of(volume.url)}")
    stage = Stage(
        UNPACK,
        "volengine.tasks.common.blocks:unpack_file",
        Tiling((1, 1, 1), (1, 1, 1)),
        params={"source": volume.url, "target": target, "identity": volume.identity},
        hints={"snapshot": volume.snapshot},  # its time and inode change nothing, if the content counts
        emits=True,
        transient=True,
    )
    return volume.with_(url=target, snapshot={}), [stage]


def waits_for(stages: list[Stage]) -> dict[str, TableInput]:
    """Table inputs for a stage that reads the unpacked file; they make it wait for the stage of :func:`unpacked`."""
    return {"unpacked": TableInput(UNPACK, "all")} if stages else {}
