"""Sets of surfaces: what is written is read again; half and damaged sets are refused."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from volengine.core.errors import FormatError, InputError, MissingError, VolengineError
from volengine.core.surface import Surface
from volengine.io.surfaces import (
    FACTS,
    TABLE,
    SurfaceFacts,
    may_replace,
    open_surfaces,
    write_surface,
    write_surfaces,
)

FACTS_OF = SurfaceFacts("TS_01", "membrane", (8.0, 8.0, 8.0), (100.0, -50.0, 3.0), (10, 20, 30), [{"verb": "surface"}])
AT = np.array([[0, 0, 0], [0, 0, 10], [0, 10, 0], [10, 0, 0]], float)
CORNERS = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]


def two(folder: Path) -> Path:
    normals = np.eye(3)[[0, 1, 2, 0]]
    first = Surface(AT, CORNERS, normals, {"thickness_nm": np.arange(4.0)})
    second = Surface(AT + 5, CORNERS)
    write_surfaces(folder / "a.surfaces", [(first, {"area_nm2": 1.5}), (second, {"closed": True})], FACTS_OF)
    return folder / "a.surfaces"


def test_a_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = open_surfaces(two(tmp_path))
    assert found.facts == FACTS_OF
    assert [row["number"] for row in found.rows] == [1, 2]
    first, second = found
    assert first.vertices.tolist() == AT.tolist()
    assert first.faces.tolist() == CORNERS
    assert first.normals is not None
    assert first.normals.tolist() == np.eye(3)[[0, 1, 2, 0]].tolist()
    assert first.columns["thickness_nm"].tolist() == [0, 1, 2, 3]
    assert list(first.columns) == ["thickness_nm"]
    assert second.number == 2
    assert second.normals is None
    assert second.vertices.tolist() == (AT + 5).tolist()


def test_files_hold_positions_so_that_viewers_show_them_on_the_tomogram(tmp_path: Path) -> None:
    mesh = trimesh.load(two(tmp_path) / "0001.ply", process=False)
    assert mesh.vertices[:, ::-1] == pytest.approx(AT + FACTS_OF.origin)


def test_the_table_has_a_line_for_each_surface_and_all_names(tmp_path: Path) -> None:
    lines = (two(tmp_path) / "surfaces.csv").read_text().splitlines()
    assert lines == ["number,file,area_nm2,closed", "1,0001.ply,1.5,", "2,0002.ply,,True"]


@pytest.mark.parametrize("ending", ["obj", "stl", "glb", "ply"])
def test_one_mesh_file_is_a_set_of_one(tmp_path: Path, ending: str) -> None:
    write_surface(tmp_path / f"m.{ending}", Surface(AT, CORNERS), SurfaceFacts())
    found = open_surfaces(tmp_path / f"m.{ending}")
    (one,) = found
    assert found.facts.tomogram == "m"
    assert found.facts.voxel_size is None
    assert one.closed
    assert one.areas.sum() == pytest.approx(Surface(AT, CORNERS).areas.sum())


def test_a_folder_of_mesh_files_is_a_set_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.ply", "a.obj"):
        write_surface(tmp_path / name, Surface(AT, CORNERS), SurfaceFacts())
    (tmp_path / "notes.txt").write_text("")
    found = open_surfaces(tmp_path, SurfaceFacts("T", voxel_size=(1.0, 1.0, 1.0)))
    assert [row["file"] for row in found.rows] == ["a.obj", "b.ply"]
    assert found.facts.tomogram == "T"


def test_half_a_set_is_none(tmp_path: Path) -> None:
    (two(tmp_path) / FACTS).unlink()
    with pytest.raises(FormatError, match="was not finished"):
        open_surfaces(tmp_path / "a.surfaces")


def test_a_set_stays_until_the_one_that_replaces_it_is_whole(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield Surface(AT, CORNERS), {}
        raise KeyboardInterrupt

    for place in (two(tmp_path), tmp_path / "new.surfaces"):
        with pytest.raises(KeyboardInterrupt):
            write_surfaces(place, broken(), FACTS_OF)
    assert [path.name for path in tmp_path.iterdir()] == ["a.surfaces"]
    assert len(open_surfaces(tmp_path / "a.surfaces")) == 2
    write_surfaces(tmp_path / "a.surfaces", [(Surface(AT, CORNERS), {})], FACTS_OF)
    assert sorted(path.name for path in (tmp_path / "a.surfaces").iterdir()) == ["0001.ply", TABLE, FACTS]


def test_what_may_be_replaced(tmp_path: Path) -> None:
    place = tmp_path / "a.surfaces"
    assert may_replace(place)
    place.mkdir()
    assert may_replace(place)
    (place / "0001.ply").touch()
    assert may_replace(place)
    (place / "thesis.txt").touch()
    assert not may_replace(place)
    (place / FACTS).touch()
    assert may_replace(place)
    assert not may_replace(place / FACTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.update(format="other"), "is damaged"),
        (lambda told: told["surfaces"][0].update(file="../a.ply"), "is not the name of a file"),
        (
            lambda told: told["surfaces"][0].update(file="0009.ply"),
            r"0009\.ply is missing\. Remove it, and make it again: ",
        ),
        (lambda told: told["surfaces"][0].update(number="x"), "is damaged"),
        (lambda told: told.update(origin=[0, 0]), "is damaged"),
        (lambda told: told.update(voxel_size=[1, 1, None]), "is damaged"),
        (lambda told: told.pop("surfaces"), "is damaged"),
        (lambda told: told.update(unknown=1), "is damaged"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    file = two(tmp_path) / FACTS
    told = json.loads(file.read_text())
    change(told)
    file.write_text(json.dumps(told))
    with pytest.raises(VolengineError, match=message):
        open_surfaces(tmp_path / "a.surfaces")


def test_a_truncated_surface_says_how_to_make_it_again(tmp_path: Path) -> None:
    file = two(tmp_path) / "0002.ply"
    file.write_bytes(file.read_bytes()[:-20])
    told = json.loads((tmp_path / "a.surfaces" / FACTS).read_text())
    told["history"] = [{"verb": "surfaces measure"}]
    (tmp_path / "a.surfaces" / FACTS).write_text(json.dumps(told))
    with pytest.raises(
        FormatError, match=r"0002\.ply: .* make it again: volengine surfaces measure with --out .*a\.surf"
    ):
        open_surfaces(tmp_path / "a.surfaces").read(2)


def test_what_is_not_there_or_no_surface_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file or folder"):
        open_surfaces(tmp_path / "x.surfaces")
    with pytest.raises(FormatError, match="holds no surfaces"):
        open_surfaces(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(FormatError, match="is no mesh"):
        open_surfaces(tmp_path / "a.txt")
    with pytest.raises(MissingError, match="has no surface 3; it has 2"):
        open_surfaces(two(tmp_path)).read(3)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(FormatError, match=r"holds no surfaces .* 1 sets; give one of them, for example .*a\.surfaces"):
        open_surfaces(tmp_path)
    with pytest.raises(InputError, match="states its tomogram"):
        open_surfaces(tmp_path / "a.surfaces", FACTS_OF)
    with pytest.raises(InputError, match="the same number"):
        write_surfaces(tmp_path / "b.surfaces", [(Surface(AT, CORNERS, number=2), {})] * 2, FACTS_OF)


def test_a_notebook_shows_facts_rows_and_a_picture(tmp_path: Path) -> None:
    corners = [[0, 0, 0], [0, 100, 0], [0, 0, 40]]
    surface = Surface(corners, [[0, 1, 2]])
    facts = SurfaceFacts(tomogram="<b>TS</b>", feature="membrane", voxel_size=(8.0, 8.0, 8.0), shape=(4, 20, 10))
    write_surfaces(tmp_path / "a.surfaces", [(surface, {"area_nm2": 25.0})] * 7, facts)
    found = open_surfaces(tmp_path / "a.surfaces")
    shown = found._repr_html_()
    assert "&lt;b&gt;TS" in shown
    assert "<b>" not in shown
    assert "4 x 20 x 10" in shown
    assert shown.count("<td>25</td>") == 5
    assert "and 2 more" in shown
    (png,) = re.findall('base64,([^"]+)', shown)
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
    assert seen.shape == (192, 77)
    assert sorted(map(tuple, np.argwhere(seen))) == [(0, 0), (0, 76), (191, 0)]
    (tmp_path / "a.surfaces" / "0003.ply").write_bytes(b"damaged")
    assert "no picture" in found._repr_html_()
    (tmp_path / "a.surfaces" / "0003.ply").unlink()
    assert "no picture" in found._repr_html_()
