"""An existing scheduler: who may hear and answer. With certificates made as the page says, and real Dask processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from calling import Command

from volengine.core.errors import InputError, MissingError
from volengine.engine.options import RunOptions
from volengine.engine.scheduler import address_of, connect, is_loopback, security_of, wait_for_file
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_volume

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("address", "alone"),
    [
        ("tcp://127.0.0.1:8786", True),
        ("127.0.0.1:8786", True),
        ("tcp://127.5.5.5:1", True),
        ("tcp://localhost:8786", True),
        ("tcp://[::1]:8786", True),
        ("TCP://127.0.0.1:1", True),
        ("inproc://10.0.0.1/1/1", True),
        ("tcp://10.1.2.3:8786", False),
        ("tcp://[fe80::1%lo]:8786", False),
        ("tcp://0.0.0.0:8786", False),
        ("tcp://[::]:8786", False),
        ("tcp://[2001:db8::1]:8786", False),
        ("tcp://[::ffff:10.1.2.3]:1", False),
        ("tcp://no-such-host.invalid:8786", False),
        ("tcp://127.0.0.1.evil.invalid:8786", False),
        ("tcp://:8786", False),
        ("ws://10.1.2.3:1", False),
        ("", False),
    ],
)
def test_what_is_this_machine_alone(address: str, alone: bool) -> None:
    assert is_loopback(address) == alone


@pytest.mark.parametrize("address", ["tcp://10.1.2.3:8786", "10.1.2.3:8786", "ws://10.1.2.3:8786", "ucx://10.1.2.3:1"])
@pytest.mark.parametrize("as_file", [False, True])
def test_an_open_scheduler_of_another_machine_is_refused(tmp_path: Path, address: str, as_file: bool) -> None:
    named = address
    if as_file:
        named = str(tmp_path / "s.json")
        Path(named).write_text(json.dumps({"type": "Scheduler", "address": address}))
    options = RunOptions(scheduler=named)
    with pytest.raises(InputError, match=r"beyond this machine and not encrypted.*tls://.*--insecure"):
        connect(options)
    assert security_of(options.with_(insecure=True), address) is None


def test_it_is_refused_before_anything_is_written(tmp_path: Path, volengine: Command) -> None:
    """Also if the memory is given, so that the cluster is not asked while planning."""
    write_mrc(tmp_path / "a.mrc", [np.zeros((4, 8, 8), "float32")], (4, 8, 8), "float32", (10.0, 10.0, 10.0))
    there = ["--scheduler", "tcp://10.1.2.3:8786", "--memory-limit", "2GB"]
    code, _, said = volengine("convert", "a.mrc", "--out", "a.ome.zarr", *there)
    assert code == 2
    assert "--insecure" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrc"]


@pytest.mark.parametrize("address", ["", " ", "banana", "banana://localhost:3", "http://127.0.0.1:80", "tcp://"])
def test_what_is_no_address_is_said_at_once(address: str) -> None:
    """Dask would try for a minute, and end with a traceback."""
    began = time.monotonic()
    with pytest.raises(InputError, match=r"is no address of a Dask scheduler \(tls://host:port"):
        connect(RunOptions(scheduler=address))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"address": 3}', '{"address": null}', "\xff", "[" * 100_000], ids=lambda t: t[:12]
)
def test_what_is_no_scheduler_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=re.escape(str(path))):
        address_of(str(path))
    with pytest.raises(MissingError, match="no such scheduler file"):
        address_of(str(tmp_path / "none.json"))


def test_a_scheduler_file_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    path, said = tmp_path / "s.json", list[str]()
    options = RunOptions(scheduler=str(path), wait_for_workers="60s")
    waiter = threading.Thread(target=wait_for_file, args=(options, said.append))
    waiter.start()
    for text in ('{"address": "tcp', '{"address": "tcp://127.0.0.1:1"}'):  # first it is being written
        waiter.join(0.3)
        assert waiter.is_alive()
        path.write_text(text)
    waiter.join(20)
    assert not waiter.is_alive()
    assert len(said) == 1
    assert f"--scheduler {path}: there is no such file" in said[0]
    assert "--wait-for-workers 60s" in said[0]


def test_a_scheduler_file_is_not_waited_for_beyond_the_time(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    with pytest.raises(MissingError, match=r"no such scheduler file.*waited for 0 s \(--wait-for-workers 0.4s\)"):
        wait_for_file(RunOptions(scheduler=str(path), wait_for_workers="0.4s"), lambda text: None)
    with pytest.raises(MissingError, match="not even a folder"):  # nobody will write it
        wait_for_file(RunOptions(scheduler=str(tmp_path / "none" / "s.json")), lambda text: None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheduler": "tls://a:1", "tls_ca": "ca.pem"}, "all three"),
        ({"tls_ca": "a", "tls_cert": "b", "tls_key": "c"}, "give --scheduler"),
        ({"insecure": True}, "give --scheduler"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_together(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunOptions(**values)


# -- certificates ------------------------------------------------------------------------------------------


def certificates(folder: Path) -> dict[str, str]:
    """Make certificates with the commands of the page; return the options that name them."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    page = (ROOT / "docs" / "how-to-run.md").read_text()
    (commands,) = re.findall(r"<!-- run -->\n```bash\n(umask.*?)```", page, re.S)
    subprocess.run(["bash", "-ec", commands], cwd=folder, check=True, capture_output=True)
    made = folder / "certificates"
    assert all(path.stat().st_mode & 0o077 == 0 for path in [made, *made.iterdir()])
    return {"tls_ca": str(made / "ca.pem"), "tls_cert": str(made / "cert.pem"), "tls_key": str(made / "key.pem")}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return certificates(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return certificates(tmp_path_factory.mktemp("theirs"))


def test_a_tls_address_without_certificates_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"tls://10\.1\.2\.3:8786 needs certificates: give --tls-ca") as caught:
        connect(RunOptions(scheduler="tls://10.1.2.3:8786"))
    assert "\n" not in str(caught.value)


