"""Files of verbs without a run folder: their own are replaced and removed, those of others are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from volengine.core.errors import InputError
from volengine.tasks.common.own_files import OwnFiles


def written(folder: Path, *names: str, overwrite: bool = False, facts: int = 1) -> list[str]:
    own = OwnFiles(folder, "list.json", "a test", overwrite)
    own.begin(names)
    for name in names:
        own.write(name, [f"{name}\n", f"{facts}\n"])
    return own.finish({"facts": facts, "none": None, "part": 0.1})


def test_own_files_are_replaced_and_those_of_an_earlier_call_removed(tmp_path: Path) -> None:
    assert written(tmp_path, "a.csv", "in/b.csv") == []
    assert written(tmp_path, "a.csv", facts=2) == []
    assert (tmp_path / "a.csv").read_text() == "a.csv\n2\n"
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.csv", "list.json"]


@pytest.mark.parametrize("name", ["a.csv", "list.json"])
@pytest.mark.parametrize("before", [True, False])
def test_files_of_others_and_changed_ones_are_refused(tmp_path: Path, name: str, before: bool) -> None:
    if before:
        written(tmp_path, "a.csv")
        text = (tmp_path / name).read_text().replace('"facts": 1', '"facts": 7') + "\n"
    else:
        text = "mine"
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name} exists, and is not as a test has written it.*--overwrite"):
        written(tmp_path, "a.csv", "b.csv")
    assert (tmp_path / name).read_text() == text
    assert not (tmp_path / "b.csv").exists()
    written(tmp_path, "a.csv", overwrite=True)
    assert (tmp_path / "a.csv").read_text() == "a.csv\n1\n"
    written(tmp_path, "a.csv")


def test_a_changed_file_that_is_not_written_again_is_named_and_stays(tmp_path: Path) -> None:
    written(tmp_path, "a.csv", "b.csv")
    (tmp_path / "b.csv").write_text("mine")
    (said,) = written(tmp_path, "a.csv")
    assert said.endswith("b.csv: of an earlier call, changed since; left as it is.")
    assert (tmp_path / "b.csv").read_text() == "mine"
    with pytest.raises(InputError, match=r"b\.csv exists"):
        written(tmp_path, "a.csv", "b.csv")


@pytest.mark.parametrize("files", [0, 1, 2])
@pytest.mark.parametrize("again", [("a.csv", "b.csv"), ("a.csv",)])
def test_after_a_kill_the_files_are_written_again_without_a_word(
    tmp_path: Path, files: int, again: tuple[str, ...]
) -> None:
    written(tmp_path, "a.csv", "b.csv", "c.csv")
    own = OwnFiles(tmp_path, "list.json", "a test", False)
    own.begin(["a.csv", "b.csv"])
    for name in ("a.csv", "b.csv")[:files]:
        own.write(name, b"half")
    assert written(tmp_path, *again, facts=3) == []
    assert {path.name for path in tmp_path.iterdir()} == {*again, "list.json"}
    assert (tmp_path / "a.csv").read_text() == "a.csv\n3\n"
