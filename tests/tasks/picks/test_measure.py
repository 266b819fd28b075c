"""picks measure: distances, sides and depths against all pairs and formulas; which thing is of which tomogram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from shapes import ball

import volengine as ve
from volengine.cli.main import cli
from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError, RunError
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.core.volume import Volume
from volengine.io.meshes import write_mesh
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.picks import read_all, read_picks, write_picks
from volengine.io.surfaces import SurfaceFacts, write_surfaces
from volengine.tasks.common.images import StoreOptions, image_spec
from volengine.tasks.picks import voxels
from volengine.tasks.picks.convert import filter_picks
from volengine.tasks.picks.measure import measure_picks

SHAPE, SIZE, ORIGIN = (30, 44, 52), (12.0, 8.0, 10.0), (300.0, -200.0, 1000.0)


def mrc(path: Path, values: np.ndarray, size: tuple = SIZE, origin: tuple = ORIGIN) -> str:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = size[::-1]
        file.header.origin.z, file.header.origin.y, file.header.origin.x = origin
    return str(path)


def scattered(number: int = 60, seed: int = 0, name: str = "TS_01") -> Picks:
    at = np.random.default_rng(seed).uniform(0, np.array(SHAPE) - 1, (number, 3))
    return Picks(at, SIZE, ORIGIN, SHAPE, name, "ribosome", weight=np.arange(number, dtype=float))


def measured(folder: Path, picks: Picks | list[Picks], **recipe: Any) -> dict[str, np.ndarray]:
    write_picks(folder / "in.csv", picks)
    measure_picks(folder / "in.csv", folder / "out.csv", {"overwrite": True, **recipe})
    tables = list(read_all(folder / "out.csv").values())
    for one, other in zip(tables, picks if isinstance(picks, list) else [picks], strict=True):
        assert one.with_(extra={}) == other
    return dict(tables[0].extra)


# Labels and predictions --------------------------------------------------------------------------------------------


def by_all_pairs(picks: Picks, mask: np.ndarray, reach_nm: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the nearest voxel of a mask, 0 inside, and the index of this voxel."""
    index = np.argwhere(mask)
    apart = np.linalg.norm(picks.place[:, None] - index * np.array(SIZE), axis=2)
    apart[(index == np.rint(picks.position_vox)[:, None]).all(axis=2)] = 0
    nearest, far = apart.argmin(axis=1), apart.min(axis=1) / 10
    return np.where(far <= reach_nm, far, np.inf), index[nearest]


@pytest.mark.parametrize(("side", "reach_nm"), [(96, 1000.0), (7, 1000.0), (11, 6.0)])
def test_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, reach_nm: float) -> None:
    """Boxes of three labels, as MRC and in chunks; for any blocks the values of all pairs."""
    labels = np.zeros(SHAPE, np.int16)
    labels[3:22, 5:26, 8:40], labels[15:25, 30:40, 10:14], labels[28, 43, 51] = 4, 7, 9
    path = mrc(tmp_path / "TS_01__organelle.mrc", labels)
    ve.convert(
        path, tmp_path / "TS_01__organelle.ome.zarr", ve.ConvertRecipe(chunk=(16,) * 3, shard=(32,) * 3, kind="labels")
    )
    picks = scattered()
    monkeypatch.setattr(voxels, "SIDE", side)
    far, index = by_all_pairs(picks, labels > 0, reach_nm)
    deep, _ = by_all_pairs(picks, labels == 0, reach_nm)
    for source in (path, str(tmp_path / "TS_01__organelle.ome.zarr")):
        found = measured(tmp_path, picks, labels=(source,), reach_nm=reach_nm)
        assert found["organelle.distance_nm"] == pytest.approx(far, rel=1e-12)
        assert found["organelle.depth_nm"] == pytest.approx(deep, rel=1e-12)
        assert np.array_equal(found["organelle.inside"], far == 0)
        assert np.array_equal(found["organelle.side"], np.where(far == 0, -1, 1))
        assert np.array_equal(found["organelle.label"], np.where(np.isfinite(far), labels[tuple(index.T)], 0))
        assert found["inside"].tolist() == ["organelle" if one == 0 else "none" for one in far]
        assert 5 < (far == 0).sum() < 55


