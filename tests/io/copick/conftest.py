"""A copick project, new for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from copick_projects import make_project, write_config


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, template: Path) -> Path:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return write_config(tmp_path / "config.json", tmp_path / "overlay", tmp_path / "static")
