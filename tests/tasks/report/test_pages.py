"""What the pages of a run show: the numbers beside NumPy and the verbs, hostile names, sizes, contrast."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from html_pages import check_alone, seen
from PIL import Image
from report_runs import BALLS, QUIET, Ran, make_run
from scipy.spatial.distance import cdist

from volengine.core.boxes import Box
from volengine.io.open import open_source, open_volume
from volengine.io.picks import read_picks
from volengine.tasks.common.html import Page
from volengine.tasks.common.named import open_sized
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.verb import pick
from volengine.tasks.report import counted
from volengine.tasks.report.page import MOST_BYTES
from volengine.tasks.report.slices import THUMB_BYTES, Found, Slices, encoded, thumbnail

RECIPE = PickRecipe(feature="ball", spacing_nm=8, min_volume_nm3=20)


def voxels(path: Path) -> np.ndarray:
    volume = open_volume(str(path))
    return np.asarray(open_source(volume).read(Box.of_shape(volume.shape)))


def numbers_of(text: str) -> list[tuple[str, ...]]:
    """The rows of a table of numbers under the thresholds."""
    return [tuple(re.findall(r"<td>([^<]*)</td>", row)) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]


def test_voxels_and_picks_at_each_threshold_are_those_of_numpy_and_of_the_verb(ran: Ran, tmp_path: Path) -> None:
    text = (ran.pages / "pages" / "a.html").read_text()
    rows = {float(row[0]): row for row in numbers_of(text.partition("voxels above")[2].partition("</table>")[0]) if row}
    assert sorted(rows) == [k / 10 for k in range(1, 10)]
    gated, before = (voxels(ran.out / folder / "a__ball.ome.zarr") for folder in ("gated", "predictions"))
    counts = []
    for threshold, row in rows.items():
        assert int(row[1].replace(",", "")) == (gated.astype(int) > round(threshold * 255, 9)).sum()
        for column, folder in ((2, "gated"), (3, "predictions")):
            store, table = str(ran.out / folder / "a__ball.ome.zarr"), tmp_path / f"{folder}.star"
            if threshold in (0.1, 0.5, 0.9):
                found = pick(store, table, RECIPE.with_(threshold=threshold, labels=False), QUIET.with_(overwrite=True))
                assert int(row[column]) == len(found)
        counts.append(int(row[2]))
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) > 1
    assert max(counts) <= len(BALLS)
    assert before.max() / 255 == pytest.approx(float(re.search(r"largest probability is ([\d.]+)", text)[1]), abs=1e-3)


def test_a_coarser_level_is_picked_by_the_same_rules(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = open_sized(str(ran.out / "predictions" / "a__ball.ome.zarr"))
    whole = counted.picks_at(volume, RECIPE)
    assert whole is not None
    assert whole.level == 0
    monkeypatch.setattr(counted, "MOST_PICKED", volume.size - 1)
    if len(volume.levels) == 1:
        assert counted.picks_at(volume, RECIPE) is None
    else:
        coarse = counted.picks_at(volume, RECIPE)
        assert coarse is not None
        assert coarse.level == 1
    assert counted.picks_at(volume, RECIPE.with_(roi="0:8,:,:")) is None


@pytest.mark.parametrize("most", [1, 1000, 2**22])
def test_any_blocks_give_the_same_histogram(ran: Ran, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    path = ran.out / "predictions" / "a__ball.ome.zarr"
    monkeypatch.setattr(counted, "BLOCK_VOXELS", most)
    found = counted.probabilities(open_sized(str(path)), (0.5,))
    whole = voxels(path)
    assert found.counts.bins.tolist() == np.bincount(whole.reshape(-1), minlength=256).tolist()
    assert found.counts.above == [int((whole > 127).sum())]


def test_sizes_weights_and_neighbours_are_those_of_the_table(ran: Ran) -> None:
    picks = read_picks(str(ran.out / "picks" / "a__ball.star"), tomogram="a")
    apart = cdist(picks.position, picks.position) + np.diag(np.full(len(picks), np.inf))
    assert counted.nearest_nm(picks) == pytest.approx(apart.min(axis=1) / 10)
    text = (ran.pages / "pages" / "a.html").read_text()
    for values in (picks.volume_a3 / 1000, picks.weight, apart.min(axis=1) / 10):
        assert f"Median {np.median(values):.4g};" in text
    row = json.loads(seen(ran.pages / "pages" / "a.html").meta("volengine-row"))
    assert row["picks"] == {"ball": len(picks)}
    assert row["state"] == "done"
    assert row["shape"] == [24, 48, 64]


def test_slices_show_the_volume_and_where_picks_are(ran: Ran) -> None:
    picks = read_picks(str(ran.out / "picks" / "a__ball.star"), tomogram="a")
    store = str(ran.out / "tomograms" / "a.ome.zarr")
    found = [
        Found(str(ran.out / "gated" / "a__ball.ome.zarr"), "predictions"),
        Found(f"{store}#labels/ball", "labels"),
        Found(str(ran.out / "picks" / "a__ball.star"), "picks", 4.0),
    ]
    slices = Slices(store, found, ("z=9", "x=12"), mean=1, pixels=512, tomogram="a")
    z, x = slices.draw()
    assert slices.missing == []
    assert z.grey.shape == (48, 64, 3)
    assert x.grey.shape == (24, 48, 3)
    grey = z.grey[..., 0].astype(int)
    expected = voxels(Path(store))[9]
    low, high = open_volume(store).display_range or np.percentile(np.concatenate([expected.ravel()]), [0.5, 99.5])
    assert abs(grey - np.clip((expected - low) / (high - low), 0, 1) * 255).max() <= 1
    tint = voxels(ran.out / "gated" / "a__ball.ome.zarr")[9] / 255 * 0.6 * 255
    assert abs(z.layers["predictions"][..., 3].astype(int) - tint).max() <= 2
    near = picks[np.abs(picks.position_vox[:, 0] - 9) < 4]
    scale = 512 / 64
    assert np.array(sorted((r.x, r.y) for r in z.rings)) == pytest.approx(
        np.array(sorted(((p[2] + 0.5) * scale, (p[1] + 0.5) * scale) for p in near.position_vox))
    )
    assert z.bar / z.size[0] * 64 == pytest.approx(z.bar_nm)  # a voxel has 1 nm


def test_pages_are_small_whatever_the_slices_show() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    files = encoded([noise, noise], 60_000)
    assert sum(map(len, files)) <= 60_000
    assert all(Image.open(io.BytesIO(one)).format == "WEBP" for one in files)


def test_thumbnails_are_small(ran: Ran) -> None:
    slices = Slices(ran.sources[0], [], ("z=9",), mean=1, pixels=512, tomogram="a")
    (drawn,) = slices.draw()
    noise = np.random.default_rng(0).integers(0, 256, (900, 700, 3), dtype=np.uint8)
    object.__setattr__(drawn, "grey", noise)
    small = thumbnail(drawn)
    assert len(small) <= THUMB_BYTES
    assert max(Image.open(io.BytesIO(small)).size) <= 256


def test_pages_stand_alone_and_say_how_they_were_made(ran: Ran) -> None:
    for path in (ran.pages / "index.html", *sorted((ran.pages / "pages").iterdir())):
        page = seen(path)
        check_alone(page, path.parent)
        assert path.stat().st_size <= MOST_BYTES
        assert all(one.attrs["alt"] for one in page.of("img"))
        assert all(one.attrs.get("aria-label") or one.attrs.get("aria-hidden") for one in page.of("svg"))
        assert "min_volume_nm3: 20" in page.words
        assert "numpy 2" in page.words
        labels = {one.attrs.get("id") for one in page.of("input")}
        assert len(labels) == len(page.of("input"))
    page = seen(ran.pages / "pages" / "a.html")
    cells = [one.text for one in page.of("td")]
    assert "pick-ball-resolve" in cells
    for image in page.of("image"):
        assert Image.open(io.BytesIO(b64decode(image.attrs["href"].partition(",")[2]))).format == "WEBP"


HOSTILE = "<script>alert('1')<_script>", "a&amp;b #1 100% ü", "שלום\u202eevil"
FAILS = '"onload="x'
"""A name that tables of picks refuse."""


def test_hostile_names_are_names_and_nothing_else(tmp_path: Path) -> None:
    done = make_run(tmp_path, *HOSTILE, FAILS, check=False, format="csv")
    index = seen(done.pages / "index.html")
    check_alone(index, done.pages)
    assert len(index.of("script")) == 1
    for name in HOSTILE:
        assert any(one.tag == "bdi" and one.text == name for one in index.elements)
    assert any(one.tag == "bdi" and one.text.endswith(f"/{FAILS}.mrc") for one in index.elements)
    pages = sorted((done.pages / "pages").iterdir())
    assert len(pages) == len(HOSTILE) + 1
    for path in pages:
        page = seen(path)
        check_alone(page, path.parent)
        assert page.of("script") == []
        assert page.of("h1")[0].text.removesuffix(".mrc").rpartition("/")[2] in (*HOSTILE, FAILS)


def luminance(colour: str) -> float:
    """Of WCAG 2.2."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def blended(colour: str, over: str) -> str:
    """A colour with an opacity (#rrggbbaa) over another one."""
    share = int(colour[7:9], 16) / 255
    parts = [(int(colour[k : k + 2], 16), int(over[k : k + 2], 16)) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in parts)


