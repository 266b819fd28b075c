"""The whole flow of the workbench in a real browser, step by step: from a tomogram to picks.

The test drives it, and so does the script that makes the pictures of the tutorial.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from web_serving import watched

import volengine
from volengine.core.boxes import Box
from volengine.io.open import open_source

NAME, FEATURE = "cell_0001", "ribosome"
VOXEL_NM, RADIUS_NM = 1.4, 11.0
SHAPE = (32, 160, 160)
SPECIMEN: dict[str, Any] = {
    "name": "cell",
    "specimen": {
        "shape": list(SHAPE),
        "voxel_size": 10 * VOXEL_NM,
        "layers": [
            {"species": [{"structure": "ribosome", "count": 24}]},
            {
                "species": [
                    {"structure": "ferritin", "name": "distract"},
                    {"structure": "globule-120", "name": "distract"},
                ],
                "iterations": 60,
                "density": 0.2,
            },
        ],
        "classes": {"ribosome": 1, "distract": 0},
    },
    "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": 4, "order": "dose-symmetric"},
    "dose": {"total_e_per_a2": 120},
    "exposure": {"optics": {"defocus_um": 4}},
}
SLICES = (11, 16, 21)
NETWORK = "unet2d"  # its loss minds that most voxels are background
TRAINING = {"epochs": 4, "steps": 16, "batch": 2}
TUNING: dict[str, Any] = {"threshold": 0.5, "volume_nm3": 1200, "spacing_nm": 16}
MILLISECONDS = 200_000
"""Until something must have come, on a machine that does much else."""


def simulated(folder: Path, seed: int) -> tuple[Path, Path]:
    """Simulate a tomogram of ribosomes; a project with it as an MRC file, and the table of the true positions."""
    volengine.simulate(SPECIMEN | {"seed": seed}, folder / "simulated", options=volengine.RunOptions(progress=False))
    volume = volengine.open_volume(folder / "simulated" / "tomograms" / f"{NAME}.ome.zarr")
    project = folder / "project"
    project.mkdir()
    with mrcfile.new(project / f"{NAME}.mrc") as file:
        file.set_data(open_source(volume).read(Box.of_shape(volume.shape)).astype(np.float32))
        file.voxel_size = 10 * VOXEL_NM
    return project, folder / "simulated" / "picks" / f"{NAME}__{FEATURE}.star"


class Flow:
    """What a user does, section by section; what goes wrong in the page is kept.

    Parameters
    ----------
    page, link
        A page of the browser, and the link of a workbench.
    """

    def __init__(self, page: Any, link: str):
        self.page = page
        self.wrong, self.asked = watched(page)
        page.set_default_timeout(MILLISECONDS)
        page.goto(link)
        page.wait_for_selector("body[data-facts=all]")

    def section(self, name: str) -> None:
        """Open a section by its button."""
        self.page.get_by_role("navigation").get_by_role("button", name=name, exact=True).click()
        self.page.wait_for_selector(f"#{name.lower()}:visible")

    def annotate(self, known: np.ndarray, slices: Sequence[int]) -> None:
        """Draw the particles (positions in voxels) with the brush in some slices, with boxes over all of each."""
        page = self.page
        page.get_by_role("button", name=NAME, exact=True).click()
        page.wait_for_selector(f"body[data-shown='{NAME}']")
        page.fill("#newFeature", FEATURE)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#features button.pickable[aria-checked=true]:has-text('{FEATURE}')")
        box = page.locator("#canvas").bounding_box()
        scale = float(page.inner_text("#zoom").split()[0]) / 100

        def at(row: float, column: float) -> tuple[float, float]:
            middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            return middle[0] + (column + 0.5 - SHAPE[2] / 2) * scale, middle[1] + (row + 0.5 - SHAPE[1] / 2) * scale

        for z in slices:
            page.locator("#index").fill(str(z))
            page.wait_for_selector(f"body[data-slice='z={z}']")
            page.keyboard.press("b")
            for depth, row, column in known:
                cut = (RADIUS_NM / VOXEL_NM) ** 2 - (depth - z) ** 2  # of a ball that this slice cuts
                if cut < 9:
                    continue
                page.locator("#size").fill(str(round(2 * np.sqrt(cut))))  # its diameter
                page.mouse.move(*at(row, column - 0.6))
                page.mouse.down()
                page.mouse.move(*at(row, column + 0.6), steps=2)
                page.mouse.up()
            page.keyboard.press("r")
            page.locator("#side").fill("80")
            for row in (40, 120):
                for column in (40, 120):
                    page.mouse.click(*at(row - 0.5, column - 0.5))
            page.wait_for_timeout(50)
            page.wait_for_selector("body[data-waiting='0']")

    def teach(self, **fields: int) -> str:
        """Train on what was annotated, with epochs, steps and batch of the caller's; the name of the model."""
        page = self.page
        self.section("Teach")
        page.wait_for_selector("body[data-teach=ready]")
        for name, value in fields.items():
            page.fill(f"#teach{name.title()}", str(value))
        page.select_option("#teachBegin", f"network {NETWORK}")
        model = str(page.input_value("#teachName"))
        page.locator("#teachForm button.strong").click()
        card = f".training[data-model='{model}']"
        page.wait_for_selector(f"{card}[data-state=done], {card}[data-state=failed]")
        assert page.get_attribute(card, "data-state") == "done", page.inner_text(card)
        return model

    def look(self, z: int) -> None:
        """The model's answer on a slice."""
        page = self.page
        page.locator(".training").get_by_role("button", name="Look at slices").click()
        page.wait_for_selector("body[data-answer^='z=']")
        page.locator("#index").fill(str(z))
        page.wait_for_selector(f"body[data-answer='z={z}']")

    def run(self, job: int) -> None:
        """Start the run that is chosen in the section, and wait for its end; it is job number so and so."""
        page = self.page
        page.click("#runStart")
        page.wait_for_selector(f"body[data-job='{job} done'], body[data-job='{job} failed']")
        assert page.inner_text("#jobState") == "done", page.inner_text("#jobLog")

    def predict(self) -> None:
        """A run with the model, as Teach proposes it."""
        page = self.page
        self.section("Teach")
        page.locator(".training").get_by_role("button", name="Predict…").click()
        page.wait_for_selector("#recipeDialog:visible")
        page.click("#recipeKeep")
        page.wait_for_selector("#runSteps:text-is('segment')")
        self.run(2)

    def tune(self, threshold: float, volume_nm3: int, spacing_nm: int) -> int:
        """Tune on the middle of the tomogram, save, and go to the run with it; how many picks there are."""
        page = self.page
        page.get_by_role("button", name="Tune on the predictions").click()
        page.wait_for_selector("body[data-tune=ready]")
        page.fill("#tune-y0", "20")
        page.keyboard.press("Tab")
        for name, value in (("threshold", threshold), ("min_volume_nm3", volume_nm3), ("spacing_nm", spacing_nm)):
            page.fill(f"#tune-{name}", str(value))
            page.wait_for_selector("body[data-tune=ready]")
        count = int(page.inner_text("#tuneCount"))
        page.fill("#tuneRecipe", "tuned")
        page.get_by_role("button", name="Save recipe").click()
        page.wait_for_selector("#tuneSaved:has-text('Saved')")
        return count

    def picks(self) -> None:
        """A run with the tuned recipe, and the grid of its picks."""
        page = self.page
        page.get_by_role("button", name="Run it…").click()
        page.wait_for_selector("#runSteps:has-text('pick')")
        assert page.input_value("#runRecipe") == "tuned"
        self.run(3)
        page.get_by_role("button", name="Look at picks").click()
        page.wait_for_selector(f"body[data-table='picks/{NAME}__{FEATURE}.star'][data-pictures]")

    def curate(self) -> None:
        """Reject the pick of the lowest weight, and write the others."""
        page = self.page
        page.locator(".pk-cell").first.click()
        page.keyboard.press("r")
        page.wait_for_selector(".pk-cell[data-said='-1']")
        page.wait_for_selector("body[data-picks-version='1'][data-picks-waiting='0']")
        page.fill("#pkName", "mine.star")
        page.locator("#pkWrite button").click()
        page.wait_for_selector("#pkWritten:has-text('curated/mine.star')")
