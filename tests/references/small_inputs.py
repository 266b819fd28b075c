"""Inputs of the small runs: tomograms, predictions, labels, tables, models, made of whole numbers.

They come from a generator whose stream never changes, so they are the same on every machine. Networks have such
weights, too: a training of one step makes the file, then its weights are replaced.

>>> Inputs(Path("scratch")).tomogram()                                                               # doctest: +SKIP
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

SHAPE = (20, 44, 52)
BLOCK = (16, 32, 32)
BALLS = ((6, 10, 11, 5), (12, 12, 34, 6), (9, 31, 14, 6), (11, 33, 23, 5), (14, 30, 42, 3), (3, 20, 47, 4))
"""Place (z, y, x) and radius of what is to be found, voxels; the third and fourth touch."""


class Inputs:
    """The inputs, made when they are first needed, in the folder ``inputs`` below ``base``."""

    def __init__(self, base: Path) -> None:
        self.base = base.resolve()
        self.inputs = self.base / "inputs"
        self.inputs.mkdir(parents=True, exist_ok=True)
        self._models: dict[str, Path] = {}

    def file(self, name: str, make: Callable[[Path], Any]) -> str:
        """An input, made when it is first asked for."""
        path = self.inputs / name
        if not path.exists():
            make(path)
        return str(path)

    def tomogram(self, name: str = "TS_01.mrc", voxel_size: float = 10.0) -> str:
        """An MRC file of 16 bits: bright balls in noise."""
        return self.file(name, lambda path: write_mrc(path, grey(), voxel_size))

    def prediction(self, feature: str, dtype: str = "uint8") -> str:
        """A store with a prediction, in chunks smaller than the blocks."""
        import volengine as ve

        number = ["ball", "mark", "film"].index(feature)
        values = probability(number) if dtype == "uint8" else (probability(number) / 255).astype(dtype)
        name, suffix = f"TS_01__{feature}", "tif" if dtype == "uint8" else "mrc"
        source = self.file(f"{dtype}_{name}.{suffix}", lambda path: write(path, values))
        out = self.inputs / dtype / f"{name}.ome.zarr"
        if not out.exists():
            recipe = storage(1).with_(kind="probability", voxel_size=10.0, name=name)
            ve.convert(source, str(out), recipe, quiet())
        return str(out)

    def model(self, name: str) -> str:
        """A model file with fixed weights, by the name of its feature."""
        if name not in self._models:
            self._models[name] = make_model(self, name)
        return str(self._models[name])


def quiet(**more: Any) -> Any:
    """Run options of the small runs: blocks smaller than the volumes."""
    import volengine as ve

    return ve.RunOptions(**{"progress": False, "device": "cpu", "block": BLOCK, **more})


def storage(levels: int) -> Any:
    """How tomograms are converted: shards that are the blocks."""
    import volengine as ve

    return ve.ConvertRecipe(chunk=(8, 16, 16), shard=BLOCK, levels=levels)


# -- volumes and tables ----------------------------------------------------------------------------------------------


def noise(seed: int, shape: tuple[int, ...] = SHAPE, top: int = 256) -> NDArray[Any]:
    """Whole numbers from 0 to below ``top``; NumPy promises never to change this stream."""
    return np.random.RandomState(seed).randint(0, top, shape)


def objects() -> NDArray[Any]:
    """The balls, numbered from 1."""
    grid = np.indices(SHAPE)
    found = np.zeros(SHAPE, np.int64)
    for number, (*centre, radius) in enumerate(BALLS, 1):
        found[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2] = number
    return found


def grey() -> NDArray[Any]:
    """A tomogram of 16 bits."""
    return (noise(1) * 3 + 900 * (objects() > 0) - 400 + 7 * np.arange(SHAPE[0])[:, None, None]).astype(np.int16)


def probability(number: int) -> NDArray[Any]:
    """A prediction: some of the balls, smooth inside, with noise."""
    chosen = np.isin(objects(), ((1, 2, 3, 4, 6), (2, 4, 5), (1, 3))[number])
    return np.clip(90 * chosen + noise(10 + number, top=140), 0, 255).astype(np.uint8)


def write_mrc(path: Path, array: NDArray[Any], voxel_size: float | tuple[float, float, float]) -> None:
    """An MRC file; the ending says how it is compressed."""
    compression = {".gz": "gzip", ".bz2": "bzip2"}.get(path.suffix)
    with mrcfile.new(path, compression=compression) as file:
        file.set_data(array)
        file.voxel_size = voxel_size if isinstance(voxel_size, float) else voxel_size[::-1]
        file.header.origin = (30.0, -20.0, 10.0)


def write(path: Path, array: NDArray[Any]) -> None:
    """An MRC file of 10 angstrom, or a TIFF file (MRC has no unsigned bytes)."""
    import tifffile

    if path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
    else:
        write_mrc(path, array, 10.0)


def true_picks(**more: Any) -> Any:
    """The balls' centres."""
    import volengine as ve

    at = np.array([ball[:3] for ball in BALLS], float)
    facts: dict[str, Any] = {"voxel_size": (10, 10, 10), "shape": SHAPE, "tomogram": "TS_01", "feature": "ball"}
    return ve.Picks(at, **{**facts, "weight": np.arange(1.0, 7), "label": np.arange(1, 7), **more})


