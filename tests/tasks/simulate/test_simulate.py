"""Simulations through the engine: what is written, for any blocks, again and again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volengine.core.boxes import Box
from volengine.core.errors import InputError, MissingError
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.io.picks import read_picks
from volengine.sim.imaging.ctf import phase_flip
from volengine.sim.imaging.damage import dose_weighted
from volengine.sim.imaging.projector import Projector
from volengine.sim.imaging.reconstruct import Filter, wbp
from volengine.tasks.simulate.draw import sample_recipe
from volengine.tasks.simulate.presets import PRESETS, preset
from volengine.tasks.simulate.verb import simulate

QUIET = RunOptions(progress=False)
SMALL: dict[str, Any] = {
    "name": "s",
    "seed": 5,
    "specimen": {
        "shape": [20, 44, 50],
        "voxel_size": 15.0,
        "vesicles": [{"count": 1, "radius_nm": [8, 9], "bare": 0}],
        "filaments": [{"kind": "actin", "count": 1, "length_nm": [40, 60], "minimum_units": 5}],
        "beads": {"count": 1, "radius_nm": [4, 4]},
        "layers": [
            {"species": [{"structure": "globule-900", "name": "big", "count": 4}]},
            {"species": [{"structure": "globule-200", "name": "distract"}], "iterations": 30},
        ],
        "classes": {"membrane": 1, "big": 7, "distract": 0},
    },
    "tilts": {"min_deg": -54, "max_deg": 54, "step_deg": 6, "order": "dose-symmetric", "shift_a": 3.0},
    "dose": {"total_e_per_a2": 120},
    "exposure": {"optics": {"defocus_um": 3}},
}


def changed(**parts: Any) -> dict[str, Any]:
    return {**SMALL, **parts}


def voxels(path: Path, group: str = "") -> np.ndarray:
    volume = open_volume(str(path), group=group)
    return np.asarray(open_source(volume).read(Box((0, 0, 0), volume.shape)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    keep = {"specimen": True, "halves": "frames", "ideal": True, "noise_free": True, "mrc": True}
    simulate(changed(keep=keep), str(out), 1, QUIET)
    return out


def test_truth_is_of_one_piece(made: Path) -> None:
    store = made / "tomograms" / "s_0001.ome.zarr"
    atlas, instances = voxels(store, "labels/atlas"), voxels(store, "labels/instances")
    facts = json.loads((made / "truth" / "s_0001" / "sample.json").read_text())
    names = facts["classes"]
    assert names["membrane"] == 1
    assert names["big"] == 7
    assert names["distract"] == 0
    assert sorted(names) == ["actin", "big", "distract", "gold", "membrane"]
    assert open_volume(str(store), group="labels/atlas").facts["classes"] == names
    picks = read_picks(made / "picks" / "s_0001__big.star")
    assert len(picks) == 4
    z, y, x = np.round(picks.position_vox).astype(int).T
    assert np.array_equal(instances[z, y, x], picks.label)
    assert (atlas[z, y, x] == 7).all()
    assert picks.euler is not None
    assert set(np.unique(atlas)) == {0, *(n for n in names.values() if n)}
    assert ((atlas > 0) <= (instances > 0)).all()
    placed = {(p["step"], p["name"]): p["placed"] for p in facts["placed"]}
    assert placed["vesicles", "membrane"] == 1
    assert placed["filaments", "actin"] == 1
    rows = (made / "truth" / "s_0001" / "specimen.csv").read_text().splitlines()
    assert len({row.split(",")[2] for row in rows[1:]}) == int(instances.max())
    line = np.loadtxt(made / "truth" / "s_0001" / "filaments.csv", delimiter=",", skiprows=1)
    on = np.round(line[:, 1:] / 15.0).astype(int)
    on = on[((on >= 0) & (on < atlas.shape)).all(axis=1)]
    assert np.mean(instances[tuple(on.T)] == line[0, 0]) > 0.7
    assert (made / "truth" / "s_0001" / "membrane_00001.ply").stat().st_size > 1000


def test_images_follow_from_one_another(made: Path) -> None:
    tomogram = voxels(made / "tomograms" / "s_0001.ome.zarr")
    even, odd = (voxels(made / half / "s_0001.ome.zarr") for half in ("even", "odd"))
    np.testing.assert_allclose((even + odd) / 2, tomogram, atol=2e-6 * np.abs(tomogram).max() + 1e-9)
    assert abs(np.corrcoef((even - odd).ravel(), tomogram.ravel())[0, 1]) < 0.2
    clean, ideal = (voxels(made / kind / "s_0001.ome.zarr") for kind in ("noise_free", "ideal"))
    potential = voxels(made / "specimens" / "s_0001.ome.zarr")
    assert np.corrcoef(ideal.ravel(), potential.ravel())[0, 1] < -0.6  # molecules are dark
    assert np.corrcoef(clean.ravel(), tomogram.ravel())[0, 1] > 0.3
    assert clean.std() < tomogram.std()
    tilts = voxels(made / "tilts" / "s_0001.ome.zarr")
    angles = np.loadtxt(made / "tilts" / "s_0001.rawtlt")
    assert tilts.shape == (len(angles), 44, 50)
    assert np.allclose(angles, np.arange(-54, 55, 6))
    for kind in ("tomograms", "tilts", "ideal"):
        assert np.array_equal(voxels(made / kind / "s_0001.mrc"), voxels(made / kind / "s_0001.ome.zarr"))
    assert open_volume(str(made / "tomograms" / "s_0001.mrc")).voxel_size == pytest.approx((15, 15, 15))
    assert np.array_equal(
        voxels(made / "tomograms" / "s_0001__atlas.mrc"), voxels(made / "tomograms" / "s_0001.ome.zarr", "labels/atlas")
    )


def test_any_blocks_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    values = changed(keep={"specimen": True})
    simulate(values, str(tmp_path), 1, QUIET.with_(block=(8, 16, 16)))
    for kind, groups in (
        ("tomograms", ("", "labels/atlas", "labels/instances")),
        ("specimens", ("",)),
        ("tilts", ("",)),
    ):
        for group in groups:
            paths = [root / kind / "s_0001.ome.zarr" for root in (made, tmp_path)]
            assert np.array_equal(*(voxels(path, group) for path in paths)), (kind, group)
    plan = json.loads((tmp_path / "run" / "report.json").read_text())
    assert plan["plans"]["s_0001"]


def test_a_sample_depends_on_its_number_and_the_seed_alone(tmp_path: Path) -> None:
    values = changed(tilts={"angles_deg": [-30.0, 0.0, 30.0]}, dose={"total_e_per_a2": {"uniform": [50, 90]}})
    simulate(values, str(tmp_path / "three"), 3, QUIET)
    simulate(values, str(tmp_path / "third"), 1, QUIET, first=3)
    simulate({**values, "seed": 6}, str(tmp_path / "other"), 1, QUIET, first=3)
    one, same, other = (
        voxels(tmp_path / name / "tomograms" / "s_0003.ome.zarr") for name in ("three", "third", "other")
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    doses = {sample_recipe(values, n).dose.total_e_per_a2 for n in (1, 2, 3)}
    assert len(doses) == 3
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "three").rglob("*") if p.is_file() and "run" not in p.parts}
    report = simulate(values, str(tmp_path / "three"), 3, QUIET)
    assert all(plan["skipped"] == plan["units"] for plan in report.data["plans"].values())
    assert {
        p: p.stat().st_mtime_ns for p in before if p.suffix not in (".json", ".csv", ".star", ".ply", ".rawtlt")
    } == {p: t for p, t in before.items() if p.suffix not in (".json", ".csv", ".star", ".ply", ".rawtlt")}


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"seed": "a"}, InputError, "seed is 'a'"),
        ({"specimen": {"shape": "50,400,400"}}, InputError, r"a list of 3 whole numbers: \[50, 400, 400\]"),
        ({"dose": {"total_e_per_a2": {"unifrom": [3, 6]}}}, InputError, r"Did you mean \{uniform: \[3, 6\]\}"),
        ({"sed": 1}, InputError, "Did you mean 'seed'"),
        ({"specimen": {"layers": [{"species": [{"structure": "none.pdb"}]}]}}, MissingError, "no structure 'none.pdb'"),
        ({"specimen": {"voxel_size": {"uniform": [3]}}}, InputError, "specimen.voxel_size: uniform needs two numbers"),
        ({"specimen": {"shape": [2, 9, 9]}}, InputError, "at least 4 voxels"),
        ({"specimen": {"walls": "q"}}, InputError, "Walls 'q'"),
        ({"specimen": {"classes": {"a": 300}}}, InputError, "ids are 0 to 255"),
        ({"dose": {"weights": [1, 2]}}, InputError, "2 weights for 19 tilts"),
        ({"tilts": {"step_deg": 0}}, InputError, "by 0"),
        ({"exposure": {"optics": {"defocus_um": 5000}}}, InputError, "defocus_um"),
        ({"reconstruct": {"filter": {"cutoff": 0.9}}}, InputError, "cutoff"),
        ({"name": "../up"}, InputError, "use letters"),
        (
            {"specimen": {"layers": [{"species": [{"structure": "globule-90", "flags": ["membran"]}]}]}},
            InputError,
            "membran",
        ),
        (
            {"specimen": {"layers": [{"species": [{"structure": "globule-90", "name": "a/b"}]}]}},
            InputError,
            "name 'a/b'",
        ),
        ({"specimen": {"vesicles": [{"sphericity": [0.6, 1.5]}]}}, InputError, "0.3 to 1"),
        ({"specimen": {"vesicles": [{"radius_nm": [6, 9]}]}}, InputError, "from 7.5"),
        ({"specimen": {"filaments": [{"rise_a": -27.3}]}}, InputError, "rise_a must be positive"),
        ({"specimen": {"tolerance_a": -1}}, InputError, "tolerance_a"),
        ({"tilts": {"angles_deg": [-90, 0, 90]}}, InputError, "-90 degrees; images are made from -89.9"),
        ({"tilts": {"angles_deg": [-89.8, 0, 89.8], "angle_error_deg": 9}}, InputError, "images are made from -89.9"),
        ({"tilts": {"angles_deg": [-9, 0]}, "dose": {"weights": [1, 0]}}, InputError, "weights must be positive"),
    ],
)
def test_wrong_recipes_are_refused_before_anything_is_written(
    tmp_path: Path, parts: dict[str, Any], error: type[Exception], message: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(error, match=message):
        simulate(changed(**parts), str(out), 1, QUIET)
    assert not (out / "tomograms").exists()


def test_a_molecule_is_put_back_by_its_pick_alone(made: Path) -> None:
    """RELION's convention, by SciPy: the rotation into the tomogram is the inverse of Rz(rot) Ry(tilt) Rz(psi)."""
    from scipy.spatial.transform import Rotation

    from volengine.sim.atoms.standins import standin

    potential = voxels(made / "specimens" / "s_0001.ome.zarr")
    picks = read_picks(made / "picks" / "s_0001__big.star")
    assert picks.euler is not None
    template = standin("globule-900")
    likeness = {}
    for name, hand in (("right", 1.0), ("mirrored", -1.0)):
        volume = np.zeros(potential.shape)
        for place, angles in zip(picks.position_vox, picks.euler, strict=True):
            turn = Rotation.from_euler("ZYZ", np.asarray(angles), degrees=True)
            points = turn.inv().apply(template.point[:, ::-1] * [1, 1, hand])[:, ::-1] / 15 + place
            index = np.round(points).astype(int)
            inside = ((index >= 0) & (index < volume.shape)).all(axis=1)
            np.add.at(volume, tuple(index[inside].T), template.weight[inside])
        near = volume > 0.3 * volume.max()
        likeness[name] = np.corrcoef(potential[near], volume[near])[0, 1]
    assert likeness["right"] > 0.9
    assert likeness["mirrored"] < likeness["right"] - 0.2


