"""Curations: any operations against a plain model, several people, torn tails, tables written anew, what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import starfile
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import volengine
from volengine.cli.main import cli
from volengine.core.errors import ChangedError, FormatError, InputError, MissingError
from volengine.tasks.curate.operations import checked
from volengine.tasks.curate.store import Carried, Curation
from volengine.tasks.curate.verb import recorded

FACTS: dict[str, Any] = {"voxel_size": (10.0,) * 3, "shape": (24, 40, 48)}
POSITIONS = np.array([[12.0, 30.0, 40.0], [4.0, 8.0, 6.5], [20.0, 2.0, 3.0]])
WEIGHTS = [2.0, 5.0, 9.0]


def written(path: Path, positions: Any = POSITIONS, weight: Any = WEIGHTS, **more: Any) -> Path:
    """A table of two tomograms, or of one."""
    picks = volengine.Picks(positions, weight=weight, tomogram="TS_01", feature="ribosome", **{**FACTS, **more})
    other = picks.with_(tomogram="TS_02", position_vox=np.asarray(positions) + 0.5)
    volengine.write_picks(path, [picks, other] if path.name.startswith("both") else picks)
    return path


@pytest.fixture
def curation(tmp_path: Path) -> Any:
    made = volengine.new_curation(written(tmp_path / "both.star"), tmp_path / "both.curation", user="ada")
    yield made
    made.close()


# -- operations against a plain model --------------------------------------------------------------------------

NUMBERS = st.integers(0, 9)
OPERATION = st.one_of(
    st.builds(lambda op, ids: {"op": op, "ids": ids}, st.sampled_from(["accept", "reject", "undecide", "delete"]),
              st.lists(NUMBERS, min_size=1, max_size=3)),
    st.builds(lambda op, n, tag: {"op": op, "ids": [n], "tag": tag}, st.sampled_from(["tag", "untag"]), NUMBERS,
              st.sampled_from("ab")),
    st.builds(lambda n, x: {"op": "move", "id": n, "position": [1, 2, x]}, NUMBERS, st.integers(0, 20)),
    st.builds(lambda x: {"op": "add", "tomogram": "TS_02", "position": [3, 3, x]}, st.integers(0, 20)),
    st.sampled_from([{"op": "undo"}, {"op": "redo"}]),
)  # fmt: skip


class Model:
    """What is said of each pick, from the whole list of edits, with dictionaries alone."""

    def __init__(self) -> None:
        self.edits: list[tuple[int, str, dict[str, Any]]] = []
        self.undone: set[int] = set()
        self.stack: dict[str, list[int]] = {"ada": [], "bob": []}
        self.version = 0

    def picks(self) -> dict[int, dict[str, Any]]:
        counting = [(v, asked) for v, _, asked in self.edits if v not in self.undone]
        start = np.concatenate([POSITIONS, POSITIONS + 0.5]).tolist()
        found = {n: {"at": p, "said": 0, "tags": set(), "gone": False} for n, p in enumerate(start)}
        for version, asked in counting:
            if asked["op"] == "add":
                found[6 + version] = {"at": asked["position"], "said": 0, "tags": set(), "gone": False}
        for _, asked in counting:
            for n in asked.get("ids", [asked["id"]] if "id" in asked else []):
                if n not in found:
                    continue
                one, op = found[n], asked["op"]
                if op == "move":
                    one["at"] = asked["position"]
                elif op == "delete":
                    one["gone"] = True
                elif op in ("tag", "untag"):
                    (one["tags"].add if op == "tag" else one["tags"].discard)(asked["tag"])
                else:
                    one["said"] = {"accept": 1, "reject": -1, "undecide": 0}[op]
        return found

    def do(self, asked: dict[str, Any], user: str) -> bool:
        """Whether it can be done."""
        mine = [v for v, who, _ in self.edits if who == user and v not in self.undone]
        if asked["op"] == "undo":
            if not mine:
                return False
            self.undone.add(mine[-1])
            self.stack[user].append(mine[-1])
        elif asked["op"] == "redo":
            if not self.stack[user]:
                return False
            self.undone.discard(self.stack[user].pop())
        else:
            picks = self.picks()
            ids = asked.get("ids", [asked["id"]] if "id" in asked else [])
            if any(n not in picks or picks[n]["gone"] for n in ids):
                return False
            self.edits.append((self.version + 1, user, asked))
            self.stack[user] = []
        self.version += 1
        return True


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(OPERATION, st.sampled_from(["ada", "bob"])), max_size=14))
def test_any_operations_are_those_of_a_plain_model(tmp_path_factory: Any, operations: Any) -> None:
    folder = tmp_path_factory.mktemp("one")
    model = Model()
    made = volengine.new_curation(written(folder / "both.star"), folder / "both.curation")
    with made as first, Curation(folder / "both.curation") as second:
        for number, (asked, user) in enumerate(operations):
            store = (first, second)[number % 2]  # two processes would do it so
            try:
                store.do(asked, user)
                done = True
            except InputError:
                done = False
            assert done == model.do(asked, user), asked
        for store in (first, second, Curation(folder / "both.curation")):
            rows = store.rows()
            expected = {n: one for n, one in model.picks().items() if not one["gone"]}
            assert sorted(rows.ids.tolist()) == sorted(expected)
            for row, number in enumerate(rows.ids.tolist()):
                one = expected[number]
                assert rows.position_vox[row].tolist() == one["at"]
                assert rows.decision[row] == one["said"]
                assert rows.own()["tags"][row] == "+".join(sorted(one["tags"]))
        assert first.version == model.version


def test_conditions_choose_by_columns_tags_and_decisions(curation: Curation) -> None:
    curation.do({"op": "reject", "where": "weight < 4"})
    curation.do({"op": "tag", "where": "weight > 6", "tag": "good"})
    curation.do({"op": "accept", "where": "'good' in tags and tomogram == 'TS_02'"})
    assert curation.counts() == {"accepted": 1, "rejected": 2, "undecided": 3, "deleted": 0}
    assert curation.tags() == {"good": 2}
    for wrong in ({"op": "reject", "where": "weight > 100"}, {"op": "reject", "where": "wieght > 1"}):
        with pytest.raises(InputError):
            curation.do(wrong)
    assert curation.version == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "reject"},
        {"op": "reject", "ids": [1], "where": "weight < 1"},
        {"op": "accept", "ids": []},
        {"op": "tag", "ids": [1], "tag": "a+b"},
        {"op": "tag", "ids": [1], "tag": "<img src=x>"},
        {"op": "move", "id": 1, "position": [1, 2]},
        {"op": "shell", "ids": [1]},
    ],
)
def test_operations_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError):
        checked(wrong)


def test_an_error_tells_how_many_operations_are_done_before_it(curation: Curation) -> None:
    operations = [{"op": "reject", "ids": [0]}, {"op": "undo"}, {"op": "accept", "ids": [10**6]}]
    with pytest.raises(InputError, match=r"there is no pick 1000000\. \(2 operations before it: done.*version 2\.\)"):
        volengine.curate(curation.path, operations, "ada")
    assert curation.version == 2
    with pytest.raises(InputError, match=r"there is no pick 1000000\.$"):
        volengine.curate(curation.path, operations[2:], "ada")


def test_places_outside_and_unknown_tomograms_are_refused(curation: Curation) -> None:
    for wrong in (
        {"op": "add", "position": [1, 1, 1]},
        {"op": "add", "tomogram": "TS_03", "position": [1, 1, 1]},
        {"op": "add", "tomogram": "TS_01", "position": [24, 1, 1]},
        {"op": "move", "id": 0, "position": [1, -1, 1]},
        {"op": "undo", "version": 7},
    ):
        with pytest.raises(InputError):
            curation.do(wrong)
    assert curation.version == 0


# -- what is lost in accidents ---------------------------------------------------------------------------------


def test_a_torn_tail_loses_the_torn_edit_alone(curation: Curation) -> None:
    curation.do({"op": "accept", "ids": [0]})
    whole = curation.path.read_bytes()
    curation.do({"op": "reject", "ids": [1]})
    longer = curation.path.read_bytes()
    for cut in (len(whole) + 1, (len(whole) + len(longer)) // 2, len(longer) - 1):
        curation.path.write_bytes(longer[:cut])
        with Curation(curation.path) as again:
            assert (again.version, again.counts()["accepted"], again.counts()["rejected"]) == (1, 1, 0)
            assert again.do({"op": "reject", "ids": [2]}).version == 2
        with Curation(curation.path) as again:
            assert again.rows().decision.tolist() == [1, 0, -1, 0, 0, 0]
    curation.path.write_bytes(b"x" + longer[1:])
    with pytest.raises(FormatError):
        Curation(curation.path)
    with pytest.raises(MissingError):
        Curation(curation.path.with_name("gone.curation"))


# -- another table ---------------------------------------------------------------------------------------------


def test_a_table_in_another_order_is_refused_until_it_is_carried_over_by_places(curation: Curation) -> None:
    table = Path(curation.table)
    for asked in (
        {"op": "accept", "ids": [1]},
        {"op": "reject", "ids": [2]},
        {"op": "tag", "ids": [0], "tag": "end"},
        {"op": "move", "id": 0, "position": [12, 31, 40]},
        {"op": "add", "tomogram": "TS_01", "position": [9, 9, 9]},
        {"op": "delete", "ids": [3]},
    ):
        curation.do(asked, "ada")
    written(table, [*(POSITIONS[[1, 0]] + [0.1, 0, 0]), [15.0, 15.0, 15.0]])  # the third is gone, another has come
    accept = {"op": "accept", "ids": [0]}
    for what in (curation.rows, lambda: curation.do(accept), lambda: Curation(curation.path).rows()):
        with pytest.raises(ChangedError, match="written anew"):
            what()
    assert curation.version == 6
    made = curation.carry(within_nm=0.2, user="bob")
    assert (made.picks, made.found, made.lost) == (4, 3, 1)  # accepted, moved and deleted found; the rejected one lost
    rows = curation.rows()
    assert rows.position_vox[rows.tomogram == 0].tolist()[:3] == [[4.1, 8, 6.5], [12, 31, 40], [15, 15, 15]]
    assert [9, 9, 9] in rows.position_vox.tolist()
    assert rows.decision.tolist() == [1, 0, 0, 0, 0, 0]
    assert rows.own()["tags"].tolist() == ["", "end", "", "", "", ""]
    with pytest.raises(InputError):
        curation.do({"op": "undo"}, "ada")  # what was before is one
    curation.do({"op": "add", "tomogram": "TS_02", "position": [1, 1, 1]}, "ada")
    assert len(set(curation.rows().ids.tolist())) == 7
    assert Path(made.before).exists()
    with pytest.raises(InputError, match="same picks"):
        curation.carry(2)


def test_what_lies_farther_than_the_distance_is_not_carried_over(curation: Curation) -> None:
    curation.do({"op": "accept", "ids": [0, 1, 2]})
    written(Path(curation.table), np.add(POSITIONS, (0, 0, 3.0)))
    assert isinstance(made := curation.carry(2.9), Carried)
    assert (made.found, made.lost) == (0, 3)
    assert curation.counts()["accepted"] == 0


@pytest.mark.parametrize("named", [("TS_01_Vol", "TS_01_10.00Apx"), ("TS_01", "TS_01_Vol")])
def test_names_that_may_mean_two_tomograms_are_refused(tmp_path: Path, named: tuple[str, str]) -> None:
    table = tmp_path / "both.star"
    then, now = (("TS_01", "TS_02"), named) if "TS_01" not in named else (named, ("TS_01_10.00Apx", "TS_02"))

    def write(names: tuple[str, str], shift: float) -> None:
        one = volengine.Picks(POSITIONS + shift, feature="ribosome", **FACTS)
        volengine.write_picks(table, [one.with_(tomogram=name) for name in names])

    write(then, 0)
    with volengine.new_curation(table, tmp_path / "both.curation") as curation:
        curation.do({"op": "accept", "ids": [1]})
        write(now, 0.1)
        with pytest.raises(InputError, match=r"may be any of|would both be"):
            curation.carry(1)
        assert curation.version == 1


def test_a_table_of_other_voxels_gets_the_same_places(tmp_path: Path) -> None:
    with volengine.new_curation(written(tmp_path / "one.star"), tmp_path / "one.curation") as curation:
        curation.do({"op": "reject", "ids": [1]})
        curation.do({"op": "add", "position": [6, 7, 8]})
        binned = (POSITIONS + 0.5) / 2 - 0.5  # both grids begin at the same face
        written(tmp_path / "one.star", binned, voxel_size=(20.0,) * 3, shape=(12, 20, 24))
        with pytest.raises(InputError, match="--mask-grid"):  # it would be wrong, if it were the other way
            curation.carry(0.5)
        assert curation.carry(0.5, mask_grid="faces").found == 1
        rows = curation.rows()
        assert rows.decision.tolist() == [0, -1, 0, 0]
        assert rows.position_vox[3] == pytest.approx([2.75, 3.25, 3.75])


def test_a_project_that_was_moved_takes_its_tables_along(tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "picks").mkdir(parents=True)
    table = written(old / "picks" / "one.star")
    volengine.new_curation(table, old / "curated" / "one.star.curation").close()
    old.rename(tmp_path / "new")
    with Curation(tmp_path / "new" / "curated" / "one.star.curation") as curation:
        assert len(curation.rows()) == 3


# -- what is written -------------------------------------------------------------------------------------------


def test_what_is_left_is_written_and_read_by_another_reader(curation: Curation, tmp_path: Path) -> None:
    curation.do({"op": "reject", "ids": [0]})
    curation.do({"op": "accept", "ids": [1, 4]})
    curation.do({"op": "move", "id": 1, "position": [5, 9, 7.25]})
    curation.do({"op": "tag", "ids": [4], "tag": "good"})
    curation.do({"op": "add", "tomogram": "TS_02", "position": [1, 2, 3]})
    curation.do({"op": "delete", "ids": [5]})
    before = Path(curation.table).read_bytes()
    made = volengine.write_curated(curation.path, tmp_path / "left.star")
    assert made.counts == {"TS_01": 2, "TS_02": 3}
    table = starfile.read(tmp_path / "left.star")["particles"]
    found = table[["rlnTomoName", "rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX"]].to_numpy().tolist()
    expected = [[5, 9, 7.25], [20, 2, 3]], [[12.5, 30.5, 40.5], [4.5, 8.5, 7], [1, 2, 3]]
    assert found == [[name, *at] for name, some in zip(("TS_01", "TS_02"), expected, strict=True) for at in some]
    assert [w for w in table["rlnAutopickFigureOfMerit"] if w == w] == [5, 9, 2, 5]
    assert Path(curation.table).read_bytes() == before
    kept = volengine.write_curated(curation.path, tmp_path / "accepted.csv", {"keep": "accepted"})
    assert kept.counts == {"TS_01": 1, "TS_02": 1}
    volengine.write_curated(curation.path, tmp_path / "all.csv", {"keep": "all"})
    every = volengine.read_picks(tmp_path / "all.csv", tomogram="TS_01")
    assert every.extra["accepted"].tolist() == [-1, 1, 0]
    assert every.extra["moved"].tolist() == [False, True, False]
    for wrong in (curation.table, tmp_path / "left.star"):
        with pytest.raises(InputError):
            volengine.write_curated(curation.path, wrong)
    with pytest.raises(InputError, match="is the table"):
        volengine.write_curated(curation.path, curation.table, {"overwrite": True})


def test_added_picks_have_no_angles_unless_it_is_said(tmp_path: Path) -> None:
    euler = np.tile([10.0, 20.0, 30.0], (3, 1))
    with volengine.new_curation(written(tmp_path / "one.star", euler=euler), tmp_path / "one.curation") as curation:
        curation.do({"op": "add", "position": [1, 2, 3]})
        with pytest.raises(InputError, match="poses"):
            volengine.write_curated(curation.path, tmp_path / "out.star")
        volengine.write_curated(curation.path, tmp_path / "out.star", {"poses": "zero"})
        angles = volengine.read_picks(tmp_path / "out.star").euler
        assert angles is not None
        assert angles.tolist() == [[10, 20, 30]] * 3 + [[0, 0, 0]]
        volengine.write_curated(curation.path, tmp_path / "none.star", {"poses": "drop"})
        assert volengine.read_picks(tmp_path / "none.star").euler is None
        curation.do({"op": "reject", "ids": curation.rows().ids.tolist()})
        with pytest.raises(InputError, match="No pick is left"):
            volengine.write_curated(curation.path, tmp_path / "nothing.star")


def test_commands_do_the_same_and_a_log_does_it_again(tmp_path: Path) -> None:
    table, first, second = written(tmp_path / "one.star"), tmp_path / "a.curation", tmp_path / "b.curation"
    lines = '{"op": "reject", "where": "weight < 4"}\n\n{"op": "add", "position": [1, 2, 3]}\n{"op": "undo"}\n'
    (tmp_path / "edits.jsonl").write_text(lines + '{"op": "accept", "ids": [2]}\n')
    run = CliRunner()

    def called(*arguments: Any, code: int = 0, text: str | None = None) -> str:
        done = run.invoke(cli, ["curate", *map(str, arguments)], input=text)
        assert done.exit_code == code, done.output
        return done.output

    for one in (first, second):
        called("new", table, "--out", one)
    called("do", first, tmp_path / "edits.jsonl", "--user", "ada")
    log = called("status", first, "--log")
    assert [json.loads(line)["op"] for line in log.splitlines()] == ["reject", "add", "undo", "accept"]
    called("do", second, "--user", "ada", text=log)
    assert recorded(second) == recorded(first)
    assert called("status", first, "--list") == called("status", second, "--list")
    assert json.loads(called("status", second, "--json"))["rejected"] == 1
    called("write", second, "--out", tmp_path / "out.tbl", "--keep", "accepted")
    assert volengine.read_picks(tmp_path / "out.tbl", shape=(24, 40, 48)).position_vox.tolist() == [[20, 2, 3]]
    wrong = run.invoke(cli, ["curate", "do", str(first)], input='{"op": "accept", "ids": [0]}\n{"op": "accept"}\n')
    assert isinstance(wrong.exception, InputError)
    assert "line 2" in str(wrong.exception)
