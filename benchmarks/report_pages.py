"""What the pages of a report cost: a run of many tiny tomograms with and without them.

    python benchmarks/report_pages.py NUMBER [--workers 1]

prints seconds of the processor of the driver and of its workers. The tomograms and the network are those of the tests.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import volengine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))


def main() -> None:
    from report_runs import recipe_of, tomogram

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(given.number):
            tomogram(folder / f"t{number:03d}.mrc", number)
        recipe = volengine.RunRecipe.from_json(recipe_of(folder))
        options = volengine.RunOptions(progress=False, workers=given.workers, memory_limit="3GB")
        sources = sorted(map(str, folder.glob("t*.mrc")))
        volengine.run(sources[:1], folder / "first", recipe, options)  # imports what both need
        for pages in (False, True):
            before = [used(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            volengine.run(sources, folder / f"out{pages}", recipe, options, report=pages)
            after = [used(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            driver, workers = (b - a for a, b in zip(before, after, strict=True))
            print(f"{'with' if pages else 'without'} pages: driver {driver:.1f} s, workers {workers:.1f} s")


def used(who: int) -> float:
    """Seconds of the processor, user and system."""
    found = resource.getrusage(who)
    return found.ru_utime + found.ru_stime


if __name__ == "__main__":
    main()