def test_every_preset_can_be_planned_and_has_its_words() -> None:
    for name in PRESETS:
        for number in (1, 2):
            recipe = sample_recipe(preset(name), number)
            assert recipe.name == name
            assert recipe.specimen.classes
    with pytest.raises(MissingError, match="There is no preset"):
        preset("none")


def test_a_particle_is_where_its_pick_says(tmp_path: Path) -> None:
    specimen = {
        "shape": [25, 40, 41],
        "voxel_size": 12.0,
        "walls": "xyz",
        "layers": [{"species": [{"structure": "globule-700", "name": "g", "count": 1}]}],
    }
    simulate(
        {"name": "p", "specimen": specimen, "dose": {"total_e_per_a2": 0}, "keep": {"ideal": True}},
        str(tmp_path),
        1,
        QUIET,
    )
    ideal = -voxels(tmp_path / "ideal" / "p_0001.ome.zarr").astype(float)
    picks = read_picks(tmp_path / "picks" / "p_0001__g.star")
    ideal[ideal < 0.4 * ideal.max()] = 0
    found = [float((axis * ideal).sum() / ideal.sum()) for axis in np.indices(ideal.shape)]
    assert np.allclose(found, picks.position_vox[0], atol=0.25)


def test_networks_train_on_samples(made: Path, tmp_path: Path) -> None:
    from volengine.tasks.train.recipe import TrainRecipe
    from volengine.tasks.train.verb import train

    store = str(made / "tomograms" / "s_0001.ome.zarr")
    sample = {"volume": store, "labels": [f"{store}#labels/atlas"], "ids": [1, 7]}
    recipe = TrainRecipe.from_json(
        {
            "samples": [sample],
            "features": ["membrane", "big"],
            "network": "unet3d",
            "patch": [8, 16, 16],
            "epochs": 1,
            "steps": 2,
            "batch": 1,
        }
    )
    history = train(recipe, str(tmp_path / "m.safetensors"), progress=False)
    assert len(history) == 1
    assert np.isfinite(history[0]["loss"])


