"""The demo's sample, its truth and its score: facts of the real data, labels against brute force, scores by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from volengine.core.errors import DependencyError, FormatError
from volengine.core.picks import Picks
from volengine.io.training import sample as sample_files
from volengine.io.training.sample import PACKAGE, SampleTomogram, procedural_sample, real_sample
from volengine.tasks.demo.truth import (
    CORE_RIM_VOX,
    CORE_VOX,
    SHELL_VOX,
    SPLIT_X,
    UNANNOTATED,
    UNANNOTATED_VOX,
    Truth,
    label_volumes,
    score,
    score_lines,
    truth_of,
)

VOXEL = (40.0, 40.0, 40.0)


@pytest.fixture(scope="module")
def real() -> SampleTomogram:
    try:
        return real_sample()
    except DependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def procedural() -> SampleTomogram:
    return procedural_sample()


# -- the sample ----------------------------------------------------------------------------------------------


def profile(sample: SampleTomogram, depth: float) -> float:
    """Mean density along the normals at this height over the positions, in standard deviations of the tomogram."""
    from scipy.ndimage import map_coordinates

    values = map_coordinates(sample.tomogram, (sample.positions + depth * sample.normals).T, order=1)
    return float(values.mean() / sample.tomogram.std())


def test_real_sample_is_what_the_demo_was_made_for(real: SampleTomogram):
    assert real.tomogram.shape == (101, 135, 135)
    assert real.tomogram.dtype == np.float32
    assert real.voxel_size == VOXEL
    assert real.positions.shape == real.normals.shape == (5377, 3)
    np.testing.assert_allclose(np.linalg.norm(real.normals, axis=1), 1)
    assert real.real


def test_positions_are_z_y_x_in_voxels_and_normals_point_outward(real: SampleTomogram):
    assert profile(real, 0) > 0.9  # density is bright
    for order in ((0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)):
        turned = SampleTomogram(real.tomogram, real.positions[:, order], real.normals[:, order], VOXEL, real=True)
        assert profile(turned, 0) < 0.2
    assert profile(real, -5) < -0.5 < profile(real, 5)  # the inside is darker than what is around


def test_nine_particles_with_centres_along_their_normals(real: SampleTomogram):
    truth = truth_of(real)
    assert sorted(np.bincount(truth.particle)) == [542, 549, 554, 568, 603, 623, 627, 647, 664]
    assert truth.centres.shape == (9, 3)
    assert (truth.centres[:, 2] >= SPLIT_X).sum() == 2
    for k, centre in enumerate(truth.centres):
        radii = np.linalg.norm(truth.positions[truth.particle == k] - centre, axis=1)
        assert 10.5 < radii.mean() < 12.5
        assert radii.std() < 1
        assert np.linalg.norm(np.delete(truth.centres, k, axis=0) - centre, axis=1).min() > 2 * CORE_RIM_VOX


def test_unannotated_shells_are_no_annotated_ones_and_lie_in_the_training_part(real: SampleTomogram):
    centres = truth_of(real).centres
    for place in UNANNOTATED:
        assert np.linalg.norm(centres - np.array(place), axis=1).min() > 18
        assert place[2] + UNANNOTATED_VOX < SPLIT_X


def test_reading_the_sample_imports_none_of_its_code(real: SampleTomogram):
    code = (
        "import sys; from volengine.io.training.sample import real_sample; real_sample(); "
        "sys.exit(any(m.startswith('napari') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(sample_files.metadata, "files", missing)
    with pytest.raises(DependencyError, match=rf"{PACKAGE}: pip install 'volengine\[demo\]'"):
        real_sample()


def test_a_package_without_its_files_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sample_files.metadata, "files", lambda name: [])
    with pytest.raises(DependencyError, match=r"without tomo\.tif, tomo_point\.npy, tomo_vector\.npy;"):
        real_sample()


def test_files_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import tifffile

    tifffile.imwrite(tmp_path / "tomo.tif", np.zeros((5, 6, 7), np.float32))
    np.save(tmp_path / "tomo_point.npy", np.zeros((4, 3)))
    np.save(tmp_path / "tomo_vector.npy", np.ones((4, 2, 3)))
    monkeypatch.setattr(sample_files, "_files", lambda: {p.name: p for p in tmp_path.iterdir()})
    with pytest.raises(FormatError, match=r"\(5, 6, 7\), \(4, 3\), \(4, 2, 3\); the demo was made for version 0\.0\.4"):
        real_sample()


def test_procedural_sample_is_of_the_same_kind_and_says_what_it_is(procedural: SampleTomogram):
    assert procedural.tomogram.shape == (101, 135, 135)
    assert procedural.tomogram.dtype == np.float32
    assert not procedural.real
    np.testing.assert_allclose(np.linalg.norm(procedural.normals, axis=1), 1)
    truth = truth_of(procedural)
    assert len(truth.centres) == 9
    assert (truth.centres[:, 2] >= SPLIT_X).sum() >= 2
    assert (truth.centres[:, 2] < SPLIT_X).sum() >= 2
    assert profile(procedural, 0) > 0.5
    assert profile(procedural, 0) > profile(procedural, -5) + 0.8
    again, other = procedural_sample(), procedural_sample(seed=1)
    np.testing.assert_array_equal(again.tomogram, procedural.tomogram)
    assert not np.array_equal(other.positions, procedural.positions)


def test_procedural_sample_lacks_a_wedge_of_frequencies(procedural: SampleTomogram):
    power = np.abs(np.fft.rfftn(procedural.tomogram.astype(float)))[:, 0] ** 2
    fz = np.abs(np.fft.fftfreq(101))[:, None]
    fx = np.fft.rfftfreq(135)[None]
    ring = np.hypot(fz, fx)
    inside = (fz > 2 * fx) & (ring > 0.02) & (ring < 0.3)
    outside = (fz < fx) & (ring > 0.02) & (ring < 0.3)
    assert power[inside].mean() < 1e-6 * power[outside].mean()


# -- labels --------------------------------------------------------------------------------------------------


def ball(centre: tuple[float, float, float], radius: float, shape: tuple[int, int, int]) -> np.ndarray:
    grid = np.indices(shape).reshape(3, -1).T
    return (np.linalg.norm(grid - np.array(centre), axis=1) <= radius).reshape(shape)


def particle(centre: tuple[float, float, float], radius: float = 11.0, count: int = 400) -> np.ndarray:
    """Positions all around a centre."""
    directions = np.random.default_rng(5).normal(size=(count, 3))
    return np.array(centre) + radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.fixture
def two() -> Truth:
    """Two particles, one on each side of the border; the second is at x >= 62."""
    centres = np.array([[18.0, 18.0, 40.0], [18.0, 20.0, 80.5]])
    positions = np.concatenate([particle(tuple(c)) for c in centres])
    return Truth(positions, np.repeat([0, 1], 400), centres)


SHAPE = (36, 38, 100)


def test_labels_are_those_of_a_plain_loop(two: Truth):
    shape = (36, 38, 60)
    labels = label_volumes(two, shape, [(4.0, 3.0, 9.0)])
    left_out = ball((4, 3, 9), UNANNOTATED_VOX, shape)
    shell, core = np.where(left_out, 2, 0), np.where(left_out, 2, 0)
    core[np.any([ball(tuple(c), CORE_RIM_VOX, shape) for c in two.centres], axis=0)] = 2
    core[np.any([ball(tuple(c), CORE_VOX, shape) for c in two.centres], axis=0)] = 1
    grid = np.indices(shape).reshape(3, -1).T
    near = np.zeros(len(grid), bool)
    for position in two.positions:
        near |= ((grid - position) ** 2).sum(axis=1) <= SHELL_VOX**2
    shell[near.reshape(shape)] = 1
    np.testing.assert_array_equal(labels["shell"], shell)
    np.testing.assert_array_equal(labels["core"], core)
    assert labels["shell"].dtype == labels["core"].dtype == np.uint8
    assert {0, 1, 2} == set(np.unique(labels["core"]).tolist()) == set(np.unique(labels["shell"]).tolist())


def test_features_of_the_real_sample_do_not_touch(real: SampleTomogram):
    labels = label_volumes(truth_of(real), real.tomogram.shape, UNANNOTATED)
    assert not ((labels["core"] == 1) & (labels["shell"] == 1)).any()
    from scipy.ndimage import label

    assert label(labels["core"] == 1)[1] == 9
    dark, bright = (real.tomogram[labels[f] == 1].mean() / real.tomogram.std() for f in ("core", "shell"))
    assert dark < -0.5
    assert bright > 0.6
    trained = labels["shell"][:, :, :SPLIT_X]
    assert (trained == 2).mean() < 0.1  # nearly everything counts


# -- score ---------------------------------------------------------------------------------------------------


def picks_at(places: list[tuple[float, float, float]], weight: list[float] | None = None) -> Picks:
    return Picks(places, voxel_size=VOXEL, weight=weight if weight is not None else [1.0] * len(places))


def masks(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    labels = label_volumes(truth, SHAPE)
    return labels["shell"] == 1, labels["core"] == 1


def test_a_perfect_result_has_a_perfect_score(two: Truth):
    found = score(two, picks_at([tuple(c) for c in two.centres]), *masks(two))
    assert found == {
        "split_x": 62,
        "known_centres": 1,
        "found_centres": 1,
        "localisation_error_vox": 0.0,
        "known_centres_everywhere": 2,
        "found_centres_everywhere": 2,
        "picks": 1,
        "extra_picks": [],
        "shell_positions_covered": 1.0,
        "shell_voxels_within_2": 1.0,
        "shell_dice": 1.0,
        "core_dice": 1.0,
    }


def test_only_the_held_out_part_counts(two: Truth):
    shell, core = masks(two)
    shell[:, :, :SPLIT_X] = core[:, :, :SPLIT_X] = False
    found = score(two, picks_at([(18, 20, 81.5), (3, 3, 20)]), shell, core)
    assert found["localisation_error_vox"] == 1.0
    assert (found["found_centres"], found["found_centres_everywhere"]) == (1, 1)
    assert found["extra_picks"] == []
    assert [found[k] for k in ("shell_positions_covered", "shell_dice", "core_dice")] == [1.0, 1.0, 1.0]


def test_what_is_missed_and_what_is_extra_shows(two: Truth):
    shell, core = masks(two)
    held_out = two.positions[:, 2] >= SPLIT_X
    shell[:, :, 80:] = False  # half of the particle
    shell[0:2, 20, 80] = True  # 17 voxels from the centre, 5 from every position
    core[:] = False
    covered = np.rint(two.positions[held_out]).astype(int)
    picks = picks_at([(18, 20, 83), (30, 30, 95), (18, 18, 40)], weight=[3.0, 7.0, 9.0])
    found = score(two, picks, shell, core)
    assert (found["found_centres"], found["known_centres"]) == (0, 1)
    assert found["localisation_error_vox"] is None
    assert [e["weight"] for e in found["extra_picks"]] == [7.0, 3.0]
    assert [e["nearest_known_vox"] for e in found["extra_picks"]] == [21.3, 2.5]
    assert found["extra_picks"][1]["position_vox"] == [18.0, 20.0, 83.0]
    assert found["shell_positions_covered"] == pytest.approx((covered[:, 2] < 80).mean(), abs=1e-4)
    near = shell & ball((18, 20, 80.5), 20, SHAPE)
    near[:, :, :SPLIT_X] = False
    assert found["shell_voxels_within_2"] == pytest.approx(1 - 2 / near.sum(), abs=1e-4)
    assert 0.5 < found["shell_dice"] < 0.8
    assert found["core_dice"] == 0.0


def test_voxels_far_from_annotated_particles_are_not_judged(two: Truth):
    shell, core = masks(two)
    shell[0:3, 0:3, 95:] = True
    core[0:3, 0:3, 95:] = True
    found = score(two, picks_at([tuple(c) for c in two.centres]), shell, core)
    assert (found["shell_voxels_within_2"], found["shell_dice"], found["core_dice"]) == (1.0, 1.0, 1.0)


def test_a_particle_on_the_border_is_neither_missed_nor_extra(two: Truth):
    centres = np.array([[18.0, 18.0, 61.5], [18.0, 20.0, 90.0]])
    truth = Truth(np.concatenate([particle(tuple(c)) for c in centres]), two.particle, centres)
    found = score(truth, picks_at([(18, 18, 62.5), (18, 20, 90)]), *masks(truth))
    assert found["extra_picks"] == []
    assert (found["known_centres"], found["found_centres"], found["found_centres_everywhere"]) == (1, 1, 2)


def test_nothing_found_is_a_score_too(two: Truth):
    nothing = np.zeros(SHAPE, bool)
    found = score(two, picks_at([]), nothing, nothing)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["found_centres"], found["picks"], found["shell_positions_covered"]) == (0, 0, 0.0)
    assert found["shell_voxels_within_2"] is None
    rows = dict(score_lines(found))
    assert rows["known centres found within 2 voxels"] == "0 of 1"
    assert (rows["recall: found of the known"], rows["precision: known of the picks"]) == ("0.0%", "-")
    assert rows["mean error of the centres found"] == rows["shell: voxels within 2 voxels of a known position"] == "-"


def test_rows_of_the_table_say_the_numbers(two: Truth):
    shell, core = masks(two)
    rows = dict(score_lines(score(two, picks_at([(18, 20, 80)]), shell, core)))
    assert rows["known centres found within 2 voxels"] == "1 of 1"
    assert rows["mean error of the centres found"] == "0.50 voxels"
    assert rows["extra picks"] == "0"
    assert (rows["recall: found of the known"], rows["precision: known of the picks"]) == ("100.0%", "100.0%")
    rows = dict(score_lines(score(two, picks_at([(18, 20, 80), (3, 3, 75), (3, 3, 85)]), shell, core)))
    assert (rows["extra picks"], rows["precision: known of the picks"]) == ("2", "33.3%")
    assert rows["shell: known positions covered"] == "100.0%"
    assert rows["for comparison, known centres found in the whole tomogram"] == "1 of 2"
