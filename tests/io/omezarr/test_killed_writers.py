"""Creating and deleting an image, killed at every single step of the file system: the same call goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from volengine.core.aside import private_name
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.io.omezarr.image import create_image, store_token
from volengine.io.omezarr.levels import plan_levels
from volengine.io.stores import exists

SCRIPT = """
import os, sys
from pathlib import Path
import zarr
from volengine.core.image import ImageSpec
from volengine.io.omezarr.image import create_image, remove, store_token
from volengine.io.omezarr.levels import plan_levels
from volengine.io.stores import exists

folder, ngff, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
levels = plan_levels((16, 64, 64), chunk=(16, 16, 16), ngff=ngff, smallest=20)
STEPS = {"open", "os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def spec(name):
    return ImageSpec(str(folder / name), "tomo", "uint8", "labels", (10.0,) * 3, levels, (0.0,) * 3, "", ngff)


def chunk(name):
    for number in range(3):
        file = folder / name / "0" / "c" / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"voxels")


def forked(task):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        task()
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)
    os._exit(0)


def killed(task, step):
    seen = 0

    def count(event, arguments):
        nonlocal seen
        # not every path is absolute: names in an open folder are none
        if event in STEPS and (event != "open" or str(folder) in str(arguments[0])):
            seen += 1
            if seen > step:
                os._exit(9)

    def run():
        sys.addaudithook(count)
        task()

    return forked(run)


def create(name):
    create_image(spec(name), token="mine")


def remove_it(name):
    remove(str(folder / name))


def again(name):
    if what == "remove":
        if exists(str(folder / name)):
            assert store_token(str(folder / name)) in ("mine", "")
            remove(str(folder / name))
        assert not exists(str(folder / name))
    create(name)
    assert store_token(str(folder / name)) == "mine"
    assert zarr.open_group(str(folder / name), mode="r")["0"].shape == (16, 64, 64)


for step in range(1000):
    name = f"{step}.zarr"
    if what == "remove":
        assert forked(lambda: (create(name), chunk(name))) == 0
    ended = killed(lambda: (create if what == "create" else remove_it)(name), step)
    assert ended in (0, 9), ended
    assert forked(lambda: again(name)) == 0, (step, sorted(p.name for p in (folder / name).iterdir()))
    if ended == 0:
        break
print("steps", step)
"""


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
@pytest.mark.parametrize("what", ["create", "remove"])
def test_killed_at_every_step(tmp_path: Path, ngff: str, what: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "stores").mkdir()
    command = [sys.executable, str(script), str(tmp_path / "stores"), ngff, what]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(ran.stdout.split()[-1]) > 5


def small(path: Path, ngff: str = "0.5") -> ImageSpec:
    levels = plan_levels((16, 64, 64), chunk=(16, 16, 16), ngff=ngff, smallest=20)
    return ImageSpec(str(path), "tomo", "uint8", "labels", (10.0,) * 3, levels, (0.0,) * 3, "", ngff)


def test_a_folder_with_anything_of_others_is_refused(tmp_path: Path) -> None:
    spec = small(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / private_name()).write_text("{")
    assert not exists(spec.url)
    (tmp_path / "a.zarr" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no Zarr store"):
        create_image(spec, token="t")
    assert (tmp_path / "a.zarr" / "notes.txt").read_text() == "mine"


def test_attributes_of_another_run_are_refused(tmp_path: Path) -> None:
    spec = small(tmp_path / "a.zarr", "0.4")
    (tmp_path / "a.zarr").mkdir()
    for text in ('{"volengine": {"token": "other"}}', '{"volengine": 3}', "{}"):
        (tmp_path / "a.zarr" / ".zattrs").write_text(text)
        with pytest.raises(InputError, match="is no Zarr store"):
            create_image(spec, token="t")
        assert store_token(spec.url) == ""
