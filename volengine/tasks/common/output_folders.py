"""What an output folder holds, for those who look at it: where its stores are, and of which tomogram each is.

>>> tomogram_of(Path("predictions/TS_01__membrane.ome.zarr")), tomogram_of(Path("TS_01.star"))
('TS_01', 'TS_01')
"""

from __future__ import annotations

from pathlib import Path

from volengine.core.volume import Volume
from volengine.engine.ledger import RunFolder
from volengine.io.open import OpenVolume, open_volume

FOLDERS = ("tomograms", "predictions", "gated", "")
"""Where an output folder has its stores, in the order of their layers."""


def output_folder(path: Path) -> Path | None:
    """The folder with the outputs: the given one; of a run folder the one it is in, or the store it is beside."""
    if (path / "plans").is_dir():
        store = path.with_name(path.name.removesuffix(".run"))
        return store if store.is_dir() and store != path else path.parent
    inside = [*path.glob("*.zarr"), *(path / name for name in FOLDERS[:3] if name and (path / name).is_dir())]
    return path if inside or (path / "run" / "plans").is_dir() else None


def tomogram_of(file: Path) -> str:
    """The tomogram in the name of a store, a table or a set of surfaces: what stands before ``__FEATURE``."""
    stem = file.name.removesuffix(".zarr").removesuffix(".ome") if file.suffix == ".zarr" else file.stem
    return stem.rpartition("__")[0] or stem


def sources_of(folder: Path, name: str) -> list[OpenVolume]:
    """The tomogram that a run has read, where it has not written one itself."""
    for run in (folder / "run", *folder.glob("*.run"), folder.with_name(f"{folder.name}.run")):
        for plan in RunFolder(run).plans():
            data = plan.read_json("plan.json")
            if data is None or data["name"] != name:
                continue
            read = (source["volume"] for stage in data["stages"] for source in stage["arrays"].values())
            for volume in map(Volume.from_json, read):
                if volume.kind == "intensity" and volume.name == name and Path(volume.url).exists():
                    return [open_volume(volume.url, name=name, identity="metadata")]
    return []