def test_certificates_of_dasks_configuration_are_used(ours: dict[str, str]) -> None:
    import dask

    options = RunOptions(scheduler="tls://127.0.0.1:1")
    known = {
        "distributed.comm.tls.ca-file": ours["tls_ca"],
        "distributed.comm.tls.client.cert": ours["tls_cert"],
        "distributed.comm.tls.client.key": ours["tls_key"],
    }
    with dask.config.set(known):
        assert security_of(options, "tls://127.0.0.1:1").tls_ca_file == ours["tls_ca"]
    known["distributed.comm.tls.ca-file"] = "/none.pem"
    with dask.config.set(known), pytest.raises(MissingError, match=r"no such file: /none\.pem \(distributed\.comm"):
        security_of(options, "tls://127.0.0.1:1")


def test_certificates_that_cannot_be_used_are_named(
    ours: dict[str, str], theirs: dict[str, str], tmp_path: Path
) -> None:
    options = RunOptions(scheduler="tls://127.0.0.1:1", **ours)
    assert security_of(options, "tls://127.0.0.1:1").require_encryption
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-in", ours["tls_key"], "-out", str(locked), "-passout", "pass:abcd"],
        check=True,
        capture_output=True,
    )
    (tmp_path / "text.pem").write_text("no certificate")
    secret = Path(ours["tls_key"]).read_text().splitlines()[5]
    for name, path in (
        ("tls_key", str(locked)),
        ("tls_key", theirs["tls_key"]),
        ("tls_ca", str(tmp_path / "text.pem")),
        ("tls_cert", ours["tls_key"]),
        ("tls_ca", str(tmp_path / "missing.pem")),
        ("tls_key", str(tmp_path)),
    ):
        with pytest.raises(InputError, match=re.escape(path)) as caught:
            security_of(options.with_(**{name: path}), "tls://127.0.0.1:1")
        assert secret not in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="are for a scheduler with certificates"):
        security_of(options, "tcp://127.0.0.1:1")


