"""Make the pictures of docs/how-to-membranes.md from what the commands on that page have written.

    python docs/membranes_pictures.py simulated FOLDER     # the folder in which the page's commands were run
    python docs/membranes_pictures.py mitochondrion FOLDER

*simulated*: a slice with the outline of the prediction; the surfaces coloured by thickness; the surfaces with picks
(blue) and true receptors (red) as balls. *mitochondrion*: the three membranes, and the outer one coloured by its
distance to the inner one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from volengine.core.boxes import Box
from volengine.core.surface import Surface
from volengine.io.open import open_source, open_volume
from volengine.io.picks import read_picks
from volengine.io.surfaces import open_surfaces
from volengine.ops.pictures import Picture, grey, outline, side_by_side, window_of
from volengine.ops.surfaces.drawing import draw

PICTURES = Path(__file__).parent / "pictures"
GOLD, BLUE, RED, GREEN = (235, 175, 60), (60, 110, 220), (215, 50, 50), (90, 170, 90)
COLOURS = 200
"""Of the files, which have a palette."""


def slice_of(folder: Path) -> Picture:
    """The tomogram in the middle, with the outline of the membranes that were found."""
    volume = open_volume(str(folder / "data/tomograms/cell_0001.ome.zarr"))
    found = open_volume(str(folder / "predictions/cell_0001__membrane.ome.zarr"))
    middle = volume.shape[0] // 2
    box = Box((middle, 0, 0), (middle + 1, *volume.shape[1:]))
    tomogram, prediction = (open_source(one).read(box)[0] for one in (volume, found))
    return outline(grey(tomogram, window_of(tomogram), 2), (prediction > 127).astype(np.int32), (255, 210, 60), width=1)


def balls(places: np.ndarray, radius: float) -> list[Surface]:
    """A ball at each place (z, y, x, angstrom), as one surface for all."""
    ball = trimesh.creation.icosphere(2, radius)
    at = (places[:, None] + np.asarray(ball.vertices)[None, :, ::-1]).reshape(-1, 3)
    faces = (np.arange(len(places))[:, None, None] * len(ball.vertices) + np.asarray(ball.faces)).reshape(-1, 3)
    return [Surface(at, faces)]


def simulated(folder: Path) -> Picture:
    """Slice, thickness, picks."""
    thick = list(open_surfaces(folder / "measured.surfaces"))
    plain = list(open_surfaces(folder / "cell.surfaces"))
    volume = open_volume(str(folder / "data/tomograms/cell_0001.ome.zarr"))
    grid = {"voxel_size": volume.voxel_size, "origin": volume.origin, "shape": volume.shape}
    picks = read_picks(folder / "receptor.star", **grid)
    true = read_picks(folder / "data/picks/cell_0001__receptor.star", **grid)
    shown = [*plain, *balls(picks.place, 22.0), *balls(true.place, 18.0)]
    return side_by_side(
        [
            slice_of(folder),
            draw(thick, column="thickness_nm", window=(3, 7), pixels=360),
            draw(shown, colours=(*[GOLD] * len(plain), BLUE, RED), pixels=360),
        ]
    )


def mitochondrion(folder: Path) -> Picture:
    """Outer, inner membrane and endoplasmic reticulum; distances of the outer to the inner one."""
    sets = [list(open_surfaces(folder / f"{name}.surfaces")) for name in ("OMM", "IMM", "ER")]
    colours = [colour for one, colour in zip(sets, (GOLD, BLUE, GREEN), strict=True) for _ in one]
    measured = list(open_surfaces(folder / "OMM_measured.surfaces"))
    return side_by_side(
        [
            draw([surface for one in sets for surface in one], colours=colours, view=(1.0, -0.5, -0.3), pixels=400),
            draw(measured, column="to_IMM_nm", window=(0, 40), view=(1.0, -0.5, -0.3), pixels=400),
        ]
    )


def main() -> None:
    """Make one of them."""
    parser = argparse.ArgumentParser(description="Make the pictures of docs/how-to-membranes.md.")
    parser.add_argument("what", choices=("simulated", "mitochondrion"))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    picture = {"simulated": simulated, "mitochondrion": mitochondrion}[given.what](given.folder)
    out = PICTURES / f"membranes_{given.what}.png"
    image = Image.fromarray(picture).quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(out, optimize=True)
    print(f"{out}: {image.width} x {image.height}, {out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
