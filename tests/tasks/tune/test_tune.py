"""tune: answers are those of the verbs with the same recipe and roi, and what cannot be answered is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from web_results import write_mrc

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.roi import roi_text
from volengine.core.yaml_recipes import read_yaml
from volengine.io.open import open_volume
from volengine.tasks.common.named import of_tomogram
from volengine.tasks.interact.verb import interact
from volengine.tasks.pick.verb import pick
from volengine.tasks.run import RunRecipe
from volengine.tasks.tune import answers
from volengine.tasks.tune.answers import Tuning, radii_nm
from volengine.tasks.tune.recipes import Loaded, commands, read_recipe, run_recipe, write_recipe
from volengine.tasks.tune.settings import FieldError, Settings, pick_form

OPTIONS = volengine.RunOptions(progress=False)
SHAPE = (20, 36, 40)
VOXEL = 10.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of two features: balls of different brightness, and a wall through some of them."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(5)
    grid = np.indices(SHAPE)
    balls = np.zeros(SHAPE, np.float32)
    for _ in range(24):
        centre = [rng.uniform(0, n) for n in SHAPE]
        far = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        balls = np.maximum(balls, np.clip(rng.uniform(0.5, 1) * (1.4 - far / 20), 0, 1))
    wall = np.where(abs(grid[2] - 20 - grid[0] / 4) < 2, 0.8, 0.1) + rng.uniform(0, 0.1, SHAPE)
    for name, values in (("core", balls), ("shell", wall)):
        write_mrc(folder / f"TS_01__{name}.mrc", values.astype(np.float32), VOXEL)
    return folder


def tuning_of(folder: Path) -> Tuning:
    volumes = {name: open_volume(folder / f"TS_01__{name}.mrc") for name in ("core", "shell")}
    return Tuning({name: of_tomogram(volume, name) for name, volume in volumes.items()})


@pytest.fixture(scope="module")
def tuning(folder: Path) -> Tuning:
    return tuning_of(folder)


RULE = {"interact": {"child": "core", "parent": "shell", "kind": "avoid", "radius_nm": 3.0, "shape": "3d"}}
ENDS = st.integers(0, 8)


@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(*[st.tuples(ENDS, st.integers(12, n)) for n in SHAPE]),
    st.sampled_from([[], [RULE], [{"compete": {"emit": ["shell"], "absorb": ["core"]}}, RULE]]),
    st.fixed_dictionaries(
        {},
        optional={
            "threshold": st.sampled_from([0.2, 0.5, 0.83]),
            "spacing_nm": st.sampled_from([0.0, 4.0, 12.0]),
            "min_volume_nm3": st.sampled_from([0.0, 20.0]),
            "seed_distance_nm": st.sampled_from([0.0, 6.0]),
            "position": st.sampled_from(["centroid", "maximum"]),
            "connectivity": st.sampled_from([6, 26]),
            "margin_vox": st.just([1, 2, 3]),
            "mode": st.sampled_from(["2d", "3d"]),
            "split": st.booleans(),
            "min_picks": st.sampled_from([0, 5]),
        },
    ),
)
def test_answers_are_those_of_the_verbs(
    folder: Path, tuning: Tuning, tmp_path_factory: Any, ends: Any, rules: Any, fields: Any
) -> None:
    part = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
    asked = Settings.read({"rules": rules, "pick": [{"feature": "core", **fields}]})
    (found,) = tuning.find(asked, part)
    out, source = tmp_path_factory.mktemp("verbs"), folder / "TS_01__core.mrc"
    if asked.rules is not None:
        both = {name: folder / f"TS_01__{name}.mrc" for name in ("core", "shell")}
        interact(both, out / "gated", asked.rules, OPTIONS)
        source = out / "gated" / "TS_01__core.ome.zarr"
    recipe = asked.pick[0].with_(roi=roi_text(part), labels=False)
    picks = pick(source, out / "picks.csv", recipe, OPTIONS)
    assert len(picks) == len(found.picks["label"])
    if len(picks):
        assert np.allclose(picks.position_vox, found.picks["position_vox"], atol=1e-4)
        assert np.allclose(picks.weight, found.picks["weight"], rtol=1e-4)


def test_what_is_kept_changes_no_answer(folder: Path, tuning: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Box((2, 3, 4), (18, 30, 33))
    every = [([], 0.3), ([RULE], 0.3), ([], 0.6), ([RULE], 0.6), ([], 0.3)]
    read = [Settings.read({"rules": r, "pick": [{"feature": "core", "threshold": t}]}) for r, t in every]
    kept = [tuning.find(one, part)[0].picks["position_vox"] for one in read]
    monkeypatch.setattr(answers, "KEPT_BYTES", 1)
    monkeypatch.setattr(answers, "KEPT_TABLES_BYTES", 1)
    little = tuning_of(folder)
    for one, expected in zip(read, kept, strict=True):
        assert np.array_equal(little.find(one, part)[0].picks["position_vox"], expected)
    assert len({len(one) for one in kept}) > 1


def test_planes_say_what_rules_have_taken_away(folder: Path, tuning: Tuning) -> None:
    part = Box((2, 0, 0), (12, 36, 40))
    asked = Settings.read({"rules": [RULE], "pick": [{"feature": "core", "threshold": 0.4}]})
    (found,) = tuning.find(asked, part)
    before = open_volume(folder / "TS_01__core.mrc").read()[5] > 0.4
    plane = found.plane(5)
    assert np.array_equal(plane > 0, before)
    assert (plane == 1).any()
    assert (plane == 2).any()
    assert np.allclose(radii_nm(found, tuning.grid) ** 3 * 4 / 3 * np.pi, found.picks["size_vox"])  # voxels of 1 nm³


def test_what_cannot_be_answered_is_refused(folder: Path, tuning: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Box.of_shape(SHAPE)
    pick_core = {"pick": [{"feature": "core"}]}
    with pytest.raises(FieldError, match="no prediction of 'none'"):
        tuning.find(Settings.read({"pick": [{"feature": "none"}]}), whole)
    rule = {"interact": {"child": "core", "parent": "none"}}
    with pytest.raises(FieldError, match="no such prediction") as caught:
        tuning.find(Settings.read({"rules": [RULE, rule], **pick_core}), whole)
    assert (caught.value.part, caught.value.number) == ("rules", 1)
    wide = {"interact": {"child": "core", "parent": "shell", "radius_nm": 50_000}}
    with pytest.raises(FieldError, match="Is it given in nm"):
        tuning.find(Settings.read({"rules": [wide], **pick_core}), whole)
    monkeypatch.setattr(answers, "LARGEST_PART", 1000)
    with pytest.raises(InputError, match="Choose a smaller one"):
        tuning.find(Settings.read(pick_core), whole)
    monkeypatch.undo()
    monkeypatch.setattr(answers, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="needs"):
        tuning.find(Settings.read(pick_core), whole)
    monkeypatch.undo()
    write_mrc(folder / "TS_01__bytes.mrc", np.zeros(SHAPE, np.uint16))
    strange = Tuning({"bytes": of_tomogram(open_volume(folder / "TS_01__bytes.mrc"), "bytes")})
    with pytest.raises(InputError, match="only the whole volume"):
        strange.find(Settings.read({"pick": [{"feature": "bytes"}]}), whole)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"pick": [{"feature": "core", "threshold": 4}]}, ("pick", 0, "threshold")),
        ({"pick": [{"feature": "core"}, {"feature": "shell", "margin_vox": [1]}]}, ("pick", 1, "margin_vox")),
        ({"pick": [{"feature": "core", "compat": "ais"}]}, ("pick", 0, "compat")),
        ({"pick": [{"feature": "core"}, {"feature": "core"}]}, ("pick", 1, "feature")),
        ({"rules": [{"interact": {**RULE["interact"], "radius_nm": -1}}]}, ("rules", 0, "radius_nm")),
        ({"rules": 3}, ("rules", 0, "")),
        ({}, ("pick", 0, "")),
    ],
)
def test_the_field_that_is_wrong_is_named(given: Any, where: tuple[str, int, str]) -> None:
    with pytest.raises(FieldError) as caught:
        Settings.read(given)
    assert (caught.value.part, caught.value.number, caught.value.field) == where


def test_forms_are_those_of_the_recipe() -> None:
    form = {one["name"]: one for one in pick_form()}
    assert form["threshold"]["default"] == 0.5
    assert form["connectivity"]["choices"] == [6, 18, 26]
    assert form["margin_vox"]["kind"] == "three"
    assert "lower weight is dropped" in form["spacing_nm"]["text"]


def test_recipes_are_written_and_read(tuning: Tuning, tmp_path: Path) -> None:
    asked = Settings.read({"rules": [RULE], "pick": [{"feature": "core", "threshold": 0.4, "margin_vox": [1, 2, 3]}]})
    with pytest.raises(InputError, match="with which models"):
        run_recipe(asked, tuning.predictions, None, "")
    made = {"verb": "segment", "recipe": {"models": ["a.safetensors"], "overlap": 0.25}}
    volumes = {n: v.with_(facts={"history": [made]}) for n, v in tuning.predictions.items()}
    recipe = run_recipe(asked, volumes, None, "2:10,0:20,0:20")
    assert recipe.segment is not None
    assert recipe.segment.models == ("a.safetensors",)
    assert recipe.segment.overlap == 0.25
    file = write_recipe(tmp_path, "mine", recipe)
    assert read_recipe(tmp_path, "mine") == recipe
    loaded = Loaded.of(RunRecipe.of(recipe))
    assert loaded.roi == "2:10,0:20,0:20"
    assert Settings.read({"rules": loaded.rules, "pick": loaded.pick}) == asked
    with pytest.raises(InputError, match="replace it"):
        write_recipe(tmp_path, "mine", recipe)
    assert file == write_recipe(tmp_path, "mine", recipe, replace=True)
    for bad in ("../x", "a/b", "", None, "x" * 80):
        with pytest.raises(InputError):
            write_recipe(tmp_path, bad, recipe)
    other = Settings.read({"pick": [{"feature": "core", "threshold": 0.7}]})
    kept = run_recipe(other, {}, recipe, "")
    assert kept == recipe.with_(interact=None, pick=other.pick)
    elsewhere = tmp_path / "it's \\n here"
    there, make, rules, gate, picking = commands(asked, volumes, "2:10,0:20,0:20", elsewhere)
    elsewhere.mkdir()
    subprocess.run(["sh", "-c", f"{there}\n{make}\n{rules}"], check=True)
    written = read_yaml(elsewhere / "tuned" / "rules.yaml")
    assert volengine.InteractRecipe.from_json(written).rules == asked.rules.rules
    assert gate.startswith("volengine interact /")
    fine = Settings.read({"pick": [{"feature": "core", "threshold": 0.12345678901}]})
    assert "--threshold 0.12345678901 " in commands(fine, volumes, "2:10,0:20,0:20", elsewhere)[-1]
    assert "--threshold 0.4 --margin-vox 1,2,3 --roi 2:10,0:20,0:20" in picking
