"""``volengine info --check``: good stores pass, of this package and another; what is wrong with others is named."""

from __future__ import annotations

import importlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from calling import Command
from ome_zarr.format import FormatV04, FormatV05

from volengine.core.boxes import Box
from volengine.core.image import ImageSpec
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.image import create_image, finish_image
from volengine.io.omezarr.levels import plan_levels
from volengine.ops.pyramid import downsample, pyramid

SHAPE = (24, 40, 48)
VERSIONS = pytest.mark.parametrize("ngff", ["0.4", "0.5"])
Edit = Callable[[dict[str, Any]], object]


def write_with_ome_zarr(function: str, *args: Any, **named: Any) -> None:
    """Call the writer of another program; it warns of parts of itself, and the transformations it is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(importlib.import_module("ome_zarr.writer"), function)(*args, **named)


def stored(path: Path, ngff: str) -> Path:
    """A store with an image of three levels and a label image."""
    store = path / "t.ome.zarr"
    add(store, ngff, np.random.default_rng(1).normal(100, 30, SHAPE).astype("float32"))
    array = np.zeros(SHAPE, "uint8")
    array[:12] = 3
    add(store, ngff, array, "labels/core")
    return store


def add(store: Path, ngff: str, array: np.ndarray, group: str = "") -> None:
    levels = plan_levels(SHAPE, chunk=(16, 16, 16), ngff=ngff, smallest=20)  # type: ignore[arg-type]
    kind = "labels" if group else "intensity"
    spec = ImageSpec(str(store), "t", array.dtype.name, kind, (12.0,) * 3, levels, group=group, ngff=ngff)  # type: ignore[arg-type]
    create_image(spec, token="t")
    for number, voxels in enumerate(pyramid(array, [level.factor for level in levels], kind)):
        ZarrSink(spec.volume(number)).write(Box.of_shape(voxels.shape), voxels)
    finish_image(spec)


def edit(store: Path, ngff: str, change: Edit, group: str = "") -> None:
    """Change the NGFF part of a group's metadata by hand."""
    file = store / group / ("zarr.json" if ngff == "0.5" else ".zattrs")
    words = json.loads(file.read_text())
    change(words["attributes"]["ome"] if ngff == "0.5" else words)
    file.write_text(json.dumps(words))


