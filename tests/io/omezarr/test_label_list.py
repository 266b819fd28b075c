"""Several writers of label images in one store at the same time: the list of labels holds all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import zarr

from volengine.core.image import ImageSpec, Level
from volengine.io.omezarr import label_list
from volengine.io.omezarr.image import create_image, finish_image, remove

SHAPE = (4, 4, 4)


def label_spec(url: str, name: str, ngff: str) -> ImageSpec:
    level = Level("0", SHAPE, (1, 1, 1), SHAPE, SHAPE if ngff == "0.5" else None)
    voxel = (10.0, 10.0, 10.0)
    return ImageSpec(url, name, "uint8", "labels", voxel, (level,), group=f"labels/{name}", ngff=ngff)


def listed(url: str) -> list[str]:
    attributes = dict(zarr.open_group(url, path="labels", mode="r").attrs)
    return sorted(attributes.get("ome", attributes)["labels"])


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_labels_that_are_written_at_the_same_time_are_all_listed(tmp_path: Path, ngff: str) -> None:
    url, workers = str(tmp_path / "a.ome.zarr"), 8
    specs = [label_spec(url, f"f{n}", ngff) for n in range(workers)]
    create_image(specs[0], token="first")
    together = Barrier(workers - 1)

    def work(number: int) -> None:
        together.wait()
        create_image(specs[number], token=f"run {number}")
        if number == 1:
            remove(url, "labels/f0")
        finish_image(specs[number])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(1, workers)))
    assert listed(url) == [f"f{n}" for n in range(1, workers)]


def test_a_name_that_another_writer_drops_is_added_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "a.ome.zarr")
    create_image(label_spec(url, "one", "0.5"), token="one")
    write, late = label_list._write, []

    def slow(url: str, names: list[str], durable: bool) -> None:
        write(url, names, durable)
        if not late:  # one that read the list before "two" was there writes it after us
            late.append(names)
            write(url, ["one", "of another program"], durable)

    monkeypatch.setattr(label_list, "_write", slow)
    create_image(label_spec(url, "two", "0.5"), token="two")
    assert listed(url) == ["of another program", "one", "two"]
    assert np.array_equal(late, [["one", "two"]])
