"""The house's own rules: what importing costs, one name per thing, layers, docstrings, sizes."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

import volengine
from volengine.cli.main import VERBS
from volengine.cli.options import FORMAT_NAMES, from_options
from volengine.core.recipe import Recipe
from volengine.engine.options import RunOptions
from volengine.tasks.filter.steps import STEPS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "volengine"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "dask", "distributed", "zarr", "skimage", "scipy", "pandas", "numpy", "tifffile", "starfile", "yaml")
HEAVY += ("matplotlib", "jinja2")
SLOW = {"torch", "dask", "distributed", "skimage", "pandas", "tifffile", "matplotlib"}
"""Of these, what the help of no verb may load."""
RUNS = sorted({"run", "crop", *(path.parent.name for path in (PACKAGE / "tasks").glob("*/plan.py"))})
"""Verbs that run plans."""

RECIPES = sorted(name for name in volengine.__all__ if name.endswith("Recipe"))
WITH_OPTIONS = sorted({*RUNS, "train", "export"} - {"simulate"})
"""Verbs whose options are the fields of a recipe; that of ``simulate`` is a file."""

OTHER_OPTIONS = {
    "segment": {"out", "model_files", "own"},
    "filter": {"out", "steps_file", *STEPS},
    "interact": {"out", "rules_file"},
    "score": {"out", "volumes", "patches"},
    "stats": {"out", "truth", "groups", "volumes", "surfaces"},
    "train": {"out", "volumes", "labels", "points", "targets", "pair", "radius_nm", "plan", "auto"},
    "denoise": {"out", "own"},
    "run": {"out", "report"},
}
"""Options that are no field of a recipe (of all other verbs: ``--out``): where things lie, short forms of fields."""

MORE_RECIPES = {"stats": ("SurfaceStatsRecipe",)}
"""Further recipes whose fields are options of a verb."""

LEFT_OUT = {
    **{verb: {"device"} for verb in ("convert", "crop", "pick", "report", "score", "skeleton", "stats", "surface")},
    "filter": {"device", "steps"},
    "interact": {"device", "rules"},
    "train": {"samples", "arguments", "losses", "augmentation"},
}
"""Fields that hold recipes, or names and values: given in a file; and ``device``, of verbs without networks."""


def test_importing_and_asking_for_help_loads_nothing_heavy() -> None:
    """One fresh interpreter: the package, then the help of the program, then that of every verb that runs plans."""
    steps = f"""
import json, sys
import volengine
loaded = lambda: [m for m in {HEAVY!r} if m in sys.modules]
found = {{"import": loaded()}}
from volengine.cli.main import cli
cli(["--help"], standalone_mode=False)
found["help"] = loaded()
for verb in {RUNS!r}:
    cli([verb, "--help"], standalone_mode=False)
    found[verb] = loaded()
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", steps], capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("import") == []
    assert found.pop("help") == []
    assert set(found) == set(RUNS)
    for verb, loaded in found.items():
        assert not SLOW & {*loaded}, f"the help of {verb} loads {loaded}"


# -- the public face ---------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_loaded_when_asked_for() -> None:
    assert volengine.__all__ == sorted(volengine.__all__)
    for name in volengine.__all__:
        assert getattr(volengine, name) is not None
        assert name in dir(volengine)
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        _ = volengine.segmnt


def test_type_checkers_see_the_same_public_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == volengine._WHERE
    assert {*seen, "__version__"} == {*volengine.__all__}


def test_public_classes_and_functions_are_where_their_names_say() -> None:
    for name in volengine.__all__:
        value = getattr(volengine, name)
        if name != "__version__":
            assert value.__name__ == name
            assert value.__module__ == volengine._WHERE[name]


# -- one name per thing ------------------------------------------------------------------------------------


def _command(verb: str) -> click.Command:
    command: click.Command = importlib.import_module(f"volengine.cli.{verb}").command
    return command


def _recipe(verb: str) -> type[Recipe]:
    recipe: type[Recipe] = getattr(volengine, f"{verb.title()}Recipe")
    return recipe


def _recipes(verb: str) -> list[type[Recipe]]:
    return [_recipe(verb), *(getattr(volengine, name) for name in MORE_RECIPES.get(verb, ()))]