@contextmanager
def dask_processes(folder: Path, tls: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """A scheduler and a worker of two threads with certificates: the scheduler file, the file of their messages."""
    file, log = folder / "cluster.json", folder / "dask.log"
    keys = ["--tls-ca-file", tls["tls_ca"], "--tls-cert", tls["tls_cert"], "--tls-key", tls["tls_key"]]
    common = ["--scheduler-file", str(file), *keys]
    dask = [sys.executable, "-m"]
    scheduler = ["distributed.cli.dask_scheduler", "--host", "tls://127.0.0.1", "--port", "0"]
    scheduler += ["--dashboard-address", "127.0.0.1:0"]
    worker = ["distributed.cli.dask_worker", "--host", "127.0.0.1", "--nthreads", "2", "--memory-limit", "2GB"]
    worker += ["--no-dashboard"]
    started = []
    with log.open("w") as said:
        try:
            for command in (scheduler, worker):
                started.append(subprocess.Popen([*dask, *command, *common], stderr=said, stdout=said, cwd=folder))
                deadline = time.monotonic() + 60
                while not file.exists():
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
            yield str(file), log
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()


@pytest.mark.slow
def test_a_cluster_with_certificates(
    ours: dict[str, str], theirs: dict[str, str], tmp_path: Path, volengine: Command
) -> None:
    """The right ones, those of another authority, none; and no line of a finished job that alarms."""
    array = np.random.default_rng(0).normal(size=(32, 32, 32)).astype("float32")
    write_mrc(tmp_path / "a.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))

    def convert(out: str, tls: Mapping[str, str]) -> tuple[int, str, str]:
        flags = [word for name, path in tls.items() for word in ("--" + name.replace("_", "-"), path)]
        size = [word for option in ("--chunk", "--shard", "--block") for word in (option, "16,16,16")]
        return volengine("convert", "a.mrc", "--out", out, *size, "--scheduler", file, *flags)

    with dask_processes(tmp_path, ours) as (file, log):
        code, out, said = convert("a.ome.zarr", ours)
        assert (code, "a: done (8 of 8 units run" in out) == (0, True), (out, said)
        messages = log.read_text() + said
        assert not re.search(r"WARNING|ERROR|CRITICAL|Traceback|Error", messages), messages
        code, _, said = convert("b.ome.zarr", theirs)
        assert code == 2
        assert "no Dask scheduler answers at tls://127.0.0.1" in said
        assert "CERTIFICATE_VERIFY_FAILED" in said
        code, _, said = convert("b.ome.zarr", {})
        assert code == 2
        assert "needs certificates" in said
    assert np.array_equal(open_volume(str(tmp_path / "a.ome.zarr"))[:], array)
    assert not (tmp_path / "b.ome.zarr").exists()
    report = (tmp_path / "a.ome.zarr.run" / "report.json").read_text()
    assert Path(ours["tls_key"]).read_text().splitlines()[5] not in report
    assert json.loads(report)["options"]["tls_key"] == ours["tls_key"]


# -- what listens ------------------------------------------------------------------------------------------


def test_the_dashboard_is_for_this_machine_unless_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    from volengine.engine.started import dashboard

    monkeypatch.delenv("VOLENGINE_DASHBOARD", raising=False)
    assert dashboard() == "127.0.0.1:0"
    for told, address in ((":8787", "127.0.0.1:8787"), ("0.0.0.0:8787", "0.0.0.0:8787"), ("10.1.2.3:1", "10.1.2.3:1")):
        monkeypatch.setenv("VOLENGINE_DASHBOARD", told)
        assert dashboard() == address


def listening(pids: list[int]) -> set[str]:
    """Addresses, in hexadecimal, at which these processes listen: from the kernel's tables, of IPv4 and IPv6."""
    sockets = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(os.readlink(entry))
            except OSError:  # closed meanwhile
                continue
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in sockets and fields[3] in ("0A", "07"):  # listening; UDP: not connected
                found.add(f"{table} {fields[1]}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"cluster": "local"}], ids=str)
def test_a_run_with_workers_listens_on_this_machine_only(tmp_path: Path, how: dict[str, str]) -> None:
    import psutil
    from drivers import Work

    work = Work(tmp_path)
    work.prepare()
    process = work.start(workers=2, **how)
    try:
        work.wait_for_units(4, process)
        tree = psutil.Process(process.pid)
        found = listening([tree.pid, *(child.pid for child in tree.children(recursive=True))])
    finally:
        _, said = process.communicate()
    assert (process.returncode, said) == (0, "")  # and a finished job says nothing that alarms
    # scheduler and its dashboard, two nannies, two workers and their pages
    assert len(found) >= 6
    assert {entry.rpartition(":")[0] for entry in found} == {"tcp 0100007F"}
