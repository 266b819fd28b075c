"""A segmentation becomes a specimen: its membranes, what is placed beside them, and the truth about both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from volengine.core.boxes import Box
from volengine.core.errors import InputError, MissingError
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.sim.shapes.membranes import bilayer
from volengine.tasks.simulate.labels import label_piece
from volengine.tasks.simulate.verb import simulate

QUIET = RunOptions(progress=False)
SHAPE = (20, 72, 130)
SIZE = 12.0
MIDDLE, RADIUS = np.array([9.5, 34.0, 40.0]), 24.0


def drawn() -> np.ndarray:
    """A shell (7), a sheet (2), and something that is no membrane (3)."""
    z, y, x = np.indices(SHAPE, dtype=float)
    radius = np.sqrt((z - MIDDLE[0]) ** 2 + (y - MIDDLE[1]) ** 2 + (x - MIDDLE[2]) ** 2)
    labels = np.zeros(SHAPE, np.int8)
    labels[np.abs(radius - RADIUS) <= 1.5] = 7
    labels[:, :, 104:108] = 2
    labels[:, 40:60, 120:] = 3
    return labels


def written(path: Path, labels: np.ndarray, size: float = SIZE) -> Path:
    with mrcfile.new(path, compression="gzip" if path.suffix == ".gz" else None) as mrc:
        mrc.set_data(labels)
        mrc.voxel_size = size
    return path


def recipe(path: Path, **parts: Any) -> dict[str, Any]:
    specimen = {
        "shape": list(SHAPE),
        "voxel_size": SIZE,
        "labels": {"path": str(path), "classes": {7: "shell", 2: "sheet"}},
        "layers": [{"species": [{"structure": "globule-200", "name": "ball"}], "iterations": 300, "density": 1.0}],
        "classes": {"sheet": 9},
    }
    return {
        "name": "s",
        "seed": 4,
        "specimen": {**specimen, **parts.pop("specimen", {})},
        "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": 10},
        "keep": {"specimen": True, "distance": True, "tilts": False},
        **parts,
    }


def voxels(path: Path, group: str = "") -> np.ndarray:
    volume = open_volume(str(path), group=group)
    return np.asarray(open_source(volume).read(Box((0, 0, 0), volume.shape)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labels")
    simulate(recipe(written(out / "drawn.mrc", drawn())), str(out), 1, QUIET)
    return out


def test_membranes_are_where_they_were_drawn(made: Path) -> None:
    store = made / "tomograms" / "s_0001.ome.zarr"
    atlas, instances = voxels(store, "labels/atlas"), voxels(store, "labels/instances")
    names = json.loads((made / "truth" / "s_0001" / "sample.json").read_text())["classes"]
    assert names["sheet"] == 9
    number = {"sheet": 1, "shell": 2}  # in the order of the labels
    for name, instance in number.items():
        assert np.array_equal(atlas == names[name], instances == instance)
    where = np.argwhere(instances == 2)
    radius = np.sqrt(((where - MIDDLE) ** 2).sum(axis=1))
    assert abs(radius.mean() - RADIUS) < 0.3
    assert np.abs(radius - RADIUS).max() < (20 + 4) / SIZE + 0.6  # half of a bilayer, heads, half a voxel
    across = np.argwhere(instances == 1)[:, 2]
    assert abs(across.mean() - 105.5) < 0.1
    assert set(np.unique(atlas)) == {0, names["ball"], names["shell"], 9}
    rows = (made / "truth" / "s_0001" / "specimen.csv").read_text().splitlines()
    assert rows[-2].startswith("bilayer,sheet,1,")
    assert rows[-1].startswith("bilayer,shell,2,")


def test_balls_lie_on_both_sides_and_touch_no_membrane(made: Path) -> None:
    rows = (made / "truth" / "s_0001" / "specimen.csv").read_text().splitlines()[1:-2]
    at = np.array([[float(v) for v in row.split(",")[4:7]] for row in rows]) / SIZE
    radius = np.sqrt(((at - MIDDLE) ** 2).sum(axis=1))
    assert (radius < RADIUS - 3).sum() >= 5
    assert (radius > RADIUS + 3).sum() >= 5
    assert (at[:, 2] > 110).sum() >= 2
    # 200 kDa of protein are a ball of 39 A; a membrane takes 24 A on either side, and cells are 12 A large
    assert np.abs(radius - RADIUS).min() * SIZE > 39 + 18 - SIZE
    assert np.abs(at[:, 2] - 105.5).min() * SIZE > 39 + 18 - SIZE


def test_a_sheet_has_the_potential_of_a_bilayer(made: Path) -> None:
    """Volt times angstrom across it, where no particle stands."""
    potential = voxels(made / "specimens" / "s_0001.ome.zarr")
    store = made / "tomograms" / "s_0001.ome.zarr"
    ball = json.loads((made / "truth" / "s_0001" / "sample.json").read_text())["classes"]["ball"]
    free = ~(voxels(store, "labels/atlas") == ball)[:, :, 96:116].any(axis=2)
    free[:, :4] = free[:, -4:] = False
    across = potential[:, :, 96:116].sum(axis=2)[free] * SIZE
    low, high = (bilayer(t).total for t in (36.0, 40.0))
    assert len(across) > 300
    assert low * 0.97 < np.median(across) < high * 1.03


def test_distances_to_membranes_are_written(made: Path) -> None:
    found = voxels(made / "distances" / "s_0001.ome.zarr")
    z, y, x = np.indices(SHAPE, dtype=float)
    shell = np.abs(np.sqrt((z - MIDDLE[0]) ** 2 + (y - MIDDLE[1]) ** 2 + (x - MIDDLE[2]) ** 2) - RADIUS)
    true = np.minimum(shell, np.abs(x - 105.5)) * SIZE
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() == 60
    inner = (true < 60) & (z > 3) & (z < 16) & (y > 3) & (y < 68)
    assert np.sqrt(((found - true)[inner] ** 2).mean()) < 0.25 * SIZE
    assert (found[true > 70] == 60).all()


def test_any_blocks_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    labels = written(tmp_path / "drawn.mrc.gz", drawn())  # packed ones are unpacked first
    simulate(recipe(labels), str(tmp_path), 1, RunOptions(progress=False, block=(64, 64, 64)))
    for kind, group in (("specimens", ""), ("distances", ""), ("tomograms", "labels/instances"), ("tomograms", "")):
        store = Path(kind) / "s_0001.ome.zarr"
        assert np.array_equal(voxels(made / store, group), voxels(tmp_path / store, group)), (kind, group)


def test_a_piece_of_a_larger_volume_at_another_size(made: Path, tmp_path: Path) -> None:
    """Half of the voxel size, and a piece that begins inside: the same membranes at the same places."""
    keep = {"specimen": False, "distance": True, "tilts": False}
    parts = {
        "shape": [24, 60, 70],
        "voxel_size": SIZE / 2,
        "labels": {"path": str(made / "drawn.mrc"), "classes": {7: "a", 2: "b", 5: "none"}, "start": [4, 10, 50]},
        "layers": [],
        "classes": None,
    }
    simulate(recipe(tmp_path / "none", specimen=parts, keep=keep), str(tmp_path), 1, QUIET)
    facts = json.loads((tmp_path / "truth" / "s_0001" / "sample.json").read_text())
    assert {p["name"]: p["placed"] for p in facts["placed"]} == {"a": 1, "b": 0, "none": 0}
    fine = voxels(tmp_path / "distances" / "s_0001.ome.zarr")
    coarse = voxels(made / "distances" / "s_0001.ome.zarr")[4:16, 10:40, 50:85]
    means = fine.reshape(12, 2, 30, 2, 35, 2).mean(axis=(1, 3, 5))
    slope = (coarse > SIZE) & (coarse < 40)
    assert slope.sum() > 1000
    assert np.abs(means - coarse)[slope].max() < 3
    assert fine.min() < 2.5


def test_vesicles_have_an_inside(tmp_path: Path) -> None:
    specimen = {
        "shape": [40, 48, 48],
        "labels": None,
        "vesicles": [{"count": 1, "radius_nm": [14, 15], "sphericity": [1, 1]}],
        "layers": [],
        "classes": None,
    }
    simulate(recipe(tmp_path / "none", specimen=specimen), str(tmp_path), 1, QUIET)
    found = voxels(tmp_path / "distances" / "s_0001.ome.zarr")
    assert (found.min(), found.max()) == (-60, 60)
    inner, middle, outer = (np.cbrt((found < edge).sum() * 3 / (4 * np.pi)) * SIZE for edge in (-36, 0, 36))
    assert middle > 110
    assert inner == pytest.approx(middle - 36, abs=8)  # nearly a sphere
    assert outer == pytest.approx(middle + 36, abs=8)
    atlas = voxels(tmp_path / "tomograms" / "s_0001.ome.zarr", "labels/atlas")
    assert np.array_equal(atlas > 0, np.abs(found) <= np.abs(found)[atlas > 0].max())


def test_sheets_have_two_sides_and_no_inside(tmp_path: Path) -> None:
    specimen = {
        "shape": [24, 48, 48],
        "labels": None,
        "sheets": [{"count": 1}],
        "layers": [],
        "classes": None,
    }
    simulate(recipe(tmp_path / "none", specimen=specimen), str(tmp_path), 1, QUIET)
    found = voxels(tmp_path / "distances" / "s_0001.ome.zarr")
    assert -60 < found.min() < -50
    assert found.max() == 60
    assert 0.5 < (found < 0).sum() / ((found > 0) & (found < 60)).sum() < 2
    atlas = voxels(tmp_path / "tomograms" / "s_0001.ome.zarr", "labels/atlas")
    assert np.array_equal(atlas > 0, np.abs(found) <= np.abs(found)[atlas > 0].max())


def _refused(path: Path, match: str, error: type[Exception] = InputError, **labels: Any) -> None:
    specimen = {"shape": SHAPE, "voxel_size": SIZE, "labels": {"path": str(path), "classes": {7: "shell"}, **labels}}
    with pytest.raises(error, match=match):
        label_piece(SpecimenRecipe.from_json(specimen))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "drawn.mrc", drawn())
    _refused(path, "leaves the volume", start=[0, 0, 1])
    _refused(path, "do not have the size of the specimen", shape=[20, 72, 100])
    _refused(path, "leaves the volume", voxel_size=6.0)
    _refused(tmp_path / "nothing.mrc", "nothing.mrc", MissingError)
    _refused(path, "labels are numbers", classes={0: "shell"})
    _refused(path, "a label twice", classes={7: "a", "7": "b"})
    _refused(path, "smooth_vox", smooth_vox=0.1)
    _refused(written(tmp_path / "float.mrc", drawn().astype(np.float32)), "whole numbers")
    flat = written(tmp_path / "flat.mrc", drawn())
    with mrcfile.open(flat, mode="r+") as mrc:
        mrc.voxel_size = (SIZE, SIZE, 2 * SIZE)
    _refused(flat, "not cubes")
    with pytest.raises(InputError, match="one or the other"):
        SpecimenRecipe.from_json({"labels": {"path": "a.mrc", "classes": {1: "a"}}, "vesicles": [{"count": 1}]})


@pytest.mark.parametrize("flag", ["membrane", "vesicle"])
def test_particles_that_need_a_membrane_or_its_inside_are_refused(tmp_path: Path, flag: str) -> None:
    drawing = {"path": str(written(tmp_path / "drawn.mrc", drawn())), "classes": {7: "shell"}}
    layers = [{"species": [{"structure": "globule-90", "flags": [flag]}]}]
    values = {"specimen": {"shape": SHAPE, "voxel_size": SIZE, "labels": drawing, "layers": layers}}
    with pytest.raises(InputError, match=f"globule-90: the flag {flag} cannot be met"):
        simulate(values, str(tmp_path / "out"), 1, QUIET)
    assert not (tmp_path / "out" / "tomograms").exists()


@pytest.mark.slow
def test_a_real_mitochondrion_within_one_gigabyte(real_data: Path, tmp_path: Path) -> None:
    """A piece with outer and inner membrane; the file's header has no voxel size along z that could be used."""
    file = next((real_data / "real").rglob("mito_TE1_labels.mrc.gz"), None)
    if file is None:
        pytest.skip("the segmented mitochondrion is not here")
    labels = {"path": str(file), "voxel_size": 12.44, "classes": {1: "outer", 2: "inner", 3: "er"}}
    specimen = {"shape": [32, 160, 160], "voxel_size": 12.44, "labels": {**labels, "start": [140, 384, 384]}}
    run = recipe(file, specimen={**specimen, "classes": None})
    simulate(run, str(tmp_path), 1, RunOptions(progress=False, memory_limit="1GB"))
    with mrcfile.open(file, permissive=True) as mrc:
        piece = mrc.data[140:172, 384:544, 384:544]
    store = tmp_path / "tomograms" / "s_0001.ome.zarr"
    instances, found = voxels(store, "labels/instances"), voxels(tmp_path / "distances" / "s_0001.ome.zarr")
    for label in np.unique(piece[piece > 0]):
        assert np.mean(np.isin(instances[piece == label], (1, 2, 3))) > 0.8
    assert np.median(found[piece > 0]) < 1.2 * 12.44
    assert (instances > 3).sum() > 1000
