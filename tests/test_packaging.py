"""What is said twice about the package agrees: pyproject, constraints, conda files, citation, issue forms."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import volengine

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE: dict[str, Any] = yaml.safe_load((ROOT / "conda" / "recipe" / "recipe.yaml").read_text())
PYTHONS = [Version(c.split()[-1]) for c in PROJECT["classifiers"] if re.fullmatch(r".* Python :: 3\.\d+", c)]

CONDA = {"dask": "dask-core", "matplotlib": "matplotlib-base", "torch": "pytorch"}
"""Names of packages on conda-forge where they are not those of PyPI in lower case."""

NOT_INSTALLED = ("tensorboard", "napari")
"""Extras that no test needs: constraints.txt does not pin them."""

Needs = dict[str, SpecifierSet]


def on_conda(requirement: str) -> str:
    """The name on conda-forge of a requirement as pip writes it."""
    name = Requirement(requirement).name
    return CONDA.get(name.lower(), name.lower())


def needed() -> Needs:
    """What pyproject.toml needs, by the names of conda-forge."""
    return {on_conda(line): Requirement(line).specifier for line in PROJECT["dependencies"]}


def conda_needs(lines: list[str]) -> Needs:
    """Lines ``name >=1,<2`` of a conda file; ``__unix`` and the like, python and pip left out."""
    found = {name: SpecifierSet(rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)}
    return {name: found[name] for name in found if not name.startswith("__") and name not in ("python", "pip")}


def differences(found: Needs) -> list[str]:
    """How a conda file differs from pyproject.toml, in words."""
    wanted = needed()
    missing = [f"add '{n} {wanted[n]}'".rstrip() for n in wanted if n not in found]
    extra = [f"remove '{n}'" for n in found if n not in wanted]
    other = [f"'{n} {found[n]}' must be '{wanted[n]}'" for n in found if n in wanted and found[n] != wanted[n]]
    return [*missing, *extra, *other]


# -- conda -------------------------------------------------------------------------------------------------


def test_the_conda_recipe_needs_what_pyproject_needs() -> None:
    lines = [line for line in RECIPE["requirements"]["run"] if not line.startswith("python ")]
    assert differences(conda_needs(lines)) == []


def test_the_conda_environment_needs_what_pyproject_needs() -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    lines = [entry for entry in entries if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    from_pip = {on_conda(line): Requirement(line).specifier for line in pip if not line.startswith("-e .")}
    assert not set(conda_needs(lines)) & set(from_pip)
    assert differences(conda_needs(lines) | from_pip) == []
    assert f"python {PROJECT['requires-python']}" in lines
    assert [line for line in pip if line.startswith("-e .")] == ["-e .[fast]"]


def test_a_difference_is_told_with_what_to_do() -> None:
    found = needed()
    lowest = found.pop("pytorch")
    found |= {"torch": lowest, "zarr": SpecifierSet(">=2")}
    assert differences(found) == [
        f"add 'pytorch {lowest}'",
        "remove 'torch'",
        f"'zarr >=2' must be '{needed()['zarr']}'",
    ]
    assert [on_conda(line) for line in ("matplotlib>=3.9", "Jinja2>=3", "trimesh", "dask[array]>=2026")] == [
        *("matplotlib-base", "jinja2", "trimesh", "dask-core"),
    ]


def test_the_conda_recipe_builds_this_version_with_its_command() -> None:
    assert RECIPE["context"]["version"] == volengine.__version__
    assert f">={RECIPE['context']['python_min']}" == PROJECT["requires-python"]
    assert RECIPE["build"]["noarch"] == "python"
    commands = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert RECIPE["build"]["python"]["entry_points"] == commands
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    host = [line for line in RECIPE["requirements"]["host"] if not line.startswith("python ")]
    assert conda_needs(host) == {on_conda(line): Requirement(line).specifier for line in backend}
    assert RECIPE["about"]["license"] == PROJECT["license"]


# -- pip ---------------------------------------------------------------------------------------------------


def _pinned() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+]+", line) for line in lines)
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def test_constraints_pin_every_requirement_to_a_version_that_it_allows() -> None:
    pinned = _pinned()
    extras = PROJECT["optional-dependencies"]
    lines = [line for extra in extras if extra not in NOT_INSTALLED for line in extras[extra]]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *lines]):
        if requirement.name != "volengine":
            version = pinned[canonicalize_name(requirement.name)]
            assert version in requirement.specifier, f"{requirement} is pinned to {version}"


def test_the_lowest_python_is_the_first_that_is_listed() -> None:
    assert sorted(PYTHONS) == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert sys.version_info[:2] >= (PYTHONS[0].major, PYTHONS[0].minor)


def _wheel(folder: Path, option: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", folder / ".ci" / "wheel", option]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def _digest(folder: Path) -> str:
    done = _wheel(folder, "--digest")
    assert re.fullmatch(r"[0-9a-f]{64}\n", done.stdout), done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the check of the wheel looks at before it builds anything."""
    for name in (".ci/wheel", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "same"),
    [
        ("pyproject.toml", '"dask>=', '"dask>2,>=', False),
        ("pyproject.toml", '"zarrs>=', '"zarrs>0,>=', False),
        ("pyproject.toml", "hatchling>=", "hatchling>0,>=", False),
        ("constraints.txt", "click==", "click==1.", False),
        ("pyproject.toml", 'description = "', 'description = "Better: ', True),
        ("pyproject.toml", "line-length = ", "line-length = 1", True),
    ],
)
def test_the_wheel_is_checked_anew_when_requirements_change(
    checkout: Path, file: str, old: str, new: str, same: bool
) -> None:
    before = _digest(checkout)
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))
    assert (_digest(checkout) == before) is same


def test_the_wheel_is_not_checked_again_when_nothing_changed(checkout: Path) -> None:
    (checkout / ".ci" / "wheel.ok").write_text(_digest(checkout))
    done = _wheel(checkout, "--if-changed")
    assert done.returncode == 0, done.stderr
    assert "have not changed" in done.stdout


# -- citation and forms ------------------------------------------------------------------------------------


def test_the_citation_is_of_this_version_and_names_the_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == volengine.__version__
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year", "doi"} <= set(reference)
        assert re.fullmatch(r"10\.\d{4,}/\S+", reference["doi"])
    code = "".join(path.read_text() for path in (ROOT / "volengine").rglob("*.py"))
    readme = (ROOT / "README.md").read_text()
    for reference in citation["references"]:  # the number by which code and pages name the paper
        assert reference["doi"].split("/")[1].removeprefix("eLife.") in code + readme


def test_the_forms_for_issues_are_complete() -> None:
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yml")}
    assert set(forms) == {"bug_report", "feature_request", "config"}
    for name in ("bug_report", "feature_request"):
        assert {"name", "description", "body"} <= set(forms[name])
        fields = {field["id"]: field for field in forms[name]["body"]}
        assert len(fields) == len(forms[name]["body"])
        assert all(field["attributes"]["label"] for field in fields.values())
    env = next(field for field in forms["bug_report"]["body"] if field["id"] == "env")
    assert "volengine env" in env["attributes"]["label"]
    assert env["validations"]["required"] is True