def test_some_labels_and_names(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[:, :20], labels[:, 10:30], labels[:, 40:] = 1, 2, 3
    path = mrc(tmp_path / "TS_01.mrc", labels)
    picks = scattered()
    found = measured(tmp_path, picks, labels=(f"outer:1+2={path}", f"inner:2={path}"))
    row = np.rint(picks.position_vox[:, 1])
    expected = np.where(row < 10, "outer", np.where(row < 30, "outer+inner", "none"))
    assert found["inside"].tolist() == expected.tolist()
    assert "outer.label" in found
    with pytest.raises(InputError, match="does not say what it is of"):
        measured(tmp_path, picks, labels=(path,))
    with pytest.raises(InputError, match="Two things would be 'outer'"):
        measured(tmp_path, picks, labels=(f"outer={path}",), probability=(f"outer={path}",))
    with pytest.raises(InputError, match="would both be 'a' of tomogram"):
        measured(tmp_path, picks, labels=(f"a:1={path}", f"a:2={path}"))
    with pytest.raises(InputError, match="0 is the background"):
        measured(tmp_path, picks, labels=(f"outer:0={path}",))
    with pytest.raises(InputError, match="'inside' is the name of other columns"):
        measured(tmp_path, picks, labels=(f"inside={path}",))
    with pytest.raises(InputError, match="not about labels"):
        measured(tmp_path, picks, value=(f"a:1={path}",))


def test_a_store_names_its_classes(tmp_path: Path) -> None:
    """Each class that is there is a thing of its own."""
    url, facts = str(tmp_path / "TS_01.ome.zarr"), {"classes": {"nucleus": 3, "TRiC": 4, "absent": 0}}
    labels = np.zeros(SHAPE, np.uint8)
    labels[:15], labels[15:20] = 3, 4
    like = Volume(url=url, shape=SHAPE, dtype="uint8", voxel_size=SIZE, origin=ORIGIN, name="TS_01")
    spec = image_spec(
        url, like, StoreOptions((16,) * 3, (32,) * 3, levels=1), dtype="uint8", kind="labels", facts=facts
    )
    omezarr.create_image(spec, token="input")
    ZarrSink(spec.volume(0)).write(Box.of_shape(SHAPE), labels)
    omezarr.finish_image(spec)
    picks = scattered()
    found = measured(tmp_path, picks, labels=(url,))
    plane = np.rint(picks.position_vox[:, 0])
    assert found["inside"].tolist() == ["nucleus" if z < 15 else "TRiC" if z < 20 else "none" for z in plane]
    assert "absent.inside" not in found
    with pytest.raises(InputError, match="labels"):
        measured(tmp_path, picks, probability=(f"p={url}",))


@pytest.mark.parametrize("stored", ["float32", "uint8", "mask"])
def test_a_prediction(tmp_path: Path, stored: str) -> None:
    """Probabilities as numbers, as bytes, and as a mask of 0 and 1, whose 1 is not 1 / 255."""
    values = np.random.default_rng(1).random(SHAPE).astype(np.float32) * 0.45
    values[10:14] += 0.55
    values[0, 0, 0] = 1
    values = {"float32": values, "uint8": np.rint(values * 255).astype(np.uint8), "mask": values > 0.5}[stored]
    values = values.astype(np.int8) if stored == "mask" else values
    if stored == "uint8":
        stored_as = mrc(tmp_path / "TS_01__er.mrc", values.astype(np.uint16))
        recipe = ve.ConvertRecipe(chunk=(16,) * 3, shard=(32,) * 3, kind="probability")
        ve.convert(stored_as, tmp_path / "TS_01__er.ome.zarr", recipe)
        path = str(tmp_path / "TS_01__er.ome.zarr")
    else:
        path = mrc(tmp_path / "TS_01__er.mrc", values)
    scale = 255 if stored == "uint8" else 1
    picks = scattered()
    found = measured(tmp_path, picks, probability=(path,), value=(f"raw={path}",))
    far, _ = by_all_pairs(picks, values / scale > 0.5, 50)
    here = values[tuple(np.rint(picks.position_vox).astype(int).T)]
    assert found["er.distance_nm"] == pytest.approx(far, rel=1e-12)
    assert found["er.value"] == pytest.approx(here / scale, abs=1e-7)
    assert found["raw.value"] == pytest.approx(here, abs=1e-7)
    assert "er.label" not in found


def test_what_a_volume_is_not(tmp_path: Path) -> None:
    picks = scattered()
    path = mrc(tmp_path / "TS_01__er.mrc", np.random.default_rng(1).normal(size=SHAPE).astype(np.float32))
    with pytest.raises(InputError, match="no whole numbers"):
        measured(tmp_path, picks, labels=(path,))
    with pytest.raises(InputError, match="Negative values are those of a tomogram"):
        measured(tmp_path, picks, probability=(path,))
    other = mrc(tmp_path / "TS_01__b.mrc", np.zeros((30, 44, 60), np.int8))
    with pytest.raises(InputError, match=r"measures 36 x 35.2 x 60 nm .* of the picks .TS_01. 36 x 35.2 x 52"):
        measured(tmp_path, picks, labels=(other,))
    moved = mrc(tmp_path / "TS_01__c.mrc", np.zeros(SHAPE, np.int8), origin=(0.0, 0.0, 50.0))
    with pytest.raises(InputError, match="--any-origin"):
        measured(tmp_path, picks, labels=(moved,))
    assert measured(tmp_path, picks, labels=(moved,), any_origin=True)["c.distance_nm"].tolist() == [np.inf] * 60
    with pytest.raises(MissingError):
        measured(tmp_path, picks, labels=(str(tmp_path / "none.mrc"),))


def test_a_tomogram_has_no_labels(tmp_path: Path) -> None:
    """By its own words, unless the user says which numbers are labels."""
    picks, values = scattered(), np.random.default_rng(3).integers(0, 4, SHAPE).astype(np.int16)
    path = mrc(tmp_path / "TS_01__er.mrc", values)
    for kind in ("intensity", "labels"):
        ve.convert(path, tmp_path / f"{kind}.ome.zarr", ve.ConvertRecipe(kind=kind))
    with pytest.raises(InputError, match=r"is a tomogram by its own words .* --labels NAME:1\+2=PATH"):
        measured(tmp_path, picks, labels=(f"er={tmp_path}/intensity.ome.zarr",))
    here = values[tuple(np.rint(picks.position_vox).astype(int).T)]
    found = measured(tmp_path, picks, labels=(f"er:1+2={tmp_path}/intensity.ome.zarr",))
    assert np.array_equal(found["er.inside"], np.isin(here, (1, 2)))
    found = measured(tmp_path, picks, labels=(f"er={tmp_path}/labels.ome.zarr",))
    assert np.array_equal(found["er.inside"], here > 0)


@pytest.mark.parametrize("grid", ["faces", "centres"])
def test_labels_of_other_voxels(tmp_path: Path, grid: str) -> None:
    """A volume binned by 3, 1, 2: its first voxel's centre is (36 - 12) / 2 = 12, 0, 5 angstrom further, or is not."""
    picks = Picks([[14.0, 20, 25]], SIZE, shape=SHAPE, tomogram="TS_01")
    labels = np.zeros((10, 44, 26), np.int8)
    labels[8, 20, 20] = 1
    path = mrc(tmp_path / "TS_01__a.mrc", labels, (36.0, 8.0, 20.0), (0.0, 0.0, 0.0))
    found = measured(tmp_path, picks, labels=(path,), mask_grid=grid)
    move = np.array([12.0, 0, 5]) if grid == "faces" else np.zeros(3)
    place = np.array([8 * 36.0, 20 * 8, 20 * 20]) + move
    assert found["a.distance_nm"].item() == pytest.approx(np.linalg.norm(place - [168, 160, 250]) / 10)


def test_picks_beyond_a_volume(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.int8)
    labels[:, :, 50:] = 1
    path = mrc(tmp_path / "TS_01__a.mrc", labels)
    picks = Picks([[3.0, 3, 55], [3, 3, 51]], SIZE, ORIGIN, None, "TS_01")
    found = measured(tmp_path, picks, labels=(path,), value=(f"v={path}",))
    assert found["a.distance_nm"].tolist() == [4.0, 0.0]  # 4 voxels of 1 nm from the last one
    assert found["a.inside"].tolist() == [False, True]
    assert found["a.label"].tolist() == [1, 1]
    assert np.array_equal(found["v.value"], [np.nan, 1], equal_nan=True)
    made = measure_picks(tmp_path / "in.csv", tmp_path / "out.csv", {"labels": path, "overwrite": True})
    assert "1 of 2 picks of TS_01 lie beyond the faces" in " ".join(made.notes)


# Surfaces ----------------------------------------------------------------------------------------------------------

CENTRE = np.array([180.0, 176.0, 260.0])
FACTS = SurfaceFacts("TS_01", "membrane", SIZE, ORIGIN, SHAPE)


def moved(surface: Surface, by: np.ndarray) -> Surface:
    return Surface(surface.vertices + by, surface.faces)


def sheet(z: float, up: bool = True) -> Surface:
    """A large flat surface with normals along z."""
    at = [[z, -900, -900], [z, -900, 900], [z, 900, 900], [z, 900, -900]]
    return Surface(at, [[0, 1, 2], [0, 2, 3]], [[1.0 if up else -1.0, 0, 0]] * 4)


def write_set(path: Path, *surfaces: Surface, facts: SurfaceFacts = FACTS) -> str:
    write_surfaces(path, [(surface, {}) for surface in surfaces], facts)
    return str(path)


def test_a_vesicle_and_a_sheet(tmp_path: Path) -> None:
    """The nearest of both by formula; a ball in a ball: in the outer one although the inner one is nearer."""
    picks = scattered(200)
    inner, outer = ball(60.0, 5), ball(120.0, 5)
    path = write_set(tmp_path / "a.surfaces", sheet(250.0, up=False), moved(inner, CENTRE), moved(outer, CENTRE))
    found = measured(tmp_path, picks, surface=(path,))
    radius = np.linalg.norm(picks.place - CENTRE, axis=1)
    apart = np.abs(np.stack([picks.place[:, 0] - 250, radius - 60, radius - 120]))
    sure = np.sort(apart, axis=0)[0] + 1 < np.sort(apart, axis=0)[1]
    assert found["membrane.distance_nm"] == pytest.approx(apart.min(axis=0) / 10, abs=0.05)
    assert np.array_equal(found["membrane.surface"][sure], apart.argmin(axis=0)[sure] + 1)
    clear = sure & (apart.min(axis=0) > 0.5)
    signs = np.sign(np.stack([250 - picks.place[:, 0], radius - 60, radius - 120]))
    expected = signs[apart.argmin(axis=0), np.arange(200)]
    assert np.array_equal(found["membrane.side"][clear], expected[clear])
    clear = np.abs(radius - 120) > 0.5
    assert np.array_equal(found["membrane.inside"][clear], radius[clear] < 120)
    assert np.array_equal(found["inside"] == "membrane", found["membrane.inside"])
    assert (found["membrane.inside"] & (found["membrane.side"] > 0)).any()  # between the two, nearer to the inner one


def test_meshes_alone_hold_positions(tmp_path: Path) -> None:
    """Without a list the origin of the picks' tomogram is in the vertices, which is said."""
    picks = scattered()
    surface = moved(ball(100.0, 4), CENTRE + ORIGIN)
    for ending in (".ply", ".obj", ".stl"):
        path = tmp_path / f"TS_01__vesicle{ending}"
        write_mesh(path, surface.vertices, surface.faces, {})
        write_picks(tmp_path / "in.csv", picks)
        made = measure_picks(tmp_path / "in.csv", tmp_path / "o.csv", {"surface": str(path), "overwrite": True})
        assert "states no origin" in " ".join(made.notes)
        found = read_picks(tmp_path / "o.csv").extra
        radius = np.linalg.norm(picks.place - CENTRE, axis=1)
        assert found["vesicle.distance_nm"] == pytest.approx(np.abs(radius - 100) / 10, abs=0.1)
        clear = np.abs(radius - 100) > 1
        assert np.array_equal(found["vesicle.inside"][clear], radius[clear] < 100)


def test_a_set_of_another_origin_or_tomogram(tmp_path: Path) -> None:
    picks = scattered()
    other = SurfaceFacts("TS_01", "m", SIZE, (0.0, 0.0, 10.0), SHAPE)
    path = write_set(tmp_path / "a.surfaces", sheet(10.0), facts=other)
    with pytest.raises(InputError, match="--any-origin"):
        measured(tmp_path, picks, surface=(path,))
    assert measured(tmp_path, picks, surface=(path,), any_origin=True)["m.distance_nm"] == pytest.approx(
        np.abs(picks.place[:, 0] - 10) / 10
    )
    path = write_set(tmp_path / "b.surfaces", sheet(10.0), facts=SurfaceFacts("TS_02", "m", SIZE, ORIGIN, SHAPE))
    with pytest.raises(InputError, match="There is no 'm' of tomogram 'TS_01'; there is that of TS_02"):
        measured(tmp_path, picks, surface=(path,))
    assert "m.side" in measured(tmp_path, picks, surface=(path,), tomogram="TS_01")


def test_a_set_without_surfaces(tmp_path: Path) -> None:
    found = measured(tmp_path, scattered(3), surface=(write_set(tmp_path / "a.surfaces"),))
    assert found["membrane.distance_nm"].tolist() == [np.inf] * 3
    assert found["membrane.surface"].tolist() == [0] * 3
    assert found["inside"].tolist() == ["none"] * 3


# Lamella -----------------------------------------------------------------------------------------------------------


def slab(shape: tuple[int, int, int] = (90, 120, 140)) -> np.ndarray:
    """A mask of a tilted slab."""
    z, y, x = np.indices(shape)
    return (z > 20 + 0.08 * y - 0.03 * x) & (z < 62 + 0.05 * y - 0.02 * x)


@pytest.mark.parametrize("how", ["tomogram", "mask"])
def test_the_depth_in_a_slab(tmp_path: Path, how: str) -> None:
    """Within a nanometre of the formula, from noise that is stronger in the material, or from a mask of it."""
    mask = slab()
    size = (10.0, 12.0, 8.0)
    values = np.random.default_rng(2).normal(size=mask.shape).astype(np.float32) * np.where(mask, 1.4, 1.0)
    values = values.astype(np.float32) if how == "tomogram" else mask.astype(np.int8)
    path = mrc(tmp_path / "TS_01.mrc", values, size, (0.0, 0.0, 0.0))
    at = np.random.default_rng(3).uniform([0, 10, 10], [89, 110, 130], (80, 3))
    picks = Picks(at, size, shape=mask.shape, tomogram="TS_01")
    found = measured(tmp_path, picks, lamella=(path,), lamella_cell_nm=20.0)
    tilt = [np.hypot(0.08 * 10 / 12, 0.03 * 10 / 8), np.hypot(0.05 * 10 / 12, 0.02 * 10 / 8)]
    y, x = at[:, 1], at[:, 2]
    to_low = (at[:, 0] - (20 + 0.08 * y - 0.03 * x)) / np.hypot(1, tilt[0])
    to_high = ((62 + 0.05 * y - 0.02 * x) - at[:, 0]) / np.hypot(1, tilt[1])
    most = 1.0 if how == "tomogram" else 0.3
    assert found["lamella.low_nm"] == pytest.approx(to_low, abs=most)
    assert found["lamella.high_nm"] == pytest.approx(to_high, abs=most)
    assert found["lamella.depth_nm"] == pytest.approx(np.minimum(to_low, to_high), abs=most)
    assert found["lamella.thickness_nm"] == pytest.approx(to_low + to_high, abs=2 * most)
    assert (found["lamella.depth_nm"] < 0).any()


def test_a_tomogram_without_faces_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).normal(size=(60, 80, 80)).astype(np.float32)
    path = mrc(tmp_path / "TS_01.mrc", noise, (10.0, 10.0, 10.0), (0.0, 0.0, 0.0))
    picks = Picks([[30.0, 30, 30]], (10.0,) * 3, shape=noise.shape, tomogram="TS_01")
    with pytest.raises(InputError, match="the face of the slab is seen in 0 of 4 columns only"):
        measured(tmp_path, picks, lamella=(path,))


