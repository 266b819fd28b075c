"""Jobs of a project, with real processes: they outlive who has started them, and their states are right."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from volengine.core.errors import InputError, MissingError
from volengine.core.process import process
from volengine.engine.driver_lock import only_driver
from volengine.engine.lock import Lock
from volengine.web.workbench.job_runner import ENDED, run_job
from volengine.web.workbench.jobs import FORMAT, Job, Jobs

PATIENCE_S = 60.0


def until(look: Callable[[], Job], wanted: Callable[[Job], bool]) -> Job:
    """Look until a job is as wanted."""
    end = time.monotonic() + PATIENCE_S
    while not wanted(job := look()):
        assert time.monotonic() < end, (job, job.log_tail())
        time.sleep(0.05)
    return job


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Arguments of a command that lasts until it is stopped: it watches a run, which this process seems to drive."""
    folder = tmp_path_factory.mktemp("watched") / "run"
    folder.mkdir()
    with only_driver(folder, None):
        yield ["status", str(folder), "--watch", "0.5"]


def at_work(jobs: Jobs, number: int) -> Job:
    """A job whose command has printed something."""
    return until(lambda: jobs.job(number), lambda job: job.state == "running" and "running" in job.log_tail())


def prepared(jobs: Path, arguments: list[str]) -> Path:
    folder = jobs / "0001-run"
    folder.mkdir(parents=True)
    about = {"format": FORMAT, "number": 1, "title": "", "created": 1.0, "facts": {}}
    (folder / "job.json").write_text(json.dumps({**about, "arguments": arguments, "cwd": str(jobs)}))
    return folder


def pid_of(job: Job, name: str = "begun.json") -> int:
    pid: int = json.loads((job.folder / name).read_text())["pid"]
    return pid


def gone(pid: int) -> bool:
    found = process(pid)
    return found is None or found[0] in "ZX"


def test_a_job_is_done_or_failed_and_every_server_sees_it(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    good = jobs.start("look", "what\nthere <is>", ["--version", "{job}/about.json"], {"about.json": "{}"}, {"of": [1]})
    bad = jobs.start("run", "nothing", ["status", "not there"])
    assert (good.number, bad.number, good.folder.name) == (1, 2, "0001-look")
    other = Jobs(tmp_path / "jobs")
    failed = until(lambda: other.job(2), lambda job: not job.going)
    assert (failed.state, failed.command) == ("failed", "volengine status 'not there'")
    assert failed.shell == f"{shlex.join(['cd', failed.cwd])}\n{failed.command}"
    assert "no such run folder" in failed.log_tail()
    done = until(lambda: other.job(1), lambda job: not job.going)
    assert str(done.folder / "about.json") in done.command
    assert (done.title, done.facts) == ("what there <is>", {"of": [1]})
    assert 0 < (done.created or 0) <= (done.started or 0) <= (done.ended or 0)
    assert (done.state, done.code) == ("done", 0)
    assert "volengine" in done.log_tail(1)
    assert [job.number for job in other.every()] == [2, 1]
    with pytest.raises(InputError, match="ended already"):
        other.stop(2)
    with pytest.raises(MissingError):
        other.job(3)


def test_stopped_in_order_by_another_server_and_killed_by_a_second_stop(tmp_path: Path, endless: list[str]) -> None:
    jobs = Jobs(tmp_path / "jobs")
    jobs.start("run", "one", endless)
    at_work(jobs, 1)
    other = Jobs(tmp_path / "jobs")
    assert other.stop(1).state in ("stopping", "stopped")
    stopped = until(lambda: other.job(1), lambda job: not job.going)
    assert (stopped.state, stopped.code) == ("stopped", 130)
    assert "Stopped." in stopped.log_tail()
    jobs.start("run", "two", endless)
    pid = pid_of(at_work(jobs, 2))
    os.kill(pid, signal.SIGSTOP)  # it cannot obey
    assert other.stop(2).state == "stopping"
    time.sleep(0.5)
    assert other.job(2).state == "stopping"
    other.stop(2)
    killed = until(lambda: jobs.job(2), lambda job: not job.going)
    assert (killed.state, killed.code) == ("killed", -signal.SIGKILL)


def test_a_job_outlives_its_server_and_is_killed_where_its_processes_are(tmp_path: Path, endless: list[str]) -> None:
    program = (
        "import sys; from pathlib import Path; from volengine.web.workbench.jobs import Jobs;"
        "Jobs(Path(sys.argv[1])).start('run', 'of a server', sys.argv[2:])"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "jobs"), *endless], check=True, timeout=PATIENCE_S)
    jobs = Jobs(tmp_path / "jobs")
    job = at_work(jobs, 1)
    os.kill(pid_of(job, "running.lock"), signal.SIGKILL)
    assert until(lambda: jobs.job(1), lambda job: "watched over" in job.why).state == "running"  # the command is left
    assert jobs.stop(1).state in ("stopping", "killed")
    ended = until(lambda: jobs.job(1), lambda job: not job.going)
    assert ended.state == "killed"
    end, pid = time.monotonic() + PATIENCE_S, pid_of(job)
    while not gone(pid):  # a killed process may still be on its way out
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "Stopped." in ended.log_tail()


