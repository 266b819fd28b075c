"""Status of a run of many volumes: what became of each, in bounded work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from calling import Command
from many_volumes import QUIET, RECIPE, finished_one, many

from volengine.core.errors import BusyError, InputError, MissingError
from volengine.engine.census import census, retry
from volengine.engine.driver_lock import only_driver
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_jobs
from volengine.engine.show import survey
from volengine.io.mrc.write import write_mrc
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.convert.verb import CONVERT


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_one(tmp_path_factory.mktemp("one"))


COUNTING = """
import sys
opened = []
def hook(event, args):
    if event in ("open", "os.scandir", "os.listdir") and str(args[0]).startswith(sys.argv[1]):
        opened.append(args[0])
from volengine.engine.census import census
from volengine.engine.show import survey
import json
sys.addaudithook(hook)
found = census(sys.argv[1], [f"v{n:04d}" for n in range(1000)], ["v0999"])
print(json.dumps({"opened": len(opened), "counts": found.counts(), "text": survey(found), "work_s": found.work_s}))
"""


def test_a_thousand_volumes_take_bounded_work(one: Path, tmp_path: Path) -> None:
    many(one, tmp_path / "run", finished=900, begun=20, failed=30)
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    # two for each finished volume; of the others one, the numbers of units, the identities, a listing and the
    # receipts, and of those that are begun all but the first once more for the time left; the sample of finished ones;
    # log, locks and the plans
    assert found["opened"] <= 2 * 900 + 50 * 5 + 20 * 4 + 8 * 2 + 10
    wanted = {"failed": 30, "running": 0, "stopped": 20, "changed": 0, "waiting": 49, "finished": 900, "skipped": 1}
    assert found["counts"] == wanted
    text = found["text"].splitlines()
    total = "1000 volumes: 30 failed, 20 stopped, 49 waiting, 900 finished, 1 skipped"
    assert text[0].startswith(f"{total}; what is left takes about ")
    assert text[1] == "failed: v0920: is bad"
    assert "... and 10 more that are failed (--json lists all)" in text
    assert "stopped: v0900, 4 of 8 units, convert 4/8" in text
    seconds = json.loads((one / "plans/a/finished.json").read_text())["seconds"]
    assert found["work_s"] == pytest.approx(seconds * (49 + 20 * 0.5), rel=0.25, abs=0.06)


def test_the_time_left_is_that_of_the_pace_since_the_run_began(one: Path, tmp_path: Path) -> None:
    """10 of 100 done in 50 s, 10 before that: 80 are left, and take 400 s."""
    many(one, tmp_path / "run", finished=20, begun=0, failed=0)
    now = time.time()
    (tmp_path / "run/log.jsonl").write_text(json.dumps({"time": now - 50, "event": "start", "jobs": []}) + "\n")
    for number in range(20):
        file = tmp_path / f"run/plans/v{number:04d}/finished.json"
        record = json.loads(file.read_text()) | {"time": now - (100 if number < 10 else 5)}
        file.write_text(json.dumps(record))
    names = [f"v{n:04d}" for n in range(100)]
    assert census(tmp_path / "run", names).left_s is None
    with only_driver(tmp_path / "run", None):
        assert census(tmp_path / "run", names).left_s == pytest.approx(400, rel=0.1)
        assert "; about 7 min left" in survey(census(tmp_path / "run", names))


def test_failures_are_those_of_the_last_try(tmp_path: Path) -> None:
    bad = {"a", "b"}

    def job(name: str) -> Job:
        def plan() -> Plan:
            if name in bad:
                raise InputError(f"{name}: is cut off")
            source = tmp_path / f"{name}.mrc"
            write_mrc(source, [np.ones((8, 8, 8), "float32")], (8, 8, 8), "float32", (10.0,) * 3)
            ((made,), _) = jobs_of(CONVERT, [str(source)], str(tmp_path / "out"), RECIPE, options)
            return made.plan()

        return Job(name, plan)

    options = RunOptions(progress=False, durable=False, run_dir=str(tmp_path / "run"))
    names = ["a", "b", "c", "d"]
    run_jobs([job(name) for name in ("a", "b", "c")], str(tmp_path / "run"), options)
    found = {one.name: (one.state, one.why) for one in census(tmp_path / "run", names).volumes}
    assert found == {
        "a": ("failed", "a: is cut off"), "b": ("failed", "b: is cut off"), "c": ("finished", ""), "d": ("waiting", "")
    }  # fmt: skip
    bad.remove("a")
    run_jobs([job(name) for name in ("a", "c")], str(tmp_path / "run"), options)
    assert [one.state for one in census(tmp_path / "run", names).volumes] == [
        "finished",
        "failed",
        "finished",
        "waiting",
    ]
    assert retry(tmp_path / "run", names) == ["b"]
    assert [one.state for one in census(tmp_path / "run", names).volumes] == [
        "finished",
        "waiting",
        "finished",
        "waiting",
    ]
    # a finished one whose source was damaged later has failed, and its results are still there
    bad.add("c")
    run_jobs([job("c")], str(tmp_path / "run"), options)
    assert [one.name for one in census(tmp_path / "run").of("failed")] == ["c"]
    with only_driver(tmp_path / "run", None), pytest.raises(BusyError):
        retry(tmp_path / "run", ["a"], afresh=True)


def test_a_record_that_is_not_of_the_plan_is_taken_away_before_the_plan_is_written(one: Path, tmp_path: Path) -> None:
    """A run that is killed while it writes the plan of a changed recipe leaves no record that says it is finished."""
    shutil.copytree(one.parent, tmp_path / "out", ignore=shutil.ignore_patterns("*.lock"))
    source, run = one.parent.parent / "a.mrc", tmp_path / "out" / one.name
    (run / "plans/a/units.json").unlink()
    (run / "plans/a/units.json").mkdir()  # it cannot be written, and is after the plan
    jobs, _ = jobs_of(CONVERT, [str(source)], str(tmp_path / "out"), RECIPE.with_(codec="none"), QUIET)
    assert run_jobs(jobs, str(run), QUIET).failures
    assert (run / "plans/a/plan.json").read_bytes() != (one / "plans/a/plan.json").read_bytes()
    assert not (run / "plans/a/finished.json").exists()


def test_damaged_files_of_a_run_folder_end_in_states(one: Path, tmp_path: Path) -> None:
    many(one, tmp_path / "run", finished=6, begun=0, failed=0)
    plans = tmp_path / "run/plans"
    (plans / "v0000/finished.json").write_text("{")
    (plans / "v0001/finished.json").write_text('{"fingerprint": "x", "units": "many", "seconds": null, "time": -1}')
    (plans / "v0002/finished.json").write_text("[]")
    (plans / "v0002/units.json").write_text('{"convert": 1e400, "x": null}')
    (plans / "v0003/finished.json").unlink()
    (plans / "v0003/units.json").write_text("3")
    (plans / "v0004/finished.json").write_text("null")
    (plans / "v0004/identities.json").write_text('{"convert": 3}')
    with (tmp_path / "run/log.jsonl").open("a") as file:
        file.write('{"time": 1, "event": "refused", "name": 3}\n{"time": 1, "event": "plan done"\n[1]\nplan\n')
        file.write('{"time": "x", "event": "plan done", "name": "v0005", "why": ["a"]}\n')
    found = census(tmp_path / "run", [f"v{n:04d}" for n in range(6)])
    states = ["stopped", "finished", "waiting", "waiting", "waiting", "finished"]
    assert [one.state for one in found.volumes] == states
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["total"] == 6


def test_the_command_looks_again_until_the_run_has_ended(one: Path, tmp_path: Path, volengine: Command) -> None:
    with pytest.raises(MissingError, match="no run folder"):
        census(tmp_path)
    many(one, tmp_path / "run", finished=15, begun=0, failed=1)
    code, said, _ = volengine("status", "run", "--watch", "0")
    assert code == 0
    assert said.startswith("16 volumes: 1 failed, 15 finished\nfailed: v0015: is bad\n")
    code, said, _ = volengine("status", "run", "--json")
    assert [one["state"] for one in json.loads(said)["volumes"]][:2] == ["failed", "finished"]
    code, said, _ = volengine("status", "run", "--details")
    assert said.count("finished") == 15
    assert volengine("status", "run", "--details", "--json")[0] == 2
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdin is not None
    assert driver.stdout.readline() == "locked\n"
    main = "from volengine.cli.main import main; main()"
    program = [sys.executable, "-c", main, "status", str(tmp_path / "run"), "--watch", "0.5"]
    watch = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    assert any(line.startswith("at work: ") for line in iter(watch.stdout.readline, ""))
    driver.communicate("\n")
    assert "at work" not in watch.communicate(timeout=60)[0].splitlines()[-1]
    assert watch.returncode == 0


DRIVER = """
import sys
from pathlib import Path
from volengine.engine.driver_lock import only_driver
with only_driver(Path(sys.argv[1]), None):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_what_has_changed_is_work_that_is_left(one: Path, tmp_path: Path) -> None:
    many(one, tmp_path / "run", finished=4, begun=0, failed=0)
    names = [f"v{n:04d}" for n in range(4)]
    record = json.loads((one / "plans/a/finished.json").read_text())
    found = census(tmp_path / "run", names, ["v0003"], lambda name, origin: "" if name == "v0001" else f"was {name}")
    assert [one.state for one in found.volumes] == ["changed", "finished", "changed", "skipped"]
    assert found.work_s == pytest.approx(2 * record["seconds"], abs=0.06)
    text = survey(found).splitlines()
    assert text[0].startswith("4 volumes: 2 changed, 1 finished, 1 skipped")
    assert text[1:] == ["changed since it was finished: was v0000", "changed since it was finished: was v0002"]
    assert [one["name"] for one in found.to_json()["volumes"]] == ["v0000", "v0002", "v0001", "v0003"]


def test_a_plan_folder_is_named_by_its_volume(one: Path) -> None:
    record = PlanFolder(one / "plans/a").read_json("finished.json")
    assert record["units"] == 8
    assert record["seconds"] > 0