def test_phases_are_flipped_for_the_tomogram_alone(tmp_path: Path) -> None:
    specimen = {
        "shape": [16, 48, 48],
        "voxel_size": 8.0,
        "layers": [{"species": [{"structure": "globule-700", "name": "g", "count": 3}]}],
    }
    values = {
        "name": "f",
        "specimen": specimen,
        "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": 6},
        "dose": {"total_e_per_a2": 0},
        "exposure": {"optics": {"defocus_um": 5, "envelope": 0}, "damage": {"model": "none"}},
        "keep": {"ideal": True, "halves": "tilts"},
    }
    likeness = {}
    for flip in (False, True):
        for method in ("wbp", "sirt"):
            out = tmp_path / f"{method}{flip}"
            simulate(
                {**values, "reconstruct": {"phase_flip": flip, "method": method, "iterations": 5}}, str(out), 1, QUIET
            )
            ideal, found = (voxels(out / kind / "f_0001.ome.zarr").ravel() for kind in ("ideal", "tomograms"))
            likeness[method, flip] = np.corrcoef(ideal, found)[0, 1]
            even, odd = (voxels(out / kind / "f_0001.ome.zarr").ravel() for kind in ("even", "odd"))
            assert np.corrcoef(even, odd)[0, 1] > 0.5
    assert likeness["wbp", True] > likeness["wbp", False] + 0.02
    assert likeness["sirt", True] > likeness["sirt", False] + 0.02
    tilts = [voxels(tmp_path / f"wbp{flip}" / "tilts" / "f_0001.ome.zarr") for flip in (False, True)]
    assert np.array_equal(*tilts)


