"""surfaces convert, surfaces info: through every format, one file or one for each, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from marched_shapes import ball, raw

from volengine.cli.main import cli
from volengine.core.errors import InputError, MissingError
from volengine.core.surface import Surface
from volengine.io.surfaces import SurfaceFacts, open_surfaces, write_surfaces
from volengine.ops.surfaces.normals import vertex_normals
from volengine.tasks.surfaces.files import convert_surfaces, joined, surfaces_info
from volengine.tasks.surfaces.files_recipe import SurfacesConvertRecipe

ORIGIN = (100.0, 200.0, 300.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two surfaces, of which one is open, with normals and a column."""
    made = []
    for number, (at, faces) in enumerate([ball(4), raw(np.ones((4, 4, 4)), closed=False), ball(3)], start=1):
        if len(faces):
            normals = vertex_normals(at, faces)
            made.append(Surface(at * 10, faces, normals, {"score": np.arange(len(at))}, number))
    half = made[0]
    open_one = Surface(half.vertices, half.faces[: len(half.faces) // 2], half.normals, half.columns, 2)
    facts = SurfaceFacts("TS_01", "membrane", (10.0,) * 3, ORIGIN, (30, 30, 30))
    write_surfaces(tmp_path / "a.surfaces", [(one, {"note": "x"}) for one in (made[0], open_one)], facts)
    return tmp_path / "a.surfaces"


@pytest.mark.parametrize("to", ["ply", "obj", "stl", "glb"])
def test_every_format_holds_the_same_surface_at_its_position(source: Path, tmp_path: Path, to: str) -> None:
    one = open_surfaces(source).read(1)
    files = convert_surfaces(source, tmp_path / "each", SurfacesConvertRecipe(to=to))  # type: ignore[arg-type]
    assert [Path(f).name for f in files] == [f"0001.{to}", f"0002.{to}"]
    back = open_surfaces(files[0]).read(1)
    assert np.isclose(back.areas.sum(), one.areas.sum(), rtol=1e-4)
    assert back.closed
    # files hold positions: the middle of the ball lies where the tomogram's origin moves it
    assert np.allclose(back.vertices.mean(axis=0), one.vertices.mean(axis=0) + ORIGIN, atol=0.5)
    (together,) = convert_surfaces(source, tmp_path / f"all.{to}")
    both = open_surfaces(together).read(1)
    assert np.isclose(both.areas.sum(), 1.5 * one.areas.sum(), rtol=0.1)


def test_a_mesh_becomes_a_set_again_with_the_facts_that_are_given(source: Path, tmp_path: Path) -> None:
    (file,) = convert_surfaces(source, tmp_path / "one.ply", SurfacesConvertRecipe(numbers=(1,)))
    facts = SurfacesConvertRecipe(
        tomogram="TS_01", feature="membrane", voxel_size=10, origin=ORIGIN, shape=(30, 30, 30)
    )
    convert_surfaces(file, tmp_path / "b.surfaces", facts)
    found, known = open_surfaces(tmp_path / "b.surfaces"), open_surfaces(source)
    assert (found.facts.voxel_size, found.facts.origin, found.facts.shape) == ((10.0,) * 3, ORIGIN, (30, 30, 30))
    convert_surfaces(file, tmp_path / "c.surfaces", facts.with_(voxel_size=(12.0, 10.0, 8.0)))
    assert open_surfaces(tmp_path / "c.surfaces").facts.voxel_size == (12.0, 10.0, 8.0)
    a, b = found.read(1), known.read(1)
    assert np.allclose(a.vertices, b.vertices, atol=1e-3)
    assert np.array_equal(a.faces, b.faces)
    assert np.allclose(a.normals, b.normals, atol=1e-6)
    assert np.array_equal(a.columns["score"], b.columns["score"])


def test_joined_surfaces_say_of_each_vertex_whose_it_is(source: Path) -> None:
    one = joined(list(open_surfaces(source)))
    assert sorted(set(one.columns["surface"].tolist())) == [1, 2]
    assert one.normals is not None
    assert set(one.columns) == {"score", "surface"}
    of_face = one.columns["surface"][one.faces]
    assert (of_face == of_face[:, :1]).all()


def test_what_a_set_holds(source: Path) -> None:
    found = surfaces_info(source)
    assert found["tomogram"] == "TS_01"
    first, second = found["surfaces"]
    assert (first["closed"], first["islands"], first["genus"], first["note"]) == (True, 1, 0, "x")
    assert (second["closed"], second["volume_nm3"]) == (False, None)
    assert np.isclose(first["volume_nm3"], 4 / 3 * np.pi * 4**3, rtol=0.05)
    json.dumps(found)


@pytest.mark.parametrize(
    ("out", "fields", "error", "message"),
    [
        ("a.surfaces", {}, InputError, "is what is read"),
        ("b.vtp", {}, InputError, "surfaces are written as"),
        ("b.ply", {"numbers": (7,)}, MissingError, "has no surface 7; it has 2: 1, 2"),
        ("b.ply", {"voxel_size": 4.0}, InputError, "states its tomogram"),
    ],
)
def test_refused(source: Path, out: str, fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        convert_surfaces(source, source.parent / out, SurfacesConvertRecipe(**fields))


@pytest.mark.parametrize("out", ["b.ply", "b.surfaces", "each"])
def test_what_exists_is_replaced_only_if_that_is_wanted(source: Path, out: str) -> None:
    place = source.parent / out
    convert_surfaces(source, place)
    with pytest.raises(InputError, match="exists; give another name or --overwrite"):
        convert_surfaces(source, place, SurfacesConvertRecipe(numbers=(1,)))
    assert len(open_surfaces(place).read(1).faces) > 0
    convert_surfaces(source, place, SurfacesConvertRecipe(numbers=(1,), overwrite=True))


def test_the_commands(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    done = run.invoke(cli, ["surfaces", "info", "a.surfaces"])
    assert done.exit_code == 0, done.output
    assert "closed" in done.output
    assert "1 border," in done.output
    done = run.invoke(cli, ["surfaces", "info", "a.surfaces", "--json"])
    assert len(json.loads(done.output)["surfaces"]) == 2
    done = run.invoke(cli, ["surfaces", "convert", "a.surfaces", "--out", "meshes", "--to", "stl"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "meshes").iterdir()) == ["0001.stl", "0002.stl"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data/TS_01.mrc", "is a path; give the name alone"),
        ("TS_01.ome.zarr", "is a path"),
        ("TS_01.ome.zarr#labels/a", "is a path"),
        ("  ", "is no name"),
        (" TS_01", "is no name"),
        ("TS\n01", "is no name"),
    ],
)
def test_a_tomogram_is_named_and_not_given_as_a_file(name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"--tomogram .*{message}"):
        SurfacesConvertRecipe(tomogram=name)
    assert SurfacesConvertRecipe(tomogram="TS_01_8.00Apx").states
