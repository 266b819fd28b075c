"""Columns of the gallery against the tables that verbs have written, and thumbnails with a feature over them."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import Client, entered
from PIL import Image
from web_results import HOSTILE, OPTIONS, SHAPE, VOXEL, write_mrc, write_results

import volengine
from volengine.core.feature_colours import colour_of_feature
from volengine.io.tilts import TiltSeries
from volengine.tasks.common.set_means import measured_of
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.columns import Columns
from volengine.web.workbench.project import Project
from volengine.web.workbench.recipe import WorkbenchRecipe
from volengine.web.workbench.routes import bench_routes
from volengine.web.workbench.thumbnails import LARGEST, most_of, thumbnail

UM3 = SHAPE[0] * SHAPE[1] * SHAPE[2] * (VOXEL / 1e4) ** 3
FACTS: dict[str, Any] = {"voxel_size": (VOXEL,) * 3, "shape": SHAPE, "tomogram": "TS_01", "feature": "ribosome"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with tables of stats, measured surfaces and picks, and a manifest."""
    folder = write_results(tmp_path_factory.mktemp("columns"))
    recipe = volengine.StatsRecipe(plots=False)
    labels = folder / "predictions" / "TS_01__core.ome.zarr"
    volengine.stats([labels], out=folder / "counts", recipe=recipe.with_(kind="atlas"), options=OPTIONS)
    volengine.stats(
        [folder / "picks"], volumes=[folder / "tomograms"], out=folder / "stats", recipe=recipe, options=OPTIONS
    )
    (folder / "measured").mkdir()
    picks = volengine.Picks(
        [[12.0, 30.0, 40.0], [4.0, 8.0, 6.5], [5.0, 8.0, 6.5]],
        extra={
            "lamella.thickness_nm": [150.0, 170.0, np.nan],
            "membrane.distance_nm": [3.0, 5.0, 9.0],
            "inside": ["a", "b", "b"],
        },
        **FACTS,
    )
    volengine.write_picks(folder / "measured" / "TS_01__ribosome.star", picks)
    about = volengine.SurfaceFacts(tomogram="TS_01", feature="membrane", voxel_size=(VOXEL,) * 3, shape=SHAPE)
    flat = volengine.Surface([[0, 0, 0], [0, 0, 10], [0, 10, 0]], [[0, 1, 2]])
    rows: list[dict[str, Any]] = [{"area_nm2": 1.0, "thickness_nm_mean": 4.0}]
    rows += [{"area_nm2": 3.0, "thickness_nm_mean": 8.0}, {"area_nm2": 2.0, "thickness_nm_mean": np.nan}]
    volengine.write_surfaces(folder / "measured" / "TS_01__membrane.surfaces", [(flat, row) for row in rows], about)
    (folder / "manifest.csv").write_text(
        "source,group,note_grid,filter.deconvolve.defocus_um\ntomograms/TS_01.ome.zarr,central,<img src=x>,3.5\n"
    )
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    bench = Bench(Project(folder, WorkbenchRecipe(user="ada")))
    with entered(
        make_app(Gate(), bench_routes(bench), page="workbench.html"), **{"sec-fetch-site": "same-origin"}
    ) as c:
        yield c
    bench.annotating.close()


