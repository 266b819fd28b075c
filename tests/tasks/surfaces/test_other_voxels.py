"""surfaces verbs beside volumes, sets and picks of other voxels, by the rule of picks verbs. Values by formula."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oriented_surfaces import ball

from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.picks import read_picks, write_picks
from volengine.io.surfaces import SurfaceFacts, open_surfaces, write_surfaces
from volengine.tasks.common import division
from volengine.tasks.picks.measure import measure_picks
from volengine.tasks.surfaces import sampler, train
from volengine.tasks.surfaces.measure import measure_surfaces
from volengine.tasks.surfaces.pick_verb import pick_on_surfaces
from volengine.tasks.surfaces.picking_recipes import SurfacesTrainRecipe
from volengine.tasks.surfaces.profile import profile_surfaces
from volengine.tasks.surfaces.sample import sample_surfaces

SHAPE, SIZE = (48, 48, 48), (10.0, 10.0, 10.0)
CENTRE, RADIUS = np.array([230.0, 240.0, 250.0]), 100.0
WAYS = {"faces": 15.0, "centres": 0.0}
"""Place of the first voxel of 40 angstrom on voxels of 10, for each way."""


def fine_set(path: Path, origin: float = 0.0, level: int = 4) -> str:
    facts = SurfaceFacts("TS_01", "membrane", SIZE, (origin,) * 3, SHAPE)
    write_surfaces(path, [(ball(RADIUS, CENTRE, level), {})], facts)
    return str(path)


def coarse(path: Path, way: str, origin: float = 0.0, labels: bool = False) -> str:
    """The x of each place in voxels of 40 angstrom: the mean of the fine voxels, or every fourth of them."""
    at = np.broadcast_to(np.arange(48) * 10.0, SHAPE)
    binned = at.reshape(12, 4, 12, 4, 12, 4).mean(axis=(1, 3, 5)) if way == "faces" else at[::4, ::4, ::4]
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data((binned > CENTRE[2]).astype(np.int8) if labels else binned.astype(np.float32))
        file.voxel_size = 40.0
        file.header.origin.z = file.header.origin.y = file.header.origin.x = origin
    return str(path)


@pytest.mark.parametrize(("way", "origin"), [("faces", 0.0), ("faces", 500.0), ("centres", 500.0)])
def test_profiles_of_a_binned_tomogram_are_read_at_the_same_places(tmp_path: Path, way: str, origin: float) -> None:
    """Without origins it begins at the same face, and a line says so; origins say which it is."""
    source = fine_set(tmp_path / "a.surfaces", origin)
    tomogram = coarse(tmp_path / "TS_01.mrc", way, origin and origin + WAYS[way])
    made = profile_surfaces(source, tmp_path / "p.surfaces", {"tomogram": tomogram})
    one = open_surfaces(made.out).read(1)
    np.testing.assert_allclose(one.columns["profile_0_nm"], one.vertices[:, 2], atol=0.01)
    assert any("both were taken to begin at the same face" in note for note in made.notes) is (origin == 0)


@pytest.mark.parametrize("way", WAYS)
def test_the_user_says_how_a_tomogram_lies(tmp_path: Path, way: str) -> None:
    source, tomogram = fine_set(tmp_path / "a.surfaces"), coarse(tmp_path / "TS_01.mrc", way)
    made = profile_surfaces(source, tmp_path / "p.surfaces", {"tomogram": tomogram, "mask_grid": way})
    one = open_surfaces(made.out).read(1)
    np.testing.assert_allclose(one.columns["profile_0_nm"], one.vertices[:, 2], atol=0.01)
    assert made.notes == ()
    other = next(name for name in WAYS if name != way)
    profile_surfaces(source, tmp_path / "o.surfaces", {"tomogram": tomogram, "mask_grid": other})
    apart = open_surfaces(tmp_path / "o.surfaces").read(1).columns["profile_0_nm"] - one.vertices[:, 2]
    np.testing.assert_allclose(apart, WAYS[way] - WAYS[other], atol=0.01)


@pytest.mark.parametrize("way", WAYS)
def test_picks_on_a_binned_tomogram_are_where_those_on_the_fine_one_are(tmp_path: Path, way: str) -> None:
    """Their positions count its voxels; from their face or centre they are the places on the surface."""
    source, tomogram = fine_set(tmp_path / "a.surfaces"), coarse(tmp_path / "TS_01.mrc", way)
    recipe = {"tomogram": tomogram, "mask_grid": way}
    sampled = sample_surfaces(source, tmp_path / "s.csv", {"spacing_nm": 6, **recipe}).picks
    fine = sample_surfaces(source, tmp_path / "f.csv", {"spacing_nm": 6}).picks
    picked = pick_on_surfaces(source, tmp_path / "p.csv", {"spacing_nm": 6, "contrast": "bright", **recipe}).picks
    np.testing.assert_allclose(sampled.place + WAYS[way], fine.place, atol=1e-9)
    np.testing.assert_allclose(read_picks(tmp_path / "s.csv").place + WAYS[way], fine.place, atol=1e-3)
    for one in (sampled, picked):
        assert one.voxel_size == (40.0,) * 3
        np.testing.assert_allclose(np.linalg.norm(one.place + WAYS[way] - CENTRE, axis=1), RADIUS, atol=1)


@pytest.mark.parametrize("way", WAYS)
def test_labels_sets_and_picks_of_other_voxels(tmp_path: Path, way: str) -> None:
    """Each is made in voxels of 40 angstrom of what lies at a known place of the fine ones."""
    source = fine_set(tmp_path / "a.surfaces")
    by = WAYS[way]
    facts = SurfaceFacts("TS_01", "inner", (40.0,) * 3, shape=(12, 12, 12))
    write_surfaces(tmp_path / "i.surfaces", [(ball(60.0, CENTRE - by), {})], facts)
    write_picks(tmp_path / "p.csv", Picks([(CENTRE - by) / 40], (40.0,) * 3, shape=(12, 12, 12), tomogram="TS_01"))
    recipe: dict[str, Any] = {
        "measures": ("volume",),
        "others": str(tmp_path / "i.surfaces"),
        "picks": str(tmp_path / "p.csv"),
        "labels": coarse(tmp_path / "TS_01__x.mrc", way, labels=True),
        "mask_grid": way,
    }
    measure_surfaces(source, tmp_path / "m.surfaces", recipe)
    one = open_surfaces(tmp_path / "m.surfaces").read(1)
    np.testing.assert_allclose(one.columns["pick_nm"], RADIUS / 10, rtol=1e-3)
    np.testing.assert_allclose(one.columns["to_inner_nm"], 4, atol=0.05)
    voxel = np.rint((one.vertices[:, 2] - by) / 40) * 40 + by
    np.testing.assert_array_equal(one.columns["label"], voxel > CENTRE[2])


@pytest.mark.parametrize("way", ["auto", *WAYS])
def test_both_families_of_verbs_measure_the_same_distance(tmp_path: Path, way: str) -> None:
    """From a pick to a surface, and from the vertices of a surface to the pick."""
    point = Surface(np.array([[200.0, 200, 200], [200, 200, 200.001], [200, 200.001, 200]]), [[0, 1, 2]])
    write_surfaces(tmp_path / "a.surfaces", [(point, {})], SurfaceFacts("TS_01", "membrane", SIZE, shape=SHAPE))
    picks = Picks([[7.0, 5, 6]], (40.0,) * 3, shape=(12, 12, 12), tomogram="TS_01")
    write_picks(tmp_path / "p.csv", picks)
    asked = {"mask_grid": way}
    measured = measure_picks(tmp_path / "p.csv", tmp_path / "o.csv", {"surface": str(tmp_path / "a.surfaces"), **asked})
    found = read_picks(tmp_path / "o.csv").extra["membrane.distance_nm"].item()
    recipe = {"measures": ("volume",), "picks": str(tmp_path / "p.csv"), **asked}
    made = measure_surfaces(tmp_path / "a.surfaces", tmp_path / "m.surfaces", recipe)
    nearest = open_surfaces(tmp_path / "m.surfaces").read(1).columns["pick_nm"].min()
    want = np.linalg.norm(np.array([280.0, 200, 240]) + WAYS["faces" if way == "auto" else way] - 200) / 10
    assert found == pytest.approx(want, abs=1e-3)
    assert nearest == pytest.approx(want, abs=1e-3)
    for notes in (measured.notes, made.notes):
        assert any("same face" in note for note in notes) is (way == "auto")


@pytest.mark.parametrize("way", WAYS)
def test_known_particles_of_a_training_are_beside_their_surface(tmp_path: Path, way: str) -> None:
    """Their table counts voxels of the binned tomogram: 10 angstrom above the surface they are there, too."""
    at = CENTRE + np.array([[RADIUS + 10, 0, 0], [0, -RADIUS - 10, 0]])
    write_picks(tmp_path / "p.csv", Picks((at - WAYS[way]) / 40, (40.0,) * 3, shape=(12, 12, 12), tomogram="TS_01"))
    recipe = SurfacesTrainRecipe(
        tomograms=(coarse(tmp_path / "TS_01.mrc", way),), picks=(str(tmp_path / "p.csv"),), mask_grid=way
    )
    opened, said = train._opened([fine_set(tmp_path / "a.surfaces")], recipe)
    (one,), _, notes = train._known(opened, recipe, train._grid(recipe))
    np.testing.assert_allclose(one.heights, 10, atol=0.5)
    np.testing.assert_allclose(one.oriented.place, at, atol=1e-6)
    np.testing.assert_allclose(one.sample(at), at[:, 2], atol=0.01)
    assert said == notes == []


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(20, 100), cell=st.sampled_from([4, 64]), way=st.sampled_from(sorted(WAYS)))
def test_neither_units_nor_cells_change_what_lies_otherwise(tmp_path: Path, rows: int, cell: int, way: str) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    source = fine_set(folder / "a.surfaces", level=2)
    facts = SurfaceFacts("TS_01", "inner", (40.0,) * 3, shape=(12, 12, 12))
    write_surfaces(folder / "i.surfaces", [(ball(60.0, CENTRE - 7, 2), {}), (ball(30.0, CENTRE, 2, 2), {})], facts)
    recipe = {
        "measures": ("volume",),
        "others": str(folder / "i.surfaces"),
        "labels": coarse(folder / "TS_01__x.mrc", way, labels=True),
        "tomogram": coarse(folder / "TS_01.mrc", way),
        "mask_grid": way,
        "reach_nm": 4.0,
        "step_nm": 0.5,
    }
    found = []
    for parts, side in ((10**6, 64), (rows, cell)):
        with patch.object(division, "ROWS", parts), patch.object(sampler, "CELL", side):
            measure_surfaces(source, folder / f"{parts}.surfaces", recipe)
        found.append(open_surfaces(folder / f"{parts}.surfaces").read(1).columns)
    assert found[0].keys() == found[1].keys()
    for name, column in found[0].items():
        np.testing.assert_array_equal(column, found[1][name], err_msg=name)
