"""The command as a user meets it: help of every verb; bad input ends with one message, 2, and nothing written."""

from __future__ import annotations

import errno
import gzip
import os
import signal
import sys
import time
from pathlib import Path

import click
import mrcfile
import numpy as np
import pytest
from calling import Command
from threshold_net import save_threshold_model

from volengine.cli.main import VERBS, main
from volengine.io.mrc.write import write_mrc


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Good and bad files of all kinds."""
    array = np.arange(6 * 8 * 10, dtype="float32").reshape(6, 8, 10)
    write_mrc(tmp_path / "good.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))
    whole = (tmp_path / "good.mrc").read_bytes()
    (tmp_path / "cut.mrc").write_bytes(whole[:1500])
    (tmp_path / "header.mrc").write_bytes(whole[:1024])
    (tmp_path / "empty.mrc").write_bytes(b"")
    (tmp_path / "noise.mrc").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "text.mrc").write_text("this is no volume\n" * 100)
    (tmp_path / "torn.mrc.gz").write_bytes(gzip.compress(whole)[:-40])
    (tmp_path / "notes.docx").write_bytes(b"PK")
    (tmp_path / "folder").mkdir()
    (tmp_path / "list.txt").write_text("# tomograms\ngood.mrc\n\nmissing.mrc\n")
    (tmp_path / "comments.txt").write_text("# nothing\n")
    (tmp_path / "broken.yaml").write_text("segment: [\n")
    (tmp_path / "train.yaml").write_text("samples: [{volume: good.mrc, labels: good.mrc}]\nfeatures: [a]\nepoch: 3\n")
    (tmp_path / "unknown.yaml").write_text("segmnet: {}\n")
    (tmp_path / "rules.yaml").write_text("rules:\n  - interact: {child: a, parent: b}\n")
    (tmp_path / "field2.yaml").write_text("convert: {levels: 1}\n")
    (tmp_path / "field.yaml").write_text("pick:\n  - {feature: a, treshold: 0.4}\n")
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not json at all!")
    (tmp_path / "points.csv").write_text("z,y,x\n3,4,5\n")
    (tmp_path / "points.star").write_text("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2 3\n")
    save_threshold_model(tmp_path / "model.safetensors", "ball", patch=(4, 8, 8))
    return tmp_path


def contents(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_help_lists_every_verb(volengine: Command) -> None:
    code, out, _ = volengine("--help")
    assert code == 0
    assert all(f"  {verb} " in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(volengine: Command, verb: str) -> None:
    code, out, err = volengine(verb, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: ")
    assert "-h, --help" in out
    assert len(out.split("\n\n")[1]) > 20


TRAIN = ["train", "--volume", "good.mrc", "--features", "a", "--out", "m2.safetensors"]
BAD = {
    "no verb of that name": (["segmnt"], ["segmnt"]),
    "an unknown option": (["convert", "good.mrc", "--out", "o", "--shards", "4"], ["--shards"]),
    "no output": (["convert", "good.mrc"], ["--out"]),
    "no input": (["convert", "--out", "o"], ["SOURCES|INPUT"]),
    "a missing file": (["convert", "nowhere.mrc", "--out", "o"], ["nowhere.mrc", "no such file"]),
    "a wrong suffix": (["convert", "notes.docx", "--out", "o"], ["notes.docx", "suffix", ".mrc"]),
    "a folder without volumes": (["convert", "folder", "--out", "o"], ["folder", "no volume"]),
    "a glob without matches": (["convert", "x*.mrc", "--out", "o"], ["x*.mrc", "nothing matches"]),
    "a list with a bad line": (["convert", "list.txt", "--out", "o"], ["list.txt, line 4", "missing.mrc"]),
    "a list of comments": (["convert", "comments.txt", "--out", "o"], ["names no input"]),
    "a file cut off": (["convert", "cut.mrc", "--out", "o.ome.zarr"], ["cut.mrc", "1500"]),
    "a header alone": (["convert", "header.mrc", "--out", "o.ome.zarr"], ["header.mrc", "1024"]),
    "an empty file": (["convert", "empty.mrc", "--out", "o.ome.zarr"], ["empty.mrc", "empty"]),
    "bytes": (["convert", "noise.mrc", "--out", "o.ome.zarr"], ["noise.mrc"]),
    "text": (["convert", "text.mrc", "--out", "o.ome.zarr"], ["text.mrc"]),
    "a torn gzip file": (["convert", "torn.mrc.gz", "--out", "o.ome.zarr"], ["torn.mrc.gz"]),
    "a bad chunk": (["convert", "good.mrc", "--out", "o.ome.zarr", "--chunk", "0,8,8"], ["chunk"]),
    "a word for a number": (["convert", "good.mrc", "--out", "o.ome.zarr", "--levels", "many"], ["levels", "many"]),
    "a bad executor": (["convert", "good.mrc", "--out", "o", "--workers", "1", "--part", "1/2"], ["Choose one"]),
    "an empty output": (["convert", "good.mrc", "--out", ""], ["--out is empty"]),
    "an empty folder of a recipe": (["run", "field2.yaml", "good.mrc", "--out", ""], ["--out is empty"]),
    "a name with a folder": (["convert", "good.mrc", "--out", "o", "--name", "../x"], ["../x", "name"]),
    "a codec": (["convert", "good.mrc", "--out", "o", "--codec", "gzipp"], ["gzipp", "zstd-1"]),
    "retries": (["convert", "good.mrc", "--out", "o", "--retries", "-1"], ["--retries", "-1"]),
    "patience": (["convert", "good.mrc", "--out", "o", "--part", "1/2", "--patience-s", "-5"], ["--patience-s", "-5"]),
    "a chunk that does not fit the shard": (
        ["convert", "good.mrc", "--out", "o", "--chunk", "4,4,4", "--shard", "6,6,6"],
        ["(6, 6, 6)", "(4, 4, 4)", "4 or 8"],
    ),
    "a block that cuts shards": (["convert", "good.mrc", "--out", "o", "--block", "3,3,3"], ["(3, 3, 3)", "shard"]),
    "one store for two": (["convert", "good.mrc", "cut.mrc", "--out", "o.zarr"], ["o.zarr", "2 sources"]),
    "a missing scheduler file": (
        ["convert", "good.mrc", "--out", "o", "--scheduler", "none.json", "--wait-for-workers", "0s"],
        ["none.json: no such scheduler file"],
    ),
    "an unknown file system": (["convert", "foo://a/b.zarr", "--out", "o"], ["foo://a/b.zarr", "foo"]),
    "a bad part": (["convert", "good.mrc", "--out", "o", "--part", "3/2"], ["3/2", "K/N"]),
    "too little memory": (["convert", "good.mrc", "--out", "o", "--memory-limit", "1MB"], ["1 MB|1MB|1.0 MB"]),
    "no model": (["segment", "good.mrc", "--out", "o"], ["model"]),
    "a missing model": (["segment", "good.mrc", "--model", "m.safetensors", "--out", "o"], ["m.safetensors"]),
    "a damaged model": (["segment", "good.mrc", "--model", "bad.safetensors", "--out", "o"], ["bad.safetensors"]),
    "an overlap of one": (
        ["segment", "good.mrc", "--model", "model.safetensors", "--overlap", "1", "--out", "o"],
        ["overlap", "1"],
    ),
    "rules without predictions": (["interact", "good.mrc", "--rules", "rules.yaml", "--out", "o"], ["good"]),
    "no rules": (["interact", "good.mrc", "--rules", "nowhere.yaml", "--out", "o"], ["nowhere.yaml"]),
    "a threshold": (["pick", "good.mrc", "--threshold", "1.5", "--out", "p.star"], ["threshold", "1.5"]),
    "a table of no format": (["pick", "good.mrc", "--format", "xls", "--out", "p.star"], ["xls"]),
    "a connectivity": (["pick", "good.mrc", "--connectivity", "7", "--out", "p.star"], ["connectivity", "7"]),
    "broken YAML": (["run", "broken.yaml", "good.mrc", "--out", "o"], ["broken.yaml"]),
    "an unknown name in a training": (
        ["train", "train.yaml", "--out", "m.safetensors"],
        ["train.yaml", "epoch", "epochs"],
    ),
    "an output that is a file by its name": (["convert", "good.mrc", "--out", "o.mrc"], ["o.mrc", "folder"]),
    "an empty input": (["convert", "", "--out", "o"], ["empty"]),
    "an unknown step": (["run", "unknown.yaml", "good.mrc", "--out", "o"], ["segmnet", "segment"]),
    "an unknown field": (["run", "field.yaml", "good.mrc", "--out", "o"], ["treshold", "threshold"]),
    "no run": (["status", "folder"], ["folder"]),
    "no file": (["info", "nowhere.mrc"], ["nowhere.mrc"]),
    "a damaged file": (["info", "cut.mrc"], ["cut.mrc"]),
    "a wrong suffix for export": (["export", "good.mrc", "x.png"], ["x.png", ".mrc"]),
    "export over a file": (["export", "good.mrc", "cut.mrc"], ["cut.mrc exists", "--overwrite"]),
    "a mode that is not written": (["export", "good.mrc", "x.mrc", "--mode", "3"], ["mode 3", "0, 1, 2, 6, 12"]),
    "a mode that loses": (["export", "good.mrc", "x.mrc", "--mode", "0"], ["mode 0 cannot hold"]),
    "a folder that is not there": (["export", "good.mrc", "none/x.mrc"], ["none", "does not exist"]),
    "workers of the demo": (["demo", "--workers", "-2", "--out", "o"], ["--workers", "-2"]),
    "picks that are not there": (["score", "none.csv", "points.csv"], ["none.csv"]),
    "a model's name": ([*TRAIN[:-1], "m2.pt", "--points", "points.csv", "--radius-nm", "2"], ["m2.pt", ".safetensors"]),
    "nothing to export": (["export", "folder", "x.mrc"], ["folder"]),
    "training without truth": (
        TRAIN,
        ["1 --volume, but 0 --labels or --points"],
    ),
    "points that are none": (
        [*TRAIN, "--points", "points.star", "--radius-nm", "2", "--network", "unet3d", "--patch", "4,8,8"],
        ["points.star"],
    ),
    "an unknown network": (
        [*TRAIN, "--points", "points.csv", "--radius-nm", "2", "--network", "unet9", "--patch", "2,4,4"],
        ["unet9"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_message_and_nothing_written(volengine: Command, files: Path, case: str) -> None:
    args, said = BAD[case]
    before = contents(files)
    code, _, err = volengine(*args)
    assert code == 2, err
    assert "Traceback" not in err
    assert err.count("Error: ") == 1, err
    for wanted in said:
        assert any(option.lower() in err.lower() for option in wanted.split("|")), err
    left = {path for path in contents(files) - before if ".run" not in path}  # the log says what went wrong
    assert not {path for path in left if Path(path).suffix in (".zarr", ".star", ".mrc", ".safetensors")}


def test_an_output_that_another_program_made_is_not_replaced(volengine: Command, files: Path) -> None:
    (files / "o.ome.zarr").mkdir()
    (files / "o.ome.zarr" / "data").write_text("precious")
    code, _, err = volengine("convert", "good.mrc", "--out", "o.ome.zarr", "--no-progress")
    assert code == 2, err
    assert "o.ome.zarr exists" in err
    assert (files / "o.ome.zarr" / "data").read_text() == "precious"


def test_one_bad_volume_of_three_fails_the_command_but_not_the_others(volengine: Command, files: Path) -> None:
    (files / "more.mrc").write_bytes((files / "good.mrc").read_bytes())
    code, out, err = volengine("convert", "good.mrc", "cut.mrc", "more.mrc", "--out", "o", "--no-progress")
    assert code not in (0, 2)
    assert "cut.mrc" in err
    assert "1 of 3 failed" in err
    assert {p.name for p in (files / "o").glob("*.zarr")} == {"good.ome.zarr", "more.ome.zarr"}
    again, _, _ = volengine("convert", "good.mrc", "more.mrc", "--out", "o", "--no-progress")
    assert again == 0
    assert "done" in out


def test_a_bad_volume_does_not_hide_the_plans_of_the_others(volengine: Command, files: Path) -> None:
    (files / "more.mrc").write_bytes((files / "good.mrc").read_bytes())
    code, out, err = volengine("convert", "cut.mrc", "good.mrc", "more.mrc", "--out", "o", "--dry-run")
    assert code == 1
    assert "good: 1 unit" in out
    assert "more: 1 unit" in out
    assert "1 of 3 would be refused:\n  " in err
    assert "cut.mrc" in err
    assert not (files / "o").exists()


def test_what_the_file_system_refuses_is_one_line(
    volengine: Command, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "o.ome.zarr/c/0")

    monkeypatch.setattr("volengine.engine.report.write", full)
    code, _, err = volengine("convert", "good.mrc", "--out", "o.ome.zarr", "--no-progress")
    assert code == 1
    assert err.startswith("Error: o.ome.zarr/c/0: No space left on device. ")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("o/.writing-host-1-2-ab", "o"),
        ("o/.writing-host-1-2-ab/c/0", "o"),
        (b"o/x.csv", "o/x.csv"),
        (".writing-x", "."),
        (None, "the file system"),
    ],
)
def test_an_error_names_no_unfinished_file(
    volengine: Command, files: Path, monkeypatch: pytest.MonkeyPatch, name: str | bytes | None, place: str
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)

    monkeypatch.setattr("volengine.engine.report.write", read_only)
    code, _, err = volengine("convert", "good.mrc", "--out", "o.ome.zarr", "--no-progress")
    assert code == 1
    assert err.startswith(f"Error: {place}: Read-only file system. ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_it_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    def verb(**_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes in the background begin without it
    monkeypatch.setattr("volengine.cli.info.command", click.Command("info", callback=verb))
    monkeypatch.setattr(sys, "argv", ["volengine", "info"])
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert end.value.code == code
    assert capsys.readouterr().err.split() == ["Stopped."]


def test_a_stopped_run_says_once_how_to_go_on(
    volengine: Command, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("volengine.engine.run.Driver._loop", stopped)
    monkeypatch.setattr(sys, "argv", ["volengine", "convert", "good.mrc", "--out", "o.ome.zarr", "--no-progress"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 130
    said = capsys.readouterr().err
    assert said.strip() == f"Stopped. The same command goes on from here (run folder {files / 'o.ome.zarr.run'})."


@pytest.mark.parametrize(
    "words", [("info", "{}.mrc"), ("info", "{}.ome.zarr"), ("convert", "good.mrc", "--out", "{}.ome.zarr")]
)
def test_a_name_that_is_too_long_is_told(volengine: Command, files: Path, words: tuple[str, ...]) -> None:
    code, _, err = volengine(*(word.format("n" * 300) for word in words))
    assert code in (1, 2)
    assert "File name too long" in err
    assert "permissions" not in err


def test_touched_inputs_are_the_same_by_their_content(tmp_path, volengine, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mrcfile.write(tmp_path / "a.mrc", np.ones((8, 8, 8), "float32"), voxel_size=10)
    for how, skipped in (("quick", False), ("content", True)):
        words = ["convert", "a.mrc", "--out", f"{how}.ome.zarr", "--identity", how, "--no-progress"]
        assert volengine(*words)[0] == 0
        stamp = (tmp_path / f"{how}.ome.zarr" / "zarr.json").stat().st_mtime_ns
        (tmp_path / "a.mrc").touch()
        code, told, said = volengine(*words)
        assert code == 0, said
        assert ("0 of 1 units run" in told or "0 of 1" in told) == skipped, told
        assert ((tmp_path / f"{how}.ome.zarr" / "zarr.json").stat().st_mtime_ns == stamp) == skipped
    code, _, said = volengine("convert", "a.mrc", "--out", "b.ome.zarr", "--identity", "metadata")
    assert code == 2
    assert "quick, content" in said


def test_the_uncertainty_beside_a_prediction_is_not_picked_from_nor_scored(tmp_path: Path, volengine: Command) -> None:
    """It was taken for a feature of its own, so that a folder with it could not be scored."""
    array = np.zeros((8, 16, 16), np.float32)
    array[2:5, 3:9, 4:11] = 3
    write_mrc(tmp_path / "t.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))
    write_mrc(tmp_path / "truth.mrc", [(array > 1).astype(np.int8)], array.shape, "int8", (10.0, 10.0, 10.0))
    save_threshold_model(tmp_path / "m.safetensors", "m", patch=(4, 8, 8))
    out, model = str(tmp_path / "out"), str(tmp_path / "m.safetensors")
    code, _, error = volengine("segment", str(tmp_path / "t.mrc"), "--models", model, "--uncertainty", "--out", out)
    assert code == 0, error
    code, said, error = volengine("pick", out, "--out", str(tmp_path / "picks"))
    assert code == 0, error
    assert "t__m_uncertainty.ome.zarr is the uncertainty of a prediction" in said
    assert [path.name for path in (tmp_path / "picks").glob("*.star")] == ["t__m.star"]
    code, said, error = volengine("score", out, str(tmp_path / "truth.mrc"))
    assert code == 0, error
    assert [line.split()[0] for line in said.splitlines()] == ["feature", "m"]


def test_a_file_without_a_voxel_size_is_answered_by_the_options_of_the_verb(volengine: Command, tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "mask.mrc") as file:
        file.set_data(np.ones((4, 8, 8), np.int8))
        file.header.cella = 0
    _, _, said = volengine("surface", str(tmp_path / "mask.mrc"), "--out", str(tmp_path / "a.surfaces"))
    assert "angstrom: --voxel-size 10.5" in said
    assert "convert" not in said
    _, _, said = volengine("skeleton", str(tmp_path / "mask.mrc"), "--out", str(tmp_path / "a.ome.zarr"))
    assert "volengine convert" in said
    assert "--kind labels" in said