def test_columns_are_what_the_verbs_have_written(folder: Path, client: Client) -> None:
    hostile, found = client.get("/api/facts?start=0&count=9").json
    assert found["features"] == ["core", "ribosome"]
    values = found["values"]
    assert values["ribosome.objects"] == values["ribosome.picks"] == 2
    assert values["ribosome.per_um3"] == pytest.approx(2 / UM3)
    distance = np.linalg.norm([8.0, 22.0, 33.5]) * VOXEL / 10
    assert values["ribosome.nearest_nm"] == pytest.approx(distance)
    assert values["class_3.volume_nm3"] == pytest.approx(64 * (VOXEL / 10) ** 3)
    assert "ribosome.volume_nm3" not in values  # these picks have no sizes
    with (folder / "counts" / "classes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert values[f"{row['class']}.objects"] == float(row["objects"])
            assert values[f"{row['class']}.share"] == pytest.approx(float(row["volume_share"]))
    assert (values["membrane.surfaces"], values["membrane.area_nm2"], values["membrane.thickness_nm"]) == (3, 6, 7)
    assert (values["lamella.thickness_nm"], values["ribosome.membrane.distance_nm"]) == (160, 5)
    assert "ribosome.inside" not in values
    assert values["manifest.group"] == "central"
    assert values["manifest.note_grid"] == "<img src=x>"
    assert values["manifest.filter.deconvolve.defocus_um"] == 3.5
    assert found["stale"] == {}
    assert hostile["values"] == {}


def test_values_that_are_older_than_what_they_are_of_are_told(folder: Path, client: Client) -> None:
    made = (folder / "stats" / "stats.json").stat().st_mtime
    table = folder / "picks" / "TS_01__ribosome.star"
    before = table.stat()
    os.utime(table, (made + 60, made + 60))
    try:
        stale = client.get("/api/facts?start=1&count=1").json[0]["stale"]
    finally:
        os.utime(table, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stale["ribosome.per_um3"] == "stats.json is older than TS_01__ribosome.star"
    assert stale["ribosome.membrane.distance_nm"].endswith("is older than TS_01__ribosome.star")
    assert not [key for key in stale if key.startswith(("core", "membrane", "manifest", "ribosome.picks"))]


def test_of_several_tables_of_a_feature_the_last_one_is_counted_and_named(folder: Path, client: Client) -> None:
    table, other = folder / "picks" / "TS_01__ribosome.star", folder / "picks" / "TS_01_Vol__ribosome.star"
    volengine.write_picks(other, volengine.read_picks(table)[[0]])
    try:
        os.utime(other, (1, 1))
        assert client.get("/api/project").status == 200  # so the page looks for new files
        older = client.get("/api/facts?start=1&count=1").json[0]
        os.utime(other)
        newer = client.get("/api/facts?start=1&count=1").json[0]
    finally:
        other.unlink()
        client.get("/api/project")
    for found, count in ((older, 2), (newer, 1)):
        assert found["picks"]["ribosome"] == found["values"]["ribosome.picks"] == count
        assert "picks/TS_01_Vol__ribosome.star" in found["tables"]["ribosome"]


def test_damaged_tables_are_named_and_links_out_of_the_project_not_followed(tmp_path: Path) -> None:
    project, outside = tmp_path / "project", tmp_path / "outside"
    outside.mkdir()
    (outside / "stats.json").write_text(json.dumps({"classes": [{"tomogram": "TS_01", "class": "a", "objects": 7}]}))
    for name, text in {"one": "[", "two": '{"classes": 3}', "three": '{"classes": [{"tomogram": 1}, 2]}'}.items():
        (project / name).mkdir(parents=True)
        (project / name / "stats.json").write_text(text)
    (project / "linked").symlink_to(outside)
    (project / "manifest.csv").write_text("source,mistyped\nTS_01.mrc,1\n")
    columns = Columns(project)
    assert columns.of("TS_01", [], {"tilt_series": {"angles": ["x"]}}).values == {}
    named = columns.unread()
    for file in ("manifest.csv", "one/stats.json", "two/stats.json", "three/stats.json"):
        assert any(str(project / file) in text for text in named), named
    assert len(named) == 4
    (project / "one" / "stats.json").write_text('{"classes": []}')
    (project / "two" / "stats.json").unlink()
    columns.of("TS_01", [], {})
    assert len(columns.unread()) == 2  # what was mended or is gone is not named any more
    assert Columns(project, links=True).of("TS_01", [], {}).values == {"a.objects": 7}


def test_tilt_series_are_told_of_the_images_that_are_used() -> None:
    series = TiltSeries(
        *("TS_01.mdoc", "mdoc", (-60.0, 0.0, 63.0, 66.0)),
        used=(True, True, True, False),
        defocus=(30000.0, 40000.0, 50000.0, 90000.0),
        dose=(6.0, 3.0, 9.0, 12.0),
    )
    values = Columns(Path("nowhere")).of("TS_01", [], {"tilt_series": series.to_json()}).values
    assert values == {
        "tilt.images": 3,
        "tilt.lowest_deg": -60,
        "tilt.highest_deg": 63,
        "tilt.defocus_um": pytest.approx(4.0),
        "tilt.dose": 9,
    }


def test_surfaces_without_areas_have_their_number_alone() -> None:
    assert measured_of([{"file": "1.ply", "thickness_nm_mean": 3.0}]) == {"surfaces": 1, "without_area": 1}


def test_surfaces_of_unknown_area_are_counted_and_left_out_of_means() -> None:
    rows = [{"area_nm2": area, "thickness_nm_mean": value} for area, value in ((1, 4), (3, 8), ("", 90), ("nan", 70))]
    assert measured_of(rows) == {"surfaces": 4, "without_area": 2, "thickness_nm": 7}


def test_a_feature_lies_over_the_slice_where_it_has_most(folder: Path, client: Client, tmp_path: Path) -> None:
    reply = client.get("/api/tomograms/1/thumbnail?feature=ribosome")
    assert len(reply.body) <= LARGEST
    kept = (folder / ".workbench" / "thumbnails").glob("*.webp")
    assert reply.body in [file.read_bytes() for file in kept]
    seen = np.asarray(Image.open(io.BytesIO(reply.body)), np.float64)
    plain = np.asarray(Image.open(io.BytesIO(client.get("/api/tomograms/1/thumbnail").body)), np.float64)
    assert seen.shape == (*SHAPE[1:], 3)
    coloured = np.ptp(seen[20:24, 8:12].mean(axis=(0, 1)))
    assert coloured > 0.3 * np.ptp(colour_of_feature("ribosome"))
    assert np.ptp(seen[:10].mean(axis=(0, 1))) < 8  # grey elsewhere
    assert np.ptp(plain.mean(axis=(0, 1))) < 3
    for wrong in ("nothing", "..%2F..", HOSTILE.replace("&", "%26").replace("#", "%23").replace(" ", "%20")):
        assert client.get(f"/api/tomograms/1/thumbnail?feature={wrong}").status == 404


@pytest.mark.parametrize("faint", [False, True])
def test_the_slice_is_the_one_with_the_most(tmp_path: Path, faint: bool) -> None:
    rng = np.random.default_rng(3)
    voxels = rng.uniform(0, 0.45, (12, 20, 24)).astype(np.float32)
    if not faint:
        voxels[7, 2:9, 3:9], voxels[3, 1:4] = 0.9, 0.75  # fewer voxels of slice 7, and in slice 3 more
    write_mrc(tmp_path / "TS_01__membrane.mrc", voxels)
    volume = volengine.open_volume(tmp_path / "TS_01__membrane.mrc")
    stored = np.rint(voxels * 255)
    z = int(np.argmax(np.where(stored > 127, stored, 0).sum(axis=(1, 2)) if not faint else stored.sum(axis=(1, 2))))
    plane, depth = most_of(volume)
    assert depth == (z + 0.5) / 12
    assert np.array_equal(plane, stored[z])
    assert len(thumbnail(volume, None, volume, (0, 114, 178))) <= LARGEST
