"""Surfaces on the pages: outlines beside the sphere's formula, areas and thickness beside NumPy, sizes, damage."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from html_pages import check_alone, seen
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import QUIET, Ran
from skimage.measure import marching_cubes

import volengine as ve
from volengine.core.errors import RunError
from volengine.core.surface import Surface
from volengine.io.surfaces import SurfaceFacts, write_surfaces
from volengine.ops.surfaces.section import joined
from volengine.tasks.report.meshes import Line, Told, looked_at, path_of
from volengine.tasks.report.page import MOST_BYTES
from volengine.tasks.report.slices import Found, Slices, thumbnail

CENTRE, RADIUS = (100.0, 240.0, 300.0), 80.0
SHAPE = (24, 48, 64)


def ball(thick: float = 4.0) -> Surface:
    """A sphere around CENTRE, angstrom; its thickness is 1 nm more above the centre."""
    grid = np.indices(SHAPE) * 10.0
    away = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, CENTRE, strict=True)))
    vertices, faces, _, _ = marching_cubes(RADIUS - away, 0.0, spacing=(10.0, 10.0, 10.0))
    column = np.where(vertices[:, 0] > CENTRE[0], thick + 1, thick)
    return Surface(vertices, faces, columns={"thickness_nm": column})


def write_set(path: Path, *surfaces: Surface, measured: bool = True, name: str = "a") -> Path:
    more = {"thickness_nm_mean": 4.5} if measured else {}
    rows = [{"area_nm2": float(one.areas.sum()) / 100, **more} for one in surfaces]
    facts = SurfaceFacts(tomogram=name, feature="shell", voxel_size=(10.0, 10.0, 10.0), shape=SHAPE)
    write_surfaces(path, zip(surfaces, rows, strict=True), facts)
    return path


@pytest.fixture
def copied(ran: Ran, tmp_path: Path) -> Ran:
    """The run with two sets beside it: one measured, of a tomogram that has another one of the same name, too."""
    shutil.copytree(ran.out.parent, tmp_path / "run")
    out = tmp_path / "run" / "out"
    write_set(out / "surfaces" / "a__shell.surfaces", ball(9.0), measured=False)
    write_set(out / "measured" / "a__shell.surfaces", ball())
    return Ran(out, tmp_path / "run" / "recipe.yaml", ran.sources)


def test_outlines_are_the_circles_of_the_sphere(ran: Ran, tmp_path: Path) -> None:
    mesh = write_set(tmp_path / "a__shell.surfaces", ball())
    slices = Slices(ran.sources[0], [Found(str(mesh), "surfaces")], ("z=12", "x=30"), mean=1, pixels=512, tomogram="a")
    z, x = slices.draw()
    assert slices.missing == []
    assert [layer for _, _, layer in slices.key()] == ["surfaces"]
    bare = Slices(ran.sources[0], [], ("z=12",), mean=1, pixels=512, tomogram="a").draw()[0]
    assert thumbnail(z) != thumbnail(bare)
    unit = 512 / 64 / 10  # units of the drawing per angstrom
    for drawn, axis, at, across in ((z, 0, 120.0, (1, 2)), (x, 2, 300.0, (0, 1))):
        (line,) = drawn.lines
        assert len(line.pieces) > 50
        middle = (np.array([CENTRE[a] for a in across]) + 5) * unit
        away = np.linalg.norm(line.pieces.reshape(-1, 2) - middle, axis=1) / unit
        assert abs(away - np.sqrt(RADIUS**2 - (at - CENTRE[axis]) ** 2)).max() < 1.5  # a mesh of voxels of 10


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-6, 6)] * 4), max_size=30), st.sampled_from([0.5, 1.0, 2.0]), st.randoms())
def test_joined_lines_are_the_pieces_each_once(ends: list[tuple[int, ...]], step: float, random: object) -> None:
    pieces = np.array(ends, float).reshape(-1, 2, 2)
    wanted = {frozenset(map(tuple, np.rint(one / step).astype(int).tolist())) for one in pieces}
    lines = joined(pieces, step)
    found = [frozenset(map(tuple, pair)) for line in lines for pair in pairwise(line.tolist())]
    assert sorted(map(sorted, found)) == sorted(sorted(one) for one in wanted if len(one) == 2)
    order = list(range(len(pieces)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert path_of(joined(pieces[order][:, ::-1], step), step) == path_of(lines, step)


def test_an_outline_has_at_most_so_many_bytes() -> None:
    begin = np.random.default_rng(0).uniform(0, 512, (5000, 1, 2))
    pieces = np.concatenate([begin, begin + 3], axis=1)
    line = Line(pieces, (1, 2, 3))
    assert len(line.path(100_000)) > 20_000
    assert 0 < len(line.path(4000)) <= 4000
    assert Line(np.zeros((0, 2, 2)), (1, 2, 3)).path(0) == ""


def test_pages_of_a_run_show_the_sets_beside_it(copied: Ran) -> None:
    ve.report(str(copied.out), options=QUIET).check()
    path = copied.pages / "pages" / "a.html"
    page = seen(path)
    check_alone(page, path.parent)
    assert path.stat().st_size <= MOST_BYTES
    assert "Surfaces" in [one.text for one in page.of("h2")]
    assert "show-surfaces" in {one.attrs.get("id") for one in page.of("input")}
    assert len([one for one in page.of("path") if "stroke" in one.attrs and "l" in one.attrs["d"]]) == 3
    one = ball()
    area = one.areas.sum() / 100
    cells = [cell.text for cell in page.of("td")]
    assert cells.count("a__shell.surfaces") == 1  # the measured one
    assert f"{area:,.0f}" in cells
    assert "4.50" in cells
    thick = one.columns["thickness_nm"]
    share = one.vertex_areas[thick < 4.5].sum() / one.vertex_areas.sum()
    assert f"Median {4 if share >= 0.5 else 5};" in page.words
    assert "5 to 95 %: 4 to 5." in page.words
    assert "show-surfaces" not in (copied.pages / "pages" / "b.html").read_text().partition("<body>")[2]
    before = path.read_bytes()
    write_set(copied.out / "measured" / "a__shell.surfaces", ball(), ball())
    ve.report(str(copied.out), options=QUIET).check()
    assert path.read_bytes() != before
    assert "2 surfaces of shell" in seen(path).words


def test_damaged_and_missing_meshes_are_named_and_the_rest_is_shown(copied: Ran) -> None:
    place = write_set(copied.out / "measured" / "a__shell.surfaces", ball(), ball())
    (place / "0002.ply").write_bytes(b"ply\nno")
    broken = copied.out / "surfaces" / "b__shell.surfaces"
    broken.mkdir()
    with pytest.raises(RunError, match=r"(?s)a: .*0002\.ply.*b: .*b__shell\.surfaces"):
        ve.report(str(copied.out), options=QUIET).check()
    text = (copied.pages / "pages" / "a.html").read_text()
    assert text.count("0002.ply") >= 1
    assert re.search(r'<g class="surfaces"><path stroke="#[0-9a-f]{6}" d="M', text)
    assert "picks of ball" in (copied.pages / "pages" / "b.html").read_text()


def test_sets_without_a_run(ran: Ran, tmp_path: Path) -> None:
    write_set(tmp_path / "sets" / "a__shell.surfaces", ball())
    for number, given_path in enumerate((tmp_path / "sets", tmp_path / "sets" / "*.surfaces")):
        made = ve.report([ran.sources[0], str(given_path)], tmp_path / f"pages{number}", options=QUIET).check()
        assert [row.name for row in made.rows] == ["a"]
        assert "1 surface of shell" in seen(tmp_path / f"pages{number}" / "pages" / "a.html").words


def test_the_run_that_has_made_a_set(ran: Ran, tmp_path: Path) -> None:
    ve.surface(ran.out / "predictions" / "a__ball.ome.zarr", tmp_path / "a__ball.surfaces", {"side": "both"}, QUIET)
    (run_dir,) = tmp_path.glob("*.run")
    made = ve.report(run_dir, options=QUIET).check()
    (page,) = (made.index.parent / "pages").iterdir()
    assert "a__ball.surfaces" in [cell.text for cell in seen(page).of("td")]


def test_too_large_meshes_are_a_note_and_no_damage(copied: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volengine.tasks.report.meshes.LARGEST_MESH", 1000)
    ve.report(str(copied.out), options=QUIET).check()
    page = seen(copied.pages / "pages" / "a.html")
    assert "1 of 1 mesh are not read" in page.words
    assert "4.50" in [cell.text for cell in page.of("td")]


def test_surfaces_of_unknown_area_are_a_note(tmp_path: Path) -> None:
    facts = SurfaceFacts(tomogram="a", feature="shell", voxel_size=(10.0, 10.0, 10.0), shape=SHAPE)
    rows = [{"area_nm2": 5.0, "thickness_nm_mean": 4.5}, {"thickness_nm_mean": 9.0}]
    write_surfaces(tmp_path / "a.surfaces", zip((ball(), ball()), rows, strict=True), facts)
    told = Told([], [])
    found = looked_at(str(tmp_path / "a.surfaces"), told)
    assert found.measured == {"surfaces": 2, "without_area": 1, "thickness_nm": 4.5}
    assert not told.problems
    (note,) = told.notes
    assert "a.surfaces: the area of 1 surface of 2 is not known" in note