def datasets(ome: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ome["multiscales"][0]["datasets"]
    return found


def transforms(ome: dict[str, Any], level: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = datasets(ome)[level]["coordinateTransformations"]
    return found


@VERSIONS
def test_a_good_store_passes(volengine: Command, tmp_path: Path, ngff: str) -> None:
    stored(tmp_path, ngff)
    code, out, err = volengine("info", "--check", "t.ome.zarr")
    assert (code, err) == (0, "")
    assert [line.split(None, 1) for line in out.splitlines()] == [
        ["image", "nothing wrong was found"],
        ["labels/core", "nothing wrong was found"],
    ]
    code, out, _ = volengine("info", "--check", "--json", "t.ome.zarr")
    assert (code, json.loads(out)) == (0, {"image": [], "labels/core": []})


@pytest.mark.parametrize("fmt", [FormatV04(), FormatV05()], ids=["0.4", "0.5"])
def test_a_good_store_of_another_program_passes(volengine: Command, tmp_path: Path, fmt: Any) -> None:
    """Written by ome-zarr: two channels, a translation that puts each coarse voxel at the centre of the fine ones."""
    fine = np.random.default_rng(2).normal(5, 2, (2, *SHAPE)).astype("float32")
    coarse = np.stack([downsample(channel, (2, 2, 2)) for channel in fine])
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", "unit": "nanometer"} for a in "zyx")]
    scales = [[1.0, 1.2, 1.2, 1.2], [1.0, 2.4, 2.4, 2.4]]
    places = [[0.0] * 4, [0.0, 0.6, 0.6, 0.6]]
    how = [
        [{"type": "scale", "scale": s}, {"type": "translation", "translation": t}]
        for s, t in zip(scales, places, strict=True)
    ]
    group = zarr.open_group(str(tmp_path / "o.zarr"), mode="w", zarr_format=fmt.zarr_format)
    write_with_ome_zarr("write_multiscale", [fine, coarse], group, fmt=fmt, axes=axes, coordinate_transformations=how)
    code, out, err = volengine("info", "--check", "o.zarr")
    assert (code, err) == (0, ""), out
    group["1" if "1" in group else "s1"][1] = 0.0
    code, out, _ = volengine("info", "--check", "o.zarr")
    assert code == 1
    assert "not the mean" in out


def test_labels_of_another_program_pass(volengine: Command, tmp_path: Path) -> None:
    image, labels = np.zeros(SHAPE, "float32"), np.zeros(SHAPE, "uint16")
    labels[4:9, 5:20, 6:30] = 7
    axes = [{"name": a, "type": "space", "unit": "angstrom"} for a in "zyx"]
    how = [[{"type": "scale", "scale": [10.0] * 3}]]
    group = zarr.open_group(str(tmp_path / "o.zarr"), mode="w", zarr_format=3)
    write_with_ome_zarr("write_multiscale", [image], group, fmt=FormatV05(), axes=axes, coordinate_transformations=how)
    write_with_ome_zarr(
        "write_multiscale_labels", [labels], group, "cells", fmt=FormatV05(), axes=axes, coordinate_transformations=how
    )
    code, out, _ = volengine("info", "--check", "--json", "o.zarr")
    assert (code, json.loads(out)) == (0, {"image": [], "labels/cells": []})


@VERSIONS
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda ome: transforms(ome, 1)[0].update(scale=[24.0, 24.0, 12.0]), "axis x: the scale grows 1 times"),
        (lambda ome: transforms(ome, 1)[1].update(translation=[0.0, 0.0, 0.0]), "half-voxel shift"),
        (lambda ome: transforms(ome, 1).reverse(), "ome-zarr refuses the coordinate transformations"),
        (lambda ome: transforms(ome, 0)[0].update(scale=[12.0, 12.0]), "2 numbers for 3 axes"),
        (lambda ome: transforms(ome, 0).clear(), "Must supply 1 'scale' item"),
        (lambda ome: datasets(ome)[1].pop("path"), "name a level ''"),
        (lambda ome: datasets(ome).reverse(), "no whole factor"),
        (lambda ome: datasets(ome)[1].update(path="9"), "there is no such array"),
        (lambda ome: datasets(ome).clear(), "no datasets"),
        (lambda ome: datasets(ome).pop(), "an array '2' that its metadata do not list as a level"),
        (
            lambda ome: [axis.update(unit="parsec") for axis in ome["multiscales"][0]["axes"]],
            "'parsec' is no unit of length that volengine reads",
        ),
        (lambda ome: ome["multiscales"][0]["axes"].pop(), "axes"),
        (
            lambda ome: [axis.update(type="place") for axis in ome["multiscales"][0]["axes"]],
            "Too many unknown axes types",
        ),
    ],
)
def test_broken_metadata_are_named(volengine: Command, tmp_path: Path, ngff: str, change: Edit, text: str) -> None:
    edit(stored(tmp_path, ngff), ngff, change)
    code, out, _ = volengine("info", "--check", "t.ome.zarr")
    assert code == 1
    assert text in out
    code, out, _ = volengine("info", "--check", "--json", "t.ome.zarr")
    assert code == 1
    assert any(text in finding for finding in json.loads(out)["image"])


@VERSIONS
def test_a_version_is_demanded_by_0_5_and_recommended_by_0_4(volengine: Command, tmp_path: Path, ngff: str) -> None:
    edit(stored(tmp_path, ngff), ngff, lambda ome: [part.pop("version", 0) for part in (ome, ome["multiscales"][0])])
    code, out, _ = volengine("info", "--check", "t.ome.zarr")
    assert (code, "state no version of NGFF" in out) == ((1, True) if ngff == "0.5" else (0, False))


@VERSIONS
def test_a_level_that_is_gone_is_named(volengine: Command, tmp_path: Path, ngff: str) -> None:
    shutil.rmtree(stored(tmp_path, ngff) / "1")
    code, out, _ = volengine("info", "--check", "t.ome.zarr")
    assert code == 1
    assert "name a level '1', but there is no such array" in out


@VERSIONS
def test_chunks_that_are_gone_are_named_where_levels_contradict_them(
    volengine: Command, tmp_path: Path, ngff: str
) -> None:
    """A missing chunk reads as zeros, which the format allows: only the other levels tell that there was something."""
    store = stored(tmp_path, ngff)
    part = store / "1" / ("c" if ngff == "0.5" else "") / "0"
    shutil.rmtree(part)
    code, out, _ = volengine("info", "--check", "t.ome.zarr")
    assert code == 1
    assert "level 1, beginning of the volume: it is not the mean" in out


def chunk(store: Path, level: int) -> Path:
    """The file of the first chunk or shard of a level."""
    return min(f for f in (store / str(level)).rglob("*") if f.is_file() and f.name[0] not in ".z")


@VERSIONS
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"?" * len(data)]
)
def test_chunks_that_cannot_be_decoded_are_named(
    volengine: Command, tmp_path: Path, ngff: str, level: int, damage: Callable[[bytes], bytes]
) -> None:
    file = chunk(stored(tmp_path, ngff), level)
    file.write_bytes(damage(file.read_bytes()))
    code, out, _ = volengine("info", "--check", "t.ome.zarr")
    assert code == 1
    assert f"level {level}: voxels (0, 0, 0) to (" in out
    assert "cannot be read" in out
    code, out, _ = volengine("info", "--check", "--json", "t.ome.zarr")
    found = json.loads(out)
    assert code == 1
    assert f"level {level}: voxels (0, 0, 0) to (" in found["image"][0]
    assert found["labels/core"] == []


