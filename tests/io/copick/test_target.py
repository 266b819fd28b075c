"""Results go into the overlay of a copick project, under the names by which copick finds them, and nowhere else."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from copick_projects import write_config, write_table

import volengine
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.engine.options import RunOptions
from volengine.io.copick.target import Target, is_target
from volengine.io.picks import read_all, read_picks, write_picks
from volengine.tasks.picks.convert import convert_picks, filter_picks, merge_picks

KEYS = ("pickable_object_name", "user_id", "session_id", "run_name", "voxel_spacing")
QUIET = RunOptions(progress=False)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def table(path: Path, feature: str = "ribosome", names: tuple[str, ...] = ("TS_1", "TS_2")) -> Path:
    at = np.array([[1.25, 2, 3], [4, 5.5, 6]])
    made = [
        Picks(at + n, (10.0, 10.0, 10.0), tomogram=name, feature=feature, weight=[0.5, 0.25], euler=[[0, 30, 60]] * 2)
        for n, name in enumerate(names)
    ]
    write_picks(path, made)
    return path


def prediction(path: Path) -> Path:
    data = np.zeros((12, 16, 20), np.float32)
    data[2:6, 3:7, 4:9], data[8:11, 10:13, 12:16] = 1, 0.75
    with mrcfile.new(path, data=data) as mrc:
        mrc.voxel_size = 10
    return path


def test_picks_become_a_file_in_each_run(config: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "static"), contents(tmp_path / "overlay")
    made = convert_picks(table(tmp_path / "all.csv"), config)
    runs = tmp_path / "overlay" / "ExperimentRuns"
    files = [runs / name / "Picks" / "volengine_0_ribosome.json" for name in ("TS_1", "TS_2")]
    assert (made.format, made.files) == ("copick", tuple(map(str, files)))
    data = json.loads(files[1].read_text())
    assert {
        key: data[key] for key in ("pickable_object_name", "user_id", "session_id", "run_name", "voxel_spacing")
    } == {
        "pickable_object_name": "ribosome",
        "user_id": "volengine",
        "session_id": "0",
        "run_name": "TS_2",
        "voxel_spacing": 10.0,
    }
    assert data["points"][0]["location"] == {"x": 40.0, "y": 30.0, "z": 22.5}
    back = read_all(f"{config}#picks=ribosome,user=volengine")
    np.testing.assert_allclose(back["TS_1"].position_vox, [[1.25, 2, 3], [4, 5.5, 6]])
    np.testing.assert_allclose(back["TS_1"].euler, [[0, 30, 60]] * 2, atol=1e-9)
    assert contents(tmp_path / "static") == before[0]
    after = contents(tmp_path / "overlay")
    assert before[1].items() <= after.items()
    assert set(after) - set(before[1]) == {str(file.relative_to(tmp_path / "overlay")) for file in files}


def test_user_session_and_object_are_chosen(config: Path, tmp_path: Path) -> None:
    made = convert_picks(table(tmp_path / "a.csv", "vesicle", ("TS_1",)), f"{config}#user=me,session=3,picks=membrane")
    assert made.files == (str(tmp_path / "overlay/ExperimentRuns/TS_1/Picks/me_3_membrane.json"),)
    data = json.loads(Path(made.files[0]).read_text())
    assert (data["user_id"], data["session_id"], data["pickable_object_name"]) == ("me", "3", "membrane")


def test_files_that_exist_are_not_replaced_unasked(config: Path, tmp_path: Path) -> None:
    source = table(tmp_path / "a.csv", names=("TS_2",))
    made = convert_picks(source, config)
    with pytest.raises(InputError, match="exists"):
        convert_picks(source, config)
    convert_picks(source, config, {"overwrite": True})
    assert len(read_picks(made.files[0])) == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_other_programs_are_never_replaced(config: Path, tmp_path: Path, overwrite: bool) -> None:
    source, before = table(tmp_path / "a.csv", names=("TS_2",)), contents(tmp_path / "overlay")
    for verb in (convert_picks, filter_picks):
        recipe = {"overwrite": overwrite} | ({"min_weight": 0.0} if verb is filter_picks else {})
        with pytest.raises(InputError, match=r"bob_1_ribosome\.json exists, and volengine has not written it; choose"):
            verb(source, f"{config}#user=bob,session=1", recipe)
    assert contents(tmp_path / "overlay") == before


def test_what_the_static_root_has_is_not_written_beside_it(config: Path, tmp_path: Path) -> None:
    """With both, the picks of that user could not be read any more."""
    source, volume = table(tmp_path / "t.csv", names=("TS_1",)), prediction(tmp_path / "TS_1__ribosome.mrc")
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"author_7_ribosome\.json exists, in the static root"):
            convert_picks(source, f"{config}#user=author,session=7", {"overwrite": overwrite})
    with pytest.raises(InputError, match="Choose another user= or session="):
        volengine.pick(volume, f"{config}#user=author,session=7", None, QUIET)
    assert contents(tmp_path) == before
    one = write_config(tmp_path / "one.json", tmp_path / "overlay", tmp_path / "overlay")
    convert_picks(source, f"{one}#user=me", {})
    convert_picks(source, f"{one}#user=me", {"overwrite": True})


def test_the_configuration_itself_is_never_replaced(config: Path, tmp_path: Path) -> None:
    before = config.read_bytes()
    merge_picks([table(tmp_path / "a.csv")], config, {"overwrite": True})
    volengine.pick(
        prediction(tmp_path / "TS_1__ribosome.mrc"), config, None, RunOptions(progress=False, overwrite=True)
    )
    assert config.read_bytes() == before


@pytest.mark.parametrize(
    ("address", "feature", "names", "message"),
    [
        ("", "ribosom", ("TS_1",), "pickable_objects have no 'ribosom', but ribosome, membrane. Did you mean ribosome"),
        ("", "", ("TS_1",), "have no ''"),
        ("", "ribosome", ("TS_1", "TS_9"), "has no run 'TS_9'; there are TS_1, TS_2"),
        ("#picks=actin", "ribosome", ("TS_1",), "have no 'actin'"),
        ("#user=my_self", "ribosome", ("TS_1",), "copick has no _, blanks or signs of paths in it: 'my-self'"),
        ("#session=../1", "ribosome", ("TS_1",), "session is '../1'"),
        ("#run=TS_1", "ribosome", ("TS_1",), "and not run="),
        ("#seg=membrane", "ribosome", ("TS_1",), "and not seg="),
        ("#usr=a", "ribosome", ("TS_1",), "and not usr="),
    ],
)
def test_what_copick_would_not_find_is_not_written(
    config: Path, tmp_path: Path, address: str, feature: str, names: tuple[str, ...], message: str
) -> None:
    source = table(tmp_path / "a.csv", feature, names)
    before = contents(tmp_path / "overlay")
    with pytest.raises(InputError) as error:
        convert_picks(source, f"{config}{address}")
    assert message in str(error.value)
    assert contents(tmp_path / "overlay") == before


def test_another_format_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of the format copick, not relion5"):
        convert_picks(table(tmp_path / "a.csv"), config, {"to": "relion5"})


def test_names_of_tomograms_may_differ_as_they_do_in_the_field(config: Path) -> None:
    target = Target.of(str(config))
    assert (target.run_of("TS_1_Vol"), target.run_of("TS_2_10.00Apx.mrc")) == ("TS_1", "TS_2")
    assert (is_target(str(config)), is_target(f"{config}#session=1"), is_target(f"{config}.csv")) == (True, True, False)


def test_pick_writes_picks_and_their_instances(config: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "static")
    source = prediction(tmp_path / "TS_1__ribosome.mrc")
    picks = volengine.pick(source, f"{config}#session=4", None, QUIET)
    run = tmp_path / "overlay" / "ExperimentRuns" / "TS_1"
    assert read_picks(run / "Picks" / "volengine_4_ribosome.json").position_vox.tolist() == picks.position_vox.tolist()
    assert sorted(picks.position_vox.tolist()) == [[3.5, 4.5, 6], [9, 11, 13.5]]
    labels = volengine.open_volume(run / "InstanceSegmentations" / "10.000_volengine_4_ribosome.zarr")
    assert (labels.shape, np.unique(labels.read()).tolist()) == ((12, 16, 20), [0, 1, 2])
    assert (tmp_path / "overlay" / "pick.run").is_dir()
    assert contents(tmp_path / "static") == before
    volengine.pick(source, f"{config}#session=4", None, QUIET)  # the same run again


def test_pick_replaces_neither_files_of_people_nor_of_other_runs(config: Path, tmp_path: Path) -> None:
    source = prediction(tmp_path / "TS_2__ribosome.mrc")
    with pytest.raises(InputError, match=r"bob_1_ribosome.json exists, and volengine has not written it"):
        volengine.pick(source, f"{config}#user=bob,session=1", None, QUIET)
    convert_picks(table(tmp_path / "a.csv"), config)
    with pytest.raises(InputError, match="exists, and is not of this run"):
        volengine.pick(source, str(config), None, QUIET)


def test_voxels_that_are_no_cubes_are_refused(config: Path) -> None:
    with pytest.raises(InputError, match="10 x 10 x 12 angstrom; copick's are cubes"):
        Target.of(str(config)).instances_store("TS_1", "ribosome", (10.0, 10.0, 12.0))


def test_labels_of_picks_of_a_segmentation_do_not_go_into_its_store(config: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "overlay")
    picks = volengine.pick(f"{config}#run=TS_1,seg=membrane", tmp_path / "a.star", None, QUIET)
    assert (picks.tomogram, picks.feature, picks.position_vox.tolist()) == ("TS_1", "membrane", [[3, 4, 6]])
    assert contents(tmp_path / "overlay") == before


def test_other_verbs_refuse_a_project_as_output(config: Path, tmp_path: Path) -> None:
    model = tmp_path / "none.safetensors"
    with pytest.raises(InputError, match=r"segment does not write into a copick project.*convert .*--threshold 0\.5"):
        volengine.segment(prediction(tmp_path / "TS_1.mrc"), f"{config}#user=a", {"models": model}, QUIET)


READ = """
import json, sys, copick
found = {}
for run in copick.from_file(sys.argv[1]).runs:
    for one in run.picks:
        at, turns = one.numpy()
        found["/".join((run.name, one.user_id, one.session_id, one.pickable_object_name))] = at.tolist()
