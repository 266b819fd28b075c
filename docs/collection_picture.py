"""Make docs/pictures/collection.svg: the live view of a collection, from a real run that is looked at in its middle.

    python docs/collection_picture.py

Thirty small tomograms with bright balls are written, of which one is cut short and one holds NaN; ``volengine run``
converts, segments and picks them with two workers. When a part of them is finished, what
``volengine collection status --watch`` shows is written as SVG by rich, and the run is ended.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

SHAPE = (32, 128, 128)
COUNT = 30
WIDTH = 104
HEIGHT = 24


def tomograms(folder: Path) -> None:
    """Write the tomograms; one is cut short, and one holds a value that is no number."""
    from volengine.io.mrc.write import write_mrc

    folder.mkdir()
    rng = np.random.default_rng(0)
    grid = np.indices(SHAPE)
    for number in range(COUNT):
        array = rng.normal(0, 0.1, SHAPE).astype("f4")
        for centre in rng.integers(12, np.array(SHAPE) - 12, (6, 3)):
            array[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= 36] = 1.0
        if number == 17:
            array[20, 30, 40] = np.nan
        path = folder / f"TS_{number + 1:02d}.mrc"
        write_mrc(path, [array], SHAPE, "float32", (10.0, 10.0, 10.0))
        if number == 4:
            path.write_bytes(path.read_bytes()[:-100_000])


def main() -> None:
    """Run the collection, and draw it."""
    from threshold_net import save_threshold_model

    from volengine.cli.live import AROUND, live_view
    from volengine.tasks.collection.verb import collection_status, new_collection

    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        tomograms(Path("raw"))
        model = save_threshold_model(Path("ball.safetensors"), "ball", patch=SHAPE)
        recipe = {"segment": {"models": [str(model)]}, "pick": [{"feature": "ball", "spacing_nm": 8}]}
        Path("recipe.yaml").write_text(json.dumps(recipe))
        new_collection("manifest.csv", "raw/*.mrc")
        words = ["run", "recipe.yaml", "manifest.csv", "--out", "results", "--workers", "2", "--no-progress"]
        process = subprocess.Popen([sys.executable, "-m", "volengine.cli.main", *words], stdout=subprocess.DEVNULL)
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
        try:
            while process.poll() is None:
                time.sleep(0.3)
                found = collection_status("manifest.csv", "results/run")
                counts = found.counts()
                begun = counts["failed"] >= 2 and counts["running"] >= 2
                if begun and counts["finished"] >= COUNT // 2 and found.left_s:
                    break
        finally:
            process.terminate()
            process.wait()
        console.print(live_view(found, "manifest.csv", HEIGHT - AROUND))
        svg = console.export_svg(title="volengine collection status manifest.csv --out results --watch")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # fonts of an outside address: monospace will do
    (ROOT / "docs" / "pictures" / "collection.svg").write_text(svg)
    print({state: number for state, number in counts.items() if number}, found.working)


if __name__ == "__main__":
    main()
