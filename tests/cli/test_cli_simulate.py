"""``volengine simulate`` as it is called."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from calling import Command

RECIPE = {
    "name": "cli",
    "specimen": {
        "shape": [12, 32, 32],
        "voxel_size": 16.0,
        "layers": [{"species": [{"structure": "globule-600", "name": "g", "count": {"integers": [2, 3]}}]}],
    },
    "tilts": {"min_deg": -40, "max_deg": 40, "step_deg": 20},
}


def test_samples_are_made_shown_and_not_made_twice(volengine: Command, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    dry = volengine("simulate", "r.yaml", "--out", "o", "--dry-run")
    assert dry[0] == 0, dry[2]
    assert "reconstruct-tomograms" in dry[1]
    assert not (tmp_path / "o" / "tomograms").exists()
    done = volengine("simulate", "r.yaml", "--out", "o", "-n", "2", "--seed", "3", "--no-progress")
    assert done[0] == 0, done[2]
    assert sorted(p.name for p in (tmp_path / "o" / "tomograms").iterdir()) == [
        "cli_0001.ome.zarr",
        "cli_0002.ome.zarr",
    ]
    again = volengine("simulate", "r.yaml", "--out", "o", "-n", "2", "--seed", "3", "--no-progress")
    assert "0 of 9 units run" in again[1]
    other = volengine("simulate", "r.yaml", "--out", "o", "-n", "2", "--seed", "4", "--no-progress")
    assert "0 were there already" in other[1]  # another recipe: made anew in its place
    info = volengine("info", "o/tomograms/cli_0001.ome.zarr")
    assert "atlas" in info[1]


def test_presets_are_listed_and_mistakes_are_named(volengine: Command, tmp_path: Path) -> None:
    listed = volengine("simulate", "--list")
    assert listed[0] == 0
    assert "cytoplasm" in listed[1]
    assert "ribosome_4v5d" in listed[1]
    for arguments, message in (
        (("nothing.yaml", "--out", "o"), "no such recipe file"),
        (("quick",), "--out"),
        (("quick", "--out", "o", "-n", "0"), "1 sample or more"),
    ):
        found = volengine("simulate", *arguments)
        assert found[0] == 2
        assert message in found[2]
        assert "Traceback" not in found[2]
    (tmp_path / "bad.yaml").write_text("name: a\nspecimen: {layers: [{species: [{structure: my.pdb}]}]}\n")
    found = volengine("simulate", "bad.yaml", "--out", "o")
    assert found[0] == 2
    assert "my.pdb" in found[2]
    assert not (tmp_path / "o").exists()


def test_what_finds_no_place_is_said(volengine: Command, tmp_path: Path) -> None:
    layers = [{"species": [{"structure": "globule-600", "count": 500}, {"structure": "globule-90", "count": 1}]}]
    crowded = {**RECIPE, "specimen": {**RECIPE["specimen"], "layers": layers}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(crowded))
    made = volengine("simulate", "r.yaml", "--out", "o", "--no-progress")
    assert made[0] == 0, made[2]
    line = next(line for line in made[1].splitlines() if "not all found a place" in line)
    assert re.fullmatch(r"cli_0001: not all found a place \(globule-600: [1-9]\d? of 500\)", line), line
    strict = volengine("simulate", "r.yaml", "--out", "strict", "--no-progress", "--strict")
    assert strict[0] == 2
    assert re.search(r"Not everything found a place \(globule-600: [1-9]\d? of 500\)", strict[2])
    assert not (tmp_path / "strict" / "truth").exists()
    large = {
        **RECIPE,
        "specimen": {**RECIPE["specimen"], "layers": [{"species": [{"structure": "globule-9000", "count": 2}]}]},
    }
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(large))
    nothing = volengine("simulate", "large.yaml", "--out", "large", "--no-progress")
    assert nothing[0] == 2
    assert "Nothing found a place (globule-9000: 0 of 2). The specimen is 192 x 512 x 512 A" in nothing[2]