print(json.dumps(found))
"""


def test_copick_reads_what_was_written(config: Path, tmp_path: Path) -> None:
    """copick needs another version of Zarr; COPICK_PYTHON names the Python of an environment that has it."""
    import os

    python = os.environ.get("COPICK_PYTHON", sys.executable)
    seen = subprocess.run([python, "-c", "import copick"], capture_output=True, env={"PATH": os.environ["PATH"]})
    if seen.returncode:
        pytest.skip("copick is not installed: set COPICK_PYTHON to a Python that has it")
    write_table(tmp_path / "overlay", "TS_1", "eve_2", "membrane", [(1, 2, 3)])
    convert_picks(table(tmp_path / "all.csv"), config)
    volengine.pick(prediction(tmp_path / "TS_1__ribosome.mrc"), f"{config}#session=4", None, QUIET)
    done = subprocess.run([python, "-c", READ, str(config)], capture_output=True, env={"PATH": os.environ["PATH"]})
    found = json.loads(done.stdout.splitlines()[-1])
    ours = {}
    for address in ("user=author", "user=bob", "user=eve", "session=0", "session=4"):
        for name, picks in read_all(f"{config}#picks=*,{address}").items():
            data = json.loads(json.dumps((picks.position_vox * 10)[:, ::-1].tolist()))
            ours[f"{name}/{address}"] = data
    assert len(found) == 6
    assert sorted(found.values()) == sorted(ours.values())
