"""segment: what a network answers is written where it belongs, or the tomogram fails; and what was made is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from threshold_net import save_threshold_model

import volengine
from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.io.mrc.write import write_mrc
from volengine.nets.checkpoint import save_model
from volengine.nets.registry import build
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import SEGMENT

QUIET = RunOptions(progress=False, device="cpu")
SHAPE = (12, 48, 48)


def tomogram(path: Path, values: np.ndarray) -> Path:
    """A file, and a store of it in small shards, which is returned."""
    write_mrc(path, [values.astype(np.float32)], SHAPE, "float32", (10.0, 10.0, 10.0))
    store = path.with_suffix(".ome.zarr")
    volengine.convert(path, store, ConvertRecipe(chunk=(4, 16, 16), shard=(4, 16, 16), levels=1), QUIET)
    return store


def middle_model(path: Path, context: int) -> Path:
    """A 2.5D network whose logit is 20 times the slice that it answers for, minus 10."""
    arguments = {"context": context, "width": 1, "levels": 1}
    module = build("unet2d", arguments)
    with torch.no_grad():
        first = True
        for name, parameter in module.named_parameters():
            parameter.zero_()
            if name.endswith("weight") and parameter.dim() == 4:
                channel = context // 2 if first else 0
                parameter[(0, channel, *(n // 2 for n in parameter.shape[2:]))] = 1.0
                first = False
            elif name.endswith("weight"):
                parameter.fill_(1.0)
        module.head.weight.fill_(20.0)
        module.head.bias.fill_(-10.0)
    facts = {
        "network": "unet2d",
        "arguments": arguments,
        "features": ("f",),
        "voxel_size": (10, 10, 10),
        "patch": (1, 32, 32),
        "context": context,
        "normalisation": "none",
        "overlap": 0.5,
    }
    save_model(path, module, ModelFacts.from_json(facts))
    return path


@pytest.mark.parametrize("context", [1, 3, 4])
@pytest.mark.parametrize("changes", [{}, {"tta": "flips"}, {"tta": "flips", "tta_of": "volume"}, {"tta": "flips4"}])
def test_one_bright_slice_stays_one_slice(context: int, changes: dict[str, str], tmp_path: Path) -> None:
    image = np.zeros(SHAPE)
    image[5] = 1
    source = tomogram(tmp_path / "T1.mrc", image)
    recipe = SegmentRecipe(
        models=(str(middle_model(tmp_path / "m.safetensors", context)),), uncertainty=True, **changes
    )  # type: ignore[arg-type]
    found = volengine.segment(source, tmp_path / "out", recipe, QUIET)
    assert np.array_equal(found["f"][:].mean((1, 2)) > 127, np.arange(SHAPE[0]) == 5)
    assert not found["f uncertainty"][:].any()


def test_answers_that_are_no_numbers_fail_the_tomogram_and_leave_nothing(tmp_path: Path) -> None:
    source = tomogram(tmp_path / "T1.mrc", np.full(SHAPE, 1e38))
    model = save_threshold_model(tmp_path / "m.safetensors", "f", patch=(12, 48, 48))
    with pytest.raises(InputError, match=r"m.safetensors answers NaN or infinity in 27648 of 27648 values"):
        volengine.segment(source, tmp_path / "out", SegmentRecipe(models=(str(model),)), QUIET)
    assert not list((tmp_path / "out").glob("*.zarr"))


@pytest.mark.parametrize("match", [None, "isotropic"])
@pytest.mark.parametrize("block", [None, (12, 32, 32), (12, 16, 16)])
def test_the_voxels_above_one_half_are_said(match: str | None, block: tuple[int, int, int], tmp_path: Path) -> None:
    image = np.zeros(SHAPE)
    image[4:9, 10:40, 5:30] = 1
    source = tomogram(tmp_path / "T1.mrc", image)
    size = (10, 10, 10) if match is None else (12, 12, 12)
    model = save_threshold_model(
        tmp_path / "m.safetensors", "f", patch=(8, 16, 16), overlap=0.5, window="gaussian", voxel_size=size
    )
    recipe = SegmentRecipe.from_json({"models": [str(model)], "match": match})
    jobs, run_dir = jobs_of(SEGMENT, [str(source)], str(tmp_path / "out"), recipe, QUIET.with_(block=block))
    report = run_jobs(jobs, run_dir, QUIET).check()
    above = int((volengine.open_volume(tmp_path / "out" / "T1__f.ome.zarr")[:] > 127).sum())
    assert above > 0
    assert f"{above} f voxels above 0.5" in report.data["plans"]["T1"]["made"]


def test_exact_mode_obeys_no_edge_rule_and_says_so() -> None:
    with pytest.raises(InputError, match="leave out --edge reflect"):
        SegmentRecipe(models=("m",), exact=True, edge="reflect")


def test_features_that_differ_by_unicode_or_case_are_refused(tmp_path: Path) -> None:
    source = tomogram(tmp_path / "T1.mrc", np.zeros(SHAPE))
    for one, other in (("caf\u00e9", "cafe\u0301"), ("Ribosome", "ribosome")):
        models = tuple(
            str(save_threshold_model(tmp_path / f"{k}.safetensors", name, patch=(8, 16, 16)))
            for k, name in enumerate((one, other))
        )
        with pytest.raises(InputError, match="one file"):
            volengine.segment(source, tmp_path / "out", SegmentRecipe(models=models), QUIET)
    names = ("\u03b1-tubulin", "\u03b2-tubulin", "ER membrane", "ER_membrane", "a", "a/b", "a/core")
    for k, name in enumerate(names):
        save_threshold_model(tmp_path / f"{k}.safetensors", name, patch=(8, 16, 16), overlap=0.5, window="hann")
    recipe = SegmentRecipe(models=tuple(str(tmp_path / f"{k}.safetensors") for k in range(len(names))))
    found = volengine.segment(source, tmp_path / "all", recipe, QUIET.with_(block=(8, 32, 32)))
    assert set(found) == set(names)
    assert len({volume.url for volume in found.values()}) == len(names)
