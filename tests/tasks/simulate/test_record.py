"""A sample made again from another recipe: nothing of the former one passes for its truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from volengine.engine.options import RunOptions
from volengine.tasks.simulate.record import forget_former
from volengine.tasks.simulate.verb import simulate

QUIET = RunOptions(progress=False)
BARE: dict[str, Any] = {
    "name": "s",
    "specimen": {
        "shape": [16, 40, 40],
        "voxel_size": 16.0,
        "layers": [{"species": [{"structure": "globule-120", "count": 3}]}],
    },
    "tilts": {"step_deg": 40},
}
RICH: dict[str, Any] = {
    **BARE,
    "specimen": {
        **BARE["specimen"],
        "vesicles": [{"count": 1, "radius_nm": [8, 8], "cut": True}],
        "filaments": [{"kind": "actin", "count": 1, "length_nm": [30, 40], "minimum_units": 3}],
    },
    "keep": {"ideal": True, "mrc": True},
}


def files(out: Path) -> set[str]:
    """All but the run folder and the inside of stores."""
    deeper = [*out.glob("truth/*/*"), *out.glob("tilts/s_0001/*")]
    found = {path.relative_to(out) for path in (*out.glob("*/*"), *deeper)}
    return {str(path) for path in found if path.parts[0] != "run" and path.parts[1:] != ("s_0001",)}


def listed(out: Path) -> set[str]:
    return set(json.loads((out / "truth" / "s_0001" / "sample.json").read_text())["files"])


def test_another_recipe_leaves_nothing_of_the_former(tmp_path: Path) -> None:
    simulate(BARE, str(tmp_path / "plain"), 1, QUIET)
    simulate(RICH, str(tmp_path / "both"), 1, QUIET)
    rich = files(tmp_path / "both")
    assert {"ideal/s_0001.ome.zarr", "tomograms/s_0001.mrc", "picks/s_0001__actin.star"} <= rich
    assert {"truth/s_0001/filaments.csv", "truth/s_0001/membrane_00001.ply"} <= rich
    assert listed(tmp_path / "both") == rich - {"truth/s_0001/sample.json"}
    (tmp_path / "both" / "picks" / "s_0001_mine.star").write_text("not a file of the sample")
    simulate(BARE, str(tmp_path / "both"), 1, QUIET)
    assert files(tmp_path / "both") == files(tmp_path / "plain") | {"picks/s_0001_mine.star"}


def test_what_is_kept_besides_stays_if_the_recipe_is_the_same(tmp_path: Path) -> None:
    simulate({**BARE, "keep": {"noise_free": True, "mrc": True}}, str(tmp_path), 1, QUIET)
    before = files(tmp_path)
    simulate({**BARE, "keep": {"distance": True}}, str(tmp_path), 1, QUIET)
    assert files(tmp_path) == before | {"distances/s_0001.ome.zarr"}
    assert listed(tmp_path) == files(tmp_path) - {"truth/s_0001/sample.json"}


def test_nothing_is_deleted_outside_of_a_samples_files(tmp_path: Path) -> None:
    places = [
        "mine/s_0001.mrc",
        "picks/s_0001__a.star",
        "picks/s_00011.star",
        "truth/s_0001/../x",
        "tilts/s_0001.rawtlt",
    ]
    for place in places:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    record = tmp_path / "truth" / "s_0001" / "sample.json"
    record.write_text(json.dumps({"files": places, "recipe": {"seed": 1}, "structures": {}, "volengine": "0"}))
    facts = {"name": "s_0001", "files": [], "recipe": {"seed": 2}, "structures": {}, "volengine": "0"}
    assert forget_former(str(tmp_path), str(record), facts) == []
    left = [place for place in places if (tmp_path / place).exists()]
    assert left == ["mine/s_0001.mrc", "picks/s_00011.star", "truth/s_0001/../x"]
    record.write_text("{torn")
    assert forget_former(str(tmp_path), str(record), {**facts, "files": ["a"]}) == ["a"]
