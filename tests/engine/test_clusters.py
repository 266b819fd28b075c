"""Clusters that a run starts: what is refused, what would be started, and real workers on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from calling import Command
from engine_plans import result, simple, stored

from volengine.core.errors import DependencyError, InputError, MissingError
from volengine.engine import certificates
from volengine.engine.cluster_recipe import ClusterRecipe, devices_here, read_cluster
from volengine.engine.hello import hello, show
from volengine.engine.link import dashboard_link
from volengine.engine.options import RunOptions
from volengine.engine.pods import manifest_of
from volengine.engine.run import run_plan
from volengine.engine.workers import CORES

PAGE = Path(__file__).parents[2] / "docs" / "how-to-cluster.md"


def described(folder: Path, **values: object) -> str:
    file = folder / f"{values['kind']}.yaml"
    file.write_text(yaml.safe_dump(values))
    return str(file)


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "slrum"}, r"kind is 'slrum'; it must be one of local, cuda, slurm"),
        ({"kind": "slurm", "wokers": 3}, "Did you mean 'workers'"),
        ({"kind": "slurm", "workers": -1}, "workers must be 0 or more, not -1"),
        ({"kind": "slurm", "cores": 0}, "cores must be 1 or more, not 0"),
        ({"kind": "slurm", "memory": "lots"}, "lots"),
        ({"kind": "slurm", "memory": 16}, "memory is 16, of which no worker can live; write its unit"),
        ({"kind": "slurm", "directives": ["-C ib", "#SBATCH -C ib"]}, r"without their first word .*'#SBATCH -C ib'"),
        ({"kind": "slurm", "memory": "1e999GB"}, "positive and finite"),
        ({"kind": "slurm", "workers": 8, "max_workers": 4}, "max_workers is 4, fewer than the 8"),
        ({"kind": "slurm", "hosts": ["a"]}, "hosts has no meaning for slurm; it belongs to ssh"),
        ({"kind": "local", "queue": "gpu"}, "queue has no meaning for local"),
        ({"kind": "local", "walltime": "1:00:00"}, "walltime has no meaning for local"),
        ({"kind": "ssh"}, "ssh needs hosts"),
        ({"kind": "ssh", "hosts": ["a"], "max_workers": 3}, "max_workers has no meaning for ssh"),
        ({"kind": "kubernetes"}, "kubernetes needs manifest"),
        ({"kind": "cuda", "devices": ["0", "0"]}, "name one twice"),
        ({"kind": "cuda", "pools": [{"workers": 1}]}, "pools have no meaning for cuda"),
        ({"kind": "slurm", "pools": [{"kind": "pbs"}]}, r"pools\[0\] cannot have its own kind"),
        ({"kind": "slurm", "pools": [{"wokers": 1}]}, r"pools\[0\]: there is no 'wokers'"),
        ({"kind": "slurm", "pools": [{"gpus": 1}], "max_workers": 4}, "max_workers needs workers of one kind"),
        ({"kind": "slurm", "memory": "8Gx"}, "cluster: memory: '8Gx' is not a size"),
        ({"kind": "slurm", "pools": [{"memory": "8Gx"}]}, r"cluster: pools\[0\]: memory: '8Gx' is not a size"),
        ({"kind": "slurm", "walltime": 25}, r"walltime is 25, 25 minutes for slurm; write hours:minutes:seconds"),
        ({"kind": "sge", "walltime": "25"}, r"walltime is '25', 25 seconds for sge; write hours:minutes:seconds"),
        ({"kind": "pbs", "walltime": "1 day"}, r"walltime is '1 day'; write hours:minutes:seconds"),
        ({"kind": "slurm", "walltime": "12:00"}, r"walltime is '12:00', 12 minutes and 0 seconds for slurm; write"),
        ({"kind": "lsf", "walltime": "00:00"}, r"walltime is '00:00', 0 hours and 0 minutes for lsf; write"),
        ({"kind": "pbs", "walltime": "8:75:00"}, r"walltime is '8:75:00'; write"),
        ({"kind": "pbs", "walltime": "UNLIMITED"}, r"walltime is 'UNLIMITED'; write"),
        ({"kind": "pbs", "pools": [{"walltime": "25"}]}, r"cluster: pools\[0\]: walltime is '25', 25 seconds for pbs"),
        ({"kind": "ssh", "hosts": ["node1", "node1"]}, "hosts names node1 twice, .* workers: 2 starts two workers"),
        ({"kind": "ssh", "hosts": ["node1", "Node1."]}, "hosts names node1 and Node1. twice"),
        ({"kind": "ssh", "hosts": ["node1", ""]}, "hosts has '', which is no name"),
        ({"kind": "ssh", "hosts": ["node1 node2"]}, "hosts has 'node1 node2', which is no name"),
        (
            {"kind": "ssh", "hosts": ["a"], "pools": [{"devices": ["0"]}, {"devices": ["1", "0"]}]},
            "pools give device 0 of a to workers of two pools",
        ),
    ],
    ids=str,
)
def test_a_description_that_cannot_be_used(tmp_path: Path, values: dict[str, object], message: str) -> None:
    file = described(tmp_path, **values)
    with pytest.raises(InputError, match=message) as raised:
        read_cluster(file)
    assert file in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "walltime", "given"),
    [
        ("slurm", "1-12:00:30", "1-12:00:30"),
        ("slurm", "UNLIMITED", "UNLIMITED"),
        ("pbs", "1-12:00:30", "36:00:30"),
        ("sge", "36:00:30", "36:00:30"),
        ("lsf", "36:00:30", "36:01"),  # not less than was asked for
        ("lsf", "1-12:00:00", "36:00"),
        ("lsf", "8:00", "8:00"),
    ],
)
def test_each_batch_system_gets_a_time_in_its_own_form(tmp_path: Path, kind: str, walltime: str, given: str) -> None:
    file = described(tmp_path, kind=kind, walltime=walltime, memory="8GB")
    lines = show(RunOptions(cluster=file), str(tmp_path / "run")).splitlines()
    marks = {"slurm": "#SBATCH -t ", "pbs": "#PBS -l walltime=", "sge": "#$ -l h_rt=", "lsf": "#BSUB -W "}
    assert f"  {marks[kind]}{given}" in lines


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        ({"usernme": "me"}, "connect has 'usernme', which asyncssh.connect does not know. Did you mean 'username'"),
        ({"host": "node2"}, "connect has no host; the hosts are a list of their own"),
        ({"waiter": 1}, "connect has 'waiter', which asyncssh.connect does not know"),
        ({"client_keys": ["/nowhere/key"]}, r"connect \(client_keys\) cannot be used: .*'/nowhere/key'"),
        ({"port": "22"}, "connect.port is '22'; it must be a whole number"),
        ({"port": 0}, "connect.port is 0; it must be a whole number"),
    ],
    ids=str,
)
def test_options_of_ssh_that_cannot_be_used_are_refused_before_a_host_is_asked(
    tmp_path: Path, connect: dict[str, object], message: str
) -> None:
    pytest.importorskip("asyncssh")
    file = described(tmp_path, kind="ssh", hosts=["node1", "node2"], memory="8GB", connect=connect)
    with pytest.raises(InputError, match=message):
        show(RunOptions(cluster=file), str(tmp_path / "run"))
    in_pool = {"kind": "ssh", "memory": "8GB", "hosts": ["node1"], "pools": [{}, {"hosts": ["b"], "connect": connect}]}
    with pytest.raises(InputError, match=message):
        show(RunOptions(cluster=described(tmp_path, **in_pool)), str(tmp_path / "run"))


def test_options_of_ssh_that_asyncssh_knows(tmp_path: Path) -> None:
    pytest.importorskip("asyncssh")
    connect = {"username": "me", "port": 2222, "known_hosts": None, "connect_timeout": "10s", "keepalive_interval": 30}
    file = described(tmp_path, kind="ssh", hosts=["node1"], memory="8GB", connect=connect)
    assert "workers on each of node1" in show(RunOptions(cluster=file), str(tmp_path / "run"))


def test_a_cluster_is_a_kind_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--cluster slrum: write one of local, cuda, slurm.*\.yaml"):
        read_cluster("slrum")
    with pytest.raises(MissingError, match=r"none\.yaml: no such cluster file"):
        read_cluster(str(tmp_path / "none.yaml"))
    (tmp_path / "bad.yaml").write_text("kind: [")
    with pytest.raises(InputError, match=r"bad\.yaml"):
        read_cluster(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cluster": "local", "scheduler": "tcp://127.0.0.1:1"}, "Choose one"),
        ({"cluster": "local", "part": "1/2"}, "Choose one"),
        ({"max_workers": 3}, "give --cluster"),
        ({"cluster": "local", "wait_for_workers": "soon"}, r"--wait-for-workers is 'soon'; write a time"),
        ({"cluster": "slurm"}, ""),
    ],
    ids=str,
)
def test_options_that_do_not_fit_together(values: dict[str, object], message: str) -> None:
    if not message:
        with pytest.raises(InputError, match=r"--cluster slurm: how much memory .* --memory-limit"):
            RunOptions(**values).limit_bytes()
        return
    with pytest.raises(InputError, match=message):
        RunOptions(**values)


def test_it_is_refused_before_anything_is_written(tmp_path: Path, volengine: Command) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    for words in (["--cluster", "slrum"], ["--cluster", "none.yaml"]):
        code, _, said = volengine("convert", "a.mrc", "--out", "o.ome.zarr", *words)
        assert code == 2
        assert words[1] in said or "a.mrc" in said
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


# -- what would be started ---------------------------------------------------------------------------------


def test_memory_of_a_job_is_more_than_its_worker_uses() -> None:
    jobs = ClusterRecipe(kind="slurm", memory="10GB")
    assert jobs.limit() == 9_000_000_000  # 90 % of what the job asks for
    here = ClusterRecipe(kind="local", memory="10GB")
    assert here.limit() == 10_000_000_000


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("slurm", ["#SBATCH --cpus-per-task=4", "#SBATCH --mem=15259M", "#SBATCH -p gpu", "#SBATCH -A lab",
                   "#SBATCH -t 2:00:00", "#SBATCH --gres=gpu:1"]),
        ("pbs", ["#PBS -l select=1:ncpus=4:mem=15259MB:ngpus=1", "#PBS -q gpu", "#PBS -A lab",
                 "#PBS -l walltime=2:00:00"]),
        ("lsf", ["#BSUB -n 4", "#BSUB -M 16000", "#BSUB -q gpu", '#BSUB -P "lab"', "#BSUB -W 2:00",
                 '#BSUB -gpu "num=1"']),
        ("sge", ["#$ -q gpu", "#$ -P lab", "#$ -l h_rt=2:00:00", "#$ -l gpu=1"]),
    ],
)  # fmt: skip
def test_the_script_of_a_job(tmp_path: Path, kind: str, expected: list[str]) -> None:
    """By the manuals of sbatch, qsub (PBS Professional; Grid Engine) and bsub; 16 GB are 15,258.8 MiB."""
    pytest.importorskip("dask_jobqueue")
    values = {"queue": "gpu", "account": "lab", "walltime": "2:00:00", "prologue": ["module load cuda"]}
    file = described(tmp_path, kind=kind, workers=3, cores=4, memory="16GB", gpus=1, directives=["-X y"], **values)
    said = show(RunOptions(cluster=file), str(tmp_path / "run"))
    lines = [line.strip() for line in said.splitlines()]
    assert not [line for line in expected if line not in lines], said
    assert any(line.endswith("-X y") for line in lines)
    (started,) = [line for line in lines if "distributed.cli.dask_worker" in line]
    assert "tls://" in started
    assert "tcp://" not in said
    assert re.search(
        r"--nthreads 1 --memory-limit 14400000000 --no-dashboard --dashboard-address 127\.0\.0\.1:0 --resources GPU=1$",
        started,
    )
    assert lines.index("module load cuda") < lines.index(started)
    assert f"export {CORES}=4" in lines
    assert "export OMP_NUM_THREADS=4" in lines
    assert list(tmp_path.iterdir()) == [Path(file)]


def test_the_memory_of_the_options_counts_for_jobs(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    said = show(RunOptions(cluster="slurm", workers=2, memory_limit="9GB"), str(tmp_path))
    assert "slurm: 2 workers, each with 1 cores and 9 GB" in said
    assert "#SBATCH --mem=9537M" in said  # 10 GB
    assert "--memory-limit 9000000000" in said


def test_several_groups_of_jobs(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    pools = [{"workers": 2, "gpus": 1, "queue": "gpu"}, {"workers": 5, "cores": 2}]
    file = described(tmp_path, kind="slurm", memory="4GB", queue="cpu", pools=pools)
    options = RunOptions(cluster=file)
    said = show(options, str(tmp_path))
    assert said.count("sbatch:") == 2
    assert "#SBATCH -p gpu" in said
    assert "#SBATCH -p cpu" in said
    assert options.processes == 7
    with pytest.raises(InputError, match="has pools, each with its own number of workers"):
        options.with_(workers=3).processes


def test_the_files_of_the_page_can_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each description of a cluster on the page is read, and what it would start is shown."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    pytest.importorskip("dask_jobqueue")
    pytest.importorskip("asyncssh")
    found = re.findall(r"```yaml\n# (\w+)\.yaml\n(.*?)```", PAGE.read_text(), re.S)
    kinds = set()
    for name, text in found:
        file = tmp_path / f"{name}.yaml"
        file.write_text(text)
        recipe = read_cluster(str(file))
        kinds.add(recipe.kind)
        if recipe.kind != "kubernetes":
            assert show(RunOptions(cluster=str(file)), str(tmp_path)).startswith(recipe.kind)
    assert kinds == {"local", "cuda", "slurm", "pbs", "lsf", "sge", "ssh", "kubernetes"}


def dask_cluster(**service: Any) -> dict[str, Any]:
    """A manifest of pods; its scheduler's service with other facts."""
    worker = {"containers": [{"name": "worker", "resources": {"limits": {"memory": "4Gi"}}}]}
    found = {
        "selector": {"dask.org/cluster-name": "tomograms", "dask.org/component": "scheduler"},
        "ports": [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}],
    }
    return {
        "kind": "DaskCluster",
        "metadata": {"name": "tomograms"},
        "spec": {"worker": {"spec": worker}, "scheduler": {"spec": {}, "service": {**found, **service}}},
    }


