"""No result changes unless somebody means it: small runs of every verb against their recorded digests.

``references/make_results.py`` has recorded ``references/results.json``, and tells how to do so again.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volengine.cli.main import VERBS

sys.path.insert(0, str(Path(__file__).parent / "references"))

import make_results
import products
import small_runs

NO_RESULTS = {"status", "cluster", "collection", "verify", "env", "demo", "picks", "view", "workbench"}
"""Verbs without a case: they make nothing or serve pages, have tests of every byte, or (the demo) take minutes."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(make_results.RESULTS.read_text())
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> small_runs.SmallRuns:
    return small_runs.SmallRuns(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("name", small_runs.CASES)
def test_results_are_those_that_were_recorded(name: str, recorded: dict[str, Any], runs: small_runs.SmallRuns) -> None:
    for module in small_runs.CASES[name].needs:
        pytest.importorskip(module)
    here = make_results.fingerprint()
    other = make_results.machine_changes(recorded["machine"], here)
    made = make_results.record_case(runs, name)
    lines = make_results.differences(name, recorded["cases"][name], made, same_machine=not other)
    limit = small_runs.CASES[name].tolerance
    how = "equal digests" if not (other and limit) else f"mean and deviation within {limit:g} standard deviations"
    assert not lines, (
        f"volengine {name.split('_')[0]} gives other results than those recorded ({how} are asked for; "
        f"{'other than where it was recorded: ' + other if other else 'the machine and libraries are the same'}).\n  "
        + "\n  ".join(lines)
        + f"\nIf the change is meant, say it in the changelog and record anew: {make_results.ANEW}"
    )


def test_every_verb_has_a_small_run(recorded: dict[str, Any]) -> None:
    assert {*VERBS} - NO_RESULTS <= {name.split("_")[0] for name in small_runs.CASES}
    assert recorded["cases"].keys() == small_runs.CASES.keys()
    assert all(recorded["cases"].values())


# -- what is noticed -----------------------------------------------------------------------------------------


def digests(folder: Path, array: np.ndarray) -> dict[str, dict[str, Any]]:
    """Of a folder with an array, a table and a description."""
    folder.mkdir()
    np.save(folder / "array.npy", array)
    (folder / "table.csv").write_text(f"name,weight\n{folder}/a.mrc,{array.mean()}\n")
    (folder / "facts.json").write_text(json.dumps({"version": folder.name, "mean": float(array.mean())}))
    (folder / "page.html").write_text(folder.name)
    return products.digest_folder(folder)


def test_one_voxel_is_noticed_and_names_its_product(tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.uint8).reshape(10, 10, 10)
    before = digests(tmp_path / "before", array)
    assert sorted(before) == ["array.npy", "facts.json", "table.csv"]
    assert make_results.differences("convert", before, digests(tmp_path / "same", array)) == []
    array[3, 4, 5] += 1
    lines = make_results.differences("convert", before, digests(tmp_path / "after", array), same_machine=False)
    assert [line.split(":")[0] for line in lines] == [f"convert/{name}" for name in sorted(before)]
    swapped = digests(tmp_path / "swapped", array[::-1])  # the same values elsewhere
    (line,) = make_results.differences("convert", digests(tmp_path / "again", array), swapped)
    assert line.startswith("convert/array.npy: some values differ")
    moved = {"other.npy": before["array.npy"]}
    assert make_results.differences("convert", before, moved)[-1] == "convert/table.csv: is missing"
    assert "convert/other.npy: is new" in make_results.differences("convert", before, moved)


def test_rounding_of_another_machine_passes_and_more_does_not(tmp_path: Path) -> None:
    array = np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 10, 10)
    before = digests(tmp_path / "before", array)
    rounded = digests(tmp_path / "rounded", np.nextafter(array, np.float32(2)))
    assert make_results.differences("segment", before, rounded, same_machine=False) == []
    assert make_results.differences("segment", before, rounded)[0].startswith("segment/array.npy: min 0.0 -> 1.4")
    shifted = digests(tmp_path / "shifted", array + np.float32(1e-3))
    lines = make_results.differences("segment", before, shifted, same_machine=False)
    assert len(lines) >= 1
    assert re.search(r"array.npy: mean .*standard deviations, more than 0.0002", lines[0])


def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.xyz").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"result.xyz: it is not said how files of the kind '.xyz' are digested"):
        products.digest_folder(tmp_path)
