"""``volengine simulate`` as it is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml


def volengine(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "volengine.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


RECIPE = {
    "name": "cli",
    "specimen": {
        "shape": [12, 32, 32],
        "voxel_size": 16.0,
        "layers": [{"species": [{"structure": "globule-600", "name": "g", "count": {"integers": [2, 3]}}]}],
    },
    "tilts": {"min_deg": -40, "max_deg": 40, "step_deg": 20},
}


def test_samples_are_made_shown_and_not_made_twice(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    dry = volengine("simulate", "r.yaml", "--out", "o", "--dry-run", folder=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "reconstruct-tomograms" in dry.stdout
    assert not (tmp_path / "o" / "tomograms").exists()
    done = volengine("simulate", "r.yaml", "--out", "o", "-n", "2", "--seed", "3", "--no-progress", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "o" / "tomograms").iterdir()) == [
        "cli_0001.ome.zarr",
        "cli_0002.ome.zarr",
    ]
    again = volengine("simulate", "r.yaml", "--out", "o", "-n", "2", "--seed", "3", "--no-progress", folder=tmp_path)
    assert "0 of 9 units run" in again.stdout
    other = volengine("simulate", "r.yaml", "--out", "o", "-n", "2", "--seed", "4", "--no-progress", folder=tmp_path)
    assert "0 were there already" in other.stdout  # another recipe: made anew in its place
    info = volengine("info", "o/tomograms/cli_0001.ome.zarr", folder=tmp_path)
    assert "atlas" in info.stdout


def test_presets_are_listed_and_mistakes_are_named(tmp_path: Path) -> None:
    listed = volengine("simulate", "--list", folder=tmp_path)
    assert listed.returncode == 0
    assert "cytoplasm" in listed.stdout
    assert "ribosome_4v5d" in listed.stdout
    for arguments, message in (
        (("nothing.yaml", "--out", "o"), "no such recipe file"),
        (("quick",), "--out"),
        (("quick", "--out", "o", "-n", "0"), "1 sample or more"),
    ):
        found = volengine("simulate", *arguments, folder=tmp_path)
        assert found.returncode == 2
        assert message in found.stderr
        assert "Traceback" not in found.stderr
    (tmp_path / "bad.yaml").write_text("name: a\nspecimen: {layers: [{species: [{structure: my.pdb}]}]}\n")
    found = volengine("simulate", "bad.yaml", "--out", "o", folder=tmp_path)
    assert found.returncode == 2
    assert "my.pdb" in found.stderr
    assert not (tmp_path / "o").exists()
