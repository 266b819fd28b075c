"""Part ``training``: gradients, augmentation, whole fits in each precision, and the seconds of a step."""

from __future__ import annotations

import copy
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import error_of, network, patch_of, seconds_of, traits_of
from rows import Bench

from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import load_model
from volengine.nets.threads import reproducible
from volengine.nets.training.augment.apply import augmented
from volengine.nets.training.augment.recipe import PRESETS, preset
from volengine.nets.training.fit.fit import Fit
from volengine.nets.training.fit.recipe import FitRecipe, Optimiser
from volengine.nets.training.losses.combined import Objective
from volengine.nets.training.losses.losses import LOSSES, REGRESSION
from volengine.nets.training.losses.recipe import Term

SMALL = {"width": 4, "levels": 2}
GRADIENT = 1e-3
"""Largest relative error of a gradient in float32: sums in another order are off by 1e-5, TF32 by 1e-2."""
SPACE = (16, 16, 16)


def training(bench: Bench) -> None:
    """All of it; folders of fits are removed."""
    folder = bench.out / "fits"
    shutil.rmtree(folder, ignore_errors=True)
    for name in LOSSES:
        with bench.trying(f"gradient of {name}"):
            gradient(bench, name)
    with bench.trying("augmentation"):
        augmentation(bench)
    for precision in ("float32", "bfloat16", *["float16"][: bench.cuda]):
        with bench.trying(f"fit in {precision}"):
            fits(bench, folder, precision)
    with bench.trying("adversarial fit"):
        adversarial(bench, folder)
    names = ("unet2d", "unet3d") if bench.tiny else ("vggnet", "unet", "unet3d", "residual3d", "dynunet")
    for name, precision in itertools.product(names, ("float32", "bfloat16")):
        if bench.left < (0.5 if bench.tiny else 8):
            bench.skip(f"step of {name}, {precision}", "no time left")
            continue
        with bench.trying(f"step of {name}, {precision}"):
            step(bench, folder, name, precision)
    shutil.rmtree(folder, ignore_errors=True)