def test_the_service_of_a_scheduler_finds_the_pod_of_its_own_run(tmp_path: Path) -> None:
    """The operator labels pods with the cluster's name, which each run makes anew."""
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(dask_cluster()))
    recipe = read_cluster(described(tmp_path, kind="kubernetes", manifest=str(tmp_path / "m.yaml"), memory="4GiB"))
    first, second = manifest_of(recipe), manifest_of(recipe)
    assert first["metadata"]["name"] != second["metadata"]["name"]
    for made in (first, second):
        selector = made["spec"]["scheduler"]["service"]["selector"]
        assert selector == {"dask.org/cluster-name": made["metadata"]["name"], "dask.org/component": "scheduler"}


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ({"selector": {"dask.org/cluster-name": "other"}}, r"cluster-name: 'other'; it must be metadata\.name, 'tomo"),
        ({"selector": {"app": "x"}}, r"cluster-name: None; it must be"),
        ({"ports": [{"name": "tcp-comm", "port": 8786}]}, r"has no port http-dashboard, but tcp-comm"),
        ({"ports": [{"port": 8786}]}, r"'name' is missing"),
        ({"ports": None}, r"named ports are needed"),
    ],
    ids=str,
)
def test_a_scheduler_that_nobody_would_find_is_refused(tmp_path: Path, service: dict[str, Any], message: str) -> None:
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(dask_cluster(**service)))
    file = described(tmp_path, kind="kubernetes", manifest=str(tmp_path / "m.yaml"), memory="4GiB")
    with pytest.raises(InputError, match=message):
        show(RunOptions(cluster=file), str(tmp_path))


