"""The page in a real browser: what it shows, where it lies, what it asks for, and that names are not markup."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from web_results import BASE, HOSTILE, MARK, SHAPE

ZOOM = 8
"""Pixels of a voxel in the pictures that are measured."""
WINDOW = 190
"""Pixels around the middle of a panel that are measured."""
SECONDS = 90
"""Until something must have come, on a machine that does much else."""


class Looking:
    """A page in a browser, what it has said, and what it has asked for."""

    def __init__(self, context: Any):
        self.page = context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        context.on("request", lambda request: self.asked.append(request.url))

    def go(self, link: str, state: str = "ready") -> None:
        self.page.goto(link)
        self.wait(state)

    def wait(self, state: str = "ready") -> None:
        self.page.wait_for_selector(f"body[data-state={state}]", timeout=SECONDS * 1000)

    def viewer(self, code: str, *arguments: Any) -> Any:
        """Evaluate code in Neuroglancer's frame, with ``viewer`` and an argument ``a``."""
        frame = next(one for one in self.page.frames if "/viewer/v/" in one.url)
        return frame.evaluate(f"(a) => {{ const viewer = window.viewer; {code} }}", *arguments)

    def settled(self) -> None:
        """Wait until all that is in view has come."""
        end = time.monotonic() + SECONDS
        while not self.viewer("return viewer.isReady();"):
            assert time.monotonic() < end, "the viewer does not come to rest"
            time.sleep(0.05)

    def picture(self) -> np.ndarray:
        """The viewer as it is seen, (y, x, 3) float."""
        from PIL import Image

        self.settled()
        time.sleep(0.2)  # it draws in the next frame
        image = Image.open(io.BytesIO(self.page.locator("#viewer").screenshot()))
        return np.asarray(image.convert("RGB")).astype(float)

    def panel(self) -> tuple[float, float]:
        """The middle of the only panel, y and x in the picture."""
        code = "const r = document.querySelector('.neuroglancer-rendered-data-panel').getBoundingClientRect();"
        left, top, width, height = self.viewer(code + "return [r.left, r.top, r.width, r.height];")
        return top + height / 2, left + width / 2

    def only(self, layout: str, position: list[float], layers: list[str], scale: float = 1 / ZOOM) -> None:
        """Show some layers alone, in one panel without lines, with a place in its middle."""
        code = """
            const state = JSON.parse(JSON.stringify(viewer.state.toJSON()));
            for (const layer of state.layers) {
                layer.visible = a.layers.includes(layer.name);
                if (layer.name === "tomogram") layer.shaderControls.normalized.range = [0, 1];
            }
            Object.assign(state, {layout: {type: a.layout, showSlices: true}, position: a.position,
                crossSectionScale: a.scale, showAxisLines: false, showScaleBar: false});
            viewer.state.reset();
            viewer.state.restoreState(state);
        """
        self.viewer(code, {"layout": layout, "position": position, "layers": layers, "scale": scale})


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    made = browser.new_context(viewport={"width": 1200, "height": 800}, device_scale_factor=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def looking(context: Any, server: str) -> Looking:
    made = Looking(context)
    made.go(server)
    made.page.get_by_role("button", name="TS_01").click()
    made.wait()
    return made


# -- what is shown -----------------------------------------------------------------------------------------


def test_the_link_leads_to_a_page_with_all_layers(looking: Looking) -> None:
    assert "token" not in looking.page.url
    assert looking.page.locator("#name").inner_text() == "TS_01"
    names = looking.page.locator("#layers label span:not(.kind)").all_inner_texts()
    marks = ["ribosome picks", "ribosome picks axes", "membrane surface", "truth membrane"]
    assert names == ["tomogram", "core labels", "ribosome", *marks]
    shown = looking.viewer("return viewer.layerManager.managedLayers.map((one) => [one.name, one.visible]);")
    assert [name for name, _ in shown] == names
    assert [name for name, visible in shown if not visible] == ["core labels"]
    code = "return viewer.layerManager.managedLayers.flatMap((one) => one.layer.dataSources"
    failed = looking.viewer(f"{code}.map((source) => source.loadState?.error?.message));")
    assert failed == [None] * len(failed)
    looking.settled()
    picture = looking.picture()
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100  # not blank
    assert looking.viewer("return viewer.display.gl.isContextLost();") is False


def test_layers_are_put_on_and_off_on_the_page_and_in_the_viewer(looking: Looking) -> None:
    box = looking.page.get_by_label("core labels")
    box.check()
    assert looking.viewer("return viewer.layerManager.getLayerByName('core labels').visible;") is True
    looking.viewer("viewer.layerManager.getLayerByName('core labels').setVisible(false);")
    looking.page.wait_for_selector("#layers li:nth-child(2) input:not(:checked)")


def test_dark_and_bright_are_exchanged(looking: Looking) -> None:
    code = "return viewer.layerManager.getLayerByName('tomogram').layer.toJSON().shaderControls.normalized.range;"
    before = looking.viewer(code)
    looking.page.get_by_role("button", name="Invert").click()
    assert looking.viewer(code) == before[::-1]
    looking.page.get_by_role("button", name="Invert").click()
    assert looking.viewer(code) == before


# -- where it lies -----------------------------------------------------------------------------------------

LAYOUTS = {"xy": ("x", "y", 1), "xz": ("x", "z", 1), "yz": ("z", "y", -1)}
"""The axes of a panel: to the right, down; the direction of the first one."""


def _middle(looking: Looking, background: bool) -> tuple[float, float, int]:
    """The middle of what is bright (or of another colour than the background) in a window around the middle of the
    panel, down and right from there in pixels, and the number of its pixels."""
    picture, (y, x) = looking.picture(), looking.panel()
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    near = (abs(rows - y) < WINDOW) & (abs(columns - x) < WINDOW)
    corner = picture[int(y) + WINDOW, int(x) + WINDOW]
    lit = np.abs(picture - corner).max(axis=2) > 25 if background else picture.min(axis=2) > 200
    assert (lit & near).any(), "nothing is seen"
    return float(rows[lit & near].mean() - y), float(columns[lit & near].mean() - x), int((lit & near).sum())


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("scale", [1 / ZOOM, 1 / 2])
def test_voxels_lie_where_their_numbers_say(looking: Looking, layout: str, scale: float) -> None:
    """A block of 2 x 2 x 2 bright voxels, seen with another voxel in the middle; also on the coarser level."""
    beside = {"z": MARK[0] + 3, "y": MARK[1] + 6, "x": MARK[2] - 5}
    across = next(axis for axis in "zyx" if axis not in LAYOUTS[layout])
    at = {**beside, across: MARK["zyx".index(across)]}  # the slice cuts the block
    looking.only(layout, [at["x"] + 0.5, at["y"] + 0.5, at["z"] + 0.5], ["tomogram"], scale)
    y, x, count = _middle(looking, background=False)
    right, down, way = LAYOUTS[layout]
    block = dict(zip("zyx", (m + 0.5 for m in MARK), strict=True))  # its middle, in numbers of voxels
    pixels = 1 / scale
    assert abs(x / pixels - way * (block[right] - at[right])) < 0.02 + 0.5 / pixels
    assert abs(y / pixels - (block[down] - at[down])) < 0.02 + 0.5 / pixels
    assert abs(count - (2 * pixels) ** 2) <= 4 * pixels


def test_predictions_picks_and_surfaces_lie_on_the_tomogram(looking: Looking) -> None:
    """The middles of a cube of a prediction, of a ball around a pick, and of a closed mesh."""
    cases = {
        "ribosome": ((7, 20, 8), (7.0, 21.5, 9.5)),
        "core labels": ((7, 20, 8), (7.0, 21.5, 9.5)),
        "ribosome picks": ((12, 25, 38), (12.0, 30.0, 40.0)),
        "membrane surface": ((8, 28, 9), (8.0, 30.0, 12.0)),
    }
    for name, (at, middle) in cases.items():
        layout = "3d" if name == "membrane surface" else "xy"
        if layout == "3d":
            looking.viewer("viewer.perspectiveNavigationState.pose.orientation.reset();")
        position = [at[2] + 0.5, at[1] + 0.5, at[0] + 0.5] if layout == "xy" else [m + 0.5 for m in middle[::-1]]
        looking.only(layout, position, [name])
        y, x, count = _middle(looking, background=True)
        assert count > 200, name
        wanted = (middle[1] - at[1], middle[2] - at[2]) if layout == "xy" else (0.0, 0.0)
        step = ZOOM if layout == "xy" else 40
        assert abs(y / step - wanted[0]) < 0.3, name
        assert abs(x / step - wanted[1]) < 0.3, name


# -- what it asks for --------------------------------------------------------------------------------------


def test_a_view_is_shared_by_a_link(looking: Looking, context: Any) -> None:
    looking.only("xz", [10.5, 11.5, 12.5], ["tomogram", "ribosome"])
    looking.page.get_by_role("button", name="Share").click()
    looking.page.locator("#title").fill("the <b>break</b>")
    looking.page.get_by_role("button", name="Save and make a link").click()
    looking.page.wait_for_selector("#made:not([hidden])")
    link = looking.page.locator("#link").input_value()
    looking.page.get_by_role("button", name="Close").click()
    assert "token" not in link
    other = Looking(context)
    other.go(link)
    assert other.page.locator("#views button").all_inner_texts() == ["the <b>break</b>"]
    assert other.viewer("return Array.from(viewer.position.value);") == [10.5, 11.5, 12.5]
    visible = other.viewer("return viewer.layerManager.managedLayers.filter((o) => o.visible).map((o) => o.name);")
    assert visible == ["tomogram", "ribosome"]
    other.settled()
    assert other.wrong == []
    other.page.close()


def test_nothing_is_asked_of_elsewhere_and_nothing_is_wrong(looking: Looking, server: str) -> None:
    looking.settled()
    parts = urlsplit(server)
    elsewhere = [url for url in looking.asked if not url.startswith(("data:", "blob:"))]
    assert len(elsewhere) > 20
    assert {urlsplit(url).netloc for url in elsewhere} == {parts.netloc}
    assert all(urlsplit(url).path.startswith(f"{BASE}/") for url in elsewhere)
    assert looking.wrong == []


def test_names_are_text_and_never_markup(context: Any, server: str) -> None:
    other = Looking(context)
    other.go(server)
    assert other.page.locator("#name").inner_text() == HOSTILE
    assert other.page.title() == f"{HOSTILE} - volengine"
    assert HOSTILE in other.page.locator("#list button").all_inner_texts()
    other.settled()
    assert other.page.locator("img[src='x']").count() == 0
    assert other.wrong == []
    other.page.close()


def test_without_webgl_the_server_draws_the_slices(context: Any, server: str) -> None:
    other = Looking(context)
    base = server.partition("?")[0]
    other.go(f"{base}?pictures#tomogram=TS_01")
    other.page.wait_for_function  # its code would be text that is made into code, which the page forbids
    code = "(image) => image.complete && image.naturalWidth > 100"
    end = time.monotonic() + SECONDS
    while not other.page.locator("#picture").evaluate(code):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "no WebGL2" in other.page.locator("#why").inner_text()
    assert other.page.locator("#index").get_attribute("max") == str(SHAPE[0] - 1)
    assert not any("/viewer/" in one.url for one in other.page.frames)
    assert other.wrong == []
    other.page.close()
