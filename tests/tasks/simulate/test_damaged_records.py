"""Records of samples (``sample.json``) that are damaged, or that a stranger has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from volengine.core.errors import FormatError
from volengine.tasks.simulate.record import forget_former, missing

FACTS: dict[str, Any] = {
    "name": "s_0001",
    "files": ["truth/s_0001/a.csv"],
    "recipe": {"keep": ["x"], "seed": 1},
    "structures": {},
    "volengine": "1",
}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "[" * 100_000, '{"files": 3}', '{"files": [[1]]}', '{"files": ["truth/s_0001/b.csv"]}', "{}"],
)
def test_a_damaged_record_deletes_nothing(tmp_path: Path, text: str) -> None:
    kept = tmp_path / "truth" / "s_0001" / "b.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("")
    record = tmp_path / "sample.json"
    record.write_text(text)
    assert forget_former(str(tmp_path), str(record), FACTS) == FACTS["files"]
    assert kept.exists()


def test_a_record_names_only_files_of_its_own_sample(tmp_path: Path) -> None:
    places = ["../other", "/etc/passwd", "truth/s_0002/a", "truth/s_0001/../../x", "truth/s_0001/old.csv"]
    record = tmp_path / "sample.json"
    record.write_text(json.dumps({**FACTS, "recipe": {"seed": 2}, "files": places}))
    for place in ("other", "truth/s_0002/a", "x", "truth/s_0001/old.csv"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("")
    forget_former(str(tmp_path), str(record), FACTS)
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["other", "sample.json", "truth/s_0002/a", "x"]


@pytest.mark.parametrize("text", ["[]", "{}", '{"placed": 3}', '{"placed": [3]}', '{"placed": [{"asked": 1}]}'])
def test_a_damaged_list_of_what_was_placed(tmp_path: Path, text: str) -> None:
    record = tmp_path / "truth" / "s_0001" / "sample.json"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    with pytest.raises(FormatError):
        missing(str(tmp_path), "s_0001")
