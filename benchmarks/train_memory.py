"""The memory of training MemBrain's network here, and as membrain-seg trains it.

    python benchmarks/train_memory.py [SIDE [BATCH [STEPS [FILTERS]]]]

Each way trains MONAI's DynUNet with the arguments of membrain-seg (91 million weights, deep supervision; ``FILTERS``:
channels of the levels, for a smaller network such as 16,32,48,64) for some steps on cubes of noise, in a process of its
own. ``membrain``: plain PyTorch with the layers, optimiser (SGD with momentum), losses (cross-entropy and Dice per
sample, at three resolutions, labels in float32 at each) and checkpoint (written to memory first, as Lightning does) of
membrain-seg 0.0.10. ``program``: membrain-seg itself with PyTorch Lightning, where it is installed (six levels only),
its samples drawn in the same process. ``volengine``: the same recipe with :class:`volengine.nets.training.fit.fit.Fit`.
Printed: the memory when the modules are imported, the peak resident memory of the steps, and of all with the
checkpoint; and the losses of the steps, whose definitions differ slightly.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

RATE, MOMENTUM = 1e-2, 0.99
FILTERS = "32,64,128,256,512,1024"


def peak() -> float:
    """Peak resident memory of this process, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def sample(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A cube of noise, and labels of which a tenth is the feature and a tenth is ignored."""
    labels = rng.choice(np.array([0, 1, 2], np.uint8), (1, side, side, side), p=(0.8, 0.1, 0.1))
    return rng.standard_normal((side, side, side), np.float32), labels


def volengine(side: int, batch: int, steps: int, filters: tuple[int, ...]) -> dict[str, object]:
    """Train with the package."""
    from volengine.core.model import ModelFacts
    from volengine.nets.registry import build
    from volengine.nets.training.fit.fit import Fit
    from volengine.nets.training.fit.recipe import FitRecipe, Optimiser

    losses: list[float] = []
    told: dict[str, float] = {"imported_GB": peak()}  # MONAI is imported with the network

    class Watched(Fit):
        def _step(self, step, batch):
            losses.append(super()._step(step, batch))
            return losses[-1]

        def _end_epoch(self, *rest):
            told["steps_GB"] = peak()
            super()._end_epoch(*rest)

    facts = ModelFacts(
        network="dynunet",
        features=("membrane",),
        voxel_size=(10, 10, 10),
        patch=(side,) * 3,
        history=({},),
        stride=(2 ** (len(filters) - 1),) * 3,
    )
    torch.manual_seed(0)
    how = FitRecipe(epochs=1, steps=steps, batch=batch, optimiser=Optimiser("sgd", RATE, "polynomial", clip=0))
    with tempfile.TemporaryDirectory() as folder:
        module = build("dynunet", {"filters": filters})
        fit = Watched(
            module, facts, lambda rng: sample(rng, side), [], how, Path(folder) / "m.safetensors", torch.device("cpu")
        )
        fit.run(progress=False)
    return {**told, "all_GB": peak(), "losses": losses}


def membrain(side: int, batch: int, steps: int, filters: tuple[int, ...]) -> dict[str, object]:
    """Train as membrain-seg does, in plain PyTorch."""
    from monai.networks.nets import DynUNet

    imported = peak()
    torch.manual_seed(0)
    deep = len(filters) - 1
    net = DynUNet(
        spatial_dims=3, in_channels=1, out_channels=1, kernel_size=(3,) * (deep + 1), strides=(1, *(2,) * deep),
        upsample_kernel_size=(2,) * deep, filters=filters, res_block=True, deep_supervision=True, deep_supr_num=2,
    )  # fmt: skip
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM, nesterov=True)
    losses = []
    for step in range(steps):
        cubes = [sample(np.random.default_rng((0, step, k)), side) for k in range(batch)]
        images = torch.stack([torch.from_numpy(image)[None] for image, _ in cubes])
        full = torch.stack([torch.from_numpy(labels).float() for _, labels in cubes])
        truth = [full[..., :: 2**k, :: 2**k, :: 2**k].clone() for k in range(3)]
        loss = torch.zeros(())
        answers = [net.output_block(net.skip_layers(images)), *net.heads]
        for level, (answer, labels) in enumerate(zip(answers, truth, strict=True)):
            loss = loss + _dice_and_entropy(answer, labels) / 2**level
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    stepped = peak()
    written = io.BytesIO()
    torch.save({"state_dict": net.state_dict(), "optimizer": optimiser.state_dict()}, written)
    return {"imported_GB": imported, "steps_GB": stepped, "all_GB": peak(), "losses": losses}


def _dice_and_entropy(answer: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean over the samples of masked cross-entropy and masked Dice, with the copies that membrain-seg makes."""
    kept, chance, mask = answer.clone(), answer.sigmoid(), labels != 2
    target = labels.clone()
    target[~mask] = 0
    each = binary_cross_entropy_with_logits(kept, target, reduction="none")
    each[~mask] = 0.0
    entropy = each.sum((1, 2, 3, 4)) / mask.sum((1, 2, 3, 4))
    dice = []
    for one, true, counts in zip(chance, target, mask, strict=True):
        found, right = one * counts, true * counts
        dice.append(1 - (2 * (found * right).sum() + 1e-5) / (found.sum() + right.sum() + 1e-5))
    return (torch.stack(dice) + entropy).mean()


def program(side: int, batch: int, steps: int, filters: tuple[int, ...]) -> dict[str, object]:
    """Train with membrain-seg itself; nothing where it is not installed or has another number of levels."""
    if find_spec("membrain_seg") is None or len(filters) != len(FILTERS.split(",")):
        return {}
    import pytorch_lightning as lightning
    from membrain_seg.segmentation.networks.unet import SemanticSegmentationUnet
    from torch.utils.data import DataLoader, Dataset

    imported, losses, told = peak(), [], {}

    class Cubes(Dataset):
        def __len__(self):
            return batch * steps

        def __getitem__(self, k):
            image, labels = sample(np.random.default_rng((0, k // batch, k % batch)), side)
            full = torch.from_numpy(labels).float()
            truth = [full[..., :: 2**j, :: 2**j, :: 2**j].clone() for j in range(3)]
            return {"image": torch.from_numpy(image)[None], "label": truth, "dataset": "any"}

    class Watched(lightning.Callback):
        def on_train_batch_end(self, trainer, model, outputs, *rest):
            losses.append(float(outputs["loss"]))
            told["steps_GB"] = peak()

    torch.manual_seed(0)
    model = SemanticSegmentationUnet(channels=filters, use_deep_supervision=True, learning_rate=RATE)
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", default_root_dir=folder, callbacks=[Watched()], **quiet
        )
        trainer.fit(model, DataLoader(Cubes(), batch_size=batch, num_workers=0))
    return {"imported_GB": imported, **told, "all_GB": peak(), "losses": losses}


WAYS = {"membrain": membrain, "program": program, "volengine": volengine}


def main(side: str = "64", batch: str = "2", steps: str = "2", filters: str = FILTERS, way: str = "") -> None:
    """Measure one way, or both in turn."""
    if way:
        print(json.dumps(WAYS[way](int(side), int(batch), int(steps), tuple(map(int, filters.split(","))))))
        return
    for name in WAYS:
        command = [sys.executable, __file__, side, batch, steps, filters, name]
        made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        told = json.loads(made.stdout.splitlines()[-1])
        print(name, {key: value if key == "losses" else round(value, 2) for key, value in told.items()}, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