def test_a_process_of_somebody_else_is_never_signalled(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    try:
        folder = prepared(jobs.folder, [])
        lock = Lock(folder / "running.lock")
        assert lock.create(beats=False)
        holder = json.loads(lock.path.read_text())
        lock.path.write_text(json.dumps({**holder, "pid": dead.pid}))
        found = process(victim.pid)
        assert found is not None
        (folder / "begun.json").write_text(json.dumps({"pid": victim.pid, "started": found[1], "time": 1.0}))
        assert jobs.job(1).state == "killed"
        with pytest.raises(InputError, match="ended already"):
            jobs.stop(1)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_damaged_folders_are_said_and_links_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "job.json").write_text("{}")
    for name in ("0001-run", "0002-train", "notes"):
        (folder / name).mkdir(parents=True)
    (folder / "0002-train" / "job.json").write_text("[" * 9)
    (folder / "0003-run").symlink_to(secret)
    jobs = Jobs(folder)
    assert [(job.number, job.state) for job in jobs.every()] == [(2, "failed"), (1, "failed")]
    assert all("damaged" in job.title and "job.json" in job.why for job in jobs.every())
    (folder / "0001-run" / "log.txt").symlink_to(secret / "job.json")
    with pytest.raises(OSError, match="symbolic links"):
        jobs.job(1).log_tail()
    (tmp_path / "led").symlink_to(folder)
    with pytest.raises(InputError, match="link"):
        Jobs(tmp_path / "led").every()
    with pytest.raises(InputError, match="kind"):
        jobs.start("../x", "", [])
    with pytest.raises(InputError, match="name of a file"):
        jobs.start("run", "", [], {"../x": ""})
    with pytest.raises(InputError, match="name of a file"):
        jobs.start("run", "", [], {"ended.json": ""})


def test_the_runner_begins_nothing_that_was_stopped_and_nothing_twice(tmp_path: Path, endless: list[str]) -> None:
    folder = prepared(tmp_path, endless)
    (folder / "running.lock").write_text("{}")
    assert run_job(folder) == 1
    assert not (folder / ENDED).exists()
    (folder / "running.lock").unlink()
    (folder / "stop").touch()
    assert run_job(folder) == 130
    assert json.loads((folder / ENDED).read_text())["code"] == 130
    assert not (folder / "running.lock").exists()


def test_a_command_that_cannot_be_started_has_failed(tmp_path: Path) -> None:
    folder = prepared(tmp_path, ["env"])
    (folder / "job.json").write_text(json.dumps({"arguments": [], "cwd": str(tmp_path / "gone")}))
    assert run_job(folder) == 127
    assert "gone" in json.loads((folder / ENDED).read_text())["why"]


def test_numbers_are_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", _refused)  # the folders alone
    made: list[BaseException] = []

    def start(kind: str) -> None:
        for _ in range(5):
            try:
                Jobs(tmp_path / "jobs").start(kind, "", [])
            except OSError as error:
                made.append(error)

    threads = [threading.Thread(target=start, args=(kind,)) for kind in ("run", "train")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Jobs(tmp_path / "jobs").every()
    assert [job.number for job in found] == list(range(10, 0, -1))
    assert {(job.state, job.code) for job in found} == {("failed", 127)}
    assert len(made) == 10


def _refused(*_: object, **__: object) -> None:
    raise OSError(11, "Resource temporarily unavailable")
