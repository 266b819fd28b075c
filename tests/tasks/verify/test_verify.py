"""verify: what is missing, damaged, foreign or unfinished is listed, and made again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError, MissingError
from volengine.core.picks import Picks
from volengine.tasks.verify.verb import verify

OPTIONS = volengine.RunOptions(progress=False, durable=False)
SOURCE: list[Path] = []
"""The tomogram's source."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A collection: a tomogram, picks, their run folders, and a store of another program."""
    folder, raw = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("raw") / "TS_01__ribosome.mrc"
    balls = np.zeros((32, 48, 48), np.float32)
    z, y, x = np.indices(balls.shape)
    for centre in ((10, 12, 12), (20, 30, 34)):
        balls += np.exp(-sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) / 12.0).astype(np.float32)
    mrcfile.write(raw, balls, voxel_size=10.0)
    SOURCE[:] = [raw]
    recipe = volengine.ConvertRecipe(chunk=(16, 16, 16), shard=(32, 32, 32))
    volengine.convert(raw, folder / "TS_01.ome.zarr", recipe, OPTIONS)
    picks = volengine.pick(raw, folder / "picks.star", options=OPTIONS)
    assert isinstance(picks, Picks)
    assert len(picks) == 2
    foreign = zarr.create_array(str(folder / "other.zarr"), shape=(8, 8, 8), chunks=(4, 4, 4), dtype="f4")
    foreign[:] = np.random.default_rng(0).random((8, 8, 8), np.float32)
    return folder


@pytest.fixture
def place(made, tmp_path):
    """The collection, which is put back into its place afterwards; inputs are elsewhere and are not touched."""
    shutil.copytree(made, tmp_path / "kept")
    yield made
    shutil.rmtree(made)
    shutil.copytree(tmp_path / "kept", made)


def shard_of(folder: Path) -> Path:
    return next(p for p in sorted((folder / "TS_01.ome.zarr/0/c").rglob("*")) if p.is_file())


