"""``--cluster ssh`` with a real server on this machine: certificates, devices, equal bytes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import ssh_server
import yaml
from engine_plans import result, simple, stored

from volengine.core.errors import InputError
from volengine.engine.hello import hello
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(ssh_server.missing()), reason=ssh_server.missing() or "a server can be started"),
]


def described(folder: Path, connect: dict[str, object], **values: object) -> str:
    file = folder / "ssh.yaml"
    data = {"kind": "ssh", "hosts": ["127.0.0.1"], "memory": "1GB", "connect": connect, **values}
    file.write_text(yaml.safe_dump(data))
    return str(file)


def test_workers_of_another_host(tmp_path: Path) -> None:
    pytest.importorskip("asyncssh")
    array = np.arange(32 * 4 * 4, dtype="int16").reshape(32, 4, 4)
    params = {"numbers": [], "marker": ""}
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params=params)
    with ssh_server.server(tmp_path / "sshd", {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}) as connect:
        file = described(tmp_path, connect, devices=["4", "7"])
        said = hello(RunOptions(cluster=file), str(tmp_path / "hello"))
        assert sorted(one.gpus for one in said) == [("4",), ("7",)]
        assert all(one.resources == {"GPU": 1.0} and one.memory == 10**9 for one in said)
        report = run_plan(plan, str(tmp_path / "run"), RunOptions(cluster=file, progress=False))
    assert report.data["worker_limit_bytes"] == 10**9
    assert np.array_equal(result(plan), array)
    assert not list((tmp_path / "run").glob(".*")), "certificates are removed at the end"


def test_a_host_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    pytest.importorskip("asyncssh")
    file = described(tmp_path, {"port": 1, "known_hosts": None})
    with pytest.raises(
        InputError, match=r"--cluster ssh: workers could not be started: 127\.0\.0\.1: .*(refused|Connect)"
    ):
        hello(RunOptions(cluster=file), str(tmp_path / "hello"))
    assert not list(tmp_path.rglob("key.pem"))
