"""The batch scripts as a shell reads them; what they do is tried on a real SLURM (tests/slurm)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "deploy").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_shell_takes_a_script(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("bash takes it; shellcheck is not installed")
    done = subprocess.run(["shellcheck", "--severity=warning", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_directives_stand_before_the_first_command(script: Path) -> None:
    """SLURM reads no further; those for GPUs are off until their first # is taken away."""
    lines = script.read_text().splitlines()
    first = next(k for k, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first:] if re.match(r"#+SBATCH", line)]
    off = [line for line in lines[:first] if line.startswith("##SBATCH")]
    assert off == ["##SBATCH --partition=gpu", "##SBATCH --gpus-per-task=1"]


@pytest.mark.parametrize(
    ("name", "given", "memory"),
    [
        ("array", {"SLURM_MEM_PER_NODE": "4000"}, 4000),
        ("array", {"SLURM_MEM_PER_CPU": "1000"}, 8000),
        ("array", {"SLURM_MEM_PER_GPU": "3000", "SLURM_GPUS_ON_NODE": "2"}, 6000),
        ("array", {}, 0),
        ("array", {"SLURM_MEM_PER_NODE": "0"}, 0),
        ("dask", {"SLURM_MEM_PER_NODE": "4000"}, 1000),  # four tasks share it
        ("dask", {"SLURM_MEM_PER_CPU": "1000"}, 2000),
        ("dask", {"SLURM_MEM_PER_GPU": "3000", "SLURM_GPUS_PER_TASK": "a100:1"}, 3000),
        ("dask", {}, 0),
        ("dask", {"SLURM_MEM_PER_NODE": "0"}, 0),
    ],
    ids=str,
)
def test_memory_is_that_of_the_task_however_the_job_asked_for_it(name: str, given: dict[str, str], memory: int) -> None:
    """The lines up to the choice of the device, with the variables that SLURM would set."""
    (script,) = [path for path in SCRIPTS if path.stem == f"slurm-{name}"]
    head, found, _ = script.read_text().partition("# A job that asked for")
    assert found
    known = {"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "8", "SLURM_ARRAY_TASK_COUNT": "4"}
    known["SLURM_TASKS_PER_NODE"] = "4(x2),1"
    command = ["bash", "-c", head + 'echo "memory $memory"', "x", "recipe.yaml", "list.txt", "results"]
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin", **known, **given}, capture_output=True, text=True)
    if memory:
        assert done.stdout == f"memory {memory}\n", done.stderr
    else:
        assert done.returncode == 2
        assert "How much memory" in done.stderr


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_a_job_that_requeues_itself_ends_with_the_exit_code_of_the_run(code: int, tmp_path: Path) -> None:
    """The lines of how-to-run.md, with and without the shell's option to end at the first error."""
    page = (Path(__file__).parents[2] / "docs" / "how-to-run.md").read_text()
    (lines,) = re.findall(r"```bash\n(volengine run [^`]*scontrol requeue[^`]*)```", page)
    for first in ("", "set -euo pipefail\n"):
        script = f"{first}volengine() {{ return {code}; }}\nscontrol() {{ echo again $2; }}\n{lines}"
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, env={"SLURM_JOB_ID": "7"}, cwd=tmp_path
        )
        assert (done.returncode, done.stdout) == (code, "again 7\n" if code == 75 else "")
