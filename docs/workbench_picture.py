"""Make pictures of ``volengine workbench`` as Chromium shows it.

volengine simulate vesicles --out samples
python docs/workbench_picture.py samples docs/pictures/workbench.png
python docs/workbench_picture.py --tutorial docs/pictures

The first draws in the folder that it is given. The second goes the whole way of the tutorial, with a tomogram of its
own, and makes a picture ``browser-SECTION.png`` of each section (``--light``: in light colours).
"""

from __future__ import annotations

import io
import math
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from volengine import read_picks

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from web_serving import workbench
from workbench_flow import SLICES, TRAINING, TUNING, Flow, simulated

WIDTH, HEIGHT = 1280, 800
COLOURS = 192
"""Of the picture; noise does not compress."""


def main(project: str, out: str) -> None:
    """Serve a folder, annotate its first tomogram, and keep what is seen."""
    with workbench(Path(project)) as link, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark")
        page.goto(link)
        page.wait_for_selector("body[data-facts=all]", timeout=120_000)
        page.locator("#rows .title").first.click()
        page.wait_for_selector("body[data-slice]", timeout=120_000)
        annotate(page)
        keep(page, Path(out))
        browser.close()


def keep(page: Page, out: Path, colours: int = COLOURS) -> None:
    """Write what is seen."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(colours, dither=Image.Dither.NONE).save(out, optimize=True)


def tutorial(folder: Path, scheme: str) -> None:
    """From an MRC file to picks, with a picture of each section."""

    def shot(name: str) -> None:
        page.mouse.move(640, 20)
        page.wait_for_timeout(600)
        keep(page, folder / f"browser-{name}.png", 64)

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as play:
        project, truth = simulated(Path(scratch), 7)
        with workbench(project) as link:
            browser = play.chromium.launch(executable_path=shutil.which("chromium"))
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            flow = Flow(page, link)
            flow.annotate(read_picks(truth).position_vox, SLICES)
            shot("annotate")
            flow.teach(**TRAINING)
            shot("teach")
            flow.look(14)
            shot("answer")
            flow.predict()
            shot("run")
            flow.tune(**TUNING)
            shot("tune")
            flow.picks()
            flow.curate()
            shot("picks")
            flow.section("Models")
            page.wait_for_selector("#modelCard:visible")
            shot("models")
            flow.section("Gallery")
            page.wait_for_selector("#rows .row:has-text('ribosome')")
            shot("gallery")
            browser.close()


def annotate(page: Page) -> None:
    """Draw a stroke, a training box and a point."""
    for feature in ("membrane", "ribosome"):
        page.fill("#newFeature", feature)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#features button[aria-checked=true]:has-text('{feature}')")
    page.select_option("#filter", "gaussian")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.keyboard.press("p")
    page.mouse.click(x + 120, y - 160)
    page.mouse.click(x + 40, y - 210)
    page.keyboard.press("1")
    page.keyboard.press("b")
    page.locator("#size").fill("8")
    page.mouse.move(x - 130, y)
    page.mouse.down()
    for step in range(40):
        turn = math.pi + step * math.pi / 39
        page.mouse.move(x + 130 * math.cos(turn), y + 110 * math.sin(turn))
    page.mouse.up()
    page.keyboard.press("r")
    page.mouse.move(x - 200, y - 180)
    page.mouse.down()
    page.mouse.move(x + 200, y + 60, steps=3)
    page.mouse.up()
    page.mouse.move(x + 60, y + 120)
    page.wait_for_timeout(100)
    page.wait_for_selector("body[data-waiting='0']")
    page.keyboard.press("b")
    page.wait_for_timeout(500)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if sys.argv[1] == "--tutorial":
        tutorial(Path(sys.argv[2]), "light" if "--light" in sys.argv else "dark")
    else:
        main(*sys.argv[1:])
