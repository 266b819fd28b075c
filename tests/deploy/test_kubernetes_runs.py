"""The commands of the manifests for Kubernetes, run here in the place of a pod."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kubernetes_manifests import FOLDER, Object, action, container, objects, pods, variables

from volengine.io.mrc.write import write_mrc


def _collection(folder: Path) -> None:
    for seed in (1, 2):
        array = np.random.default_rng(seed).normal(size=(32, 64, 64)).astype("float32")
        write_mrc(folder / f"TS_{seed}.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))
    (folder / "list.txt").write_text("TS_1.mrc\nTS_2.mrc\n")
    (folder / "recipe.yaml").write_text("convert: {chunk: [16, 32, 32], shard: [16, 32, 32]}\n")


def _start(pod: Object, folder: Path, index: int, **more: str) -> subprocess.Popen[str]:
    """Start the command of a container here, in the folder of the volume, with the variables of the pod."""
    box = container(pod)
    known = {**variables(box), "PARTS": "2", "JOB_COMPLETION_INDEX": str(index), "MEMORY": "1200000000", **more}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        [*box["command"], *box["args"]],
        cwd=folder,
        env={**os.environ, **known, "OMP_NUM_THREADS": "1", "PATH": path, "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_parts_of_an_indexed_job_make_the_whole(tmp_path: Path) -> None:
    import volengine

    _collection(tmp_path)
    ((_, pod),) = pods(objects(FOLDER / "array.yaml")[0])
    running = [_start(pod, tmp_path, index) for index in (0, 1)]
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    for seed in (1, 2):
        volume = volengine.open_volume(str(tmp_path / "results" / "tomograms" / f"TS_{seed}.ome.zarr"))
        assert volume.shape == (32, 64, 64)


@pytest.mark.slow
def test_what_has_failed_and_what_cannot_be_used_end_with_the_codes_of_the_rules(tmp_path: Path) -> None:
    _collection(tmp_path)
    ((_, pod),) = pods(objects(FOLDER / "array.yaml")[0])
    rules = objects(FOLDER / "array.yaml")[0]["spec"]["podFailurePolicy"]["rules"]
    whole = (tmp_path / "TS_2.mrc").read_bytes()
    (tmp_path / "TS_2.mrc").write_bytes(whole[:-1000])
    process = _start(pod, tmp_path, 0, PARTS="1")
    said = process.communicate(timeout=300)[0]
    assert action(rules, process.returncode) == "FailIndex", said
    assert "TS_2" in said
    (tmp_path / "recipe.yaml").write_text("convert: {chnk: 3}\n")
    process = _start(pod, tmp_path, 0, PARTS="1")
    assert action(rules, process.wait(300)) == "FailJob", process.communicate()[0]


@pytest.mark.slow
def test_a_part_that_asked_for_a_gpu_and_finds_none_ends_the_job(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    _collection(tmp_path)
    (job,) = objects(FOLDER / "array-gpu.yaml")
    ((_, pod),) = pods(job)
    process = _start(pod, tmp_path, 0, PARTS="1")
    assert action(job["spec"]["podFailurePolicy"]["rules"], process.wait(300)) == "FailJob", process.communicate()[0]
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_the_variant_for_s3_writes_to_the_bucket(tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    from s3_server import serving

    _collection(tmp_path)
    ((_, pod),) = pods(objects(FOLDER / "array-s3.yaml")[0])
    with serving() as server:
        server.buckets["my-bucket"] = {}
        secret = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        assert all(name in (FOLDER / "array-s3.yaml").read_text() for name in [*list(secret)[:2], *endpoint])
        process = _start(pod, tmp_path, 0, PARTS="1", **secret, **endpoint)
        said = process.communicate(timeout=300)[0]
        assert process.returncode == 0, said
        assert {key.split("/")[2] for key in server.buckets["my-bucket"]} == {"TS_1.ome.zarr", "TS_2.ome.zarr"}
    assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "results").exists()