def gradient(bench: Bench, name: str) -> None:
    """The gradient of a loss in float32 on the device, against float64 on the CPU."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randn((2, 1, *SPACE), generator=rng)
    labels = (torch.rand((2, 1, *SPACE), generator=rng) < 0.2).to(torch.uint8)
    labels[torch.rand(labels.shape, generator=rng) < 0.05] = 2
    given = torch.randn(labels.shape, generator=rng) if name in REGRESSION else labels
    module = network("unet3d", channels=2 if name == "cross_entropy" else 1, **SMALL)

    def of(where: torch.device, dtype: torch.dtype) -> torch.Tensor:
        own = copy.deepcopy(module).to(where, dtype).train()
        loss = Objective((Term(name),))(own(images.to(where, dtype)), given.to(where), ["", ""])
        loss.backward()
        return torch.cat([p.grad.flatten().cpu() for p in own.parameters() if p.grad is not None])

    wanted = of(torch.device("cpu"), torch.float64)
    with reproducible(False):
        found = of(bench.device, torch.float32)
    bench.check(f"gradient of {name}", float((found - wanted).norm() / wanted.norm()), GRADIENT)


def augmentation(bench: Bench) -> None:
    """Every preset changes a sample on the device as on the CPU."""
    rng = np.random.default_rng(0)
    image = torch.as_tensor(rng.normal(size=SPACE).astype(np.float32))
    labels = torch.as_tensor((rng.random((1, *SPACE)) < 0.3).astype(np.uint8))
    for name in PRESETS:
        worst, same = 0.0, 1.0
        for seed in range(bench.size(2, 10)):
            x, y = augmented(preset(name), image, labels, np.random.default_rng(seed))
            moved = image.to(bench.device), labels.to(bench.device)
            gx, gy = augmented(preset(name), *moved, np.random.default_rng(seed))
            worst = max(worst, error_of(gx, x))
            same = min(same, float((gy.cpu() == y).float().mean()))
        bench.check(f"augmentation {name}", worst, 2e-3, labels_equal=same)
        if same < 0.999:
            bench.equal(f"augmentation {name}: labels", False, f"only {same:.4f} of the labels are equal")


def draw(rng: np.random.Generator) -> Any:
    """A bright ball in noise, and its labels."""
    centre = rng.uniform(3, SPACE[0] - 4, 3)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SPACE], indexing="ij"), -1)
    labels = (((grid - centre) ** 2).sum(-1) < 12).astype(np.uint8)
    image = labels * 2.0 + rng.normal(0, 0.5, labels.shape)
    return image.astype(np.float32), labels[None]


def fit_of(bench: Bench, out: Path, **changes: Any) -> Fit:
    """A small fit on the device."""
    facts = ModelFacts(
        network="unet3d", arguments=dict(SMALL), features=("ball",), voxel_size=(10, 10, 10), patch=SPACE,
        history=({"recipe": {}},),
    )  # fmt: skip
    how = FitRecipe(**{"epochs": 3, "steps": bench.size(4, 20), "batch": 2, "average": 0.9, **changes})
    validation = [draw(np.random.default_rng((9, k))) for k in range(3)]
    return Fit(network("unet3d", **SMALL), facts, draw, validation, how, out, bench.device)


def fits(bench: Bench, folder: Path, precision: Any) -> None:
    """A whole fit; a fit that goes on from its state; and the model file."""
    whole = fit_of(bench, folder / f"{precision}.safetensors", precision=precision)
    history = whole.run(progress=False)
    losses = [row["loss"] for row in history]
    bench.equal(
        f"fit in {precision}: learns", losses[-1] < losses[0], "the loss did not fall", first=losses[0], last=losses[-1]
    )
    again = fit_of(bench, folder / f"{precision}.safetensors", precision=precision)
    again.run(progress=False)
    same = all(
        torch.equal(a, b)
        for a, b in zip(whole.module.state_dict().values(), again.module.state_dict().values(), strict=True)
    )
    bench.equal(f"fit in {precision}: its state", same, "the state that was read again has other weights")
    load_model(whole.out)
    other = fit_of(bench, folder / f"{precision}-2.safetensors", precision=precision)
    rows = other.run(progress=False)
    apart = max(abs(a["loss"] - b["loss"]) for a, b in zip(history, rows, strict=True))
    bench.figure(f"fit in {precision}: a second time", loss_apart=apart)


def adversarial(bench: Bench, folder: Path) -> None:
    """Two steps with a discriminator."""
    from volengine.nets.architectures.ais2d_pix2pix import PatchGAN

    name = "unet2d" if bench.tiny else "pix2pix_s"
    side = 32 if bench.tiny else 64
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, side, side)).astype(np.float32)
    label = (rng.random((1, 1, side, side)) < 0.2).astype(np.uint8)
    facts = ModelFacts(network=name, features=("f",), voxel_size=(10, 10, 10), patch=(1, side, side), history=({},))
    how = FitRecipe(epochs=1, steps=2, batch=2)
    fit = Fit(
        network(name), facts, lambda _: (image, label), [], how, folder / "p.safetensors", bench.device, PatchGAN()
    )
    rows = fit.run(progress=False)
    bench.equal("adversarial fit", bool(np.isfinite(rows[-1]["loss"])), "the loss is no number", loss=rows[-1]["loss"])


def step(bench: Bench, folder: Path, name: str, precision: Any) -> None:
    """Seconds of a step: forward, loss, gradient, optimiser; as volengine trains, with PyTorch's default of TF32."""
    module = network(name)
    patch = patch_of(module, bench.size(32, 256), bench.size(16, 64))
    batch = bench.size(1, 2 if traits_of(module).volumetric else 16)
    rng = np.random.default_rng(0)
    image = rng.normal(size=patch).astype(np.float32)
    label = (rng.random((1, *patch)) < 0.2).astype(np.uint8)
    facts = ModelFacts(network=name, features=("f",), voxel_size=(10, 10, 10), patch=patch, history=({},))
    how = FitRecipe(epochs=1, steps=1, batch=batch, precision=precision, optimiser=Optimiser(schedule="constant"))
    fit = Fit(module, facts, lambda _: (image, label), [], how, folder / f"{name}.safetensors", bench.device)
    given = fit._batch([(image, label)] * batch)
    seconds = seconds_of(bench, lambda: fit._step(0, given), bench.size(1, 5), bench.size(0, 2), bench.left / 2)
    bench.figure(f"step of {name}, {precision}", batch=batch, side=patch[-1], seconds=seconds)