def test_pods_need_a_manifest_and_the_word_insecure(tmp_path: Path) -> None:
    manifest = dask_cluster()
    values = {"kind": "kubernetes", "manifest": str(tmp_path / "m.yaml"), "workers": 3, "memory": "4GiB"}
    options = RunOptions(cluster=described(tmp_path, **values))
    with pytest.raises(MissingError, match=r"m\.yaml"):
        show(options, str(tmp_path))
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({**manifest, "kind": "Deployment"}))
    with pytest.raises(InputError, match="it must be DaskCluster"):
        show(options, str(tmp_path))
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(manifest))
    with pytest.raises(InputError, match=r"memory is 5GiB, but the pods of the manifest .* end at 4Gi"):
        show(RunOptions(cluster=described(tmp_path, **{**values, "memory": "5GiB"})), str(tmp_path))
    options = RunOptions(cluster=described(tmp_path, **values))
    said = show(options, str(tmp_path))
    assert said.startswith("kubernetes: 3 workers")
    assert "replicas: 3" in said
    with pytest.raises(InputError, match=r"no certificates.*--insecure"):
        hello(options, str(tmp_path / "hello"))
    if find_spec("dask_kubernetes") is None:
        with pytest.raises(DependencyError, match=r"volengine\[kubernetes\]"):
            hello(options.with_(insecure=True), str(tmp_path / "hello"))


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5f1c")
    assert devices_here() == ("2", "GPU-5f1c")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        with pytest.raises(InputError, match="shows no GPU"):
            devices_here()
    if shutil.which("nvidia-smi") is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        with pytest.raises(InputError, match="shows no GPU"):
            devices_here()