@pytest.mark.parametrize("up", [True, False])
def test_a_slab_by_its_surfaces(tmp_path: Path, up: bool) -> None:
    """Two sheets, whose normals may point anywhere; or one closed surface."""
    picks = Picks([[10.0, 20, 20], [2, 20, 20], [28, 5, 5]], SIZE, ORIGIN, SHAPE, "TS_01")
    path = write_set(tmp_path / "a.surfaces", sheet(264.0, up), sheet(60.0))
    found = measured(tmp_path, picks, lamella=(path,))
    assert found["lamella.depth_nm"] == pytest.approx([6.0, -3.6, -7.2])
    assert found["lamella.high_nm"] == pytest.approx([14.4, 24.0, -7.2])
    assert found["lamella.thickness_nm"] == pytest.approx([20.4] * 3)
    path = write_set(tmp_path / "b.surfaces", moved(ball(100.0, 5), CENTRE))
    deep = measured(tmp_path, picks, lamella=(path,))["lamella.depth_nm"]
    assert deep == pytest.approx((100 - np.linalg.norm(picks.place - CENTRE, axis=1)) / 10, abs=0.05)
    path = write_set(tmp_path / "c.surfaces", sheet(1.0), sheet(2.0), sheet(3.0))
    with pytest.raises(InputError, match="one closed surface or two open ones; there are 3"):
        measured(tmp_path, picks, lamella=(path,))