# -- models ----------------------------------------------------------------------------------------------------------

MODELS: dict[str, dict[str, Any]] = {
    "solid": {"network": "unet3d", "arguments": {"width": 4, "levels": 2}, "patch": (16, 16, 16)},
    "plane": {"network": "unet", "patch": (1, 32, 32), "normalisation": "per_slice"},
    "context": {"network": "unet2d", "arguments": {"width": 4, "levels": 2}, "patch": (1, 32, 32), "context": 3},
    "classes": {"network": "unet2d", "arguments": {"width": 4, "levels": 2}, "patch": (1, 32, 32)},
    "grey": {"network": "unet3d", "arguments": {"width": 4, "levels": 2}, "patch": (16, 16, 16), "loss": "l2"},
    "mad": {"network": "vggnet", "patch": (1, 32, 32), "normalisation": "global_mad"},
    "dynunet": {"network": "dynunet", "arguments": {"filters": [4, 6, 8, 10]}, "patch": (16, 16, 16)},
}
GAIN = {"solid": 1.5, "dynunet": 1.5}
"""Of the weights, so that predictions take all values."""


def make_model(runs: Inputs, name: str) -> Path:
    """The file of a training of one step, with weights from :func:`noise`."""
    from safetensors.numpy import load_file, save_file

    import volengine as ve

    features: tuple[str, ...] = ("classes", "other") if name == "classes" else (name,)
    more: dict[str, Any] = {"loss": "cross_entropy"} if name == "classes" else {}
    if name == "grey":
        more = {"sample": {"targets": (runs.tomogram(),)}}
    recipe = train_recipe(runs, features=features, steps=1, epochs=1, validation_share=0.0, **MODELS[name], **more)
    path = runs.inputs / f"{name}.safetensors"
    ve.train(recipe, str(path), progress=False)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    facts = {key: json.loads(text) for key, text in json.loads(data[8 : 8 + size])["__metadata__"].items()}
    for told in facts.values():
        told["history"] = []  # of a training that is none of these weights, with its seconds
    weights = {}
    for number, (key, old) in enumerate(sorted(load_file(path).items())):
        uniform = noise(100 + number, old.shape, 2001) / 1000.0 - 1
        if old.ndim > 1:
            uniform *= GAIN.get(name, 1.0) * np.sqrt(6 / np.prod(old.shape[1:]))
        elif key.endswith("running_var") or abs(old.mean() - 1) < 0.1:  # scales, which began as ones
            uniform = 1 + 0.2 * uniform
        else:
            uniform *= 0.2
        weights[key] = uniform.astype(old.dtype) if old.dtype.kind == "f" else old
    save_file(weights, path, {key: json.dumps(told) for key, told in facts.items()})
    return path


