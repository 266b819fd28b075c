"""Pictures and movies of volumes, beside NumPy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from calling import Command
from PIL import Image

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_volume
from volengine.ops.pictures import grey
from volengine.tasks.picture.frame import Frame
from volengine.tasks.picture.overlays import rings_of
from volengine.tasks.picture.recipe import MovieRecipe, PictureRecipe, colour_of_label

SHAPE, VOXEL = (20, 48, 64), (10.0, 10.0, 10.0)
Arrays = np.ndarray


def mrc(folder: Path, name: str, voxels: Arrays, voxel: tuple[float, float, float] = VOXEL) -> str:
    write_mrc(folder / name, [voxels], voxels.shape, voxels.dtype.name, voxel)
    return str(folder / name)


def noise(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Arrays:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def drawn(source: str, folder: Path, **look: object) -> Arrays:
    recipe = PictureRecipe.from_json({"plain": True, "overwrite": True, **look})
    return np.asarray(Image.open(volengine.picture(source, folder / "out.png", recipe)).convert("RGB"))


@pytest.mark.parametrize(("axis", "pixels"), [("z", 64), ("y", 64), ("x", 48)])
def test_at_one_pixel_per_voxel_a_picture_is_the_slice(tmp_path: Path, axis: str, pixels: int) -> None:
    voxels = noise()
    found = drawn(mrc(tmp_path, "a.mrc", voxels), tmp_path, slice=f"{axis}=7", pixels=pixels, contrast=[-2, 2])
    assert np.array_equal(found, grey(np.take(voxels, 7, "zyx".index(axis)), (-2, 2)))


@pytest.mark.parametrize("pixels", [32, 64, 192])
def test_a_store_gives_the_picture_of_its_coarsest_level_that_is_large_enough(tmp_path: Path, pixels: int) -> None:
    voxels = noise((32, 64, 128))
    store = str(tmp_path / "a.ome.zarr")
    source = mrc(tmp_path, "a.mrc", voxels)
    volengine.convert(source, store, volengine.ConvertRecipe(chunk=(16, 16, 16), shard=(64, 64, 64), levels=3))
    volume = open_volume(store)
    level = {32: 2, 64: 1, 192: 0}[pixels]
    found = drawn(store, tmp_path, slice="z=9", pixels=pixels, contrast=[-1, 1])
    coarse = volume.at_level(level)
    plane = coarse.read()[int(9.5 * coarse.shape[0] / 32)]
    scale = max(1, pixels // 128)
    assert found.shape[:2] == (pixels // 2, pixels)
    if scale == 1 and pixels != 192:
        assert np.array_equal(found, grey(plane, (-1, 1)))
    else:  # 1.5 pixels for each voxel: the nearest voxel
        rows = ((np.arange(96) + 0.5) / 1.5).astype(int)
        columns = ((np.arange(192) + 0.5) / 1.5).astype(int)
        assert np.mean(found == grey(plane[np.ix_(rows, columns)], (-1, 1))) > 0.99


def test_means_parts_and_inversion_are_those_of_numpy(tmp_path: Path) -> None:
    voxels = noise()
    source = mrc(tmp_path, "a.mrc", voxels)
    look: dict[str, object] = {"contrast": [-2, 2], "slice": "z=7"}
    five = voxels[5:10].mean(0, dtype=np.float64).astype(np.float32)
    assert np.array_equal(drawn(source, tmp_path, mean=5, pixels=64, **look), grey(five, (-2, 2)))
    four = voxels[6:10].mean(0, dtype=np.float64).astype(np.float32)
    assert np.array_equal(drawn(source, tmp_path, mean=4, pixels=64, **look), grey(four, (-2, 2)))
    part = drawn(source, tmp_path, roi="3:12,8:40,10:50", pixels=40, **look)
    assert np.array_equal(part, grey(voxels[7, 8:40, 10:50], (-2, 2)))
    assert np.array_equal(drawn(source, tmp_path, invert=True, pixels=64, **look), grey(-voxels[7], (-2, 2)))


def test_voxels_of_other_heights_keep_their_proportions(tmp_path: Path) -> None:
    source = mrc(tmp_path, "a.mrc", noise(), (20.0, 10.0, 5.0))
    found = drawn(source, tmp_path, slice=["z=3", "y=3"], pixels=480)
    assert found.shape == (480, 320 + 10 + 320, 3)  # 480 x 320 angstrom, and beside it 400 x 320
    assert (found[400:, 330:] == 255).all()


def test_labels_have_the_colours_of_the_palette(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[7, 10:20, 10:20], labels[7, 30:40, 30:40] = 1, 9
    source = mrc(tmp_path, "a.mrc", labels)
    store = str(tmp_path / "labels.ome.zarr")
    volengine.convert(source, store, volengine.ConvertRecipe(kind="labels"))
    found = drawn(store, tmp_path, slice="z=7", pixels=64)
    assert tuple(found[15, 15]) == colour_of_label(1)
    assert tuple(found[35, 35]) == colour_of_label(9)
    assert not found[0].any()
    outlined = drawn(mrc(tmp_path, "b.mrc", noise()), tmp_path, slice="z=7", pixels=640, overlay=store)
    assert tuple(outlined[101, 150]) == colour_of_label(1)
    assert len({*outlined[150, 150]}) == 1  # the inside stays grey


def test_predictions_are_tinted_or_outlined_and_nothing_else_is_taken_for_one(tmp_path: Path) -> None:
    prediction = np.zeros(SHAPE, np.float32)
    prediction[7, 10:20, 10:20] = 1.0
    source, over = mrc(tmp_path, "a.mrc", noise()), mrc(tmp_path, "a__membrane.mrc", prediction)
    tinted = drawn(source, tmp_path, slice="z=7", pixels=64, overlay=over, contrast=[90, 91], colour="#ff8000")
    assert tuple(tinted[15, 15]) == (153, 77, 0)  # 0.6 of the colour over black
    assert not tinted[5].any()
    line = drawn(source, tmp_path, slice="z=7", pixels=640, overlay=over, threshold=0.5, contrast=[90, 91])
    assert line[101, 150].any()
    assert not line[150, 150].any()
    with pytest.raises(InputError, match="is no prediction"):
        drawn(source, tmp_path, overlay=mrc(tmp_path, "b.mrc", noise()))
    integers = mrc(tmp_path, "c.mrc", (prediction * 200).astype(np.uint8))
    with pytest.raises(InputError, match="--overlay-kind"):
        drawn(source, tmp_path, overlay=integers)
    drawn(source, tmp_path, overlay=integers, overlay_kind="labels")
    with pytest.raises(InputError, match="measures 20 x 40 x 64 nm"):
        drawn(source, tmp_path, overlay=mrc(tmp_path, "d.mrc", prediction[:, :40]))


def test_picks_are_the_circles_in_which_the_slice_cuts_their_balls() -> None:
    places = 10 * np.array([[7.0, 10.0, 20.0], [9.0, 30.0, 40.0], [19.0, 5.0, 5.0]])
    frame = Frame(0, 7, Box((0, 4, 8), (20, 44, 60)), VOXEL, 2.5)
    rings = rings_of(places, frame, 5.0, (1, 2, 3))
    assert rings.radii.tolist() == pytest.approx([20.0, np.sqrt(50**2 - 20**2) / 2.5])
    # voxel 4 along y begins at pixel -0.5 and is 4 pixels wide, so its centre is at 1.5
    assert rings.places.tolist() == [[(10 - 4) * 4 + 1.5, (20 - 8) * 4 + 1.5], [(30 - 4) * 4 + 1.5, (40 - 8) * 4 + 1.5]]


def test_surfaces_and_picks_lie_where_their_voxels_are(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[7, 20, 30] = 1.0
    source = mrc(tmp_path, "a.mrc", voxels)
    picks = Picks([[7.0, 20.0, 30.0]], VOXEL, shape=SHAPE, tomogram="a", feature="ribosome")
    volengine.write_picks(tmp_path / "a.star", picks)
    corners = [[0, 0, 300], [400, 0, 300], [0, 400, 300]]
    facts = volengine.SurfaceFacts(tomogram="a", voxel_size=VOXEL, shape=SHAPE)
    volengine.write_surfaces(tmp_path / "a.surfaces", [(Surface(corners, [[0, 1, 2]], number=1), {})], facts)
    found = drawn(
        source,
        tmp_path,
        slice="z=7",
        pixels=640,
        contrast=[0, 1],
        overlay=[str(tmp_path / "a.star"), str(tmp_path / "a.surfaces")],
        radius_nm=3.0,
        colour=["#ff0000", "#00ff00"],
    ).astype(int)
    spot = np.argwhere(found.min(-1) == 255)
    inside = spot[(np.abs(spot - [204.5, 304.5]) < 6).all(1)]
    assert len(inside)
    ring = np.argwhere((found[..., 0] > 180) & (found[..., 1] < 90))
    assert np.hypot(*(ring - [204.5, 304.5]).T).mean() == pytest.approx(30, abs=1.5)
    line = np.argwhere((found[..., 1] > 180) & (found[..., 0] < 90))
    assert np.median(line[:, 1]) == pytest.approx(304.5, abs=1)
    assert line[:, 0].max() == pytest.approx(334, abs=3)  # the triangle ends at y = 330 angstrom in this slice


@pytest.mark.parametrize("axis", ["z", "y", "x"])
@pytest.mark.parametrize("how", ["faces", "centres"])
def test_overlays_of_other_voxels_lie_as_the_house_says(tmp_path: Path, axis: str, how: str) -> None:
    """A mask of voxels twice as large: one of its voxels covers eight of the volume, from a face or around a centre."""
    labels = np.zeros((10, 24, 32), np.uint8)
    labels[3, 8, 12] = 1
    source, over = mrc(tmp_path, "a.mrc", noise()), mrc(tmp_path, "b.mrc", labels, (20.0, 20.0, 20.0))
    number = {"z": 7, "y": 17, "x": 25}[axis] if how == "faces" else {"z": 6, "y": 16, "x": 24}[axis]
    pixels = 480 if axis == "x" else 640  # ten for each voxel
    look = {"overlay": over, "overlay_kind": "labels", "mask_grid": how, "contrast": [90, 91], "pixels": pixels}
    found = drawn(source, tmp_path, slice=f"{axis}={number}", **look).any(-1)
    first = np.array([6, 16, 24]) - (0 if how == "faces" else 0.5)
    (top, left), (bottom, right) = np.argwhere(found).min(0), np.argwhere(found).max(0)
    down, across = (k for k in range(3) if "zyx"[k] != axis)
    assert (top, bottom + 1) == (10 * first[down], 10 * first[down] + 20)
    assert (left, right + 1) == (10 * first[across], 10 * first[across] + 20)
    beside = number + (1 if how == "faces" else 2)
    assert not drawn(source, tmp_path, slice=f"{axis}={beside}", **look).any()


def test_picks_of_other_voxels_are_placed_by_their_own(tmp_path: Path) -> None:
    source = mrc(tmp_path, "a.mrc", np.zeros(SHAPE, np.float32))
    fine = Picks([[15.0, 41.0, 61.0]], (5.0, 5.0, 5.0), shape=(40, 96, 128), tomogram="a", feature="ribosome")
    volengine.write_picks(tmp_path / "a.star", fine)
    look = {"overlay": str(tmp_path / "a.star"), "radius_nm": 4.0, "contrast": [0, 1], "colour": "#ff0000"}
    found = drawn(source, tmp_path, slice="z=7", pixels=640, **look).astype(int)
    ring = np.argwhere((found[..., 0] > 180) & (found[..., 1] < 90))
    assert (ring.min(0) + ring.max(0)) / 2 == pytest.approx([41.5 * 5 - 0.5, 61.5 * 5 - 0.5], abs=1)


def test_values_that_are_not_finite_are_black_and_said(tmp_path: Path) -> None:
    voxels = noise()
    voxels[7, 3, 4], voxels[7, 5, 6] = np.nan, np.inf
    notes: list[str] = []
    recipe = PictureRecipe(slice="z=7", pixels=64, plain=True)
    found = np.asarray(
        Image.open(volengine.picture(mrc(tmp_path, "a.mrc", voxels), tmp_path / "o.png", recipe, notes=notes))
    )
    assert not found[3, 4, :3].any()
    assert not found[5, 6, :3].any()
    assert len(notes) == 1
    assert "without a finite value" in notes[0]


@pytest.mark.parametrize("ending", ["gif", "webp", "mp4"])
def test_a_movie_has_all_slices_one_after_the_other(tmp_path: Path, ending: str) -> None:
    if ending == "mp4" and shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    voxels = np.zeros(SHAPE, np.float32) + np.arange(20, dtype=np.float32)[:, None, None]
    source = mrc(tmp_path, "a.mrc", voxels)
    recipe = MovieRecipe(every=3, pixels=64, contrast=(0, 19), plain=True, back=True, fps=10)
    out = volengine.movie(source, tmp_path / f"a.{ending}", recipe, progress=False)
    expected = [0, 3, 6, 9, 12, 15, 18, 15, 12, 9, 6, 3]
    if ending == "mp4":
        import subprocess

        command = ["ffmpeg", "-loglevel", "error", "-i", str(out), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        frames = np.frombuffer(raw, np.uint8).reshape(-1, 48, 64)
        assert np.allclose(frames.mean((1, 2)), [255 * n / 19 for n in expected], atol=4)
        return
    film = Image.open(out)
    assert film.n_frames == len(expected)
    for number, value in enumerate(expected):
        film.seek(number)
        assert film.size == (64, 48)
        assert np.asarray(film.convert("L")).mean() == pytest.approx(255 * value / 19, abs=2)
    assert film.info["duration"] == 100


def test_the_contrast_of_a_movie_does_not_change_from_slice_to_slice(tmp_path: Path) -> None:
    voxels = noise()
    voxels[:10] *= 0.01
    film = Image.open(
        volengine.movie(
            mrc(tmp_path, "a.mrc", voxels), tmp_path / "a.gif", MovieRecipe(pixels=64, plain=True), progress=False
        )
    )
    film.seek(2)
    flat = np.asarray(film.convert("L")).std()
    film.seek(15)
    assert np.asarray(film.convert("L")).std() > 20 * flat


def test_the_commands(tmp_path: Path, volengine: Command) -> None:
    mrc(tmp_path, "a.mrc", noise())
    assert volengine("picture", "a.mrc", "--slice", "z=3,x=middle", "--out", "a.svg")[0] == 0
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert volengine("movie", "a.mrc", "--every", "8", "--pixels", "64", "--out", "a.gif", "--no-progress")[0] in (0, 2)
    for words, said in (
        (("picture", "a.mrc", "--out", "a.svg"), "--overwrite"),
        (("picture", "a.mrc", "--out", "a.jpg"), ".png or .svg"),
        (("picture", "a.mrc", "--slice", "z=20", "--out", "b.png"), "z ends at 19"),
        (("picture", "a.mrc", "--slice", "z=2", "--roi", "5:9,:,:", "--out", "b.png"), "outside of --roi"),
        (("picture", "nothing.mrc", "--out", "b.png"), "nothing.mrc"),
        (("picture", "a.mrc", "--overlay", "nothing.star", "--out", "b.png"), "nothing.star"),
        (("picture", "a.mrc", "--colour", "red", "--out", "b.png"), "#e69f00"),
        (("picture", "a.mrc", "--out", "none/b.png"), "none"),
        (("movie", "a.mrc", "--out", "a.avi"), ".gif"),
    ):
        code, _, errors = volengine(*words)
        assert code, words
        assert said in errors
    assert not (tmp_path / "b.png").exists()


def test_overlays_of_another_tomogram_are_said_or_refused(tmp_path: Path) -> None:
    source = mrc(tmp_path, "TS_01.mrc", noise())
    surface = [(Surface([[0, 0, 300], [400, 0, 300], [0, 400, 300]], [[0, 1, 2]], number=1), {})]
    for name, shape in (("TS_02", SHAPE), ("TS_01", (30, 60, 99))):
        facts = volengine.SurfaceFacts(tomogram=name, voxel_size=VOXEL, shape=shape)
        volengine.write_surfaces(tmp_path / f"{name}.surfaces", surface, facts)
    mask = mrc(tmp_path, "TS_02__core.mrc", np.zeros(SHAPE, np.float32))
    for overlay in (str(tmp_path / "TS_02.surfaces"), mask):
        notes: list[str] = []
        recipe = PictureRecipe(overlay=overlay, overwrite=True)
        volengine.picture(source, tmp_path / "a.png", recipe, notes=notes)
        assert notes == [f"{overlay} is of the tomogram 'TS_02', and the volume is 'TS_01'."]
    with pytest.raises(InputError, match="measures 30 x "):
        drawn(source, tmp_path, overlay=str(tmp_path / "TS_01.surfaces"))
