"""Files of a run folder are not code: what they name is looked up in a list, and a former plan gives blocks only."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_plans import result, simple, stored

import volengine
from volengine.core.errors import InputError, OldPlanError, PlanError
from volengine.core.tiling import Tiling
from volengine.engine.kernels import ONLY_SHOWN, OWN_CALLS, OWN_KERNELS, PURE, plugin_functions
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.run import run_plan
from volengine.engine.show import status
from volengine.engine.stage import Stage, load_function

QUIET = RunOptions(progress=False)
PACKAGE = Path(volengine.__file__).parent
EVIL = {
    "name": "evil",
    "kernel": "pydoc:pipepager",
    "params": {"cmd": "touch PWNED"},
    "tiling": {"shape": [1, 1, 1], "core": [1, 1, 1]},
    "arrays": {},
    "tables": {},
    "outputs": {},
    "emits": True,
}


def test_the_list_names_every_kernel_of_the_package_and_nothing_else() -> None:
    found = set()
    for path in (PACKAGE / "tasks").rglob("*blocks.py"):
        module = ".".join(("volengine", *path.relative_to(PACKAGE).with_suffix("").parts))
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and ast.unparse(function.returns or ast.Constant(0)) == "Result":
                found.add(f"{module}:{function.name}")
    private = {name for name in found if name.partition(":")[2].startswith("_")}
    assert found - private == OWN_KERNELS
    assert set(PURE) < OWN_KERNELS
    for name in OWN_KERNELS | OWN_CALLS:
        assert callable(load_function(name))


def test_the_list_names_every_call_that_planners_make() -> None:
    named = set()
    for path in (PACKAGE / "tasks").rglob("*.py"):
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == "Call":
                module = importlib.import_module(
                    ".".join(("volengine", *path.relative_to(PACKAGE).with_suffix("").parts))
                )
                name = call.args[0]
                named.add(name.value if isinstance(name, ast.Constant) else getattr(module, ast.unparse(name)))
    assert named == OWN_CALLS


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    source = stored(tmp_path, np.arange(8 * 12 * 20, dtype=np.int32).reshape(8, 12, 20))
    return simple(tmp_path, source, "fail_at", (4, 12, 20), params={"numbers": [], "marker": ""})


def test_a_plan_from_a_file_may_name_the_listed_functions_only(plan: Plan) -> None:
    data = json.loads(json.dumps(plan.to_json()))
    with pytest.raises(OldPlanError, match=r"'engine_kernels:fail_at', which volengine does not know.*not code"):
        Plan.from_json(data)
    assert Plan.from_json(data, {"engine_kernels:fail_at"}) == plan
    listed = replace(plan.stages[0], kernel="volengine.tasks.convert.blocks:copy_block")
    ours = replace(plan, stages=(listed,), finish=(Call("volengine.tasks.pick.finish:write_table"),))
    assert Plan.from_json(json.loads(json.dumps(ours.to_json()))) == ours
    with pytest.raises(OldPlanError, match="finish 0 names the function 'os:system'"):
        Plan.from_json({**ours.to_json(), "finish": [{"function": "os:system", "params": {}}]})
    with pytest.raises(OldPlanError, match="write_table"):  # a call is no kernel
        Plan.from_json({**ours.to_json(), "stages": [{**EVIL, "kernel": "volengine.tasks.pick.finish:write_table"}]})


def _planted(data: dict[str, Any]) -> None:
    data["stages"].insert(0, dict(EVIL))
    data["stages"][1]["tables"] = {"x": {"stage": "evil", "scope": "all"}}


def _elsewhere(data: dict[str, Any]) -> None:
    stage = json.loads(json.dumps(data["stages"][0]))
    place = str(Path(data["stages"][0]["outputs"]["out"]["volume"]["url"]).parent / "elsewhere.ome.zarr")
    stage["outputs"]["more"] = json.loads(json.dumps(stage["outputs"]["out"]))
    stage["outputs"]["more"]["volume"]["url"] = place
    data["stages"][0] = stage


def _scratch_elsewhere(data: dict[str, Any]) -> None:
    _elsewhere(data)
    image = json.loads(json.dumps(data["images"][0]))
    image |= {"url": data["stages"][0]["outputs"]["more"]["volume"]["url"], "scratch": True}
    data["images"].append(image)


def _other_parameters(data: dict[str, Any]) -> None:
    data["stages"][0]["params"]["marker"] = "PWNED"


def _block_parameter(data: dict[str, Any]) -> None:
    data["stages"][0]["params"]["core"] = {"a": "PWNED"}


TRICKS = [_planted, _elsewhere, _scratch_elsewhere, _other_parameters, _block_parameter]


@pytest.mark.parametrize("trick", TRICKS)
def test_a_former_plan_gives_blocks_and_nothing_else(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trick: Callable[[dict[str, Any]], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_plan(plan, str(tmp_path / "run"), QUIET)
    folder = tmp_path / "run" / "plans" / "t"
    (folder / "finished.json").unlink()
    data = json.loads((folder / "plan.json").read_text())
    trick(data)
    (folder / "plan.json").write_text(json.dumps(data))
    wider = replace(plan, stages=(replace(plan.stages[0], tiling=Tiling((8, 12, 20), (8, 12, 20))),))
    report = run_plan(wider, str(tmp_path / "run"), QUIET)
    assert report.data["plans"]["t"]["stages"][0]["block"] == (8, 12, 20)  # not the former ones
    assert len(report.data["plans"]["t"]["stages"]) == 1
    assert np.array_equal(result(plan), np.arange(8 * 12 * 20).reshape(8, 12, 20))
    assert not (tmp_path / "PWNED").exists()
    assert not (tmp_path / "elsewhere.ome.zarr").exists()


def test_status_shows_plans_of_any_kernel(plan: Plan, tmp_path: Path) -> None:
    run_plan(plan, str(tmp_path / "run"), QUIET)
    assert "finished" in status(str(tmp_path / "run"))
    assert "engine_kernels:fail_at" not in ONLY_SHOWN.__class__.__name__
    assert "anything" in ONLY_SHOWN


@pytest.mark.parametrize("name", ["", ".", "..", "../../x", "a/b", "a\\b", "a\0b"])
def test_names_that_lead_to_other_folders_are_refused(plan: Plan, name: str) -> None:
    with pytest.raises(PlanError, match="cannot be called"):
        replace(plan.stages[0], name=name)
    with pytest.raises(PlanError, match="cannot be called"):
        replace(plan, name=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": 3}, "plan.stages is no list"),
        ({"stages": [3]}, "stage 0 is 3; it must be names and values"),
        ({"stages": [{**EVIL, "tiling": {"shape": [0, 1, 1], "core": [1, 1, 1]}}]}, "positive sizes"),
        ({"stages": [{**EVIL, "tiling": {"shape": [2**31, 2**31, 1], "core": [1, 1, 1]}}]}, "has more than"),
        ({"stages": [{**EVIL, "more": 1}]}, "there is no 'more'"),
        ({"stages": [{**EVIL, "emits": "yes"}]}, "emits is 'yes'"),
        ({"images": [{"url": 3}]}, "must be text|is missing"),
        ({"name": None}, "name is None"),
        ({"name": "../x"}, "cannot be called"),
        ({"format": 1}, "another version"),
    ],
)
def test_a_damaged_plan_is_one_error(plan: Plan, change: dict[str, Any], message: str) -> None:
    with pytest.raises(OldPlanError, match=message):
        Plan.from_json({**json.loads(json.dumps(plan.to_json())), **change}, ONLY_SHOWN)


def test_stages_have_types(plan: Plan) -> None:
    data = json.loads(json.dumps(plan.stages[0].to_json()))
    data["arrays"]["source"]["low"] = [0, 0, 1.5]
    with pytest.raises(InputError, match=r"low\[2\] is 1.5"):
        Stage.from_json(data, ONLY_SHOWN)


def test_kernels_of_plugins_that_the_user_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "my_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[volengine.kernels]\nk = my_plugin_module:kernel\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert plugin_functions(()) == frozenset()
    assert plugin_functions(["My_Plugin"]) == {"my_plugin_module:kernel"}
    assert "my_plugin_module" not in sys.modules  # nothing is imported
    with pytest.raises(InputError, match="no installed package of this name has kernels"):
        plugin_functions(["another"])


@pytest.mark.parametrize("text", ["null", "3", "[]", "{}", "", "[" * 100_000, "\xff"])
def test_status_of_a_damaged_plan_is_one_error(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "run" / "plans" / "t"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(text, encoding="latin-1")
    with pytest.raises(OldPlanError, match="or damaged"):
        status(str(tmp_path / "run"))
