"""The script of the papers' experiments: one of them, tiny, from structures to the table."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from places import ROOT

SCRIPT = ROOT / "examples" / "paper_experiments.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper_experiments", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_experiment_is_one(script: ModuleType) -> None:
    """Recipes are valid, networks are not tested on what they were trained on, results do not overwrite each other."""
    from volengine import SimulateRecipe
    from volengine.tasks.simulate.draw import sample_recipe

    scale = script.Scale()
    for name, make in script.EXPERIMENTS.items():
        experiment = make(scale)
        assert len(experiment.features) == len(experiment.ids)
        tested = [test.scene for test in experiment.tests.values()]
        scenes = [source.scene for sources in experiment.networks.values() for source in sources]
        for scene in [*tested, *scenes]:
            recipe = sample_recipe(scene.recipe, scene.number)
            assert isinstance(recipe, SimulateRecipe)
            assert min(recipe.specimen.shape[1:]) >= scale.patch
            ids = recipe.specimen.classes
            assert ids is not None
            assert [ids[feature] for feature in experiment.features] == list(experiment.ids)
        for source in (s for sources in experiment.networks.values() for s in sources):
            for test in experiment.tests.values():
                if (
                    test.scene == source.scene
                ):  # the same tomogram: its annotated slices, and their context, are left out
                    assert test.roi
                    assert max(source.slices) + script.CONTEXT // 2 < int(test.roi.partition(":")[0])
        bench = script.Bench(Path("out"), scale)
        paths = [
            bench.result(name, experiment, network, seed, test)
            for network in experiment.networks
            for test in experiment.tests
            for seed in (0, 1)
        ]
        assert len(set(paths)) == len(paths)


def test_tests_of_doses_show_the_same_specimen(script: ModuleType) -> None:
    tests = script.dose_experiment(script.Scale()).tests.values()
    assert len({test.scene.recipe["dose"]["total_e_per_a2"] for test in tests}) == len(tests)
    assert len({script.digest(test.scene.recipe["specimen"]) for test in tests}) == 1
    assert len({(test.scene.recipe["seed"], test.scene.number) for test in tests}) == 1


def test_the_table_gives_mean_and_half_range(script: ModuleType) -> None:
    experiment = replace(script.dose_experiment(script.Scale()), tests={"1": None, "3": None})
    rows = [
        {"network": "both", "test": "3", "scores": {"ribosome": {"dice": dice, "precision": 1.0, "recall": 1.0}}}
        for dice in (0.5, 0.9)
    ]
    lines = script.table(experiment, rows).splitlines()
    assert lines[0] == "| trained on | 1 | 3 |"
    assert lines[-1] == "| both |  | 0.70 ± 0.20 |"
    assert script.shown([0.5, float("nan")]) == "-"
    assert script.table(experiment, rows, "recall").splitlines()[-1] == "| both |  | 1.00 ± 0.00 |"


@pytest.mark.slow
def test_a_tiny_experiment_runs_once(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ribosomes are found at the dose of training, far less in noise; a second call does nothing again."""
    scale = script.Scale(size=96, steps=48, width=6, networks=1, patch=48, tilt_step_deg=6.0)

    def tiny(given: Any) -> Any:
        whole = script.dose_experiment(given)
        networks = {"100 e/Å²": whole.networks["100 e/Å²"][:1]}
        return replace(whole, networks=networks, tests={dose: whole.tests[dose] for dose in ("1", "120")})

    monkeypatch.setitem(script.EXPERIMENTS, "dose", tiny)
    bench = script.Bench(tmp_path, scale)
    text = script.run(bench, ["dose"])
    found = {r["test"]: r["scores"]["ribosome"]["dice"] for r in script.results(bench, "dose", tiny(scale))}
    assert found["120"] > 0.4
    assert found["120"] > found["1"] + 0.2
    assert f"| 100 e/Å² | {found['1']:.2f} | {found['120']:.2f} |" in text
    assert (tmp_path / "dose.png").read_bytes().startswith(b"\x89PNG")
    assert all(f">{text}<" in (tmp_path / "dose.svg").read_text() for text in ("Dice coefficient", "100 e/Å²", "120"))
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(rows) == 3
    assert not list((tmp_path / "scratch").iterdir())

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it was done already")

    for verb in ("simulate", "train", "segment"):
        monkeypatch.setattr(script, verb, refuse)
    (kept,) = (tmp_path / "results" / "dose").glob("*__120__0-*.json")
    assert json.loads(kept.read_text())["network"] == "100 e/Å²"
    assert script.run(bench, ["dose"]) == text
    kept.unlink()
    with pytest.raises(AssertionError, match="done already"):
        script.run(bench, ["dose"])
