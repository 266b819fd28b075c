"""Creating and deleting an image, killed at every single step of the file system: the same call goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed_steps import steps_of

from volengine.core.aside import private_name
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.io.omezarr.image import create_image, store_token
from volengine.io.omezarr.levels import plan_levels
from volengine.io.stores import exists

SCRIPT = """
import sys
from pathlib import Path
import zarr
from killed_steps import forked, killed
from volengine.core.image import ImageSpec
from volengine.io.omezarr.image import create_image, remove, store_token
from volengine.io.omezarr.levels import plan_levels
from volengine.io.stores import exists

folder, ngff, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
levels = plan_levels((16, 64, 64), chunk=(16, 16, 16), ngff=ngff, smallest=20)


def spec(name):
    return ImageSpec(str(folder / name), "tomo", "uint8", "labels", (10.0,) * 3, levels, (0.0,) * 3, "", ngff)


def chunk(name):
    for number in range(3):
        file = folder / name / "0" / "c" / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"voxels")


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
    ended = killed(lambda: (create if what == "create" else remove_it)(name), step, folder)
    assert ended in (0, 9), ended
    assert forked(lambda: again(name)) == 0, (step, sorted(p.name for p in (folder / name).iterdir()))
    if ended == 0:
        break
print("steps", step)
"""


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
@pytest.mark.parametrize("what", ["create", "remove"])
def test_killed_at_every_step(tmp_path: Path, ngff: str, what: str) -> None:
    assert steps_of(SCRIPT, tmp_path, ngff, what) > 5


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
