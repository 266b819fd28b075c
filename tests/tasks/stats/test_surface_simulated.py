"""stats --surface: simulated particles on simplified surfaces, and the work in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stats_inputs import QUIET
from stats_on_surfaces import CENTRE, FEW, RECIPE, column, picks_of, run, surfaces_of, three
from surface_shapes import plane, sphere

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.areas import Discs
from volengine.ops.surfaces.geodesic import Geodesics
from volengine.tasks.stats.surface_mesh import Prepared, prepare, simplified
from volengine.tasks.stats.verb import stats


def prepared(mesh: Any, edge_nm: float = 0.0) -> Prepared:
    vertices, faces = mesh
    return prepare(Surface((vertices + CENTRE) * 10, faces.astype(np.int32), number=1), "membrane", edge_nm, ())


def test_a_surface_for_simulated_particles_is_the_same_with_fewer_faces() -> None:
    """Its areas within geodesic radii are those of the surface; what is near its border is left out there, too."""
    ball = prepared(sphere(50, 8000))
    fewer = simplified(ball, 0.0, 4.0)
    assert 1000 <= len(fewer.vertices) < 4500
    assert fewer.area == pytest.approx(ball.area, rel=2e-3)
    assert fewer.kept.all()
    whole = Geodesics(fewer.vertices, fewer.faces).from_vertices([7])
    found = Discs(fewer.vertices, fewer.faces).within(whole.faces, whole.at(np.arange(len(fewer.vertices))), [20, 40])
    np.testing.assert_allclose(found, 2 * np.pi * 2500 * (1 - np.cos([0.4, 0.8])), rtol=0.01)
    open_ = prepared(plane(100, 1.5), 8.0)
    fewer = simplified(open_, 8.0, 4.0)
    assert len(fewer.vertices) < len(open_.vertices) / 2
    assert fewer.kept_area == pytest.approx(84**2, rel=5e-3)
    assert not fewer.kept.all()


@pytest.mark.parametrize("longest", [1.0, 2.0])
def test_a_surface_that_is_coarse_enough_stays_as_it_is(longest: float) -> None:
    ball = prepared(sphere(50, 8000))
    assert simplified(ball, 0.0, longest) is ball


def test_envelopes_on_a_simplified_surface_are_those_of_the_surface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    u = np.random.default_rng(3).normal(size=(60, 3))
    picks = picks_of(tmp_path, 40 * u / np.linalg.norm(u, axis=1)[:, None])
    surfaces = surfaces_of(tmp_path, sphere(40, 5000))
    recipe = FEW.with_(ripley_nm=40, bin_nm=20, simulations=399)
    one = run(picks, surfaces, recipe)
    monkeypatch.setattr("volengine.tasks.stats.surface_measure.simplified", lambda mesh, *_: mesh)
    other = run(picks, surfaces, recipe)
    assert column(one, "ripley", "k") == column(other, "ripley", "k")
    for end in ("low", "high"):
        a, b = (np.array(column(found, "ripley", f"k_chance_{end}")) for found in (one, other))
        assert (a != b).all()  # other random places
        np.testing.assert_allclose(a - 1, b - 1, rtol=0.25)


def test_workers_and_parts_of_the_work_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picks, surfaces = three(tmp_path)
    recipe = FEW.with_(simulations=19, occupancy_nm=3, by_class=("b",), neighbours=2)
    found = run(picks[:2], surfaces[:1], recipe)
    monkeypatch.setattr("volengine.engine.side_by_side.worth_s", lambda workers: -1.0)
    monkeypatch.setattr("volengine.tasks.stats.surface_fields.TOGETHER", 5)
    options = QUIET.with_(workers=2, memory_limit="1GB")
    again = stats(picks[:2], None, RECIPE, options, surfaces=surfaces[:1], surface_recipe=recipe)
    for name in found.tables:
        assert repr(found[name]) == repr(again[name]), name


@pytest.mark.parametrize(
    ("limit", "changes", "message"),
    [
        ("330kB", {}, r"particles within 40 nm make 3\d\d\d pairs so far, which take 33\d kB .* 330 kB"),
        ("350kB", {}, ""),
        ("500kB", {"simulations": 9}, "simulated particles within 40 nm make"),
        ("500kB", {"simulations": 9, "bin_nm": 0.05}, "800 rings around 60 particles and 200 simulated ones"),
    ],
)
def test_more_pairs_than_the_memory_holds_are_refused(
    tmp_path: Path, limit: str, changes: dict[str, Any], message: str
) -> None:
    """60 particles on a small sphere, all within reach of each other: 60 x 59 pairs of 96 bytes are 340 kB."""
    u = np.random.default_rng(0).normal(size=(60, 3))
    picks = picks_of(tmp_path, 10 * u / np.linalg.norm(u, axis=1)[:, None])
    given: dict[str, Any] = {"surfaces": surfaces_of(tmp_path, sphere(10, 200))}
    given["surface_recipe"] = FEW.with_(**{"ripley_nm": 40, "bin_nm": 20, **changes})
    options = QUIET.with_(memory_limit=limit)
    if not message:
        assert len(stats(picks, None, RECIPE, options, **given)["surfaces"]) == 1
        return
    with pytest.raises(InputError, match=message):
        stats(picks, None, RECIPE, options, **given)
