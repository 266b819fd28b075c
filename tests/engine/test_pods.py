"""``--cluster kubernetes`` with Dask's own client and the manifests of ``deploy``; a stand-in is the API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from kubernetes_api import Api, serving
from kubernetes_manifests import FOLDER, container, objects

from volengine.io.mrc.write import write_mrc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("dask_kubernetes") is None, reason="dask-kubernetes is not installed"),
]


def cluster(folder: Path) -> None:
    """The description of ``deploy``, with two workers and the manifest where it lies."""
    data = yaml.safe_load((FOLDER / "operator" / "cluster.yaml").read_text())
    data |= {"manifest": str(FOLDER / "operator" / "dask-cluster.yaml"), "workers": 2}
    (folder / "cluster.yaml").write_text(yaml.safe_dump(data))


def start(folder: Path, api: Api) -> subprocess.Popen[str]:
    """Start the command of the driver's pod."""
    cluster(folder)
    (job,) = [item for item in objects(FOLDER / "operator" / "run.yaml") if item["kind"] == "Job"]
    box = container(job["spec"]["template"]["spec"])
    command = [word.replace("/cluster/", f"{folder}/") for word in [*box["command"], *box["args"]]]
    assert command[0] == "volengine"
    program = [sys.executable, "-m", "volengine.cli.main", *command[1:]]
    return subprocess.Popen(
        program, cwd=folder, env=api.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def collection(folder: Path, count: int) -> None:
    for seed in range(count):
        array = np.random.default_rng(seed).normal(size=(64, 128, 128)).astype("float32")
        write_mrc(folder / f"TS_{seed}.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))
    (folder / "list.txt").write_text("".join(f"TS_{seed}.mrc\n" for seed in range(count)))
    (folder / "recipe.yaml").write_text("convert: {chunk: [16, 32, 32], shard: [16, 32, 32]}\n")


def wait_for(what: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_run_creates_its_pods_and_deletes_them(tmp_path: Path) -> None:
    collection(tmp_path, 2)
    with serving(tmp_path / "api") as api:
        run = start(tmp_path, api)
        said = run.communicate(timeout=150)[0]
        assert run.returncode == 0, said
        assert [one for one in api.seen if one[0] != "GET"] == [("POST", "daskclusters"), ("DELETE", "daskclusters")]
        assert not [name for kind, name in api.objects if kind == "daskclusters"]
    assert said.count(": done (") == 2
    assert "Traceback" not in said


def test_pods_that_wait_for_a_node_can_be_given_up(tmp_path: Path) -> None:
    """As the end of the driver's pod asks for it: by SIGTERM. Nobody else would delete the cluster."""
    collection(tmp_path, 1)
    with serving(tmp_path / "api", pending=True) as api:
        run = start(tmp_path, api)
        wait_for(lambda: ("POST", "daskclusters") in api.seen)
        time.sleep(2)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=60)[0]
        assert run.returncode == 143, said
        assert ("DELETE", "daskclusters") in api.seen
        assert not api.objects


def test_without_a_way_to_kubernetes_one_line_says_so(tmp_path: Path) -> None:
    cluster(tmp_path)
    command = ["cluster", "test", "--cluster", "cluster.yaml", "--insecure"]
    env = os.environ | {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
    program = [sys.executable, "-m", "volengine.cli.main", *command]
    done = subprocess.run(program, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: --cluster kubernetes: the pods could not be started: ")