def test_certificates_are_for_their_owner_and_old_ones_go(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    first = certificates.Certificates(tmp_path)
    second = certificates.Certificates(tmp_path)
    assert not first.folder.exists()  # a driver that was killed has left it
    assert second.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in second.folder.iterdir()} == {0o600}
    assert "PRIVATE KEY" in Path(second.key).read_text()
    assert "PRIVATE KEY" not in Path(second.cert).read_text()
    security = second.security()
    for role in ("client", "scheduler", "worker"):
        assert security.get_connection_args(role)["ssl_context"] is not None
    second.remove()
    assert list(tmp_path.iterdir()) == []


# -- real workers ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_local_workers_by_the_flag(tmp_path: Path) -> None:
    array = np.arange(16 * 4 * 4, dtype="int16").reshape(16, 4, 4)
    params = {"numbers": [], "marker": ""}
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params=params)
    options = RunOptions(cluster="local", workers=1, max_workers=2, memory_limit="1GB", progress=False)
    run_plan(plan, str(tmp_path / "run"), options)
    assert np.array_equal(result(plan), array)


@pytest.mark.slow
def test_workers_are_added_while_there_is_work(tmp_path: Path) -> None:
    plan = simple(
        tmp_path,
        stored(tmp_path, np.ones((600, 4, 4), "int16")),
        "leave_devices",
        (4, 4, 4),
        params={"folder": str(tmp_path)},
    )
    options = RunOptions(cluster="local", workers=1, max_workers=3, memory_limit="1GB", progress=False)
    run_plan(plan, str(tmp_path / "run"), options)
    assert 2 <= len(list(tmp_path.glob("seen-*"))) <= 3


