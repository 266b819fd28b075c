"""The pods of ``deploy/kubernetes`` with workers, as hosts: their commands, word for word, and the ports they open."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from certificates_of_the_page import certificates
from kubernetes_manifests import FOLDER, Object, container, objects, pods, variables, words
from network_hosts import Hosts, missing, network
from threshold_net import save_threshold_model

from volengine.io.mrc.write import write_mrc

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there can")]

RECIPE = """
convert: {chunk: [32, 64, 64], shard: [32, 64, 64]}
segment: {models: [m.safetensors]}
pick: [{feature: thing, spacing_nm: 20}]
"""


class Pods:
    """Starts the containers of pods on hosts: a volume is a folder, a service's name its pod's address."""

    def __init__(self, hosts: Hosts, folder: Path, tls: Path):
        self.hosts, self.folder, self.tls = hosts, folder, tls

    def start(self, host: str, pod: Object) -> subprocess.Popen[bytes]:
        box = container(pod)
        names = {"/tls/": f"{self.tls}/", "volengine-scheduler": self.hosts.address("scheduler")}
        command = words(box)
        for name, here in names.items():
            command = [word.replace(name, here) for word in command]
        command = [str(self.folder / "tmp") if word == "/tmp" else word for word in command]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        log = self.folder / f"{host}.log"
        return self.hosts.start(host, ["env", "-C", str(self.folder), *command], log, {**variables(box), "PATH": path})

    def logs(self) -> str:
        return "".join(f"== {path.name}\n{path.read_text()[-3000:]}\n" for path in sorted(self.folder.glob("*.log")))


def listening(hosts: Hosts, name: str) -> set[int]:
    """TCP ports of a host that others reach, as the kernel lists them."""
    lines = Path(f"/proc/{hosts.processes[hosts.names.index(name)].pid}/net/tcp").read_text().splitlines()[1:]
    found = [line.split() for line in lines]
    places = [entry[1].split(":") for entry in found if entry[3] == "0A"]
    return {int(port, 16) for address, port in places if not address.endswith("7F")}


def made(folder: Path) -> dict[str, bytes]:
    found = {}
    for place in sorted((folder / "results").rglob("zarr.json")):
        if place.parent.name.isdigit() and "run" not in place.parts:
            name = str(place.relative_to(folder))
            found[name] = np.asarray(zarr.open_array(place.parent, mode="r")[:]).tobytes()
    return found


def test_scheduler_workers_and_driver_of_the_manifests_do_a_run(tmp_path: Path) -> None:
    """With workers for networks and for all else. They listen at the ports that the policies open alone."""
    known = objects(FOLDER / "dask.yaml", FOLDER / "dask-gpu.yaml")
    found = {item["metadata"]["name"]: pod for item in known for _, pod in pods(item)}
    names = ("volengine-scheduler", "volengine-worker", "volengine-gpu-worker", "volengine-run")
    assert set(found) == set(names)
    for folder in (tmp_path / "alone", tmp_path / "pods"):
        (folder / "tmp").mkdir(parents=True)
        for seed in (1, 2):
            array = np.random.default_rng(seed).normal(size=(32, 128, 128)).astype("float32")
            write_mrc(folder / f"TS_{seed}.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))
        save_threshold_model(folder / "m.safetensors", "thing", patch=(32, 64, 64))
        (folder / "list.txt").write_text("TS_1.mrc\nTS_2.mrc\n")
        (folder / "recipe.yaml").write_text(RECIPE)
    run = ["run", "recipe.yaml", "list.txt", "--out", "results", "--memory-limit", "7.2GiB", "--no-progress"]
    subprocess.run(
        [Path(sys.executable).parent / "volengine", *run], cwd=tmp_path / "alone", check=True, capture_output=True
    )
    tls = certificates(tmp_path / "tls")
    with network("scheduler", "worker", "gpu", "run") as hosts:
        running = Pods(hosts, tmp_path / "pods", tls)
        for host, name in zip(hosts.names[:3], names[:3], strict=True):
            running.start(host, found[name])
        driver = running.start("run", found["volengine-run"])
        assert driver.wait(300) == 0, running.logs()
        assert listening(hosts, "scheduler") == {8786}
        for host in ("worker", "gpu"):
            assert listening(hosts, host) == {8788, 8789}
        time.sleep(0.1)
    assert "Traceback" not in running.logs()
    assert made(tmp_path / "pods") == made(tmp_path / "alone")
    assert len(made(tmp_path / "alone")) > 4
