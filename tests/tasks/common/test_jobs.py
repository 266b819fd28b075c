"""Sources, outputs and recipes as people give them: one way for every verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import volengine
from volengine.core.errors import InputError, MissingError
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import CONVERT
from volengine.tasks.pick.verb import PICK

QUIET = RunOptions(progress=False)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for number in (1, 2):
        array = np.full((4, 8, 8), number, np.float32)
        write_mrc(tmp_path / f"TS_{number:02d}.mrc", [array], array.shape, array.dtype, voxel_size=(10.0, 10.0, 10.0))
    (tmp_path / "one.txt").write_text("TS_02.mrc\n")
    (tmp_path / "both.txt").write_text("TS_01.mrc\nTS_02.mrc\n")
    return tmp_path


@pytest.mark.parametrize("source", ["one.txt", "TS_*2.mrc", "TS_02.mrc"])
def test_a_verb_of_one_source_takes_a_list_or_glob_that_names_one(files: Path, source: str) -> None:
    volume = volengine.convert(files / source, files / "out", options=QUIET)
    assert volume.name == "TS_02"
    assert np.asarray(volume).max() == 2


@pytest.mark.parametrize("source", ["both.txt", "*.mrc"])
def test_several_sources_for_a_verb_of_one_are_refused_with_what_takes_many(files: Path, source: str) -> None:
    with pytest.raises(
        InputError, match=r"names 2 volumes, but volengine\.convert takes one.*volengine\.run take many"
    ):
        volengine.convert(files / source, files / "out", options=QUIET)
    assert not (files / "out").exists()


@pytest.mark.parametrize("out", ["z.mrc", "Z.MRC", "a.tif", "b.json.gz", "picks.star"])
def test_an_output_that_is_a_file_by_its_name_does_not_become_a_folder(files: Path, out: str) -> None:
    with pytest.raises(
        InputError, match=r"convert does not write such a file; give a folder, or \.zarr for one source"
    ):
        jobs_of(CONVERT, [str(files / "TS_01.mrc")], str(files / out), ConvertRecipe(), QUIET)
    (files / out).mkdir()
    jobs_of(CONVERT, [str(files / "TS_01.mrc")], str(files / out), ConvertRecipe(), QUIET)  # a folder that is there


def test_a_folder_may_have_any_other_name(files: Path) -> None:
    for out in ("2026.11.29", "run.v2", "p.foo"):
        _, run_dir = jobs_of(PICK, ["a.zarr"], str(files / out), volengine.PickRecipe(), QUIET)
        assert run_dir == str(files / out / "pick.run")


def test_an_empty_input_is_refused() -> None:
    for inputs in ([""], ["  "], ["a.mrc", ""]):
        with pytest.raises((InputError, MissingError), match=r"empty|no such"):
            expand(inputs)
    with pytest.raises(InputError, match="An input is empty"):
        expand([""])


VERBS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (volengine.convert, {"voxel_sze": 10}),
    (volengine.segment, {"modles": "m.safetensors"}),
    (volengine.pick, {"treshold": 0.5}),
    (volengine.export, {"levl": 1}),
]


@pytest.mark.parametrize(("verb", "recipe"), VERBS)
def test_a_recipe_may_be_names_and_values_which_are_checked(files: Path, verb: Callable[..., Any], recipe: Any) -> None:
    with pytest.raises(InputError, match="Did you mean"):
        verb(files / "TS_01.mrc", files / "out.zarr", recipe)


def test_names_and_values_give_the_same_as_a_recipe(files: Path) -> None:
    one = volengine.convert(files / "TS_01.mrc", files / "a.ome.zarr", {"voxel_size": 12.5}, QUIET)  # type: ignore[arg-type]
    other = volengine.convert(files / "TS_01.mrc", files / "b.ome.zarr", ConvertRecipe(voxel_size=12.5), QUIET)
    assert one.voxel_size == other.voxel_size == (12.5, 12.5, 12.5)


@pytest.mark.parametrize("out", ["https://host/a.ome.zarr", "HTTP://host/folder"])
def test_results_are_not_written_to_a_web_server(files: Path, out: str) -> None:
    with pytest.raises(InputError, match=r"--out .*host.*can only be read"):
        jobs_of(CONVERT, [str(files / "TS_01.mrc")], out, ConvertRecipe(), QUIET)