@pytest.mark.slow
def test_workers_that_were_started_in_another_folder_see_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="1GB", dashboard_address=":0") as cluster:
        monkeypatch.chdir(tmp_path)
        assert len(hello(RunOptions(scheduler=cluster.scheduler_address), "results/run")) == 1
    assert not (tmp_path / "elsewhere/results").exists()


@pytest.mark.slow
def test_each_gpu_has_a_worker_and_networks_run_there(tmp_path: Path) -> None:
    """With devices that nobody has: what counts is which process ran which unit."""
    file = described(tmp_path, kind="cuda", devices=["3", "GPU-5f1c"], cpu_workers=1, memory="1GB")
    said = {one.gpus: one.resources for one in hello(RunOptions(cluster=file), str(tmp_path / "hello"))}
    assert said == {("3",): {"GPU": 1.0}, ("GPU-5f1c",): {"GPU": 1.0}, (): {"CPU": 1.0}}
    assert not (tmp_path / "hello").exists()
    source = stored(tmp_path, np.ones((32, 4, 4), "int16"))
    names = {}
    for name, hints in (("net", {"device": "auto"}), ("rules", {})):
        folder = tmp_path / name
        folder.mkdir()
        params = {"folder": str(folder)}
        plan = simple(folder, source, "leave_devices", (4, 4, 4), name=name, params=params, hints=hints)
        run_plan(plan, str(folder / "run"), RunOptions(cluster=file, progress=False))
        names[name] = {path.read_text() for path in folder.glob("seen-*")}
    assert names == {"net": {"3", "GPU-5f1c"}, "rules": {""}}


