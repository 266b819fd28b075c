"""Make docs/pictures/view.png: the page of ``volengine view``, as Chromium shows it.

volengine simulate vesicles --out samples
python docs/view_picture.py samples docs/pictures/view.png
"""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1280, 800
COLOURS = 192
"""Of the picture; noise does not compress."""


def main(results: str, out: str) -> None:
    """Serve a folder, wait until all of its first tomogram is there, and keep what is seen."""
    program = Path(sys.executable).with_name("volengine")
    server = subprocess.Popen([program, "view", results, "--no-browser", "--invert"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        link = next(found[1] for line in server.stdout if (found := re.match(r"Open (\S+)", line)))
        with sync_playwright() as play:
            browser = play.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--enable-unsafe-swiftshader"]
            )
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(link)
            page.wait_for_selector("body[data-state=ready]", timeout=120_000)
            viewer = next(frame for frame in page.frames if "/viewer/v/" in frame.url)
            while not viewer.evaluate("window.viewer.isReady()"):
                time.sleep(0.2)
            time.sleep(2)
            image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            browser.close()
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


if __name__ == "__main__":
    main(*sys.argv[1:])