def content(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file() and ("/c/" in str(p) or p.suffix == ".star")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_an_untouched_collection_has_no_problems(place):
    for deep in (False, True):
        found = verify(place, deep=deep, options=OPTIONS)
        assert found
        assert found.problems == ()
        assert len(found.checked) == 5


def test_images_are_counted_once(place):
    images = ("TS_01.ome.zarr", "picks.star.ome.zarr/labels/ribosome", "other.zarr")
    found = verify(place)
    assert found.images == len(images)
    assert f"({found.images} image" in found.text()
    assert verify([place, *(place / image for image in images)]).images == found.images


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_missing_is_listed_and_made_again(place, deep):
    before = content(place)
    lost = [shard_of(place), place / "picks.star"]
    for path in lost:
        path.unlink()
    found = verify(place, deep=deep, options=OPTIONS)
    assert not found
    assert {(p.where, p.kind) for p in found.problems} == {(str(path), "missing") for path in lost}
    assert "missing: " in found.text()
    again = verify(place, deep=deep, repair=True, options=OPTIONS)
    assert again
    assert {p.where for p in again.repaired} == {str(path) for path in lost}
    assert content(place) == before


def test_a_flipped_bit_is_found_by_reading_and_made_again(place):
    before = content(place)
    for path in (shard_of(place), place / "picks.star"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    assert verify(place, options=OPTIONS)  # names and sizes are right
    found = verify(place, deep=True, options=OPTIONS)
    assert {p.kind for p in found.problems} == {"damaged"}
    assert {Path(p.where) for p in found.problems} == {shard_of(place), place / "picks.star"}
    assert verify(place, deep=True, repair=True, options=OPTIONS)
    assert content(place) == before


@pytest.mark.parametrize("source", ["gone", "touched"])
@pytest.mark.parametrize("loss", ["flipped", "deleted"])
def test_what_cannot_be_made_again_stays_as_it_is(tmp_path, source, loss):
    """One unit has written all chunks; the others are good, and the source may be lost for ever."""
    with mrcfile.new(tmp_path / "TS_01.mrc") as file:
        file.set_data(np.random.default_rng(0).normal(size=(16, 32, 32)).astype(np.float32))
        file.voxel_size = 10.0
    recipe = volengine.ConvertRecipe(chunk=(8, 16, 16), shard=(8, 16, 16), levels=1)
    volengine.convert(tmp_path / "TS_01.mrc", tmp_path / "TS_01.ome.zarr", recipe, OPTIONS)
    shard = shard_of(tmp_path)
    if loss == "deleted":
        shard.unlink()
    else:
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 4
        shard.write_bytes(data)
    if source == "gone":
        (tmp_path / "TS_01.mrc").rename(tmp_path / "archived")
    else:
        os.utime(tmp_path / "TS_01.mrc", ns=(1, 1))
    before = content(tmp_path / "TS_01.ome.zarr")
    found = verify(tmp_path, deep=True, repair=True, options=OPTIONS)
    assert content(tmp_path / "TS_01.ome.zarr") == before
    assert found.repaired == ()
    assert str(shard) in {p.where for p in found.problems}
    assert any("cannot be made again: " in p.why for p in found.problems)
    if source == "gone":
        (tmp_path / "archived").rename(tmp_path / "TS_01.mrc")
        assert verify(tmp_path, deep=True, repair=True, options=OPTIONS)


def test_a_store_is_repaired_by_the_run_beside_it(place):
    before = content(place)
    shard = shard_of(place)
    os.truncate(shard, 10)
    store = place / "TS_01.ome.zarr"
    (problem,) = verify(store, options=OPTIONS).problems
    assert (problem.kind, Path(problem.where)) == ("damaged", shard)
    assert verify(store, repair=True, options=OPTIONS)
    assert content(place) == before
    shutil.rmtree(place / "TS_01.ome.zarr.run")
    shard.unlink()
    found = verify(store, repair=True, options=OPTIONS)  # nobody can make it again, and that is said
    assert [(p.kind, Path(p.where)) for p in found.problems] == [("missing", shard)]


def test_what_does_not_belong_there_is_listed(place):
    strange = shard_of(place).with_name("7")
    strange.write_bytes(b"strange")
    (problem,) = verify(place / "TS_01.ome.zarr", options=OPTIONS).problems
    assert (problem.kind, Path(problem.where)) == ("foreign", strange)
    assert strange.exists()


def test_a_store_of_another_program_is_read(place):
    chunk = place / "other.zarr/c/0/0/0"
    os.truncate(chunk, 5)
    assert verify(place / "other.zarr", options=OPTIONS)
    (problem,) = verify(place / "other.zarr", deep=True, options=OPTIONS).problems
    assert (problem.kind, Path(problem.where)) == ("damaged", chunk)


def test_an_unfinished_run_is_no_success(place):
    (folder,) = (place / "TS_01.ome.zarr.run" / "plans").iterdir()
    (folder / "finished.json").unlink()
    (problem,) = verify(place / "TS_01.ome.zarr.run", options=OPTIONS).problems
    assert problem.kind == "unfinished"


def test_a_copy_of_a_store_is_verified_without_its_run(place, tmp_path):
    shutil.copytree(place / "TS_01.ome.zarr", tmp_path / "copy.ome.zarr")
    assert verify(tmp_path / "copy.ome.zarr", deep=True, options=OPTIONS)
    shard_of(place).unlink()
    assert verify(tmp_path / "copy.ome.zarr", deep=True, options=OPTIONS)
    next(p for p in (tmp_path / "copy.ome.zarr/0/c").rglob("*") if p.is_file()).unlink()
    assert not verify(tmp_path / "copy.ome.zarr", options=OPTIONS)


@pytest.mark.parametrize("deep", [False, True])
def test_a_copy_that_lacks_a_manifest_is_not_whole(place, tmp_path, deep):
    """A chunk that was lost with it would be taken for zeros."""
    shutil.copytree(place / "TS_01.ome.zarr", tmp_path / "copy.ome.zarr")
    lost = tmp_path / "copy.ome.zarr" / "0" / "manifest.json"
    lost.unlink()
    problems = verify(tmp_path / "copy.ome.zarr", deep=deep, options=OPTIONS).problems
    assert [(p.kind, p.where) for p in problems] == [("missing", str(lost))]


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
@pytest.mark.parametrize("name", ["copy.ome.zarr", "copy"])
def test_a_copy_that_lacks_the_metadata_of_its_image_is_damaged(tmp_path, name, ngff):
    """Its arrays are whole, each with its manifest, but nothing says any more that they are levels of an image."""
    mrcfile.write(tmp_path / "a.mrc", np.ones((4, 5, 160), np.int16), voxel_size=10)
    volengine.convert(tmp_path / "a.mrc", tmp_path / "a.ome.zarr", volengine.ConvertRecipe(ngff=ngff), OPTIONS)
    shutil.copytree(tmp_path / "a.ome.zarr", tmp_path / "there" / name)
    assert verify(tmp_path / "there", options=OPTIONS)
    (tmp_path / "there" / name / ("zarr.json" if ngff == "0.5" else ".zattrs")).unlink()
    for path in (tmp_path / "there" / name, tmp_path / "there"):
        (problem,) = verify(path, deep=True, options=OPTIONS).problems
        assert (problem.kind, problem.where) == ("damaged", str(tmp_path / "there" / name))
        assert "has lost its metadata" in problem.why


def test_the_command_has_an_exit_code_and_json(place, tmp_path):
    good = CliRunner().invoke(cli, ["verify", str(place), "--json", "--no-progress"], standalone_mode=False)
    assert (good.return_value, json.loads(good.stdout)["ok"]) == (0, True)
    shard = shard_of(place)
    shard.unlink()
    bad = CliRunner().invoke(cli, ["verify", str(place), "--json", "--no-progress"], standalone_mode=False)
    found = json.loads(bad.stdout)
    assert (bad.return_value, found["ok"], found["counts"]) == (1, False, {"missing": 1})
    assert found["problems"] == [{"where": str(shard), "kind": "missing", "why": "is missing"}]


@pytest.mark.parametrize(("path", "error"), [("nothing", MissingError), ("picks.star", InputError)])
def test_what_cannot_be_verified_is_refused(place, path, error):
    with pytest.raises(error, match=path.split(".")[0]):
        verify(place / path, options=OPTIONS)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no store and no run folder"):
        verify(tmp_path, options=OPTIONS)


def test_a_link_to_a_collection_is_the_collection(place, tmp_path):
    """It is not taken for one that was moved, and what a run and its store both know is listed once."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "results").symlink_to(place)
    (place / "circle").symlink_to(project)
    for path in (project, project / "results", place):
        found = verify(path, options=OPTIONS)
        assert found
        assert len(found.checked) == len(verify(place, options=OPTIONS).checked)
    before = content(place)
    shard_of(place).unlink()
    found = verify(project, options=OPTIONS)
    assert [(p.kind, p.why) for p in found.problems] == [("missing", "is missing")]
    assert verify(project, repair=True, options=OPTIONS)
    assert content(place) == before


def test_the_command_repairs_on_a_cluster(place, tmp_path):
    """All options that say which cluster is meant are there, as for a run."""
    lost = shard_of(place)
    before = content(place)
    lost.unlink()
    (tmp_path / "local.yaml").write_text("kind: local\nworkers: 1\nmemory: 1GB\n")
    words = ["--repair", "--cluster", str(tmp_path / "local.yaml"), "--wait-for-workers", "2min", "--no-progress"]
    main = [sys.executable, "-c", "from volengine.cli.main import main; main()"]
    done = subprocess.run([*main, "verify", str(place), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert content(place) == before


def test_the_command_refuses_an_option_that_is_given_twice(place):
    result = CliRunner().invoke(cli, ["verify", str(place), "--workers", "1", "--workers", "2"])
    assert result.exit_code == 2
    assert "--workers is given 2 times" in result.output


METADATA = ("zarr.json", "0/zarr.json", "0/manifest.json")


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("how", ["delete", "cut", "change"])
@pytest.mark.parametrize("by", ["verify", "the command"])
def test_lost_and_changed_metadata_are_found_and_written_again(place, name, how, by):
    """A voxel size, a fill value or a list of objects that is another one is as wrong as other voxels."""
    path = place / "TS_01.ome.zarr" / name
    before, voxels = path.read_text(), content(place)
    if how == "delete":
        path.unlink()
    elif how == "cut":
        os.truncate(path, len(before) // 2)
    else:
        old, new = {"zarr.json": ("10.0", "11.0"), "0/zarr.json": ('"fill_value": 0', '"fill_value": 1')}.get(
            name, (":[", ":[9")
        )
        path.write_text(before.replace(old, new, 1))
        assert path.read_text() != before
    assert not verify(place, options=OPTIONS)
    if by == "verify":
        assert verify(place, repair=True, options=OPTIONS)
    else:
        recipe = volengine.ConvertRecipe(chunk=(16, 16, 16), shard=(32, 32, 32))
        volengine.convert(SOURCE[0], place / "TS_01.ome.zarr", recipe, OPTIONS)
        assert verify(place, options=OPTIONS)
    assert re.sub(r'"finished": \d+', "", path.read_text()) == re.sub(r'"finished": \d+', "", before)
    assert content(place) == voxels


def test_what_others_may_change_is_no_damage(place):
    """The display window belongs to the user, and so do attributes of other programs."""
    path = place / "TS_01.ome.zarr/zarr.json"
    data = json.loads(path.read_text())
    data["attributes"]["ome"]["omero"]["channels"][0]["window"]["end"] = 0.25
    data["attributes"]["mine"] = "a note"
    path.write_text(json.dumps(data))
    assert verify(place, options=OPTIONS)


def test_one_damaged_store_does_not_hide_the_others(place):
    (place / "other.zarr/zarr.json").write_text("{")
    lost = shard_of(place)
    lost.unlink()
    found = verify(place, options=OPTIONS)
    assert {(Path(p.where), p.kind) for p in found.problems} == {(place / "other.zarr", "damaged"), (lost, "missing")}


@pytest.mark.parametrize("name", ["finished.json", "images.json"])
def test_a_torn_record_of_a_run_proves_nothing(place, name):
    before = content(place)
    (folder,) = (place / "TS_01.ome.zarr.run" / "plans").iterdir()
    os.truncate(folder / name, 20)
    shard_of(place).unlink()
    assert not verify(place, options=OPTIONS)
    assert verify(place, repair=True, options=OPTIONS)
    assert content(place) == before


RECORDS = ("identities.json", "units.json", "images.json", "cleaned")


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("how", ["cut", "other", "list", "delete", "bytes"])
def test_damaged_records_of_a_plan_are_listed_and_written_again(place, name, how):
    """They follow from the plan; the run that has picked has scratch arrays, of which nothing is kept."""
    before = content(place)
    (folder,) = (place / "picks.star.run" / "plans").iterdir()
    path = folder / name
    whole = path.read_bytes()
    damaged = {"cut": whole[:-9], "other": b'{"basins": 77}', "list": b"[]", "bytes": b"\xff\x00 basins"}.get(how)
    if name == "cleaned" and how in ("cut", "delete"):
        return  # it is empty; one that is not there says that nothing was deleted, so that all is listed as missing
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    (problem,) = verify(place, options=OPTIONS).problems
    assert (Path(problem.where), problem.kind) == (path, "missing" if how == "delete" else "damaged")
    # a run goes on from there, and no result is computed again
    assert verify(place, repair=True, options=OPTIONS)
    assert path.read_bytes() == whole
    assert content(place) == before
    log = (place / "picks.star.run" / "log.jsonl").read_text()
    assert "stage done" not in log.rpartition('"event": "start"')[2]


def test_a_record_is_whole_by_any_path_of_its_folder(place, tmp_path):
    (tmp_path / "results").symlink_to(place)
    (folder,) = (place / "picks.star.run" / "plans").iterdir()
    whole = json.loads((folder / "images.json").read_text())
    (folder / "images.json").write_text("{")
    found = verify(tmp_path / "results", repair=True, options=OPTIONS)
    assert found
    assert len(found.repaired) == 1
    # images are known by paths that begin at the folder, so the other path of it adds its own
    assert whole.items() <= json.loads((folder / "images.json").read_text()).items()


@pytest.mark.parametrize("changed", [{"said": 5}, {"products": {"a": 5}}, {"nodes": []}, {"fingerprint": None}])
def test_a_record_with_values_of_another_kind_proves_nothing(place, changed):
    before = content(place)
    (path,) = (place / "TS_01.ome.zarr.run" / "plans").glob("*/finished.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    assert {p.kind for p in verify(place, options=OPTIONS).problems} == {"unfinished"}
    assert verify(place, repair=True, options=OPTIONS)
    assert content(place) == before


@pytest.mark.parametrize("lost", [True, False])
def test_a_run_that_has_lost_its_receipts_is_not_done(place, lost):
    before = content(place)
    (folder,) = (place / "TS_01.ome.zarr.run" / "plans").iterdir()
    shutil.rmtree(folder / "ledger")
    if lost:
        shard_of(place).unlink()
    found = verify(place, options=OPTIONS)
    assert {p.kind for p in found.problems} == ({"unfinished", "missing"} if lost else {"unfinished"})
    assert verify(place, repair=True, options=OPTIONS)
    assert content(place) == before


def test_a_folder_that_cannot_be_looked_at_is_an_error(place, monkeypatch):
    """It was not verified, so nobody may say that it is as it was written."""
    real = os.scandir

    def scandir(path: str):
        if str(path).endswith(".run"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"\.run: cannot be read"):
        verify(place, options=OPTIONS)


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_a_root_that_holds_labels_alone_is_written_again(place, text):
    (path,) = place.glob("picks.star.ome.zarr/zarr.json")
    before = json.loads(path.read_text())
    path.unlink() if text is None else path.write_text(text)
    found = verify(place, deep=True, options=OPTIONS)
    assert any(Path(p.where).name == "picks.star.ome.zarr" for p in found.problems)
    assert verify(place, deep=True, repair=True, options=OPTIONS)
    assert verify(place, deep=True, options=OPTIONS)
    assert json.loads(path.read_text()) == before


@pytest.mark.parametrize("how", ["delete", "cut", "forget", "number"])
def test_a_lost_list_of_labels_is_written_again(place, how):
    """Viewers show the label images that are in the list."""
    (path,) = place.glob("picks.star.ome.zarr/labels/zarr.json")
    before = json.loads(path.read_text())
    if how == "delete":
        path.unlink()
    elif how == "cut":
        os.truncate(path, 30)
    else:
        labels = [] if how == "forget" else 5
        path.write_text(json.dumps({**before, "attributes": {"ome": {"version": "0.5", "labels": labels}}}))
    found = verify(place, options=OPTIONS)
    assert any(Path(p.where).name == "labels" for p in found.problems)
    assert verify(place, repair=True, options=OPTIONS)
    assert json.loads(path.read_text())["attributes"]["ome"]["labels"] == before["attributes"]["ome"]["labels"]