@pytest.mark.slow
def test_a_stage_that_needs_what_nobody_offers_is_refused(tmp_path: Path) -> None:
    params = {"numbers": [], "marker": ""}
    source = stored(tmp_path, np.ones((8, 4, 4), "int16"))
    plan = simple(tmp_path, source, "fail_at", (4, 4, 4), params=params, resources={"GPU": 1, "disk": 2})
    options = RunOptions(cluster="local", workers=1, memory_limit="1GB", progress=False)
    message = r"fail_at needs workers that offer GPU=1 disk=2, but those of the cluster offer no resources.*--resources"
    with pytest.raises(InputError, match=message):
        run_plan(plan, str(tmp_path / "run"), options)
    file = described(tmp_path, kind="local", workers=1, memory="1GB", resources={"GPU": 1, "disk": 2})
    run_plan(plan, str(tmp_path / "run"), RunOptions(cluster=file, progress=False))
    assert np.array_equal(result(plan), np.ones((8, 4, 4)))


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True])
def test_the_dashboard_of_an_existing_scheduler_is_named_if_it_can_draw_it(tmp_path: Path, there: bool) -> None:
    """The scheduler's own packages count, not those of the driver; the question leaves no line in its log."""
    from distributed import Client

    if there:  # a package of this name is all that is asked for; Dask itself gives up drawing when its import fails
        (tmp_path / "bokeh").mkdir()
        (tmp_path / "bokeh" / "__init__.py").write_text("raise ImportError('a stand-in')")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(tmp_path / "s.json")]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with (tmp_path / "log").open("w") as log:
        environment = {**os.environ, "PYTHONPATH": path}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "s.json").exists() or not (tmp_path / "s.json").read_text().rstrip().endswith("}"):
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        with Client(scheduler_file=str(tmp_path / "s.json"), set_as_default=False) as client:
            link = dashboard_link(client)
    finally:
        process.terminate()
        process.wait()
    installed = find_spec("bokeh") is not None
    assert (link is not None) == (there or installed)
    assert not re.search("Traceback|WARNING|ERROR", (tmp_path / "log").read_text())