def test_each_verb_is_a_module_and_each_module_with_a_command_a_verb() -> None:
    assert set(VERBS) == {p.stem for p in (PACKAGE / "cli").glob("*.py") if "\ndef command(" in p.read_text()}
    for verb in VERBS:
        assert _command(verb).name == verb
        assert _command(verb).help
    assert set(RUNS) <= set(VERBS)


def test_each_verb_and_each_recipe_is_in_the_pages() -> None:
    pages = "\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    verbs = [name for name in VERBS if name in volengine.__all__]
    missing = [name for name in verbs if f":{name} -->" not in pages]
    missing += [name for name in RECIPES if f":{name} -->" not in pages and name != "RunRecipe"]
    assert missing == [], "docs/api.md: add the marker lines, and run docs/generated.py"


@pytest.mark.parametrize("verb", WITH_OPTIONS)
def test_options_are_the_fields_of_the_recipes(verb: str) -> None:
    recipes: list[type[Recipe]] = [RunOptions] if verb in RUNS else []
    if verb != "run":  # its recipe is a file
        recipes += _recipes(verb)
    fields = {f.name for r in recipes for f in dataclasses.fields(r)} - LEFT_OUT.get(verb, set())
    options = {p.name: p for p in _command(verb).params if isinstance(p, click.Option)}
    assert set(options) == fields | OTHER_OPTIONS.get(verb, {"out"})
    for name in fields:
        flag = "--" + name.replace("_", "-")
        assert options[name].opts in ([flag], [*FORMAT_NAMES] if flag in FORMAT_NAMES else [flag])
        assert options[name].default is None or name in ("models",)
        assert options[name].help, f"{verb} {flag} has no help"


@pytest.mark.parametrize("verb", [v for v in WITH_OPTIONS if v != "run"])
def test_defaults_are_the_same_on_the_command_line(verb: str) -> None:
    """Writing every default on the command line gives the recipe that writing none gives."""
    for recipe in _recipes(verb):
        _same_defaults(verb, recipe)


def _same_defaults(verb: str, recipe: type[Recipe]) -> None:
    options = {p.name: p for p in _command(verb).params if isinstance(p, click.Option)}
    given: dict[str, Any] = {}
    for f in dataclasses.fields(recipe):
        if f.name not in options or f.default in (dataclasses.MISSING, None, (), ""):
            continue
        if isinstance(f.default, bool):
            given[f.name] = f.default
            assert f"[default: {'yes' if f.default else 'no'}]" in (options[f.name].help or "")
            continue
        text = ",".join(map(str, f.default)) if isinstance(f.default, tuple) else str(f.default)
        assert f"[default: {text}]" in (options[f.name].help or "")
        given[f.name] = options[f.name].type.convert(text, None, None)
    needed = _needed(recipe)
    assert from_options(recipe, dict(given), **needed) == recipe.from_json(needed)
    assert given or all(f.default in (None, (), "", dataclasses.MISSING) for f in dataclasses.fields(recipe))


def _needed(recipe: type[Recipe]) -> dict[str, Any]:
    """Values for the fields without default."""
    values: dict[str, Any] = {
        "models": ["m.safetensors"],
        "model": "m.safetensors",
        "rules": [{"interact": {"child": "a", "parent": "b", "kind": "avoid"}}],
        "samples": [{"volume": "v.mrc", "labels": ["l.mrc"]}],
        "features": ["f"],
        "roi": "0:1,:,:",
        "vary": ["rules.1=on,off"],
    }
    empty = (dataclasses.MISSING, dataclasses.MISSING)
    return {f.name: values[f.name] for f in dataclasses.fields(recipe) if (f.default, f.default_factory) == empty}


@pytest.mark.parametrize("verb", RUNS)
def test_every_verb_has_the_same_shape(verb: str) -> None:
    room = f"volengine.tasks.{verb}"
    alone = (PACKAGE / "tasks" / f"{verb}.py").exists()
    module = importlib.import_module(room if alone else f"{room}.verb")
    described = getattr(module, verb.upper())
    assert described.name == verb
    plan = getattr(module if alone else importlib.import_module(f"{room}.plan"), f"plan_{verb}")
    assert described.plan is plan
    assert list(inspect.signature(plan).parameters) == ["source", "recipe", "out", "folder", "options"]
    assert _recipe(verb).__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert {"recipe", "options"} <= set(inspect.signature(getattr(module, verb)).parameters)
    assert getattr(volengine, verb) is getattr(module, verb)


