"""A volume larger than the memory of a worker goes from MRC to picks, within the planned memory."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from threshold_net import save_threshold_model

from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.io.picks import read_picks
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.run import RunRecipe, run
from volengine.tasks.segment.recipe import SegmentRecipe

LIMIT = 1_000_000_000
SLICES = 288


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_volume_larger_than_the_memory_of_a_worker_goes_from_mrc_to_picks_within_it(tmp_path):
    slices = int(os.environ.get("VOLENGINE_BIG_SLICES", SLICES))
    shape = (slices, 1024, 1024)
    assert slices < SLICES or 4 * np.prod(shape) > 1.2 * LIMIT
    rng = np.random.default_rng(0)
    centres = np.stack([rng.integers(20, n - 20, 40) for n in shape], axis=1)
    keep = [i for i, c in enumerate(centres) if all(np.linalg.norm(c - d) > 40 for d in centres[:i])]
    centres = centres[keep]
    offsets = np.mgrid[-8:9, -8:9, -8:9].reshape(3, -1).T
    ball = offsets[(offsets**2).sum(1) <= 64]

    def slabs():
        for z in range(0, slices, 16):
            slab = np.zeros((min(16, slices - z), *shape[1:]), "float32")
            for centre in centres:
                at = ball + centre
                at = at[(at[:, 0] >= z) & (at[:, 0] < z + len(slab))]
                slab[tuple((at - [z, 0, 0]).T)] = 1.0
            yield slab

    source = tmp_path / "big.mrc"
    write_mrc(source, slabs(), shape, "float32", (10, 10, 10))
    model = save_threshold_model(tmp_path / "threshold.safetensors", "ball")
    recipe = RunRecipe(
        segment=SegmentRecipe(models=(str(model),), batch=1),
        pick=(PickRecipe(feature="ball", spacing_nm=10.0),),
    )
    options = RunOptions(workers=2, memory_limit=LIMIT, progress=False)
    report = run([str(source)], str(tmp_path / "out"), recipe, options)
    stages = report.data["plans"]["big"]["stages"]
    print(
        json.dumps(
            [{k: s[k] for k in ("stage", "units", "seconds", "planned_peak_bytes", "peak_rss_bytes")} for s in stages]
        )
    )
    for stage in stages:
        assert stage["peak_rss_bytes"] <= stage["planned_peak_bytes"] <= LIMIT, stage["stage"]
    picks = read_picks(str(tmp_path / "out" / "picks" / "big__ball.star"), voxel_size=(10, 10, 10), shape=shape)
    found = sorted(map(tuple, np.rint(picks.position_vox).astype(int)))
    assert found == sorted(map(tuple, centres))