def test_phases_are_flipped_by_what_the_microscope_reports(tmp_path: Path) -> None:
    values = {
        "name": "f",
        "specimen": {"shape": [24, 40, 64], "voxel_size": 8.0, "layers": changed()["specimen"]["layers"][:1]},
        "tilts": {"angles_deg": [-50.0, 50.0], "angle_error_deg": 8.0},
        "reconstruct": {"phase_flip": True},
    }
    simulate(values, str(tmp_path), 1, QUIET)
    recipe = sample_recipe(values, 1)
    taken = voxels(tmp_path / "tilts" / "f_0001.ome.zarr")
    angles = [-50.0, 50.0]
    corrected = [phase_flip(image, 8.0, recipe.exposure.optics, a) for image, a in zip(taken, angles, strict=True)]
    projector = Projector((24, 64), angles, 8.0)
    assert np.array_equal(
        wbp(np.stack(corrected), projector, Filter()), voxels(tmp_path / "tomograms" / "f_0001.ome.zarr")
    )


def test_images_are_weighted_by_dose_for_the_tomogram_alone(tmp_path: Path) -> None:
    """The series that is written is the unweighted one; the tomogram is that of its images, weighted."""
    specimen = {"shape": [12, 32, 40], "voxel_size": 10, "layers": SMALL["specimen"]["layers"][:1]}
    tilts = {"angles_deg": [-40.0, -20.0, 0.0, 20.0, 40.0], "order": "dose-symmetric"}
    values = changed(specimen=specimen, tilts=tilts)
    simulate(values, str(tmp_path / "plain"), 1, QUIET)
    simulate({**values, "reconstruct": {"dose_weight": True}}, str(tmp_path / "weighted"), 1, QUIET)
    plain, weighted = (voxels(tmp_path / run / "tilts" / "s_0001.ome.zarr") for run in ("plain", "weighted"))
    assert np.array_equal(plain, weighted)
    taken = [3, 2, 0, 1, 4]  # Hagen's order: 0, 20, -20, -40, 40
    images = [dose_weighted(image, 10.0, (24.0 * n, 24.0)) for image, n in zip(plain, taken, strict=True)]
    wanted = wbp(np.stack(images), Projector((12, 40), tilts["angles_deg"], 10.0), Filter())
    found = voxels(tmp_path / "weighted" / "tomograms" / "s_0001.ome.zarr")
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(np.abs(wanted).max()))