NEEDS_NOTHING = {"volengine.tasks.common.blocks:unpack_file"}
"""Kernels that stream: their memory does not depend on the file."""


def test_every_stage_asks_its_kernel_for_the_memory_that_it_needs() -> None:
    """The number stands beside the kernel, as ``KERNEL_bytes``; a planner asks for it and states none of its own."""
    asked, wrong = set(), []
    for path in (PACKAGE / "tasks").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            answers = {
                name for n in ast.walk(function) if isinstance(n, ast.Assign) and _asks(n.value) for name in _targets(n)
            }
            for call in (n for n in ast.walk(function) if isinstance(n, ast.Call) and _called(n) == "Stage"):
                place = f"{_names(path)}:{call.lineno}"
                asked.add(place)
                given = {k.arg: k.value for k in call.keywords}
                if _text(call.args[1]) not in NEEDS_NOTHING and not _answered(given.get("kernel_bytes"), answers):
                    wrong.append(place)
    assert len(asked) > 20
    assert wrong == [], "give kernel_bytes=kernel_bytes(KERNEL, ...)"


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _asks(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and _called(value) == "kernel_bytes"


def _targets(assigned: ast.Assign) -> Iterator[str]:
    return (n.id for target in assigned.targets for n in ast.walk(target) if isinstance(n, ast.Name))


def _text(value: ast.expr) -> Any:
    return value.value if isinstance(value, ast.Constant) else None


def _answered(value: ast.expr | None, answers: set[str]) -> bool:
    """Whether a value is what a kernel has answered, or made of answers alone."""
    if value is None or _asks(value):
        return value is not None
    names = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
    return bool(names) and names <= answers and not any(isinstance(n, ast.Constant) for n in ast.walk(value))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_go_through_json_and_refuse_unknown_names(name: str) -> None:
    recipe: type[Recipe] = getattr(volengine, name)
    made = recipe.from_json(_needed(recipe))
    assert recipe.from_json(json.loads(json.dumps(made.to_json()))) == made
    with pytest.raises(volengine.VolengineError, match="there is no 'nonsense'"):
        recipe.from_json({**_needed(recipe), "nonsense": 1})


# -- the code ----------------------------------------------------------------------------------------------


def _names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_everything_public_is_documented() -> None:
    missing = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        if tree.body and not ast.get_docstring(tree) and path.name != "__init__.py":
            missing.append(_names(path))
        for node in tree.body:
            public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                missing.append(f"{_names(path)}:{node.lineno} {node.name}")
    assert missing == []


def test_names_of_kernels_and_networks_lead_somewhere() -> None:
    found = {m for path in MODULES for m in re.findall(r"\"(volengine(?:\.\w+)+):(\w+)\"", path.read_text())}
    assert found
    for module, name in sorted(found):
        assert callable(getattr(importlib.import_module(module), name)), f"{module}:{name}"


def test_imports_go_down_only() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    if not program.exists():
        pytest.skip("import-linter is not installed (pip install 'volengine[dev]')")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout.partition("Broken contracts")[2] or done.stdout + done.stderr


def test_no_module_imports_itself_by_way_of_others() -> None:
    """No circle of modules, imports inside functions and of a module's own package included (types alone are left out).

    The contract of import-linter looks at siblings; it does not see a module that imports the package it lies in.
    """
    modules = {_module(path): path for path in MODULES}
    graph = {name: set(_imported(path, modules)) - {name} for name, path in modules.items()}
    assert sum(map(len, graph.values())) > 1000
    while leaves := {name for name, known in graph.items() if not known & graph.keys()}:
        graph = {name: known for name, known in graph.items() if name not in leaves}
    assert sorted(graph) == [], "these modules form circles, or import one that does"


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """Modules of the package that a module imports, anywhere in its code."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in inner)


def _tree() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_is_named_in_the_tree() -> None:
    """No absolute paths of somebody's machine, in code, pages or data that are text."""
    pattern = re.compile(r"(?<![\w.:$}])/(?:work|root|home|Users|scratch\d)/\w")
    found = []
    for path in _tree():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{_names(path)}:{n}: {line}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    assert found == []


def test_the_version_is_said_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", volengine.__version__)
    config = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in config