@VERSIONS
def test_a_damaged_chunk_of_the_only_level_is_named(volengine: Command, tmp_path: Path, ngff: str) -> None:
    store = stored(tmp_path, ngff)
    for number in (2, 1):
        edit(store, ngff, lambda ome: datasets(ome).pop())
        shutil.rmtree(store / str(number))
    assert volengine("info", "--check", "t.ome.zarr")[0] == 0
    file = chunk(store, 0)
    file.write_bytes(file.read_bytes()[:9])
    code, out, _ = volengine("info", "--check", "t.ome.zarr")
    assert code == 1
    assert "level 0: voxels (0, 0, 0) to (16, 16, 16) (z, y, x) cannot be read" in out


@VERSIONS
def test_a_store_of_nothing_but_zeros_has_no_chunks_and_passes(volengine: Command, tmp_path: Path, ngff: str) -> None:
    add(tmp_path / "z.ome.zarr", ngff, np.zeros(SHAPE, "float32"))
    files = [f.name for f in (tmp_path / "z.ome.zarr" / "0").rglob("*") if f.is_file()]
    assert set(files) <= {"zarr.json", ".zarray", ".zattrs"}
    assert volengine("info", "--check", "z.ome.zarr")[0] == 0


@VERSIONS
def test_labels_are_checked_too(volengine: Command, tmp_path: Path, ngff: str) -> None:
    store = stored(tmp_path, ngff)
    add(store, ngff, np.zeros(SHAPE, "uint8"), "labels/soft")
    for level in store.glob("labels/soft/[0-9]"):
        shape = zarr.open_array(str(level)).shape
        zarr.create_array(
            str(level), shape=shape, dtype="float32", overwrite=True, zarr_format=2 if ngff == "0.4" else 3
        )
    zarr.open_array(str(store / "labels" / "core" / "1"), mode="r+")[:] = 9
    edit(store, ngff, lambda ome: transforms(ome, 1).reverse(), "labels/core")
    edit(store, ngff, lambda ome: ome["labels"].extend(["gone"]), "labels")
    edit(store, ngff, lambda ome: ome["labels"].remove("soft"), "labels")
    code, out, _ = volengine("info", "--check", "--json", "t.ome.zarr")
    found = json.loads(out)
    assert code == 1
    assert list(found) == ["image", "labels/core", "labels/soft", "labels/gone"]
    assert found["image"] == []
    assert "ome-zarr refuses the coordinate transformations" in found["labels/core"][0]
    assert "labels that the finer level has not" in found["labels/core"][-1]
    assert "do not list it" in found["labels/soft"][0]
    assert "whole numbers" in found["labels/soft"][1]
    assert "there is no such image" in found["labels/gone"][0]


def test_an_image_that_is_not_finished_is_named(volengine: Command, tmp_path: Path) -> None:
    levels = plan_levels(SHAPE, chunk=(16, 16, 16), smallest=20)
    create_image(ImageSpec(str(tmp_path / "t.zarr"), "t", "float32", "intensity", (12.0,) * 3, levels), token="t")
    code, out, _ = volengine("info", "--check", "t.zarr")
    assert code == 1
    assert "is not finished" in out


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_torn_metadata_are_named(volengine: Command, tmp_path: Path, ngff: str) -> None:
    store = stored(tmp_path, ngff)
    (store / ("zarr.json" if ngff == "0.5" else ".zattrs")).write_text('{"attributes": ')
    code, out, _ = volengine("info", "--check", "t.ome.zarr")
    assert code == 1
    assert "the store is damaged" in out


def test_what_is_no_store_is_an_error(volengine: Command, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("hello")
    (tmp_path / "stores" / "b.ome.zarr").mkdir(parents=True)
    (tmp_path / "notes").write_text("hello")
    (tmp_path / "t.mrc").write_bytes(b"hello")
    zarr.create_group(str(tmp_path / "empty.zarr"))
    for path, text in (
        ("nowhere.zarr", "there is no such file or store"),
        ("folder", "is no Zarr store"),
        ("stores", "Name the one that is meant, for example stores/b.ome.zarr."),
        ("notes", "file of a kind that is not read"),
        ("t.mrc", "OME-Zarr stores alone are checked"),
        ("empty.zarr", "no OME-Zarr image is there"),
    ):
        code, out, err = volengine("info", "--check", path)
        assert code == 2
        assert out == ""
        assert path in err
        assert text in err


def test_full_statistics_are_no_part_of_a_check(volengine: Command, tmp_path: Path) -> None:
    code, out, err = volengine("info", "t.ome.zarr", "--check", "--full")
    assert (code, out) == (2, "")
    assert "--full is about statistics, and --check gives none" in err
