"""Projects of copick are read as copick lays them out; what is ambiguous is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copick_projects import write_config, write_store, write_table

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.copick.choice import chosen_volume, chosen_volumes, parse_choice
from volengine.io.copick.config import clean_name, is_project, read_project
from volengine.io.copick.contents import items_of, runs_of
from volengine.io.names import project_and_choice, split_group, suffix_of
from volengine.io.open import open_volume
from volengine.io.picks import read_all, read_picks


def test_the_configuration_says_folders_objects_and_people(config: Path, tmp_path: Path) -> None:
    project = read_project(config)
    assert (project.overlay, project.static) == (tmp_path / "overlay", tmp_path / "static")
    assert [(one.name, one.is_particle, one.label, one.radius) for one in project.objects] == [
        ("ribosome", True, 1, 150.0),
        ("membrane", False, 2, None),
    ]
    assert runs_of(project) == ["TS_1", "TS_2"]


def test_everything_in_a_project_is_listed(config: Path) -> None:
    found = [(i.kind, i.run, i.name, i.user, i.session, i.spacing, i.static) for i in items_of(read_project(config))]
    assert found == [
        ("picks", "TS_1", "ribosome", "author", "7", None, True),
        ("segmentation", "TS_1", "all", "bob", "1", 10.0, False),
        ("segmentation", "TS_1", "membrane", "bob", "1", 10.0, False),
        ("tomogram", "TS_1", "denoised", "", "", 10.0, True),
        ("tomogram", "TS_1", "wbp", "", "", 10.0, True),
        ("tomogram", "TS_1", "wbp", "", "", 20.0, True),
        ("picks", "TS_2", "ribosome", "bob", "1", None, False),
        ("tomogram", "TS_2", "denoised", "", "", 10.0, True),
        ("tomogram", "TS_2", "wbp", "", "", 10.0, True),
    ]


def test_a_tomogram_is_opened_by_what_is_chosen_and_has_the_name_of_its_run(config: Path) -> None:
    volume = open_volume(f"{config}#run=TS_1,tomo=wbp,spacing=10")
    assert (volume.name, volume.shape, volume.voxel_size) == ("TS_1", (12, 16, 20), (10.0, 10.0, 10.0))
    assert volume[1, 2, 3] == 1 * 320 + 2 * 20 + 3
    assert open_volume(f"{config}#run=TS_1,tomo=wbp,spacing=20").voxel_size == (20.0, 20.0, 20.0)


def test_a_segmentation_has_the_names_of_run_and_object(config: Path) -> None:
    volume = open_volume(f"{config}#run=TS_1,seg=membrane")
    assert (volume.name, int(volume.read().sum())) == ("TS_1__membrane", 45)
    assert open_volume(f"{config}#seg=all").name == "TS_1__all"


def test_names_that_are_patterns_choose_several(config: Path) -> None:
    found = chosen_volumes(f"{config}#run=TS_*,tomo=w?p,spacing=10.0")
    assert [path.split("/")[-3:] for path in found] == [
        [run, "VoxelSpacing10.000", "wbp.zarr"] for run in ("TS_1", "TS_2")
    ]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("run=TS_2", r"'TS_2' has denoised at 10.000 A and wbp at 10.000 A. Choose one with tomo=."),
        ("tomo=wbp", r"'TS_1' has wbp at 10.000 A and wbp at 20.000 A. Choose one with spacing=."),
        ("run=TS_2,tomo=*", "Choose one with tomo=."),
        ("run=TS_1", "Choose one with tomo= and spacing=."),
        ("run=TS_1,TS_2", "'TS_2' is no KEY=VALUE. A comma ends a value; for one in a name write ? (run=...?TS_2)."),
        (
            "picks=ribosome",
            "chooses tables of picks, and a tomogram or a segmentation is needed: choose one with tomo=",
        ),
        ("mesh=membrane", "meshes of a project are listed by 'volengine info', and no verb reads them"),
        ("run=TS_1,filaments=mt", "filaments (curves) of a project are listed by 'volengine info'"),
        ("tomo=dose", "no such tomograms; there are denoised at 10.000 A, wbp at 10.000 A, wbp at 20.000 A."),
        ("run=TS_3,tomo=wbp", "there is no run 'TS_3'; there are TS_1, TS_2."),
        ("run=TS_2,seg=membrane", "there are no segmentations"),
        ("tome=wbp", "no 'tome' to choose by. Did you mean tomo?"),
        ("tomo=wbp,tomo=wbp", "tomo comes twice"),
        ("tomo=", "tomo has no value"),
        ("tomo=wbp,seg=membrane", "give one of tomo and seg"),
        ("tomo=wbp,user=bob", "user choose among picks and segmentations"),
        ("tomo=wbp,spacing=ten", "spacing is 'ten'"),
    ],
)
def test_what_is_not_there_or_ambiguous_is_refused(config: Path, choice: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        chosen_volumes(f"{config}#{choice}")
    assert message in str(error.value)


def test_a_choice_that_one_key_settles_is_offered_either_key(config: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay" / "ExperimentRuns" / "TS_3"
    write_store(overlay / "VoxelSpacing10.000" / "wbp.zarr", np.zeros((4, 4, 4), np.float32), 10.0)
    write_store(overlay / "VoxelSpacing20.000" / "denoised.zarr", np.zeros((2, 2, 2), np.float32), 20.0)
    with pytest.raises(InputError, match=r"Choose one with tomo= or spacing=\."):
        chosen_volumes(f"{config}#run=TS_3")


def test_a_run_whose_name_has_a_comma_is_chosen_with_a_pattern(config: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay" / "ExperimentRuns" / "TS_1,b"
    write_store(overlay / "VoxelSpacing10.000" / "wbp.zarr", np.zeros((4, 4, 4), np.float32), 10.0)
    assert open_volume(f"{config}#run=TS_1?b").name == "TS_1,b"


def test_verbs_that_need_a_tomogram_say_so_of_picks(config: Path, volengine: Any) -> None:
    for verb in ("convert", "segment"):
        more = ("--models", "none.safetensors") if verb == "segment" else ()
        code, _, error = volengine(verb, f"{config}#picks=ribosome", "--out", "x", *more)
        assert code == 2
        assert "chooses tables of picks, and a tomogram or a segmentation is needed" in error


def test_info_says_which_root_is_missing(config: Path, tmp_path: Path, volengine: Any) -> None:
    assert json.loads(volengine("info", str(config), "--json")[1])["missing_roots"] == []
    shutil.rmtree(tmp_path / "static")
    said = volengine("info", str(config))[1]
    assert f"{tmp_path / 'static'} (there is no such folder: mend static_root" in said
    assert json.loads(volengine("info", str(config), "--json")[1])["missing_roots"] == [str(tmp_path / "static")]
    with pytest.raises(MissingError, match=f"there is no folder {tmp_path / 'static'}"):
        chosen_volumes(f"{config}#tomo=wbp")


def test_stats_names_the_objects_and_the_sources_of_segmentations(config: Path, tmp_path: Path) -> None:
    """Of several objects the values have the names of the configuration; stores of all runs have the same names."""
    import volengine

    store = "TS_1/Segmentations/10.000_bob_1_all-multilabel.zarr"
    quiet = volengine.RunOptions(progress=False)
    recipe = volengine.StatsRecipe(plots=False)
    found = volengine.stats(f"{config}#seg=all", recipe=recipe, options=quiet)["classes"]
    rows = {row["class"]: (row["objects"], row["source"]) for row in found}
    assert rows == {"membrane": (1, store), "ribosome": (0, store)}
    path = tmp_path / "overlay" / "ExperimentRuns" / store
    alone = volengine.stats(path, recipe=recipe, options=quiet)["classes"]
    assert {row["class"]: row["objects"] for row in alone} == {"class_2": 1}  # the store itself says no names


def test_one_volume_is_one(config: Path) -> None:
    with pytest.raises(InputError, match="chooses 2 volumes, and one is needed"):
        chosen_volume(f"{config}#tomo=wbp,spacing=10")


def test_picks_of_all_runs_are_read_at_their_voxels(config: Path) -> None:
    found = read_all(f"{config}#picks=ribosome")
    assert {name: picks.position_vox.tolist() for name, picks in found.items()} == {
        "TS_1": [[1, 2, 3], [4, 5, 6]],
        "TS_2": [[7, 0, 2]],
    }
    assert {picks.feature for picks in found.values()} == {"ribosome"}
    assert {picks.voxel_size for picks in found.values()} == {(10.0, 10.0, 10.0)}
    assert len(read_picks(f"{config}#picks=ribosome,user=bob")) == 1
    assert set(read_all(config)) == {"TS_1", "TS_2"}  # the configuration alone: all picks


def test_labels_of_a_file_are_kept_beside_one_without(config: Path, tmp_path: Path) -> None:
    points = [{"location": {"x": 20, "y": 0, "z": 70}, "instance_id": 5}]
    write_table(tmp_path / "overlay", "TS_2", "bob_1", "ribosome", [], {"points": points})
    found = read_all(f"{config}#picks=ribosome")
    assert {name: None if one.label is None else one.label.tolist() for name, one in found.items()} == {
        "TS_1": [0, 0],
        "TS_2": [5],
    }


def test_turns_of_a_file_are_kept_beside_one_without(config: Path, tmp_path: Path) -> None:
    turn = [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    points = [{"location": {"x": 20, "y": 0, "z": 70}, "transformation_": turn}]
    write_table(tmp_path / "overlay", "TS_2", "bob_1", "ribosome", [], {"points": points})
    found = {name: one.euler for name, one in read_all(f"{config}#picks=ribosome").items()}
    assert found["TS_1"].tolist() == [[0, 0, 0]] * 2
    assert np.abs(found["TS_2"]).sum() == pytest.approx(90)


def test_the_same_object_of_two_people_is_refused_unless_one_is_chosen(config: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "overlay", "TS_1", "bob_1", "ribosome", [(10, 10, 10)])
    with pytest.raises(InputError, match=r"by author \(session 7\) and ribosome by bob \(session 1\).* user= or sess"):
        read_all(f"{config}#picks=ribosome")
    assert read_picks(f"{config}#picks=ribosome,run=TS_1,user=bob").position_vox.tolist() == [[1, 1, 1]]


def test_the_same_file_in_both_roots_is_refused(config: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "overlay", "TS_1", "author_7", "ribosome", [(10, 10, 10)])
    with pytest.raises(InputError, match="Static root and overlay both have it: name the file itself"):
        read_all(f"{config}#picks=ribosome")


def test_several_objects_of_a_run_are_one_table_that_names_them(config: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "overlay", "TS_1", "bob_1", "membrane", [(0, 0, 50)])
    picks = read_picks(f"{config}#picks=*,run=TS_1")
    assert picks.extra["feature"].tolist() == ["membrane", "ribosome", "ribosome"]
    assert (picks.feature, picks.position_vox[0].tolist()) == ("", [5, 0, 0])


def test_translations_are_added_and_names_are_those_of_folder_and_file(config: Path, tmp_path: Path) -> None:
    turn = [[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, -5], [0, 0, 0, 1]]
    point = {"location": {"x": 10, "y": 20, "z": 30}, "transformation_": turn}
    more = {"points": [point], "run_name": None, "voxel_spacing": None, "pickable_object_name": "other"}
    write_table(tmp_path / "overlay", "TS_2", "eve_0", "membrane", [], more)
    picks = read_picks(f"{config}#picks=membrane,user=eve")  # TS_2 has tomograms of 10 angstrom only
    assert (picks.tomogram, picks.feature, picks.position_vox.tolist()) == ("TS_2", "membrane", [[2.5, 2, 1.5]])


def test_a_voxel_size_that_nothing_states_is_asked_for(config: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "overlay", "TS_1", "eve_0", "membrane", [(10, 20, 30)], {"voxel_spacing": None})
    with pytest.raises(InputError, match="voxel size"):  # TS_1 has tomograms of 10 and of 20 angstrom
        read_picks(f"{config}#picks=membrane,user=eve")
    assert read_picks(f"{config}#picks=membrane,user=eve,spacing=20").position_vox.tolist() == [[1.5, 1, 0.5]]


def test_a_file_of_a_project_that_names_no_run_has_that_of_its_folder(config: Path, tmp_path: Path) -> None:
    path = write_table(tmp_path / "overlay", "TS_1", "eve_0", "membrane", [(10, 20, 30)], {"run_name": None})
    assert read_picks(path).tomogram == "TS_1"


def test_without_a_static_root_everything_is_in_the_overlay(config: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "one.json", tmp_path / "static", tmp_path / "static")
    assert read_project(config).static is None
    assert len(chosen_volumes(f"{config}#tomo=wbp,spacing=10")) == 2


def test_relative_roots_count_from_the_current_folder(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path / "relative.json", "overlay", "static")
    with pytest.raises(MissingError, match="copick counts a relative one from the current folder"):
        read_project(config)
    monkeypatch.chdir(tmp_path)
    assert runs_of(read_project(config)) == ["TS_1", "TS_2"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"config_type": "cryoet_data_portal", "dataset_ids": [10301]}, InputError, "type 'cryoet_data_portal'"),
        ({"overlay_root": "s3://bucket/project"}, InputError, "overlay_root is 's3://bucket/project', which is no fol"),
        ({"static_root": "ssh://host//data"}, InputError, "static_root is 'ssh://host//data'"),
        ({"static_root": "simplecache::https://a/b"}, InputError, "static_root"),
        ({"overlay_root": "a" * 300}, InputError, "cannot be looked up: File name too long"),
        ({"overlay_root": None}, FormatError, "overlay_root is None"),
        ({"overlay_root": "a\0b"}, FormatError, "overlay_root"),
        ({"overlay_root": ["a"]}, FormatError, "overlay_root is"),
        ({"pickable_objects": {}}, FormatError, "pickable_objects is"),
        ({"pickable_objects": [{}]}, FormatError, "object 0 .* has no name"),
        ({"pickable_objects": [{"name": "a", "label": 0}]}, FormatError, "label of 'a' is 0"),
        ({"pickable_objects": [{"name": "a", "radius": "b"}]}, FormatError, "radius of 'a'"),
        ({"pickable_objects": [{"name": "a", "radius": 10**400}]}, FormatError, "radius of 'a'"),
        ({"pickable_objects": [{"name": "a"}, {"name": "a"}]}, FormatError, "'a' comes twice"),
        ({"user_id": 7}, FormatError, "user_id is 7"),
    ],
)
def test_other_projects_and_damaged_ones_are_refused(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    config = write_config(tmp_path / "config.json", tmp_path, **change)
    with pytest.raises(error, match=message):
        read_project(config)


def test_other_json_is_no_project(tmp_path: Path, config: Path) -> None:
    assert is_project(config)
    for text in ('{"points": []}', "[1]", "{", "", '{"pickable_objects": '):
        (tmp_path / "a.json").write_text(text)
        assert not is_project(tmp_path / "a.json")
        with pytest.raises(InputError):
            read_project(tmp_path / "a.json")
    assert not is_project(tmp_path)
    assert not is_project(tmp_path / "none.json")


def test_stray_files_and_hidden_folders_are_not_taken(config: Path, tmp_path: Path) -> None:
    runs = tmp_path / "overlay" / "ExperimentRuns"
    for name in (".hidden", "TS_1/VoxelSpacingX", "TS_1/VoxelSpacing10.000/.a.zarr", "TS_1/Segmentations/a_b.zarr"):
        (runs / name).mkdir(parents=True)
    write_store(runs / "TS_1" / "VoxelSpacing10.000" / "wbp_sobel_features.zarr", np.zeros((2, 2, 2), "f4"), 10.0)
    (runs / "note.txt").write_text("a")
    (runs / "TS_2" / "Picks" / "nobody.json").write_text("{}")
    (runs / "TS_2" / "Picks" / "._bob_1_ribosome.json").write_text("{}")
    project = read_project(config)
    assert runs_of(project) == ["TS_1", "TS_2"]
    assert len(chosen_volumes(f"{config}#tomo=*,spacing=10,run=TS_1".replace("*", "wbp"))) == 1
    assert [Path(i.path).name for i in items_of(project) if i.kind == "other"] == [
        *("VoxelSpacingX", "a_b.zarr", "nobody.json"),
    ]


def test_a_damaged_file_of_picks_is_named(config: Path, tmp_path: Path) -> None:
    path = write_table(tmp_path / "overlay", "TS_2", "bob_1", "ribosome", [], {"points": [{"location": {"x": 1}}]})
    with pytest.raises(FormatError, match=str(path)):
        read_all(f"{config}#picks=ribosome")


def test_an_address_is_told_from_a_file_of_that_name(config: Path, tmp_path: Path) -> None:
    address = f"{config}#picks=ribosome"
    assert (suffix_of(address), suffix_of(f"{config}#run=TS_1")) == (".json", ".zarr")
    assert split_group(address) == (address, "")
    assert project_and_choice("s3://a/b.json#run=c")[1] == ""
    shutil.copy(next((tmp_path / "overlay").rglob("bob_1_ribosome.json")), address)
    assert (project_and_choice(address), len(read_picks(address, "copick"))) == ((address, ""), 1)


def test_names_become_those_that_copick_allows() -> None:
    assert (clean_name("80S_ribosome (a/b)"), parse_choice("c", " Run = a , ")) == ("80S-ribosome-(a-b)", {"run": "a"})
    with pytest.raises(InputError, match="no letter"):
        clean_name("__")


def test_a_configuration_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"pickable_objects": [], "more": "a" * 2**24}))
    with pytest.raises(FormatError, match="at most 16777216"):
        read_project(tmp_path / "c.json")


def test_info_lists_filaments(config: Path, tmp_path: Path, volengine: Any) -> None:
    """``Filaments/USER_SESSION_OBJECT.json`` of copick 1.31 (``CopickFilamentsFSSpec``)."""
    folder = tmp_path / "overlay" / "ExperimentRuns" / "TS_1" / "Filaments"
    folder.mkdir()
    (folder / "bob_3_microtubule.json").write_text("{}")
    (folder / "bob.json").write_text("{}")
    (run,) = [one for one in json.loads(volengine("info", str(config), "--json")[1])["runs"] if one["name"] == "TS_1"]
    (found,) = run["filaments"]
    assert (found["name"], found["user"], found["session"]) == ("microtubule", "bob", "3")
    assert [Path(one["path"]).name for one in run["other"]] == ["bob.json"]
    assert "filaments: microtubule by bob (session 3)" in volengine("info", str(config))[1]


def test_info_lists_a_project(config: Path, volengine: Any) -> None:
    code, said, _ = volengine("info", str(config))
    assert code == 0
    assert "ribosome: points, label 1, radius 150 angstrom" in said
    assert "segmentations: all (multilabel) at 10 A by bob (session 1), membrane at 10 A by bob" in said
    facts = json.loads(volengine("info", str(config), "--json")[1])
    assert [(run["name"], len(run["tomogram"]), len(run["picks"])) for run in facts["runs"]] == [
        ("TS_1", 3, 1),
        ("TS_2", 2, 1),
    ]
    assert facts["objects"][0] == {"name": "ribosome", "is_particle": True, "label": 1, "radius": 150.0}
    one = json.loads(volengine("info", f"{config}#run=TS_1,tomo=wbp,spacing=20", "--json")[1])
    assert (one["shape"], one["voxel_size"]) == ([6, 8, 10], [20, 20, 20])


def test_verbs_take_what_is_chosen(config: Path, tmp_path: Path, volengine: Any) -> None:
    def run(*args: object) -> str:
        code, said, error = volengine(*map(str, args))
        assert code == 0, error
        return str(said)

    run("convert", f"{config}#tomo=wbp,spacing=10", "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.zarr")) == ["TS_1.ome.zarr", "TS_2.ome.zarr"]
    picks = f"{config}#picks=ribosome"
    run("picks", "convert", picks, tmp_path / "r5.star", "--to", "relion5")  # the shape is that of the tomograms
    assert read_picks(tmp_path / "r5.star", tomogram="TS_2", shape=(12, 16, 20)).position_vox.tolist() == [[7, 0, 2]]
    assert run("score", picks, tmp_path / "r5.star", "--radius-nm", 1).split()[-3:] == ["3", "3", "3"]
    assert "ribosome          2               2        3" in run("stats", picks)
    assert "membrane          1               1        1      45" in run("stats", f"{config}#seg=membrane")
    assert "membrane  1.0000" in run("score", f"{config}#seg=membrane", f"{config}#run=TS_1,seg=membrane")
    (tmp_path / "list.txt").write_text(f"{config}#run=TS_1,tomo=wbp,spacing=10 # the first\n# no more\n")
    run("convert", tmp_path / "list.txt", "--out", tmp_path / "more")
    assert [path.name for path in (tmp_path / "more").glob("*.zarr")] == ["TS_1.ome.zarr"]


def test_training_takes_tomogram_picks_and_segmentation_of_a_project(config: Path, tmp_path: Path) -> None:
    from volengine.tasks.train.data import TrainingData
    from volengine.tasks.train.labels import picks_of
    from volengine.tasks.train.recipe import TrainRecipe

    tomogram = f"{config}#run=TS_1,tomo=wbp,spacing=10"
    points = {"volume": tomogram, "points": [f"{config}#picks=ribosome"], "radius_nm": [2]}
    labels = {"volume": tomogram, "labels": [f"{config}#run=TS_1,seg=membrane"]}
    recipe = TrainRecipe.of({"features": ["ribosome"], "samples": [points, labels]})
    data = TrainingData.of(recipe)
    assert [Path(path).name for path in data.files] == ["author_7_ribosome.json", "bob_1_ribosome.json"]
    assert data.volumes[tomogram].name == "TS_1"
    assert picks_of(f"{config}#picks=ribosome", data.volumes[tomogram], None).position_vox.tolist()[0] == [1, 2, 3]
    write_table(tmp_path / "overlay", "TS_2", "bob_1", "ribosome", [(0, 0, 0)])
    with pytest.raises(InputError, match="bob_1_ribosome"):
        data.check()


def test_training_on_the_command_line_pairs_tomograms_and_segmentations_by_their_runs(config: Path) -> None:
    from volengine.tasks.train.pairing import paired

    overlay = read_project(config).overlay / "ExperimentRuns"
    shutil.copytree(overlay / "TS_1" / "Segmentations", overlay / "TS_2" / "Segmentations")
    wbp, membrane = f"{config}#tomo=wbp,spacing=10", f"{config}#seg=membrane"
    volumes, truth = paired([wbp], {"labels": [membrane]})
    assert [Path(path).parts[-3] for path in volumes] == ["TS_1", "TS_2"]
    assert [Path(path).parts[-3] for path in truth["labels"]] == ["TS_1", "TS_2"]
    volumes, truth = paired([wbp], {"points": [f"{config}#picks=ribosome"]})
    assert (len(volumes), truth["points"]) == (2, (f"{config}#picks=ribosome",) * 2)
    one, of_one = f"{config}#run=TS_2,tomo=wbp,spacing=10", f"{config}#run=TS_2,seg=membrane"
    assert paired([one], {"labels": [of_one]}) == ((one,), {"labels": (of_one,)})
    with pytest.raises(InputError, match="belong to no tomogram") as refused:
        paired([one], {"labels": [membrane]})
    assert "choose runs that have both (run=)" in str(refused.value)
    assert "rename" not in str(refused.value)


def test_labels_of_several_objects_are_no_labels_0_1_and_2(config: Path, tmp_path: Path, volengine: Any) -> None:
    """Their 2 was taken for "does not count"."""
    from volengine.tasks.train.labels import LabelFiles

    several = f"{config}#run=TS_1,seg=all"
    tomogram = open_volume(f"{config}#run=TS_1,tomo=wbp,spacing=10")
    with pytest.raises(InputError, match="several objects"):
        LabelFiles([several], tomogram)
    assert LabelFiles([several], tomogram, ids=[2]).read(Box((0, 0, 0), tomogram.shape)).sum() == 3 * 3 * 5
    membrane = f"{config}#run=TS_1,seg=membrane"
    code, _, error = volengine("score", membrane, several)
    assert code == 2
    assert "--ids" in error
    code, out, error = volengine("score", membrane, several, "--features", "membrane", "--ids", "2")
    assert code == 0, error
    assert out.splitlines()[1].split()[:2] == ["membrane", "1.0000"]
