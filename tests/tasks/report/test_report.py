"""The verb: what it writes again and what it leaves, what it refuses, and what is missing or damaged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from calling import Command
from html_pages import check_alone, seen
from report_runs import QUIET, Ran, make_run, tomogram

import volengine as ve
from volengine.core.errors import InputError, RunError
from volengine.engine.report import RunReport
from volengine.tasks.report.description import Row, page_name
from volengine.tasks.report.verb import Report
from volengine.tasks.run import RunRecipe, run


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The files of a report, and when they were written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and "report.run" not in path.parts
    }


def receipts_of(folder: Path) -> list[dict]:
    """The receipts of the units that have made pages."""
    ledgers = (folder / "report.run" / "plans" / "report" / "ledger").iterdir()
    return [json.loads(line) for path in ledgers for line in path.read_text().splitlines() if line.strip()]


@pytest.fixture
def copied(ran: Ran, tmp_path: Path) -> Ran:
    """The run, moved to where a test may change it."""
    shutil.copytree(ran.out.parent, tmp_path / "run")
    return Ran(tmp_path / "run" / "out", tmp_path / "run" / "recipe.yaml", ran.sources)


def test_only_what_has_changed_is_written_again(tmp_path: Path) -> None:
    done = make_run(tmp_path, "a", "b")
    first = files_of(done.pages)
    assert sorted(first) == [
        "index.html",
        "index.json",
        "pages/a.html",
        "pages/b.html",
        "thumbs/a.webp",
        "thumbs/b.webp",
    ]
    for _ in range(2):
        made = ve.report(str(done.out), options=QUIET).check()
        assert files_of(done.pages) == first
    assert made.index == done.pages / "index.html"
    recipe = yaml.safe_load(done.recipe.read_text())
    recipe["pick"][0]["threshold"] = 0.9
    run([done.sources[0]], str(done.out), RunRecipe.from_json(recipe), QUIET)
    second = files_of(done.pages)
    assert {name for name in first if first[name] != second[name]} >= {"pages/a.html", "index.html", "index.json"}
    assert first["pages/b.html"] == second["pages/b.html"]
    assert "threshold: 0.9" in seen(done.pages / "pages" / "a.html").words
    (done.pages / "pages" / "b.html").unlink()
    (done.pages / "thumbs" / "a.webp").unlink()
    ve.report(str(done.out / "run"), options=QUIET).check()
    assert {name: data for name, (data, _) in files_of(done.pages).items()} == {n: d for n, (d, _) in second.items()}
    receipts = len(receipts_of(done.pages))
    run([done.sources[0]], str(done.out), RunRecipe.from_json(recipe), QUIET)
    assert len(receipts_of(done.pages)) == receipts  # the run has changed nothing, so nothing is looked at


def test_a_damaged_page_is_made_again_and_a_foreign_file_is_left(copied: Ran) -> None:
    page = copied.pages / "pages" / "a.html"
    whole = page.read_bytes()
    page.write_bytes(whole.replace(b"picks of ball", b"picks of bull", 1))
    ve.report(str(copied.out), options=QUIET).check()
    again = page.read_bytes()
    assert b"picks of bull" not in again
    page.write_text("<html>mine</html>")
    with pytest.raises(RunError, match=r"a: .*a\.html: was not written by volengine report, and is not replaced"):
        ve.report(str(copied.out), options=QUIET).check()
    assert page.read_text() == "<html>mine</html>"
    page.write_bytes(again)
    (copied.pages / "index.html").write_text("mine")
    with pytest.raises(InputError, match=r"index\.html: was not written by"):
        ve.report(str(copied.out), options=QUIET)
    assert (copied.pages / "index.html").read_text() == "mine"


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_done(copied: Ran, volengine: Command) -> None:
    shutil.rmtree(copied.out / "gated" / "a__ball.ome.zarr")
    (copied.out / "picks" / "b__ball.star").write_text("data_\n\nloop_\n_rlnCoordinateX\nx\n")
    code, _, err = volengine("report", str(copied.out), "--no-progress")
    assert code == 1
    for text in ("2 of 2 tomograms something is missing", "a: ", "a__ball.ome.zarr", "b: ", "b__ball.star"):
        assert text in err
    index = seen(copied.pages / "index.html")
    assert index.words.index("b__ball.star") < index.words.index("Filter by name")
    page = seen(copied.pages / "pages" / "b.html")
    check_alone(page, copied.pages / "pages")
    assert "b__ball.star" in page.words
    assert page.of("image")
    assert page.of("path")


def test_failures_come_first_with_their_messages(tmp_path: Path) -> None:
    good = tomogram(tmp_path / "raw" / "good.mrc")
    done = make_run(tmp_path, "good", report=False)
    assert not done.pages.exists()
    bad = tmp_path / "raw" / "bad.mrc"
    bad.write_bytes(b"no")
    recipe = RunRecipe.from_json(yaml.safe_load(done.recipe.read_text()))
    report = run([str(good), str(bad)], str(done.out), recipe, QUIET, check=False)
    assert len(report.failures) == 1
    index = seen(done.pages / "index.html")
    message = "too short for an MRC file"
    assert message in index.words
    assert index.words.index(message) < index.words.index("Filter by name")
    rows = json.loads((done.pages / "index.json").read_text())["tomograms"]
    assert [(Path(row["name"]).name, row["state"]) for row in rows] == [("bad.mrc", "failed"), ("good", "done")]
    assert f"{rows[0]['name']}:" not in rows[0]["message"]  # said once
    assert message in (done.pages / "pages" / f"{page_name(str(bad))}.html").read_text()


def test_a_threshold_above_the_largest_probability_is_said_first(tmp_path: Path) -> None:
    done = make_run(tmp_path, "a", bright=0.6, threshold=0.999)
    shown = json.loads((done.pages / "index.json").read_text())["tomograms"][0]
    assert shown["picks"] == {"ball": 0}
    assert shown["warning"].startswith("No voxel of ball is above the threshold of 0.999: the largest probability is ")
    assert shown["problem"] == ""
    assert shown["warning"] in seen(done.pages / "index.html").words


def test_results_without_a_run_and_the_slices_that_are_asked_for(ran: Ran, tmp_path: Path, volengine: Command) -> None:
    given = [f"{ran.out}/tomograms/a.ome.zarr", f"{ran.out}/predictions/*.ome.zarr", f"{ran.out}/picks/a__ball.star"]
    code, _, err = volengine("report", *given, "--out", "pages", "--slice", "z=3,y=20", "--no-progress")
    assert code == 0, err
    page = seen(tmp_path / "pages" / "pages" / "a.html")
    check_alone(page, tmp_path / "pages" / "pages")
    captions = [one.text for one in page.of("figcaption")]
    assert captions[:2] == ["z = 3 of 24 (3 nm)", "y = 20 of 48 (20 nm)"]
    assert "Picks against threshold" in captions
    rows = json.loads((tmp_path / "pages" / "index.json").read_text())["tomograms"]
    assert [row["name"] for row in rows] == ["a", "b"]
    assert rows[0]["picks"] == json.loads((ran.pages / "index.json").read_text())["tomograms"][0]["picks"]
    assert not rows[1]["thumb"]  # of b there is no tomogram
    code, _, err = volengine("report", str(ran.out), "--out", "pages", "--no-progress")
    assert code == 2
    assert "is the report of something else" in err


def test_the_run_of_a_single_verb(ran: Ran, tmp_path: Path) -> None:
    store = str(ran.out / "predictions" / "a__ball.ome.zarr")
    found = ve.pick(store, tmp_path / "x.star", ve.PickRecipe(spacing_nm=8, labels=False), QUIET)
    made = ve.report(tmp_path / "x.star.run", options=QUIET).check()
    assert made.rows[0].picks == {"ball": len(found)}
    assert made.index == tmp_path / "x.star.run" / "report" / "index.html"


def test_a_manifest_chooses_tomograms_of_a_run(ran: Ran, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    new = tomogram(tmp_path / "c.mrc")
    manifest.write_text(f"source,state\n{ran.sources[0]},\n{ran.sources[1]},skip\n{new},\n")
    made = ve.report([str(manifest), str(ran.out)], tmp_path / "chosen", options=QUIET).check()
    assert [(row.name, sorted(row.picks)) for row in made.rows] == [("a", ["ball"]), ("c", [])]


def test_what_is_refused(ran: Ran, tmp_path: Path, volengine: Command) -> None:
    wanted = (
        ([str(tmp_path), "--out", "x"], "no volume in this folder"),
        (["none.mrc", "--out", "x"], "no such file"),
        ([ran.sources[0]], "--out FOLDER"),
        ([str(ran.out), ran.sources[0], "--out", "x"], "not both"),
        ([str(ran.out), "--slice", "q=1"], "'q=1' is not understood"),
        ([str(ran.out), "--pixels", "1000"], "64 to 512"),
        ([str(ran.out), "--part", "1/2"], "leave out --part"),
        ([str(ran.out), "--dry-run"], "no --dry-run"),
        ([str(ran.out), "--out", "s3://bucket/x"], "a folder of this machine"),
    )
    for words, message in wanted:
        code, _, err = volengine("report", *words, "--no-progress")
        assert code == 2, words
        assert message in err, (words, err)


def test_rows_go_through_text_and_damaged_ones_are_none() -> None:
    row = Row("a", "failed", "why", picks={"ball": 3}, shape=(1, 2, 3), voxel_size=(10.0, 10.0, 10.0))
    assert Row.from_text(row.to_text()) == row
    for text in ("", "[]", "{}", '{"name": 1}', row.to_text().replace('"ball": 3', '"ball": "<b>"')):
        assert Row.from_text(text) is None


@pytest.mark.slow
def test_pages_are_made_on_the_workers_of_the_run(tmp_path: Path) -> None:
    source = tomogram(tmp_path / "raw" / "a.mrc")
    done = make_run(tmp_path, "a", report=False)
    recipe = RunRecipe.from_json(yaml.safe_load(done.recipe.read_text()))
    run([str(source)], str(tmp_path / "again"), recipe, QUIET.with_(workers=1))
    receipts = receipts_of(tmp_path / "again" / "run" / "report")
    ours = {
        json.loads(line)["pid"]
        for p in (tmp_path / "again/run/plans/a/ledger").iterdir()
        for line in p.open()
        if line.strip()
    }
    assert {one["pid"] for one in receipts} <= ours
    assert os.getpid() not in ours


def test_a_notebook_shows_reports_failures_first(ran: Ran) -> None:
    made = ve.report(str(ran.out), options=QUIET)
    assert "index.html" in made._repr_html_()
    rows = (Row("good", picks={"ball": 1200}), Row("<b>", "failed", "<script>", problem="gone"))
    shown = Report(Path("x") / "index.html", rows)._repr_html_()
    assert "<b>" not in shown
    assert "<script>" not in shown
    assert shown.index("&lt;b&gt;") < shown.index("1,200 ball")
    plans = {"a": {"made": ["x.star: 3 picks"]}, "b": {"made": []}}
    data = {"plans": plans, "wall_seconds": 1.5, "command": "volengine <i>"}
    shown = RunReport(data, {"b": ValueError("<script>")})._repr_html_()
    assert shown.index("&lt;script&gt;") < shown.index("x.star: 3 picks")
    assert "volengine &lt;i&gt;" in shown
    assert RunReport({})._repr_html_()
