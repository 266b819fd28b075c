"""Killed at a step of the file system, any of them: nothing earlier is lost, and the next one goes on.

Strokes and compaction are killed at every step, what is made of many files at every third one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from killed_steps import steps_of

SCRIPT = """
import shutil, sys
from pathlib import Path
import mrcfile
import numpy as np
import volengine as ve
from killed_steps import forked, killed
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.tasks.annotate.compact import compact
from volengine.tasks.annotate.images import behind, merge
from volengine.tasks.annotate.store import Annotations, new_annotations

folder, what = Path(sys.argv[1]), sys.argv[2]
SHAPE = (8, 40, 70)
WHOLE = Box.of_shape(SHAPE)
tomogram = folder / "TS_01.mrc"
with mrcfile.new(tomogram) as mrc:
    mrc.set_data(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    mrc.voxel_size = 10.0


def stroke(at, **more):
    points = [[8, 8], [30, 66]]
    return {"op": "brush", "feature": "membrane", "slice": at, "points": points, "radius": 3, **more}


def begun(place):
    made = new_annotations(tomogram, place, ("membrane",), user="ada")
    made.do(stroke(1), "ada")
    made.do(stroke(2, value="ignore"), "ada")
    merge(made)
    made.do(stroke(3), "ada")
    made.do({"op": "undo"}, "ada")
    return made


def act(place):
    if what == "new":
        new_annotations(tomogram, place, ("membrane",), user="ada")
        return
    made = Annotations(place)
    if what == "stroke":
        made.do(stroke(5), "ada")
    elif what == "merge":
        merge(made)
    else:
        compact(made, 0)


def check(place, before, after):
    if what == "new":
        try:
            made = new_annotations(tomogram, place, ("membrane",), user="ada")
        except InputError as error:
            assert "annotations already" in str(error), error
            made = Annotations(place)
        if not made.features():
            made.do({"op": "feature", "feature": "membrane"}, "ada")
    else:
        made = Annotations(place)
        labels = made.labels("membrane", WHOLE)
        assert (labels == before).all() or (labels == after).all()
    made.do(stroke(6), "ada")
    merge(made)
    labels = made.labels("membrane", WHOLE)
    assert (labels[6] == 1).any()
    assert what == "new" or (labels[1] == before[1]).all()
    image = ve.open_volume(place / "labels.ome.zarr", group="labels/membrane")
    assert (image[:] == labels).all()
    assert behind(made) == 0


start = folder / "start.annotations"
after = before = None
if what != "new":
    before = begun(start).labels("membrane", WHOLE)
    shutil.copytree(start, folder / "end.annotations")
    act(folder / "end.annotations")
    after = Annotations(folder / "end.annotations").labels("membrane", WHOLE)
    assert (after == before).all() == (what != "stroke")
for step in range(0, 1000, 1 if what in ("stroke", "compact") else 3):
    place = folder / f"{step}.annotations"
    if what != "new":
        shutil.copytree(start, place)
    ended = killed(lambda: act(place), step, folder)
    assert ended in (0, 9), ended
    assert forked(lambda: check(place, before, after)) == 0, (step, sorted(str(p) for p in place.rglob("*")))
    shutil.rmtree(place)
    if ended == 0:
        break
print("steps", step)
"""


@pytest.mark.slow  # some 15 s of CPU together
@pytest.mark.parametrize("what", ["new", "stroke", "merge", "compact"])
def test_killed_in_the_middle(tmp_path: Path, what: str) -> None:
    assert steps_of(SCRIPT, tmp_path, what) > 5
