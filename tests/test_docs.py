"""README, docs, examples and deploy: what they say holds, and what they show runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import volengine
from volengine.io.names import VOLUME_SUFFIXES, ZIP_SUFFIXES
from volengine.io.picks.formats import FORMATS

ROOT = Path(__file__).parents[1]
CHECK = ROOT / "docs" / "check.py"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "deploy").glob("*.md"))]
SLOW = ("tutorial.md", "simulate.md", "how-to-membranes.md")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module ``docs/check.py``."""
    monkeypatch.syspath_prepend(str(CHECK.parent))
    import check as module

    yield module
    for name in ("check", "generated"):
        sys.modules.pop(name, None)


def _has_code(page: Path) -> bool:
    text = page.read_text()
    return "```python" in re.sub(r"<!-- not run: .* -->\n```python", "", text) or "<!-- run -->" in text


# -- everything holds --------------------------------------------------------------------------------------


def test_links_code_commands_and_recipes_hold() -> None:
    done = subprocess.run([sys.executable, CHECK], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    missing = [n for n in volengine.__all__ if n != "__version__" and f"`{n}`" not in page and f"def {n}(" not in page]
    assert missing == []


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, id=p.name, marks=[pytest.mark.slow] if p.name in SLOW else []) for p in PAGES if _has_code(p)],
)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", CHECK, "--run", page]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr


# -- the check finds what is wrong -------------------------------------------------------------------------

GOOD = """# A page

See [below](#a-heading-with-code), [another](other.md#there), [a file](data.txt) and <https://example.org>.

## A heading, with `code`

```python
print("[not a link](nowhere.md)")
```

```console
$ volengine convert a.mrc --out a.ome.zarr --workers 2
volengine is not a command in the output
$ OMP_NUM_THREADS=1 volengine pick a.zarr --spacing-nm 10 \\
      --out p.star && volengine info p.star
```

```bash
srun volengine run recipe.yaml list.txt --out out --part $SLURM_ARRAY_TASK_ID/8
```

```yaml
segment: {models: [m.safetensors]}
pick: [{feature: m}]
```

```yaml
specimen: {layers: [{species: [{structure: globule-120}]}]}
dose: {total_e_per_a2: {uniform: [80, 120]}}
```
"""

WRONG = {
    "[below](#a-heading-with-code)": ("[below](#nothing)", "no heading #nothing"),
    "other.md#there": ("other.md#gone", "no heading #gone"),
    "data.txt": ("gone.txt", "there is no gone.txt"),
    'print("[not': ('print"[not', "unmatched"),
    "--workers 2": ("--wrokers 2", "No such option"),
    "--spacing-nm 10": ("--spacing-nm ten", "must be a number"),
    "volengine info": ("volengine inof", "there is no verb"),
    "--out out": ("", "Missing option '--out'"),
    "pick: [{feature: m}]": ("pick: [{featrue: m}]", "Did you mean 'feature'?"),
    "segment: {models": ("segment: {model", "there is no 'model'"),
    "[m.safetensors]}": ("[m.safetensors}", "expected"),
    "species: [{structure": ("species: [{struture", "Did you mean 'structure'?"),
    "uniform: [80, 120]": ("uniform: [120, 80]", "the smaller number first"),
}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "other.md").write_text("## There\n")
    (tmp_path / "data.txt").touch()
    return tmp_path / "page.md"


def _found(check: ModuleType, page: Path, text: str) -> list[str]:
    page.write_text(text)
    return [*check.check_links(page, text), *check.check_code(page, text)]


def test_a_good_page_passes(check: ModuleType, page: Path) -> None:
    assert _found(check, page, GOOD) == []
    assert [words[0] for b in check.blocks(GOOD) for _, words in check.commands(b.text, b.language)] == [
        *("convert", "pick", "info", "run"),
    ]


@pytest.mark.parametrize("good", WRONG)
def test_what_is_wrong_is_found(check: ModuleType, page: Path, good: str) -> None:
    bad, message = WRONG[good]
    assert good in GOOD
    found = _found(check, page, GOOD.replace(good, bad))
    assert len(found) == 1
    assert message.lower() in found[0].lower()


def test_parts_made_from_the_code_are_compared(check: ModuleType) -> None:
    page = "<!-- begin fields volengine.core.rules:Interact -->\n<!-- end -->\n"
    filled = check.generated.filled(page)
    assert "| `radius_nm` | number | `10.0` |" in filled
    assert check.generated.filled(filled) == filled != page
    assert check.generated.filled(filled.replace("`10.0`", "`11.0`")) == filled


