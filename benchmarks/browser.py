"""How long people wait in a browser: the workbench and ``volengine view`` on a large store, a gallery of many.

    python benchmarks/browser.py FOLDER [--shape 464,928,928] [--tomograms 1000]

makes noise of the shape (once) and so many tiny tomograms with measured surfaces and picks in the folder, opens the
pages in Chromium (Playwright), and prints seconds and the memory of the servers. The renderer is named: without a GPU
it is SwiftShader.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import signal
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from PIL import Image

import volengine
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.surfaces import SurfaceFacts, write_surfaces

QUIET = volengine.RunOptions(progress=False)
RENDERER = """() => { const gl = document.createElement("canvas").getContext("webgl2");
  const facts = gl && gl.getExtension("WEBGL_debug_renderer_info");
  return facts && gl.getParameter(facts.UNMASKED_RENDERER_WEBGL); }"""
TURN = """(key) => new Promise((done) => { const began = performance.now(), was = document.body.dataset.slice;
  const seen = new MutationObserver(() => { if (document.body.dataset.slice !== was) { seen.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began))); } });
  seen.observe(document.body, { attributes: true });
  document.getElementById("canvas").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); })"""
STROKE = """([x, y]) => new Promise((done) => { const canvas = document.getElementById("canvas");
  canvas.setPointerCapture = () => {};
  const event = (name, x, y) => canvas.dispatchEvent(new PointerEvent(name, { clientX: x, clientY: y, button: 0,
    buttons: 1, pointerId: 1, bubbles: true, isPrimary: true }));
  event("pointerdown", x, y);
  for (let i = 1; i < 20; i++) event("pointermove", x + 5 * i, y + 2 * i);
  const moved = performance.now();
  event("pointermove", x + 105, y + 40);
  requestAnimationFrame(() => setTimeout(() => { const painted = performance.now() - moved, up = performance.now();
    const seen = new MutationObserver(() => { if (document.body.dataset.waiting === "0") { seen.disconnect();
      requestAnimationFrame(() => done([painted, performance.now() - up])); } });
    seen.observe(document.body, { attributes: true });
    event("pointerup", x + 105, y + 40); }, 0)); })"""
FRAMES = """() => new Promise((done) => { const table = document.getElementById("table"), took = [];
  let last = performance.now(), n = 0;
  const go = () => { const now = performance.now(); took.push(now - last); last = now; table.scrollTop += 400;
    if (++n < 90) requestAnimationFrame(go); else done(took.slice(2)); };
  requestAnimationFrame(go); })"""


def made(folder: Path, shape: tuple[int, int, int], tomograms: int) -> tuple[Path, Path]:
    """A project with one large store, and one with many tiny ones; what is there already is kept."""
    large, many, noise = folder / "large", folder / "many", np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    if not large.exists():
        with mrcfile.new_mmap(folder / "raw.mrc", shape, mrc_mode=2, overwrite=True) as mrc:
            for z in range(shape[0]):
                mrc.data[z] = noise.standard_normal(shape[1:], dtype=np.float32)
            mrc.voxel_size = 10.0
        volengine.convert(folder / "raw.mrc", large / "TS_01.ome.zarr", {"name": "TS_01"}, QUIET)  # type: ignore[arg-type]
    if not many.exists():
        with mrcfile.new(folder / "raw.mrc", overwrite=True) as mrc:
            mrc.set_data(noise.standard_normal((16, 256, 256)).astype(np.float32))
            mrc.voxel_size = 10.0
        first = many / "TS_0000.ome.zarr"
        recipe = volengine.ConvertRecipe(name="TS_0000", chunk=(16, 64, 64), shard=(16, 256, 256))
        volengine.convert(folder / "raw.mrc", first, recipe, QUIET)
        for number in range(1, tomograms):
            shutil.copytree(first, many / f"TS_{number:04d}.ome.zarr")
    if not (many / "measured").exists():
        for number in range(tomograms):
            measure(many / "measured", f"TS_{number:04d}", noise)
    return large, many


def measure(folder: Path, name: str, noise: np.random.Generator) -> None:
    """What `surfaces measure` and `picks measure` leave of a tomogram: columns of the gallery."""
    grid: Any = {"voxel_size": (10.0,) * 3, "shape": (16, 256, 256)}
    flat = Surface([[0, 0, 0], [0, 0, 900], [0, 900, 0]], [[0, 1, 2]])
    facts = SurfaceFacts(tomogram=name, feature="membrane", **grid)
    values = {"area_nm2": 4050.0, **{f"{what}_mean": noise.normal(5, 1) for what in ("thickness_nm", "gap_nm")}}
    write_surfaces(folder / f"{name}__membrane.surfaces", [(flat, values)], facts)
    columns = {what: noise.normal(size=20) for what in ("mean", "membrane.distance_nm")}
    places = noise.uniform(0, 15, (20, 3))
    picks = Picks(places, **grid, tomogram=name, feature="ribosome", extra=columns)
    volengine.write_picks(folder / f"{name}__ribosome.tsv", picks)


class Server:
    """A command that serves a page, until the block ends."""

    def __init__(self, *command: str):
        self.process = subprocess.Popen(
            ["volengine", *command, "--no-browser"], stdout=subprocess.PIPE, text=True, errors="replace"
        )
        assert self.process.stdout is not None
        began = time.perf_counter()
        links = (re.match(r"Open (\S+)", line) for line in self.process.stdout)
        self.link = next(found[1] for found in links if found)
        print(f"  server: there after {time.perf_counter() - began:.2f} s")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        now, peak = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) // 1000 for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
        self.process.send_signal(signal.SIGINT)
        began = time.perf_counter()
        self.process.wait(30)
        print(f"  server: {now} MB (at most {peak} MB); ended {time.perf_counter() - began:.1f} s after Ctrl-C")


def said(what: str, milliseconds: list[float]) -> None:
    """Print median and maximum."""
    print(f"  {what}: median {statistics.median(milliseconds):.0f} ms, at most {max(milliseconds):.0f} ms")


def workbench(page: Any, project: Path) -> None:
    """First picture, slices, strokes."""
    with Server("workbench", str(project), "--user", "bench") as server:
        page.goto(server.link)
        page.wait_for_selector("body[data-facts=all]", timeout=60_000)
        began = time.perf_counter()
        page.click("text=TS_01")
        page.wait_for_selector("body[data-slice]", timeout=60_000)
        print(f"  first picture: {time.perf_counter() - began:.2f} s")
        if not page.query_selector("#features button.pickable"):
            page.fill("#newFeature", "membrane")
            page.keyboard.press("Enter")
            page.wait_for_selector("#features button.pickable")
        for axis in "zyx":
            if axis != "z":
                page.click(f"[data-axis={axis}]")
                page.wait_for_selector(f"body[data-slice^='{axis}=']", timeout=60_000)
            page.wait_for_timeout(1500)
            took = []
            for _ in range(8):
                took.append(page.evaluate(TURN, "ArrowRight"))
                page.wait_for_timeout(400)
            said(f"next slice along {axis}", took)
        page.click("[data-axis=z]")
        page.wait_for_timeout(2000)
        strokes = [page.evaluate(STROKE, [500 + 7 * k, 300 + 9 * k]) for k in range(15)]
        said("pointer to paint", [painted for painted, _ in strokes])
        said("end of a stroke to its labels on the screen", [back for _, back in strokes])


def gallery(page: Any, project: Path) -> None:
    """Rows, numbers, scrolling."""
    with Server("workbench", str(project), "--user", "bench") as server:
        began = time.perf_counter()
        page.goto(server.link)
        page.wait_for_selector("#rows .row")
        page.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
        print(f"  {page.locator('#rows .row').count()} rows: {time.perf_counter() - began:.2f} s")
        page.wait_for_selector("body[data-facts=all]", timeout=200_000)
        print(f"  all numbers: {time.perf_counter() - began:.2f} s")
        said("frame while scrolling", page.evaluate(FRAMES))


def view(page: Any, store: Path, state: Path) -> None:
    """Neuroglancer: the page, the first voxels, all chunks, another slice."""
    with Server("view", str(store), "--state", str(state)) as server:
        began = time.perf_counter()
        page.goto(server.link)
        page.wait_for_selector("body[data-state=ready],body[data-state=wrong]", timeout=120_000)
        print(f"  page: {time.perf_counter() - began:.2f} s")
        frame = next(one for one in page.frames if "/viewer/" in one.url)
        first = None
        while not frame.evaluate("viewer.isReady()") and time.perf_counter() - began < 120:
            seen = np.asarray(Image.open(io.BytesIO(page.locator("#viewer").screenshot())).convert("L"), float)
            if first is None and seen[100:380, 50:500].std() > 15:
                first = time.perf_counter() - began
        first = first or time.perf_counter() - began
        print(f"  first picture: {first:.2f} s; all chunks: {time.perf_counter() - began:.2f} s")
        took = []
        for _ in range(5):
            moved = time.perf_counter()
            frame.evaluate("const p = viewer.position.value.slice(); p[2] += 1; viewer.position.value = p;")
            time.sleep(0.01)
            while not frame.evaluate("viewer.isReady()"):
                time.sleep(0.01)
            took.append(1000 * (time.perf_counter() - moved))
        said("another slice, all chunks", took)


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", default="464,928,928")
    parser.add_argument("--tomograms", type=int, default=1000)
    given = parser.parse_args()
    z, y, x = map(int, given.shape.split(","))
    large, many = made(given.folder, (z, y, x), given.tomograms)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--enable-unsafe-swiftshader"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        print(f"renderer: {page.evaluate(RENDERER)}")
        print(f"workbench, {z} x {y} x {x}")
        workbench(page, large)
        print(f"gallery of {given.tomograms}")
        gallery(page, many)
        print(f"view, {z} x {y} x {x}")
        view(page, large / "TS_01.ome.zarr", given.folder / "views")
        browser.close()


if __name__ == "__main__":
    main()