def test_nothing_is_placed_outside_of_ice_that_is_thinner_than_the_volume(tmp_path: Path) -> None:
    """Ice of 30 nm in a volume of 60 nm: labels stay within it, for any blocks; protein at its surfaces is no label."""
    specimen = {
        **SMALL["specimen"],
        "shape": [40, 44, 50],
        "vesicles": [{"count": 1, "radius_nm": [8, 8.5], "bare": 0}],
        "ice": {"thickness_nm": 30, "roughness_nm": 0.5, "interface_per_nm2": 0.02},
        "walls": "none",
    }
    tilts = {"angles_deg": [-40.0, 0.0, 40.0]}
    values = changed(specimen=specimen, tilts=tilts)
    simulate(values, str(tmp_path / "a"), 1, QUIET)
    simulate(values, str(tmp_path / "b"), 1, QUIET.with_(block=(16, 32, 32)))
    stores = [tmp_path / run / "tomograms" / "s_0001.ome.zarr" for run in "ab"]
    for group in ("", "labels/atlas", "labels/instances"):
        assert np.array_equal(voxels(stores[0], group), voxels(stores[1], group))
    filled = np.flatnonzero((voxels(stores[0], "labels/instances") > 0).any(axis=(1, 2)))
    assert len(filled)
    assert 19.5 - 10 - 2 < filled.min() <= filled.max() < 19.5 + 10 + 2
    atlas = voxels(stores[0], "labels/atlas")
    assert {1, 7} <= set(np.unique(atlas))
    bare = {**specimen, "ice": {**specimen["ice"], "interface_per_nm2": 0}}
    simulate(changed(specimen=bare, tilts=tilts), str(tmp_path / "bare"), 1, QUIET)
    other = tmp_path / "bare" / "tomograms" / "s_0001.ome.zarr"
    assert np.array_equal(voxels(stores[0], "labels/instances"), voxels(other, "labels/instances"))
    assert not np.array_equal(voxels(stores[0]), voxels(other))


def test_noise_follows_the_ice_and_the_tilt_not_the_depth_of_the_volume(tmp_path: Path) -> None:
    """The variance of counting noise is 1 / electrons: dose x area x DQE x exp(-thickness / (cos(tilt) 380 nm))."""
    tilts, dose = {"angles_deg": [-60.0, 0.0, 60.0]}, {"total_e_per_a2": 6}
    for depth, ice, thick in ((8, {}, 150), (20, {"thickness_nm": 300}, 300), (20, {"thickness_nm": 5}, 5)):
        specimen = {"shape": [depth, 64, 64], "voxel_size": 10.0, "ice": {"roughness_nm": 0, **ice}}
        out = tmp_path / f"{depth}-{thick}"
        simulate({"name": "s", "specimen": specimen, "tilts": tilts, "dose": dose}, str(out), 1, QUIET)
        images = voxels(out / "tilts" / "s_0001.ome.zarr")
        for image, tilt in zip(images, tilts["angles_deg"], strict=True):
            electrons = 2 * 100 * 0.84 * np.exp(-thick / (380 * np.cos(np.radians(tilt))))
            assert image.var() == pytest.approx(1 / electrons, rel=0.1)  # 4096 pixels: 2.2 % by chance