def test_marked_blocks_run_in_order(check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nnumber = 41\n```\n"
        "<!-- file: in.yaml -->\n```yaml\na: 1\n```\n"
        "<!-- run -->\n```console\n$ cat in.yaml > out.txt\na: 1\n```\n"
        "```console\n$ false\n```\n"
        "<!-- not run: it would fail -->\n```python\nraise ValueError\n```\n"
        "```python\nassert open('out.txt').read() == f'a: {number - 40}\\n'\nopen('done', 'w').close()\n```\n"
    )
    assert check.run_page(page) == 4
    assert (tmp_path / "done").exists()
    page.write_text("<!-- run -->\n```bash\nfalse\n```\n")
    with pytest.raises(subprocess.CalledProcessError):
        check.run_page(page)


# -- deploy ------------------------------------------------------------------------------------------------


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Two small tomograms, a list of them and a recipe that converts."""
    import mrcfile

    for seed in (1, 2):
        with mrcfile.new(tmp_path / f"TS_0{seed}.mrc") as file:
            file.set_data(np.random.default_rng(seed).normal(size=(40, 70, 90)).astype(np.float32))
            file.voxel_size = 10.0
    (tmp_path / "list.txt").write_text("TS_01.mrc\nTS_02.mrc\n")
    (tmp_path / "recipe.yaml").write_text("convert: {chunk: [16, 16, 16], shard: [16, 32, 32]}\n")
    return tmp_path


def _script(name: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        ["bash", ROOT / "deploy" / name, "recipe.yaml", "list.txt", "results"],
        cwd=folder,
        env={**ENVIRONMENT, "PATH": path, "SLURM_CPUS_PER_TASK": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _complete(folder: Path) -> None:
    for name in ("TS_01", "TS_02"):
        volume = volengine.open_volume(str(folder / "results" / "tomograms" / f"{name}.ome.zarr"))
        assert volume.shape == (40, 70, 90)


def test_the_array_script_runs_as_parts(collection: Path) -> None:
    parts = [
        _script(
            "slurm-array.sh",
            collection,
            SLURM_ARRAY_TASK_ID=str(k),
            SLURM_ARRAY_TASK_COUNT="2",
            SLURM_MEM_PER_NODE="1000",
        )
        for k in (1, 2)
    ]
    said = [part.communicate()[0] for part in parts]
    assert [part.returncode for part in parts] == [0, 0], said
    _complete(collection)


@pytest.mark.slow
def test_the_cluster_script_starts_workers_and_ends_them(collection: Path) -> None:
    """With a stand-in for ``srun`` that starts two tasks on this machine."""
    (collection / "bin").mkdir()
    srun = collection / "bin" / "srun"
    srun.write_text('#!/bin/bash\ntrap "kill %1 %2" TERM\n"$@" &\n"$@" &\nwait\nwait\n')
    srun.chmod(0o755)
    job = _script("slurm-dask.sh", collection, SLURM_JOB_ID="7", SLURM_MEM_PER_CPU="1000", TMPDIR=str(collection))
    said = job.communicate(timeout=180)[0]
    assert job.returncode == 0, said
    assert "TS_01: done" in said
    _complete(collection)
    assert not list((collection / "results").glob("dask-*.json"))
    assert not list((collection / "results").glob(".cert*"))  # the keys
    assert not re.search("Traceback|WARNING|ERROR|CRITICAL", said), said


def test_what_we_tell_people_to_start_listens_to_nobody_else() -> None:
    """Dashboards of this machine only, and certificates wherever scheduler and workers are on several machines."""
    deploy = [ROOT / "deploy" / "slurm-dask.sh"]  # the manifests of Kubernetes: tests/deploy
    texts = {path: path.read_text().replace("\\\n", " ") for path in [*deploy, ROOT / "docs" / "how-to-run.md"]}
    for path, text in texts.items():
        text = re.sub(r",\n +", ", ", text)
        commands = [line for line in text.splitlines() if re.search(r"^[^#`|]*\bdask,? (scheduler|worker)\b", line)]
        assert {re.search("scheduler|worker", line)[0] for line in commands} == {"scheduler", "worker"}
        for line in commands:
            assert re.search(r"--no-dashboard|--dashboard-address,? \"?127\.0\.0\.1:", line), f"{path}: {line}"
            assert "tls" in line or "--host 127.0.0.1" in line, f"{path}: {line}"
    assert not any("tcp://" in texts[path] or "--insecure" in texts[path] for path in deploy)


def test_the_table_of_formats_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "formats.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    for name, format in FORMATS.items():
        (row,) = (row for row in rows if f"`{name}`" in row[1])
        said = ("yes" if format.reads else "no", "yes" if format.writes else "no", format.poses)
        assert (row[2], row[3], row[6] in ("yes", "normals")) == said, name
    for ending in (*VOLUME_SUFFIXES, *ZIP_SUFFIXES):
        assert ending in page, ending