# Neighbours, collections, filters ----------------------------------------------------------------------------------


def test_neighbours(tmp_path: Path) -> None:
    picks = scattered(40)
    apart = np.linalg.norm(picks.place[:, None] - picks.place, axis=2) / 10
    found = measured(tmp_path, picks, neighbours_nm=9.0, neighbour=3)
    assert found["neighbours.number"].tolist() == ((apart <= 9).sum(axis=1) - 1).tolist()
    assert found["neighbours.distance_nm"] == pytest.approx(np.sort(apart, axis=1)[:, 3])
    twin = picks[[0, 0, 1]]
    assert measured(tmp_path, twin, neighbours_nm=0.1)["neighbours.number"].tolist() == [1, 1, 0]
    assert measured(tmp_path, picks[:1], neighbours_nm=9.0)["neighbours.distance_nm"].tolist() == [np.inf]


def test_a_collection(tmp_path: Path) -> None:
    """A folder of labels and one of sets of surfaces serve the picks of two tomograms; one that lacks is refused."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "sets").mkdir()
    tables = [scattered(seed=1, name="TS_01"), scattered(seed=2, name="TS_02")]
    for number, one in enumerate(tables):
        labels = np.zeros(SHAPE, np.int8)
        labels[:, :, 10 + 20 * number :] = 1
        mrc(tmp_path / "labels" / f"{one.tomogram}__er.mrc", labels)
        facts = SurfaceFacts(one.tomogram, "membrane", SIZE, ORIGIN, SHAPE)
        write_set(tmp_path / "sets" / f"{one.tomogram}.surfaces", sheet(100.0 + 50 * number), facts=facts)
    given = {"labels": (str(tmp_path / "labels"),), "surface": (str(tmp_path / "sets"),), "neighbours_nm": 5}
    measured(tmp_path, tables, **given)
    for number, one in enumerate(read_all(tmp_path / "out.csv").values()):
        inside = np.rint(tables[number].position_vox[:, 2]) >= 10 + 20 * number
        assert np.array_equal(one.extra["er.inside"], inside)
        far = np.abs(tables[number].place[:, 0] - 100 - 50 * number) / 10
        assert one.extra["membrane.distance_nm"] == pytest.approx(far)
    tables.append(scattered(name="TS_03"))
    message = "1 of 3 failed:(.|\n)*There is no 'membrane' of tomogram 'TS_03'; there is that of TS_01, TS_02"
    before = (tmp_path / "out.csv").read_bytes()
    with pytest.raises(RunError, match=message):
        measured(tmp_path, tables, **given)
    assert (tmp_path / "out.csv").read_bytes() == before  # a file that would lack a tomogram is not written
    with pytest.raises(RunError, match=message):
        measure_picks(tmp_path / "in.csv", f"{tmp_path}/made/", {**given, "to": "csv"})
    assert sorted(path.name for path in (tmp_path / "made").glob("*.csv")) == [
        "TS_01__ribosome.csv",
        "TS_02__ribosome.csv",
    ]


def test_a_file_that_begins_with_the_name_of_another_tomogram(tmp_path: Path) -> None:
    """Not named TOMOGRAM__FEATURE, but plainly not of this tomogram; --tomogram says that it is meant."""
    labels = np.ones(SHAPE, np.int8)
    own, other = mrc(tmp_path / "TS_01_mito.mrc", labels), mrc(tmp_path / "TS_02_mito.mrc", labels)
    assert measured(tmp_path, scattered(3), labels=(f"m={own}",))["m.inside"].all()
    with pytest.raises(InputError, match="There is no 'm' of tomogram 'TS_01'; there is that of TS_02_mito"):
        measured(tmp_path, scattered(3), labels=(f"m={other}",))
    assert measured(tmp_path, scattered(3), labels=(f"m={other}",), tomogram="TS_01")["m.inside"].all()


def test_a_table_without_picks(tmp_path: Path) -> None:
    labels = mrc(tmp_path / "TS_01__a.mrc", np.ones(SHAPE, np.int8))
    path = write_set(tmp_path / "a.surfaces", sheet(10.0))
    found = measured(tmp_path, scattered()[:0], labels=(labels,), surface=(path,), neighbours_nm=5, lamella=(path,) * 0)
    assert all(len(column) == 0 for column in found.values())


def test_columns_are_measured_anew_and_kept(tmp_path: Path) -> None:
    write_picks(tmp_path / "in.csv", scattered(5).with_(extra={"note": list("abcde"), "inside": list("xxxxx")}))
    path = write_set(tmp_path / "a.surfaces", sheet(10.0))
    made = measure_picks(tmp_path / "in.csv", tmp_path / "out.csv", {"surface": path})
    assert "measured anew: inside" in " ".join(made.notes)
    found = read_picks(tmp_path / "out.csv").extra
    assert found["note"].tolist() == list("abcde")
    assert found["inside"].tolist() == ["none"] * 5


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({}, "nothing to measure"),
        ({"neighbours_nm": -1}, "neighbours_nm is -1"),
        ({"labels": "a", "reach_nm": 0}, "reach_nm is 0"),
        ({"labels": "a", "reach_nm": float("nan")}, "reach_nm is nan"),
        ({"labels": "a", "threshold": 1.0}, "threshold is 1.0"),
        ({"labels": "a", "neighbour": 2}, "give neighbours_nm"),
        ({"neighbours_nm": 5, "neighbour": 0}, "neighbour is 0"),
        ({"surface": "gone.surfaces"}, "gone.surfaces"),
    ],
)
def test_what_is_refused(tmp_path: Path, recipe: dict[str, Any], message: str) -> None:
    write_picks(tmp_path / "in.csv", scattered(3))
    with pytest.raises((InputError, MissingError, FormatError), match=message):
        measure_picks(tmp_path / "in.csv", tmp_path / "out.csv", recipe)
    assert not (tmp_path / "out.csv").exists()


def test_measure_and_filter_on_the_command_line(tmp_path: Path) -> None:
    """The condition of the glossary on a table that was measured, as STAR and as CSV."""
    labels = np.zeros(SHAPE, np.int8)
    labels[:, :, 20:] = 1
    cubes = (10.0, 10.0, 10.0)
    labelled = mrc(tmp_path / "TS_01__er.mrc", labels, cubes)
    facts = SurfaceFacts("TS_01", "membrane", cubes, ORIGIN, SHAPE)
    surface = write_set(tmp_path / "a.surfaces", sheet(100.0), facts=facts)
    picks = scattered().with_(voxel_size=cubes)
    write_picks(tmp_path / "in.csv", picks)
    expected = (np.abs(picks.place[:, 0] - 100) < 80) & (np.rint(picks.position_vox[:, 2]) >= 20)
    for ending in ("star", "csv"):
        out, near = tmp_path / f"measured.{ending}", tmp_path / f"near.{ending}"
        given = ["picks", "measure", str(tmp_path / "in.csv"), "--out", str(out), "--surface", surface]
        told = CliRunner().invoke(cli, [*given, "--labels", f"mitochondrion={labelled}"], catch_exceptions=False)
        assert told.exit_code == 0, told.output
        where = "membrane.distance_nm < 8 and inside == 'mitochondrion'"
        told = CliRunner().invoke(cli, ["picks", "filter", str(out), "--out", str(near), "--where", where])
        assert told.exit_code == 0, told.output
        assert f"picks dropped: not {where}" in told.output
        assert read_picks(near).weight.tolist() == np.flatnonzero(expected).tolist()


def test_filter_says_the_columns(tmp_path: Path) -> None:
    write_picks(tmp_path / "in.csv", scattered(3).with_(extra={"membrane.side": [1, -1, 0]}))
    with pytest.raises(InputError, match=r"no column 'membrane.sides'. Did you mean 'membrane.side'\? .*z_vox.*weight"):
        filter_picks(tmp_path / "in.csv", tmp_path / "o.csv", {"where": "membrane.sides > 0"})
    with pytest.raises(InputError, match="character 9: a column, a number"):
        filter_picks(tmp_path / "in.csv", tmp_path / "o.csv", {"where": "weight <"})
    made = filter_picks(tmp_path / "in.csv", tmp_path / "o.csv", {"where": "membrane.side > 0 and tomogram == 'TS_01'"})
    assert made.counts == {"TS_01": 1}


def test_labels_in_a_store(tmp_path: Path) -> None:
    """The labels that a simulated tomogram has inside of it are named behind #."""
    layers = [{"species": [{"structure": "globule-120", "name": "globule", "count": 2}]}]
    specimen = {"shape": (16, 32, 32), "voxel_size": 14.0, "layers": layers, "classes": {"globule": 2}}
    ve.simulate(ve.SimulateRecipe.from_json({"name": "TS", "seed": 1, "specimen": specimen}), out=tmp_path / "sim")
    folder = next((tmp_path / "sim" / "tomograms").glob("*.ome.zarr"))
    table = next((tmp_path / "sim" / "picks").glob("*__globule.star"))
    measure_picks(table, tmp_path / "out.csv", {"labels": f"{folder}#labels/atlas"})
    found = read_picks(tmp_path / "out.csv")
    assert len(found) == 2
    assert found.extra["inside"].tolist() == ["globule"] * 2
    assert (found.extra["globule.depth_nm"] > 1).all()