@pytest.mark.parametrize("dark", [False, True])
def test_texts_have_contrast(ran: Ran, dark: bool) -> None:
    style = "\n".join(one.text for one in seen(ran.pages / "index.html").of("style"))
    schemes = re.findall(r"prefers-color-scheme: dark\) \{ :root \{([^}]*)\}", style)
    plain = re.sub(r"@media[^{]*\{ :root \{[^}]*\} \}", "", style)
    plain = re.sub(r"@media print \{.*?\n?.*?\}", "", plain, flags=re.DOTALL)
    names = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,8})", "".join(re.findall(r":root \{[^}]*\}", plain))))
    if dark:
        names |= dict(re.findall(r"--(\w+): (#[0-9a-f]{3,8})", "".join(schemes)))
    paper = names["paper"]
    soft = "#" + "".join(2 * c for c in names["soft"][1:]) if len(names["soft"]) == 5 else names["soft"]
    for behind in (paper, blended(soft, paper)):
        assert contrast(names["ink"], behind) >= 4.5
        assert contrast(names["strong"], behind) >= 4.5
    bad = blended(names["badsoft"], paper)
    assert contrast(names["bad"], bad) >= 4.5
    assert contrast(names["ink"], bad) >= 4.5
    for line in ("fill", "second", "edge"):  # what is no text
        assert contrast(names[line], paper) >= 3, line


def test_every_page_of_the_house_has_a_policy() -> None:
    page = Page("base.html", {}).render()
    assert "@policy@" not in page
    assert "style-src 'sha256-" in page
    assert "script-src 'none'" in page
