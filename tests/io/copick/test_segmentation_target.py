"""Masks and labels go into the overlay of a copick project as copick reads them, on the grid of the run's tomogram."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from calling import Command
from copick_projects import OBJECTS, write_config, write_store

import volengine
from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.io.open import open_volume

QUIET = RunOptions(progress=False)
SHAPE = (12, 16, 20)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def mrc(path: Path, data: np.ndarray, size: float = 10.0) -> Path:
    with mrcfile.new(path, data=data) as file:
        file.voxel_size = size
    return path


def mask(dtype: str = "i1") -> np.ndarray:
    data = np.zeros(SHAPE, dtype)
    data[2:6, 3:7, 4:9], data[11, 15, 19] = 1, 1
    return data


def stored(tmp_path: Path, name: str, run: str = "TS_1") -> Path:
    return tmp_path / "overlay" / "ExperimentRuns" / run / "Segmentations" / name


@pytest.mark.parametrize("dtype", ["i1", "u2", "f4"])
def test_a_mask_becomes_a_segmentation_of_0_and_1(config: Path, tmp_path: Path, dtype: str) -> None:
    before = contents(tmp_path / "static"), contents(tmp_path / "overlay")
    source = mrc(tmp_path / "TS_1__membrane.mrc", mask(dtype))
    made = volengine.convert(source, f"{config}#user=me,session=3", None, QUIET)
    path = stored(tmp_path, "10.000_me_3_membrane.zarr")
    assert Path(made.url) == path
    back = open_volume(path)
    assert (back.dtype, back.voxel_size, back.kind, back.name) == ("uint8", (10.0,) * 3, "labels", "TS_1__membrane")
    np.testing.assert_array_equal(back.read(), mask())
    assert json.loads((path / ".zattrs").read_text())["multiscales"][0]["version"] == "0.4"
    assert contents(tmp_path / "static") == before[0]
    assert before[1].items() <= contents(tmp_path / "overlay").items()
    assert (tmp_path / "overlay" / "convert.run").is_dir()
    chosen = open_volume(f"{config}#run=TS_1,seg=membrane,user=me")
    np.testing.assert_array_equal(chosen.read(), mask())
    again = contents(tmp_path / "overlay")
    volengine.convert(source, f"{config}#user=me,session=3", None, QUIET)  # the same command: nothing to do
    assert contents(path) == {
        key.split("membrane.zarr/")[1]: value for key, value in again.items() if "me_3_membrane.zarr/" in key
    }


def test_run_and_object_are_chosen(config: Path, tmp_path: Path) -> None:
    source = mrc(tmp_path / "result.mrc", mask())
    volengine.convert(source, f"{config}#run=TS_2,seg=ribosome", None, QUIET)
    np.testing.assert_array_equal(
        open_volume(stored(tmp_path, "10.000_volengine_0_ribosome.zarr", "TS_2")).read(), mask()
    )


def test_probabilities_need_a_threshold(config: Path, tmp_path: Path) -> None:
    values = np.linspace(0, 1, 12 * 16 * 20, dtype=np.float32).reshape(SHAPE)
    source = mrc(tmp_path / "TS_1__membrane.mrc", values)
    with pytest.raises(InputError, match=r"holds 0 and 1, and here are values such as 0\.000.*--threshold 0\.5"):
        volengine.convert(source, config, None, QUIET)
    shutil.rmtree(tmp_path / "overlay" / "convert.run")
    volengine.convert(source, f"{config}#session=8", {"threshold": 0.3}, QUIET)
    found = open_volume(stored(tmp_path, "10.000_volengine_8_membrane.zarr")).read()
    np.testing.assert_array_equal(found, values > np.float32(0.3))


@pytest.mark.parametrize("kind", ["stated", "asked"])
def test_bytes_that_hold_only_0_and_1_are_no_mask_if_they_are_said_to_be_probabilities(
    config: Path, tmp_path: Path, kind: str
) -> None:
    """A prediction in which nothing was found: 1 is 1/255."""
    source = mrc(tmp_path / "TS_1__membrane.mrc", mask("i1"))
    recipe = {"kind": "probability"}
    if kind == "stated":
        volengine.convert(source, tmp_path / "TS_1__membrane.ome.zarr", recipe, QUIET)
        source, recipe = tmp_path / "TS_1__membrane.ome.zarr", {}
    with pytest.raises(InputError, match="holds probabilities, and a segmentation of copick 0 and 1: say with --t"):
        volengine.convert(source, config, recipe, QUIET)
    assert not stored(tmp_path, "10.000_volengine_0_membrane.zarr").exists()


def test_bytes_count_to_255(config: Path, tmp_path: Path) -> None:
    values = (np.arange(12 * 16 * 20) % 256).astype(np.uint16).reshape(SHAPE)
    source = mrc(tmp_path / "TS_1__membrane.mrc", values)
    volengine.convert(source, config, {"threshold": 0.2}, QUIET)  # 51 / 255: 51 is not above it
    found = open_volume(stored(tmp_path, "10.000_volengine_0_membrane.zarr")).read()
    np.testing.assert_array_equal(found, values > 51)


def test_values_that_are_no_probabilities_are_refused(config: Path, tmp_path: Path) -> None:
    source = mrc(tmp_path / "TS_1__membrane.mrc", np.full(SHAPE, 3.5, np.float32))
    with pytest.raises(InputError, match="probabilities from 0 to 1"):
        volengine.convert(source, config, {"threshold": 0.5}, QUIET)


def test_labels_of_several_objects(config: Path, tmp_path: Path) -> None:
    labels = mask("i2") * 2
    labels[0, 0, :5] = 1
    source = mrc(tmp_path / "TS_1.mrc", labels)
    volengine.convert(source, f"{config}#seg=mine-multilabel", None, QUIET)
    path = stored(tmp_path, "10.000_volengine_0_mine-multilabel.zarr")
    np.testing.assert_array_equal(open_volume(path).read(), labels)
    np.testing.assert_array_equal(open_volume(f"{config}#run=TS_1,seg=mine").read(), labels)


def test_values_that_are_no_labels_of_objects_are_refused(config: Path, tmp_path: Path) -> None:
    source = mrc(tmp_path / "TS_1.mrc", mask("i2") * 3)
    with pytest.raises(InputError, match=r"values such as 3, which are labels of none.*those of one are 1, 2"):
        volengine.convert(source, f"{config}#seg=mine-multilabel", None, QUIET)
    twice = [*OBJECTS, {**OBJECTS[1], "name": "vesicle"}]
    write_config(config, tmp_path / "overlay", tmp_path / "static", pickable_objects=twice)
    mrc(tmp_path / "TS_2.mrc", mask("i2") * 2)
    with pytest.raises(InputError, match=r"values such as 2, which are labels of none, or of several"):
        volengine.convert(tmp_path / "TS_2.mrc", f"{config}#seg=mine-multilabel", None, QUIET)


def test_classes_become_the_labels_of_objects_of_their_names(config: Path, tmp_path: Path) -> None:
    """An atlas that states names: membrane is 1 there and 2 in the project, ribosome 7 and 1."""
    atlas = mask("u1")
    atlas[0, 0, :5] = 7
    path = tmp_path / "TS_1.ome.zarr"
    volengine.convert(mrc(tmp_path / "TS_1.mrc", atlas.astype("i1")), path, {"kind": "labels"}, QUIET)
    file = path / "zarr.json"
    data = json.loads(file.read_text())
    data["attributes"]["volengine"]["facts"]["classes"] = {"background": 0, "membrane": 1, "ribosome": 7}
    file.write_text(json.dumps(data))
    volengine.convert(path, f"{config}#seg=mine-multilabel", None, QUIET)
    found = open_volume(stored(tmp_path, "10.000_volengine_0_mine-multilabel.zarr"))
    np.testing.assert_array_equal(found.read(), np.select([atlas == 1, atlas == 7], [2, 1], 0))
    assert "classes" not in found.facts  # which counted the values of the source
    data["attributes"]["volengine"]["facts"]["classes"]["actin"] = 3
    file.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"has the class 'actin', and .* no object 'actin'"):
        volengine.convert(path, f"{config}#seg=mine-multilabel,session=2", None, QUIET)


@pytest.mark.parametrize(
    ("name", "address", "recipe", "message"),
    [
        ("TS_1__membran.mrc", "", {}, "no 'membran', but ribosome, membrane. Did you mean membrane"),
        ("TS_1.mrc", "", {}, "have no ''"),
        ("TS_1.mrc", "#seg=all", {}, "have a name with -multilabel behind it"),
        ("TS_9__membrane.mrc", "", {}, "has no run 'TS_9'; there are TS_1, TS_2"),
        ("TS_1__membrane.mrc", "#run=TS_9", {}, "has no run 'TS_9'; there are TS_1, TS_2"),
        ("TS_1__membrane.mrc", "#run=TS_*", {}, "has no run 'TS_*'"),
        ("TS_1__membrane.mrc", "#seg=m_1", {}, "seg is 'm_1'; copick has no _"),
        ("TS_1__membrane.mrc", "#picks=membrane", {}, "give user=, session=, run= and seg=, and not picks="),
        ("TS_1__membrane.mrc", "#spacing=10", {}, "and not spacing="),
        ("TS_1__membrane.mrc", "", {"voxel_size": 12}, "has voxels of 12 angstrom, and the run 'TS_1'"),
        ("TS_1__membrane.mrc", "", {"voxel_size": (10, 10, 12)}, "copick's are cubes"),
        ("TS_1__membrane.mrc", "", {"voxel_size": 20}, "12 x 16 x 20 voxels (z, y, x), and the tomogram of the run"),
        ("TS_1__membrane.mrc", "", {"ngff": "0.6"}, "copick reads OME-Zarr 0.4"),
        ("TS_1.mrc", "#seg=a-multilabel", {"threshold": 0.5}, "probabilities have no labels of objects"),
        ("TS_1.mrc", "#seg=a-multilabel", {"kind": "probability"}, "probabilities have no labels of objects"),
        ("TS_1__membrane.mrc", "#user=bob,session=1", {"overwrite": True}, "and volengine has not written it"),
    ],
)
def test_what_copick_would_not_understand_is_not_written(
    config: Path, tmp_path: Path, name: str, address: str, recipe: dict[str, object], message: str
) -> None:
    source = mrc(tmp_path / name, mask())
    before = contents(tmp_path / "overlay"), contents(tmp_path / "static")
    options = QUIET.with_(overwrite=recipe.pop("overwrite", False)) if "overwrite" in recipe else QUIET
    with pytest.raises(InputError) as error:
        volengine.convert(source, f"{config}{address}", recipe, options)
    assert message in str(error.value)
    assert (contents(tmp_path / "overlay"), contents(tmp_path / "static")) == before


def test_what_the_static_root_has_is_not_hidden(config: Path, tmp_path: Path) -> None:
    inside = "ExperimentRuns/TS_1/Segmentations/10.000_volengine_0_membrane.zarr"
    write_store(tmp_path / "static" / inside, mask("u1"), 10.0)
    with pytest.raises(InputError, match="exists, in the static root"):
        volengine.convert(mrc(tmp_path / "TS_1__membrane.mrc", mask()), config, None, QUIET)


def test_results_of_another_run_are_replaced_only_when_asked(config: Path, tmp_path: Path) -> None:
    volengine.convert(mrc(tmp_path / "TS_1__membrane.mrc", mask()), config, None, QUIET)
    (tmp_path / "other").mkdir()
    source = mrc(tmp_path / "other" / "TS_1__membrane.mrc", mask()[::-1].copy())
    aside = QUIET.with_(run_dir=str(tmp_path / "aside"))
    with pytest.raises(InputError, match="exists"):
        volengine.convert(source, config, None, aside)
    path = stored(tmp_path, "10.000_volengine_0_membrane.zarr")
    np.testing.assert_array_equal(open_volume(path).read(), mask())
    volengine.convert(source, config, None, aside.with_(overwrite=True))
    np.testing.assert_array_equal(open_volume(path).read(), mask()[::-1])


def test_blocks_do_not_matter(config: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(1).random(SHAPE, np.float32)
    source = mrc(tmp_path / "TS_1__membrane.mrc", values)
    recipe = {"threshold": 0.5, "chunk": (8, 8, 8)}
    for session, block in (("1", None), ("2", (8, 8, 8))):
        volengine.convert(source, f"{config}#session={session}", recipe, QUIET.with_(block=block))
    one, other = (contents(stored(tmp_path, f"10.000_volengine_{n}_membrane.zarr")) for n in "12")
    chunks = [key for key in one if key.split("/")[0] == "0" and not Path(key).name.startswith((".", "m"))]
    assert len(chunks) > 1
    assert [one[key] for key in chunks] == [other[key] for key in chunks]


def test_a_threshold_is_for_projects(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="go into a copick project"):
        volengine.convert(mrc(tmp_path / "a.mrc", mask()), tmp_path / "a.ome.zarr", {"threshold": 0.5}, QUIET)
    with pytest.raises(InputError, match="from 0 to below 1, not 1"):
        volengine.ConvertRecipe(threshold=1)


def test_on_the_command_line(config: Path, tmp_path: Path, volengine: Command) -> None:
    for run in ("TS_1", "TS_2"):
        mrc(tmp_path / f"{run}__membrane.mrc", mask("f4") * np.float32(0.75))
    code, _, messages = volengine(
        "convert", f"{tmp_path}/TS_*__membrane.mrc", "--threshold", "0.5", "--out", f"{config}#session=5", "-q"
    )
    assert (code, messages) == (0, "")
    for run in ("TS_1", "TS_2"):
        found = open_volume(stored(tmp_path, "10.000_volengine_5_membrane.zarr", run)).read()
        np.testing.assert_array_equal(found, mask())


READ = """
import json, sys, copick
found = {}
for run in copick.from_file(sys.argv[1]).runs:
    for one in run.segmentations:
        if one.user_id == "volengine":
            array = one.numpy()
            key = "/".join((run.name, one.session_id, one.name, one.segmentation_type, str(one.voxel_size)))
            found[key] = [str(array.dtype), array.tolist()]
print(json.dumps(found))
"""


def test_copick_reads_what_was_written(config: Path, tmp_path: Path) -> None:
    """copick needs another version of Zarr; COPICK_PYTHON names the Python of an environment that has it."""
    python = os.environ.get("COPICK_PYTHON", sys.executable)
    seen = subprocess.run([python, "-c", "import copick"], capture_output=True, env={"PATH": os.environ["PATH"]})
    if seen.returncode:
        pytest.skip("copick is not installed: set COPICK_PYTHON to a Python that has it")
    volengine.convert(mrc(tmp_path / "TS_1__membrane.mrc", mask()), config, None, QUIET)
    labels = mask("i2") * 2
    labels[0, 0, :5] = 1
    volengine.convert(mrc(tmp_path / "TS_2.mrc", labels), f"{config}#seg=mine-multilabel,session=2", None, QUIET)
    done = subprocess.run([python, "-c", READ, str(config)], capture_output=True, env={"PATH": os.environ["PATH"]})
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "TS_1/0/membrane/binary/10.0": ["uint8", mask().tolist()],
        "TS_2/2/mine/multilabel/10.0": ["uint8", labels.tolist()],
    }
