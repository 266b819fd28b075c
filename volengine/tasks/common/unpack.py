"""The stage that unpacks a compressed file, or downloads one, so that blocks of it can be read."""

from __future__ import annotations

from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.stage import Stage, TableInput
from volengine.io.names import is_copied_first, suffix_of

UNPACK = "unpack"
"""Name of the stage."""


def unpacked(volume: Volume, folder: PlanFolder, stem: str = "source") -> tuple[Volume, list[Stage]]:
    """Plan the unpacking of a file that is compressed as a whole (``.gz``, ``.bz2``), or lies behind a URL.

    The file is unpacked, or copied, into the scratch folder, which the engine removes at the end of the run.

    Returns
    -------
    Volume, list of Stage
        The volume that blocks are read from, and the stage that unpacks it; no stage if there is nothing to do.
    """
    if not is_copied_first(volume.url):
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
