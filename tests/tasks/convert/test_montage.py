"""convert --montage: sections by hand, the same bytes for any blocks and workers, shifts, tiles, refusals."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from calling import Command
from montage_files import cut, mdoc, montage
from mrc_files import write
from scipy.ndimage import gaussian_filter

from volengine import RunOptions, RunRecipe, convert, info, open_volume, verify
from volengine.core.errors import FormatError, InputError
from volengine.engine.memory import BASELINE_BYTES
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.tiles import mosaic_of_tiles

QUIET = RunOptions(progress=False)


def made(source: Path, out: Path, options: RunOptions = QUIET, **recipe: Any) -> np.ndarray:
    volume = convert(source, out, ConvertRecipe(montage=True, **recipe), options)
    return np.asarray(volume[:])


def test_a_section_by_hand(tmp_path: Path) -> None:
    """Two pieces of 2 x 5 and a third above: rows go up as in the file, and a gap gets the mean of the header, 3.

    The first two overlap in columns 3 and 4 with the weights 2/3, 1/3: 0 + 1/3 * 6 = 2 and 4. The third begins in row
    3, so row 2 is empty; in the file its first row is the lower one.
    """
    stack = np.array([np.full((2, 5), 0), np.full((2, 5), 6), [[1, 2, 3, 4, 5], [9, 9, 9, 9, 9]]], "i2")
    path = montage(tmp_path / "m.st", stack, [(10, 7, 4), (13, 7, 4), (11, 10, 4)], stats=(0.0, 9.0, 3.2))
    found = made(path, tmp_path / "m.ome.zarr")
    right = np.full((1, 5, 8), 3, "i2")
    right[0, :2] = [0, 0, 0, 2, 4, 6, 6, 6]
    right[0, 3, 1:6] = [1, 2, 3, 4, 5]
    right[0, 4, 1:6] = 9
    np.testing.assert_array_equal(found, right)
    volume = open_volume(tmp_path / "m.ome.zarr")
    assert (volume.dtype, volume.voxel_size, volume.origin) == ("int16", (10, 10, 10), (0, 70, 100))
    facts = volume.facts["montage"]
    assert facts["pieces"] == [[0, 7, 10], [1, 7, 13], [2, 10, 11]]  # index, y, x
    assert (facts["section"], facts["fill"], facts["empty_vox"]) == (4, 3, 14)
    assert volume.facts["history"][0]["verb"] == "convert"
    assert "mrc" not in volume.facts  # the header of the stack is not that of the section


def picture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return (gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5) * 4000).astype("i2")


PLACES = [(x, y) for y in (0, 70, 130) for x in ((0, 80, 150) if y != 70 else (150, 80, 0))]  # zigzag


@pytest.mark.parametrize("how", ["header", "mdoc", "list"])
def test_pictures_come_back_from_any_source_of_coordinates(tmp_path: Path, how: str) -> None:
    pictures = [picture((230, 250), seed) for seed in range(2)]
    stack = np.concatenate([cut(p, PLACES, (100, 100)) for p in pictures])
    pieces = [(x, y, z) for z in (1, 5) for x, y in PLACES]
    path = tmp_path / "m.st"
    more: dict[str, Any] = {}
    if how == "header":
        montage(path, stack, pieces)
    else:
        write(path, stack, 1)
        if how == "mdoc":
            (tmp_path / "m.st.mdoc").write_text(mdoc(pieces, (100, 100), TiltAngle=["-3"] * 9 + ["60"] * 9))
        else:
            (tmp_path / "m.pl").write_text("\n".join(f"{x} {y} {z}" for x, y, z in pieces))
            more["pieces"] = str(tmp_path / "m.pl")
    for section, right in zip((1, 5), pictures, strict=True):
        out = tmp_path / f"{section}.ome.zarr"
        np.testing.assert_array_equal(made(path, out, montage_section=section, **more)[0], right)
        angle = open_volume(out).facts["montage"].get("tilt_angle_deg")
        assert angle == ({1: -3, 5: 60}[section] if how == "mdoc" else None)


def test_sections_are_stores_of_one_frame(tmp_path: Path, volengine: Command) -> None:
    """The second section begins off 0 and lacks a piece; both have the frame of all, so that they lie on each other."""
    whole = picture((120, 160))
    places = [(0, 0, 0), (60, 0, 0), (0, 20, 0), (60, 20, 0), (60, 20, 1), (20, 10, 1)]
    stack = cut(whole, [(x, y) for x, y, _ in places], (100, 100))
    path = montage(tmp_path / "TS.st", stack, places)
    code, said, errors = volengine(
        "convert", str(path), "--montage", "--out", str(tmp_path / "out"), "--montage-fill", "7"
    )
    assert code == 0, said + errors
    first, second = (open_volume(tmp_path / "out" / f"TS_{n:03d}.ome.zarr") for n in (0, 1))
    assert first.name == "TS_000"
    assert first.shape == second.shape == (1, 120, 160)
    np.testing.assert_array_equal(first[0], whole)
    right = np.full_like(whole, 7)
    for x, y in ((60, 20), (20, 10)):
        right[y : y + 100, x : x + 100] = whole[y : y + 100, x : x + 100]
    np.testing.assert_array_equal(second[0], right)
    assert second.facts["montage"]["empty_vox"] == 120 * 160 - (2 * 100 * 100 - 60 * 90)
    with pytest.raises(InputError, match=r"2 sections, 0 to 1, .*montage_section"):
        made(path, tmp_path / "one.ome.zarr")
    with pytest.raises(InputError, match="no section 3; its sections are 0, 1"):
        made(path, tmp_path / "one.ome.zarr", montage_section=3)
    code, _, errors = volengine("convert", str(path), "--montage", "--out", str(tmp_path / "one.ome.zarr"))
    assert code == 2
    assert "one store, but there are 2 sources" in errors


def digest(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("c/**/*")) if p.is_file()}


@pytest.mark.parametrize("shifts", ["none", "correlate"])
def test_blocks_workers_and_restarts_give_the_same_bytes(tmp_path: Path, shifts: Any) -> None:
    whole = picture((300, 300))
    rng = np.random.default_rng(5)
    places = [(x, y) for y in (0, 90, 180) for x in (0, 90, 180)]
    moved = [(x + int(a), y + int(b)) for (x, y), (a, b) in zip(places, rng.integers(0, 5, (9, 2)), strict=True)]
    stack = cut(np.pad(whole, 8, mode="reflect"), moved, (120, 120)) + rng.integers(-30, 30, (9, 120, 120), "i2")
    path = montage(tmp_path / "m.st", stack.astype("i2"), [(x, y, 0) for x, y in places])
    how = {"montage_shifts": shifts, "chunk": (1, 32, 32), "shard": (1, 32, 32), "montage_fill": 0.0}
    first = tmp_path / "a.ome.zarr"
    values = made(path, first, **how)
    for name, options in {
        "b": RunOptions(progress=False, block=(1, 64, 320)),
        "c": RunOptions(progress=False, block=(1, 128, 32)),
        "d": RunOptions(progress=False, workers=2, block=(1, 64, 64)),
    }.items():
        out = tmp_path / f"{name}.ome.zarr"
        np.testing.assert_array_equal(made(path, out, options, **how), values)
        assert digest(out) == digest(first)
    # A lost receipt: the unit is run again, with the shifts of the run before.
    ledger = next((tmp_path / "c.ome.zarr.run").rglob("ledger/*.jsonl"))
    lines = ledger.read_text().splitlines(keepends=True)
    assert any(json.loads(line).get("stage") == "convert" for line in lines[-1:])
    ledger.write_text("".join(lines[:-1]))
    (tmp_path / "c.ome.zarr.run" / "plans" / "m" / "finished.json").unlink()
    np.testing.assert_array_equal(
        made(path, tmp_path / "c.ome.zarr", RunOptions(progress=False, block=(1, 128, 32)), **how), values
    )


def test_shifts_are_corrected(tmp_path: Path) -> None:
    """Pieces up to 6 voxels off their coordinates: the picture comes back exactly, but for a common shift."""
    whole = picture((330, 330))
    places = [(x, y) for y in (0, 90, 180) for x in (0, 90, 180)]
    rng = np.random.default_rng(2)
    off = rng.integers(-6, 7, (9, 2))
    stack = cut(
        whole, [(x + 10 + int(a), y + 10 + int(b)) for (x, y), (a, b) in zip(places, off, strict=True)], (130, 130)
    )
    path = montage(tmp_path / "m.st", stack, [(x, y, 0) for x, y in places])
    found = made(path, tmp_path / "m.ome.zarr", montage_shifts="correlate")[0]
    mean = off.mean(axis=0)
    inner = found[20:-20, 20:-20]
    fits = [
        (dy, dx)
        for dy in range(2, 19)
        for dx in range(2, 19)
        if np.array_equal(inner, whole[20 + dy : 20 + dy + inner.shape[0], 20 + dx : 20 + dx + inner.shape[1]])
    ]
    assert len(fits) == 1
    assert np.abs(np.array(fits[0]) - 10 - mean[::-1]).max() < 1
    plain = made(path, tmp_path / "p.ome.zarr")[0]
    assert not np.array_equal(plain[20:-20, 20:-20], inner)
    # a piece that shows what lies further on by its error is moved there; rows are piece, y, x
    moved = np.array(open_volume(tmp_path / "m.ome.zarr").facts["montage_shifts"]["pieces"])
    assert moved[:, 0].tolist() == list(range(9))
    np.testing.assert_array_equal(moved[:, 1:] - moved[0, 1:], (off - off[0])[:, ::-1])
    assert "montage_shifts" not in open_volume(tmp_path / "p.ome.zarr").facts


def test_solved_shifts_are_shown_and_guarded(tmp_path: Path, volengine: Command) -> None:
    whole = picture((100, 190))
    stack = cut(whole, [(0, 0), (83, 2)], (98, 100))  # the second one should be at 80, 0
    path = montage(tmp_path / "m.st", stack, [(0, 0, 0), (80, 0, 0)])
    store = tmp_path / "m.ome.zarr"
    made(path, store, montage_shifts="correlate", montage_fill=0)
    facts = info(store)
    shifts = facts["placed"]["moved"]["pieces"]
    assert [b - a for a, b in zip(shifts[0][1:], shifts[1][1:], strict=True)] == [2, 3]
    code, text, _ = volengine("info", str(store))
    assert code == 0
    assert "section 0, 2 pieces, shifts: correlate" in text
    assert "solved from 1 of 1 overlaps, which agree within 0 voxels (median)" in text
    assert f"piece 1: moved by {shifts[1][1]}, {shifts[1][2]} voxels (y, x)" in text
    made(path, tmp_path / "n.ome.zarr", montage_fill=0)
    assert "moved" not in info(tmp_path / "n.ome.zarr")["placed"]
    assert [one.kind for one in verify(f"{store}.run").problems] == []
    before = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(before.replace('"overlaps": 1', '"overlaps": 9'))
    assert [one.kind for one in verify(f"{store}.run").problems] == ["damaged"]
    made(path, store, montage_shifts="correlate", montage_fill=0)
    assert info(store)["placed"]["moved"] == facts["placed"]["moved"]
    assert [one.kind for one in verify(f"{store}.run").problems] == []


def test_shifts_of_the_mdoc_are_taken(tmp_path: Path) -> None:
    whole = picture((100, 180))
    stack = cut(whole, [(0, 0), (80, 0)], (100, 100))
    write(tmp_path / "m.st", stack, 1)
    pieces = [(0, 0, 0), (90, 0, 0)]
    (tmp_path / "m.st.mdoc").write_text(mdoc(pieces, (100, 100), AlignedPieceCoords=["5 3 0", "85.2 2.7 0"]))
    found = made(tmp_path / "m.st", tmp_path / "m.ome.zarr", montage_shifts="mdoc")
    np.testing.assert_array_equal(found[0], whole)
    assert open_volume(tmp_path / "m.ome.zarr").origin == (0, 30, 50)


def test_the_angle_of_an_mdoc_that_comes_later_is_taken(tmp_path: Path) -> None:
    pieces = [(0, 0, 0), (3, 0, 0)]
    path = montage(tmp_path / "m.st", np.arange(40, dtype="i2").reshape(2, 4, 5), pieces)
    right = made(path, tmp_path / "m.ome.zarr")
    for angle in ("1.5", "-3"):
        (tmp_path / "m.st.mdoc").write_text(mdoc(pieces, (5, 4), TiltAngle=[angle] * 2))
        np.testing.assert_array_equal(made(path, tmp_path / "m.ome.zarr"), right)
        assert open_volume(tmp_path / "m.ome.zarr").facts["montage"]["tilt_angle_deg"] == float(angle)


def test_what_cannot_be_aligned_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(-99, 99, (2, 100, 100), "i2")
    path = montage(tmp_path / "m.st", noise, [(0, 0, 0), (60, 0, 0)])
    with pytest.raises(InputError, match="in none of 1 overlaps do the pieces correlate"):
        made(path, tmp_path / "a.ome.zarr", montage_shifts="correlate")
    path = montage(tmp_path / "m.st", noise, [(0, 0, 0), (90, 0, 0)])
    with pytest.raises(InputError, match="no two of its 2 pieces overlap by 16 voxels"):
        made(path, tmp_path / "b.ome.zarr", montage_shifts="correlate")
    stack = cut(picture((100, 240)), [(0, 0), (68, 0), (136, 0)], (100, 100))  # 8 voxels further each
    path = montage(tmp_path / "m.st", stack, [(0, 0, 0), (60, 0, 0), (120, 0, 0)])
    with pytest.raises(InputError, match=r"moved by \(0, -?8\).*at most 5"):
        made(path, tmp_path / "c.ome.zarr", montage_shifts="correlate", montage_max_shift=5)


def test_overlaps_of_lattices_are_not_believed(tmp_path: Path) -> None:
    """A square lattice of period 7 fits as well by a period more; the pieces beside it are aligned, its own stays."""
    y, x = np.mgrid[:100, :300]
    lattice = 400 * (np.cos(2 * np.pi * y / 7) + np.cos(2 * np.pi * x / 7))
    whole = picture((100, 300)).astype(float)
    whole = np.where(x < 170, whole, lattice).astype("i2")
    places = [(0, 0), (62, 1), (140, 0), (202, 0)]  # the second one should be at 60, 0, the last one at 200, 0
    coordinates = [(0, 0, 0), (60, 0, 0), (140, 0, 0), (200, 0, 0)]
    path = montage(tmp_path / "m.st", cut(whole, places, (90, 98)), coordinates)
    recipe = {"montage_shifts": "correlate", "montage_fill": 0}
    made(path, tmp_path / "m.ome.zarr", **recipe)
    said = json.loads((tmp_path / "m.ome.zarr.run" / "plans" / "m" / "finished.json").read_text())["said"]
    assert any("1 of 3 overlaps fit in several ways" in line for line in said), said
    named = re.findall(
        r"pieces 2 and 3 was left out: it fits moved by \((\S+), (\S+)\) .* by \((\S+), (\S+)\)", " ".join(said)
    )
    one, other = np.array(named, float).reshape(2, 2)
    assert (np.mod(np.stack([one, other]) - (0, 2) + 0.5, 7) < 1).all()  # both are the true one but for whole periods
    assert (one != other).any()
    facts = open_volume(tmp_path / "m.ome.zarr").facts["montage_shifts"]
    assert facts["overlaps_ambiguous"] == 1
    shifts = np.array(facts["pieces"])[:, 1:]
    assert (shifts[1] - shifts[0]).tolist() == [1, 2]
    assert shifts[3].tolist() == [0, 0]
    assert any("1 pieces lie at their coordinates" in line for line in said), said
    alone = cut(whole, places[2:], (90, 98))
    path = montage(tmp_path / "n.st", alone, coordinates[2:])
    with pytest.raises(InputError, match=r"fit in several ways.*pieces 0 and 1 by .*quarter of that period"):
        made(path, tmp_path / "n.ome.zarr", **recipe)


def test_holes_need_a_value_where_the_header_has_no_mean(tmp_path: Path) -> None:
    stack = np.ones((2, 5, 5), "i2")
    path = montage(tmp_path / "m.st", stack, [(0, 0, 0), (6, 0, 0)], stats=(0.0, -1.0, -2.0))
    with pytest.raises(InputError, match=r"5 of 55 voxels \(9\.09%\) are in no piece.*--montage-fill"):
        made(path, tmp_path / "m.ome.zarr")
    with pytest.raises(InputError, match=r"--montage-fill 40000 is no value of int16"):
        made(path, tmp_path / "m.ome.zarr", montage_fill=40000)
    assert made(path, tmp_path / "m.ome.zarr", montage_fill=-5)[0, 0].tolist() == [1] * 5 + [-5] + [1] * 5


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        ({"pieces": "a.pl"}, "--montage"),
        ({"montage_shifts": "correlate"}, "--montage"),
        ({"montage": True, "kind": "labels"}, "labels"),
        ({"montage": True, "montage_max_shift": 3}, "correlate"),
        ({"montage": True, "montage_max_shift": 0, "montage_shifts": "correlate"}, "1 or more"),
        ({"montage": True, "montage_fill": float("nan")}, "finite"),
        ({"montage": True, "tilts": "a.mdoc"}, "--tilts"),
    ],
)
def test_options_that_contradict_each_other(recipe: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        ConvertRecipe(**recipe)


def test_what_is_no_montage_is_refused(tmp_path: Path, volengine: Command) -> None:
    path = write(tmp_path / "a.mrc", picture((20, 20))[None], 1)
    with pytest.raises(InputError, match=r"nothing says that it is a montage.*--pieces"):
        made(path, tmp_path / "a.ome.zarr")
    code, said, errors = volengine("convert", str(path), "--montage", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "nothing says that it is a montage" in said + errors
    with pytest.raises(InputError, match="place the pieces of montages first"):
        RunRecipe.from_json({"convert": {"montage": True}})


def test_the_plan_counts_the_pieces_that_a_block_reads(tmp_path: Path) -> None:
    """A montage of 400 pieces in blocks of 256: the memory planned is that of few pieces, not of all."""
    places = [(100 * x, 100 * y, 0) for y in range(20) for x in range(20)]
    path = montage(tmp_path / "m.st", np.zeros((400, 120, 120), "i2"), places, stats=(-1.0, 1.0, 0.0))
    limit = BASELINE_BYTES + 60_000_000
    options = RunOptions(progress=False, memory_limit=int(limit / 0.85), block=(1, 256, 256))
    assert made(path, tmp_path / "m.ome.zarr", options, chunk=(1, 256, 256), shard=(1, 256, 256)).shape == (
        1,
        2020,
        2020,
    )


@pytest.mark.slow
def test_a_montage_larger_than_a_worker_is_placed_within_the_planned_memory(tmp_path: Path) -> None:
    """1 GB of pieces (a sparse file) and 800 MB of picture, in a worker of 600 MB."""
    side, step, grid = 4400, 3900, 5
    places = [(step * x, step * y, 0) for y in range(grid) for x in range(grid)]
    path = montage(tmp_path / "m.st", np.zeros((grid * grid, 1, 1), "i2"), places, stats=(-1.0, 1.0, 0.0))
    raw = bytearray(path.read_bytes()[: 1024 + 6 * grid * grid])
    struct.pack_into("<3i", raw, 0, side, side, grid * grid)
    struct.pack_into("<3i3f", raw, 28, side, side, grid * grid, 10 * side, 10 * side, 10 * grid * grid)
    with path.open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + 2 * grid * grid * side * side)
        for n in range(grid * grid):  # row 1000 of each piece has its number
            file.seek(len(raw) + 2 * (n * side + 1000) * side)
            file.write(np.full(side, n, "i2").tobytes())
    limit = 600_000_000
    for shifts in ("correlate", "none"):
        recipe = ConvertRecipe(montage=True, montage_shifts=shifts, montage_fill=-7)
        options = RunOptions(progress=False, workers=1, memory_limit=limit)
        if shifts == "correlate":  # there is nothing to be seen: refused, after all overlaps were correlated
            with pytest.raises(InputError, match="in none of 40 overlaps"):
                convert(path, tmp_path / f"{shifts}.ome.zarr", recipe, options)
        else:
            volume = convert(path, tmp_path / f"{shifts}.ome.zarr", recipe, options)
            assert volume[0, 2 * step + 1000, step + 1000] == 11
        report = json.loads((tmp_path / f"{shifts}.ome.zarr.run" / "report.json").read_text())
        ran = [stage for stage in report["plans"]["m"]["stages"] if stage["peak_rss_bytes"] is not None]
        assert ran[0]["stage"] == ("correlate" if shifts == "correlate" else "convert")
        for stage in ran:
            assert stage["peak_rss_bytes"] <= stage["planned_peak_bytes"] <= limit, stage


# -- tiles -----------------------------------------------------------------------------------------------------------


def tiles(folder: Path, unit: str = "voxels", scale: float = 1) -> tuple[np.ndarray, Path]:
    """A volume in four tiles that overlap along z, y and x, two of them in other formats."""
    whole = np.random.default_rng(7).normal(size=(20, 40, 50)).astype("f4")
    text = f"unit: {unit}\ntiles:\n"
    for n, (z, y, x) in enumerate([(0, 0, 0), (0, 0, 22), (0, 15, 0), (6, 15, 22)]):
        part = whole[z : z + 14, y : y + 25, x : x + 28]
        if n in (1, 2):
            mrcfile.write(folder / f"source{n}.mrc", part, voxel_size=8)
            convert(folder / f"source{n}.mrc", folder / f"tile{n}.ome.zarr", options=QUIET)
        else:
            mrcfile.write(folder / f"tile{n}.mrc", part, voxel_size=8)
        name = f"tile{n}.{'ome.zarr' if n in (1, 2) else 'mrc'}"
        text += f"  - {{path: {name}, position: [{(z + 3) * scale}, {(y - 2) * scale}, {(x + 9) * scale}]}}\n"
    (folder / "tiles.yaml").write_text(text)
    return whole, folder / "tiles.yaml"


@pytest.mark.parametrize(("unit", "scale"), [("voxels", 1), ("angstrom", 8), ("nm", 0.8)])
def test_tiles_come_back_as_one_volume(tmp_path: Path, unit: str, scale: float) -> None:
    whole, path = tiles(tmp_path, unit, scale)
    covered = np.zeros(whole.shape, bool)
    covered[:14, :25], covered[:14, 15:, :28], covered[6:, 15:, 22:] = True, True, True
    found = made(path, tmp_path / "all.ome.zarr", montage_fill=-2)
    np.testing.assert_array_equal(found, np.where(covered, whole, np.float32(-2)))
    volume = open_volume(tmp_path / "all.ome.zarr")
    assert (volume.name, volume.voxel_size, volume.origin) == ("tiles", (8, 8, 8), (24, -16, 72))
    options = RunOptions(progress=False, block=(16, 16, 64))
    again = made(path, tmp_path / "b.ome.zarr", options, montage_fill=-2, chunk=(16, 16, 16), shard=(16, 16, 16))
    np.testing.assert_array_equal(again, found)


def test_tiles_that_changed_are_blended_again(tmp_path: Path) -> None:
    whole, path = tiles(tmp_path)
    before = made(path, tmp_path / "all.ome.zarr", montage_fill=0)
    mrcfile.write(tmp_path / "tile0.mrc", np.zeros((14, 25, 28), "f4"), voxel_size=8, overwrite=True)
    after = made(path, tmp_path / "all.ome.zarr", montage_fill=0)
    assert (before[0, 0] == whole[0, 0]).all()
    assert (after[0, 0, :10] == 0).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("unit: voxels", "unit: mm"), "unit is 'mm'"),
        (("unit: voxels", "unit: {a: nm}"), "unit is"),
        (("path: tile0.mrc", "file: tile0.mrc"), r"tiles\[0\] must have a path"),
        (("position: [3, -2, 9]", "position: [3, -2]"), "three numbers z, y, x"),
        (("position: [3, -2, 9]", "position: [3, -2, .nan]"), "three numbers z, y, x"),
        (("position: [3, -2, 9]", "position: [3, -2, 9.5]"), "whole numbers"),
        (("position: [3, -2, 9]", "position: [3, -2, 900000]"), "almost all of them empty"),
        (("position: [3, -2, 9]", "position: [3, -2, 31]"), "tiles 0 and 1 have the same place"),
        (("position: [3, -2, 9]", "position: [3, -2, 9], angle: 3"), r"there is no tiles\[0\]\.angle"),
        (("tiles:", "tile:"), "there is no tile"),
        (("tile0.mrc", "nowhere.mrc"), "there is no such file"),
        (("tile1.ome.zarr", "tile0.mrc"), r"tiles\[1\]\.path is tile0\.mrc, which an earlier tile is"),
    ],
)
def test_damaged_lists_of_tiles_are_refused(tmp_path: Path, change: tuple[str, str], match: str) -> None:
    _, path = tiles(tmp_path)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises((InputError, FormatError), match=match):
        made(path, tmp_path / "all.ome.zarr", montage_fill=0)


@pytest.mark.parametrize(
    ("shape", "at", "match"),
    [
        ((14, 25, 28), (3, -2, 9), r"tiles 0 and 4 have the same place, \(0, 0, 0\)"),
        ((7, 12, 14), (3, -2, 9), "tiles 0 and 4 have the same place.*14 x 25 x 28 and 7 x 12 x 14 voxels"),
        ((28, 50, 56), (3, -2, 9), "tiles 0 and 4 have the same place.*14 x 25 x 28 and 28 x 50 x 56 voxels"),
        ((5, 5, 5), (5, 0, 12), "tile 4 lies wholly within tile 0"),
        ((30, 60, 60), (0, -5, 0), "tile 0 lies wholly within tile 4"),
    ],
)
def test_tiles_of_another_grid_at_a_place_are_refused(
    tmp_path: Path, shape: tuple[int, int, int], at: tuple[int, int, int], match: str
) -> None:
    """As if one of them were binned: with its true voxel size, and with one that is given for all."""
    _, path = tiles(tmp_path)
    path.write_text(f"{path.read_text()}  - {{path: other.mrc, position: {list(at)}}}\n")
    mrcfile.write(tmp_path / "other.mrc", np.zeros(shape, "f4"), voxel_size=8)
    with pytest.raises(InputError, match=match):
        made(path, tmp_path / "all.ome.zarr", montage_fill=0)
    mrcfile.write(tmp_path / "other.mrc", np.zeros(shape, "f4"), voxel_size=16, overwrite=True)
    with pytest.raises(InputError, match="one voxel size"):
        made(path, tmp_path / "all.ome.zarr", montage_fill=0)
    with pytest.raises(InputError, match=match):
        made(path, tmp_path / "all.ome.zarr", montage_fill=0, voxel_size=8)


def test_voxel_sizes_that_are_overruled_are_said(tmp_path: Path) -> None:
    _, path = tiles(tmp_path)
    mrcfile.write(tmp_path / "tile0.mrc", np.zeros((14, 25, 28), "f4"), voxel_size=16, overwrite=True)
    mosaic = mosaic_of_tiles(str(path), ConvertRecipe(voxel_size=8.0), QUIET)
    assert "the tiles state voxel sizes of 16 x 16 x 16 and 8 x 8 x 8 angstrom; --voxel-size counts" in mosaic.notes[1]
    mrcfile.write(tmp_path / "tile0.mrc", np.zeros((14, 25, 28), "f4"), voxel_size=0, overwrite=True)  # none is stated
    assert len(mosaic_of_tiles(str(path), ConvertRecipe(voxel_size=8.0), QUIET).notes) == 1


def test_tiles_of_other_voxels_are_refused(tmp_path: Path) -> None:
    _, path = tiles(tmp_path)
    mrcfile.write(tmp_path / "tile0.mrc", np.zeros((14, 25, 28), "f4"), voxel_size=9, overwrite=True)
    with pytest.raises(InputError, match="one voxel size"):
        made(path, tmp_path / "all.ome.zarr", montage_fill=0)
    mrcfile.write(tmp_path / "tile0.mrc", np.zeros((14, 25, 28), "i2"), voxel_size=8, overwrite=True)
    with pytest.raises(InputError, match="one type"):
        made(path, tmp_path / "all.ome.zarr", montage_fill=0)
    with pytest.raises(InputError, match="shifts are not for it"):
        made(path, tmp_path / "all.ome.zarr", montage_shifts="correlate")
