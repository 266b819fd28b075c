"""Predictions carry the colour of their feature, so that viewers do not show all of them white."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from threshold_net import save_threshold_model

import volengine
from volengine.core.feature_colours import colour_of_feature
from volengine.io.omezarr.image_levels import ImageLevels
from volengine.io.omezarr.ngff import ome_part
from volengine.io.omezarr.nodes import read_node

OPTIONS = volengine.RunOptions(progress=False, device="cpu")
BLUE = (0.26, 0.53, 0.96)


@pytest.fixture(scope="module")
def tomogram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tomogram") / "TS_01.mrc"
    with mrcfile.new(path) as file:
        file.set_data(np.random.default_rng(0).random((16, 32, 32), dtype=np.float32))
        file.voxel_size = 10.0
    return path


def _segment(tomogram: Path, folder: Path, recipe: dict[str, Any] | None = None, **models: Any) -> dict[str, Any]:
    files = [
        save_threshold_model(folder / f"{name}.safetensors", name, patch=(16, 32, 32), **facts)
        for name, facts in models.items()
    ]
    return volengine.segment(tomogram, folder / "out", volengine.SegmentRecipe(models=files, **(recipe or {})), OPTIONS)  # type: ignore[arg-type]


def _shown(url: str) -> tuple[str, str]:
    node = read_node(url)
    assert node is not None
    omero = ome_part(node.attributes)["omero"]
    return omero["channels"][0]["color"], omero["rdefs"]["model"]


def test_predictions_have_the_colours_of_their_features(tomogram: Path, tmp_path: Path) -> None:
    found = _segment(tomogram, tmp_path, membrane={}, ribosome={}, thing={"colour": BLUE})
    assert _shown(found["membrane"].url) == ("F0E442", "color")
    assert _shown(found["ribosome"].url) == ("009E73", "color")
    assert _shown(found["thing"].url) == ("4287F5", "color")
    assert ImageLevels.of(found["thing"]).colour == (66, 135, 245)
    assert ImageLevels.of(found["membrane"]).window == (0, 255)


def test_the_colour_of_a_model_changes_no_voxel(tomogram: Path, tmp_path: Path) -> None:
    arrays = []
    for name, facts in (("a", {}), ("b", {"colour": BLUE})):
        (tmp_path / name).mkdir()
        arrays.append(np.asarray(_segment(tomogram, tmp_path / name, thing=facts)["thing"]))
    np.testing.assert_array_equal(*arrays)
    assert arrays[0].max() == 255


def test_kernels_do_not_get_the_colour(tomogram: Path, tmp_path: Path) -> None:
    _segment(tomogram, tmp_path, thing={"colour": BLUE})
    plan = json.loads((tmp_path / "out" / "segment.run" / "plans" / "TS_01" / "plan.json").read_text())
    assert plan["images"][0]["facts"]["colour"] == list(BLUE)
    nets = [net for stage in plan["stages"] for net in stage["params"].get("nets", ())]
    assert nets
    assert all("colour" not in net for net in nets)


def test_gated_predictions_keep_the_colour(tomogram: Path, tmp_path: Path) -> None:
    found = _segment(tomogram, tmp_path, thing={"colour": BLUE}, membrane={})
    rule = volengine.Interact("thing", "membrane", "avoid", radius_nm=2)
    gated = volengine.interact(
        {name: volume.url for name, volume in found.items()},
        tmp_path / "gated",
        volengine.InteractRecipe(rules=(rule,)),
        OPTIONS,
    )
    assert gated["thing"].url != found["thing"].url
    assert _shown(gated["thing"].url) == ("4287F5", "color")


def test_uncertainty_has_the_colour_of_its_feature(tomogram: Path, tmp_path: Path) -> None:
    found = _segment(tomogram, tmp_path, {"uncertainty": True}, membrane={})
    assert {_shown(volume.url)[0] for volume in found.values()} == {"F0E442"}


def test_tomograms_and_networks_without_noise_stay_grey(tomogram: Path, tmp_path: Path) -> None:
    found = _segment(tomogram, tmp_path, {"dtype": "float32"}, ideal={"activation": "none"})
    assert _shown(found["ideal"].url) == ("FFFFFF", "greyscale")
    made = volengine.convert(tomogram, tmp_path / "TS_01.ome.zarr", None, OPTIONS)
    assert _shown(made.url) == ("FFFFFF", "greyscale")


def test_predictions_that_are_converted_have_the_colour_of_their_name(tomogram: Path, tmp_path: Path) -> None:
    recipe = volengine.ConvertRecipe(kind="probability", name="TS_01__membrane")
    made = volengine.convert(tomogram, tmp_path / "p.ome.zarr", recipe, OPTIONS)
    assert ImageLevels.of(made).colour == colour_of_feature("membrane")
