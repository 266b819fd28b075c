"""Locks on a shared disk: one holder, dead ones are replaced, sleeping ones find out. With real processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lock_count import count

from volengine.core.errors import InputError, TakenOverError
from volengine.engine import lock as locks
from volengine.engine.lock import Holder, Lock, critical, read, remove

HOLD = """
import sys, time
from pathlib import Path
from volengine.engine import lock as locks
locks.BEAT_S = 0.1
lock = locks.Lock(Path(sys.argv[1]))
assert lock.create()
print("held", flush=True)
time.sleep(600)
"""

COUNT = """
import sys
from pathlib import Path
from lock_count import count
count(Path(sys.argv[1]), 20)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds ``tmp_path / "lock"``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate()


def elsewhere(path: Path, **changes: object) -> None:
    """Write the lock of a process on another machine."""
    value = json.loads(Lock(path)._record())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**value, "host": "node7", "boot": "another start", **changes}))


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_lock_says_who_holds_it_and_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT_S", 0.02)
    lock = Lock(tmp_path / "sub" / "lock")
    assert read(lock.path) is None
    assert lock.create()
    first = read(lock.path)
    assert first is not None
    assert (first.nonce, first.pid) == (lock.nonce, os.getpid())
    assert first.local()
    assert not first.gone()
    assert not Lock(lock.path).create()
    deadline = time.monotonic() + 60
    while (now := read(lock.path)) is not None and now.counter < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(now.raw) == len(first.raw)
    assert lock.release()
    assert not lock.release()
    assert leftovers(lock.path.parent) == []


def test_a_killed_holder_is_gone_at_once_also_before_anybody_waits_for_it(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    found = read(tmp_path / "lock")
    assert found is not None
    assert found.pid == holder.pid
    assert not found.gone()
    holder.kill()
    deadline = time.monotonic() + 60
    while not found.gone():  # it is a zombie now, as nobody has waited for it
        assert time.monotonic() < deadline
    with critical(tmp_path / "lock") as mine:
        assert read(mine.path).nonce == mine.nonce
    assert leftovers(tmp_path) == []


def test_a_process_number_that_is_used_again_does_not_hold_the_lock(tmp_path: Path) -> None:
    value = json.loads(Lock(tmp_path / "lock")._record())
    assert not Holder.parse(json.dumps(value).encode()).gone()
    assert Holder.parse(json.dumps({**value, "started": "1"}).encode()).gone()


@pytest.mark.parametrize("change", [{"host": "node7"}, {"boot": "x"}, {"namespace": "pid:[1]"}], ids=str)
def test_a_process_that_cannot_be_seen_is_never_gone(tmp_path: Path, change: dict[str, str]) -> None:
    value = {**json.loads(Lock(tmp_path / "lock")._record()), "started": "1"}
    assert not Holder.parse(json.dumps({**value, **change}).encode()).gone()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"nonce": 1}', b"\xff" * 20])
def test_an_unreadable_lock_is_held_until_it_has_stood_still(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(raw)
    held = read(path)
    assert held is not None
    assert not held.gone()
    assert "cannot be read" in str(held)
    assert not Lock(path).create()
    began = time.monotonic()
    with critical(path, stale_s=0.3):
        assert time.monotonic() - began > 0.3


def test_a_lock_of_another_machine_that_stands_still_is_taken_over(tmp_path: Path) -> None:
    elsewhere(tmp_path / "lock")
    began = time.monotonic()
    with critical(tmp_path / "lock", stale_s=0.3):
        assert time.monotonic() - began > 0.3


def test_only_the_lock_that_was_seen_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    elsewhere(path, nonce="later")
    assert not remove(path, "earlier")
    assert read(path).nonce == "later"
    assert remove(path, "later")
    assert not remove(path, "later")
    assert leftovers(tmp_path) == []


def test_a_claim_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    elsewhere(path, nonce="old")
    value = json.loads(Lock(path)._record())
    (tmp_path / ".lock.old.claim").write_text(json.dumps({**value, "started": "1"}))
    assert remove(path, "old")
    assert leftovers(tmp_path) == []


def test_a_claim_of_another_machine_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "CLAIM_S", 0.3)
    path = tmp_path / "lock"
    elsewhere(path, nonce="old")
    elsewhere(tmp_path / ".lock.old.claim", nonce="claimant")
    began = time.monotonic()
    assert remove(path, "old")
    assert time.monotonic() - began > 0.3
    assert leftovers(tmp_path) == []


def test_many_that_find_a_dead_holder_take_over_one_after_the_other(tmp_path: Path) -> None:
    """Threads of this process and other processes, which begin at the lock of a dead one."""
    value = json.loads(Lock(tmp_path / "lock")._record())
    (tmp_path / "lock").write_text(json.dumps({**value, "started": "1", "nonce": "dead"}))
    (tmp_path / "count").write_text("0")
    others = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for _ in pool.map(count, [tmp_path] * 3, [20] * 3):
            pass
    for process in others:
        assert process.wait() == 0, process.stderr.read().decode()
    assert (tmp_path / "count").read_text() == "120"
    assert leftovers(tmp_path) == ["count"]


def test_a_holder_that_slept_finds_that_others_took_over_and_leaves_theirs_alone(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    assert lock.create()
    assert remove(lock.path, lock.nonce)
    other = Lock(lock.path)
    assert other.create()
    with pytest.raises(TakenOverError, match=f"now held by process {os.getpid()}"):
        lock.check(read_again=True)
    with pytest.raises(TakenOverError):
        lock.check()
    assert not lock.release()
    other.check(read_again=True)
    assert other.release()


def test_a_section_that_was_taken_over_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(TakenOverError, match="was removed"), critical(tmp_path / "lock"):
        (tmp_path / "lock").unlink()
    with pytest.raises(ZeroDivisionError), critical(tmp_path / "lock"):  # its own error goes first
        1 / 0
    assert leftovers(tmp_path) == []


def test_a_stopped_process_looks_before_it_goes_on(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is alive, so it is not gone; but its counter stands still, so a critical section is taken over from it."""
    holder.send_signal(signal.SIGSTOP)
    assert not read(tmp_path / "lock").gone()
    with critical(tmp_path / "lock", stale_s=0.5) as mine:
        holder.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        mine.check(read_again=True)
        assert read(tmp_path / "lock").nonce == mine.nonce


def test_a_file_system_without_links_has_locks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT and some network file systems; here ``link`` itself answers as theirs does."""

    def refuse(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    lock = Lock(tmp_path / "lock")
    assert lock.create()
    assert not Lock(tmp_path / "lock").create()
    lock.check(read_again=True)
    assert lock.release()
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match=r"cannot be written .*--run-dir"):
            Lock(tmp_path / "lock").create()
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .*--run-dir"):
        Lock(tmp_path / "file" / "lock").create()


def test_a_full_disk_is_said_to_be_full(tmp_path, monkeypatch):
    """Not that rights are missing, or that another folder is needed."""

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Lock, "_create", full)
    with pytest.raises(InputError, match=r"No space left on device.*Free space"):
        Lock(tmp_path / "driver.lock").create()