def train_recipe(runs: Inputs, *, sample: dict[str, Any] | None = None, volume: str = "", **values: Any) -> Any:
    """A training of a few steps: on the tomogram and its odd and even balls, unless something else is said."""
    import volengine as ve

    image = volume or runs.tomogram()
    classes = runs.file("classes.mrc", lambda path: write(path, two_classes()))
    known: dict[str, Any] = {"labels": (classes,), "ids": (1, 2)[: len(values["features"])]}
    small: dict[str, Any] = {"arguments": {"width": 2, "levels": 2}, "patch": (8, 8, 8)}
    if "network" in values:
        small = {"arguments": {}}
    steps = {"epochs": 2, "steps": 3, "batch": 2, "device": "cpu", "seed": 3}
    samples = (ve.TrainSample(volume=image, **(known if sample is None else sample)),)
    return ve.TrainRecipe(**{"samples": samples, **small, **steps, **values})


def two_classes() -> NDArray[Any]:
    """Class ids: 1 for odd balls, 2 for even ones."""
    numbers = objects()
    return np.where(numbers == 0, 0, 2 - numbers % 2).astype(np.int8)


# -- volumes and training sets of single cases --------------------------------------------------------------------


def smooth() -> NDArray[Any]:
    """A prediction that falls towards the balls' rims."""
    grid = np.indices(SHAPE)
    found = np.zeros(SHAPE, np.int64)
    for *centre, radius in BALLS:
        away = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        found = np.maximum(found, 255 - 127 * away // radius**2)
    return np.clip(found - noise(20, top=9), 0, 255).astype(np.uint8)


def shell() -> NDArray[Any]:
    """A shell (7) and a sheet (2) to make membranes of."""
    z, y, x = np.indices(SHAPE)
    away = (z - 10) ** 2 + (y - 22) ** 2 + (x - 18) ** 2
    labels = np.where((away >= 14**2) & (away <= 16**2), 7, 0)
    labels[:, :, 44:47] = 2
    return labels.astype(np.int8)


def moved(picks: Any) -> Any:
    """Picks a few voxels beside the true ones; the last one is missing."""
    import volengine as ve

    at = np.asarray(picks.position_vox) + noise(40, (6, 3), 5) / 2
    return ve.Picks(at[:5], voxel_size=(10, 10, 10), shape=SHAPE, tomogram="TS_01", feature="ball")


def number_table(path: Path, number: int) -> None:
    """Picks of one tomogram at whole places."""
    import volengine as ve

    at = noise(50 + number, (9, 3), 20) + np.array([0, 10, 20])
    facts: dict[str, Any] = {"voxel_size": (10, 10, 10), "shape": SHAPE, "feature": "ball"}
    ve.write_picks(path, ve.Picks(at.astype(float), tomogram=f"TS_0{number}", **facts))


def ais_set(path: Path) -> None:
    """A stack of boxes of 16 pixels, each with its labels."""
    import tifffile

    image, labels = grey().astype(np.float32), objects() > 0
    corners = [(z, y, x) for z in (6, 9, 12) for y in (0, 14, 28) for x in (4, 20, 36)]
    stack = [[image[z, y : y + 16, x : x + 16], labels[z, y : y + 16, x : x + 16]] for z, y, x in corners]
    tifffile.imwrite(path, np.array(stack, np.float32), description="apix=10.0", photometric="minisblack")


def membrain_set(folder: Path) -> None:
    """Patches of 16 voxels as NIfTI files, to train on and to validate with."""
    import nibabel

    for part, corners in (("Tr", ((0, 4, 4), (4, 24, 8), (2, 4, 28))), ("Val", ((4, 24, 30),))):
        for name, volume in (("images", grey()), ("labels", (objects() > 0).astype(np.int16))):
            (folder / f"{name}{part}").mkdir(parents=True)
            for number, at in enumerate(corners):
                piece = volume[tuple(slice(a, a + 16) for a in at)]
                nibabel.Nifti1Image(piece, np.eye(4)).to_filename(folder / f"{name}{part}" / f"TS_{number}.nii.gz")


def ais_group(path: Path, model: Path) -> None:
    """A group of Ais: one model, and a rule."""
    rules = [{"parent_title": "plane", "partner_title": "plane", "type": 0, "radius": 4.0, "threshold": 0.5}]
    members = {"cell_model_0.scnm": model.read_bytes(), "cell_interactions.json": json.dumps(rules).encode()}
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
