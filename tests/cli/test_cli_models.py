"""volengine models export, import and show as a user meets them, and a group of Ais from its file to gated volumes."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from calling import Command
from scipy import ndimage
from torch import nn

from volengine.core.boxes import Box
from volengine.core.model import ModelFacts
from volengine.core.rules import Compete, Interact
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_source, open_volume
from volengine.nets.architectures.graph import GraphNet
from volengine.nets.checkpoint import load_facts, load_model, save_model
from volengine.nets.formats.keras.scnm_write import scnm_bytes
from volengine.nets.registry import build
from volengine.ops.interact import RuleChain
from volengine.tasks.common.layout import feature_store
from volengine.tasks.models.exchange import export_model
from volengine.tasks.models.recipe import ModelExportRecipe

SHAPE = (6, 64, 96)


def slice_net(seed: int, gain: float = 3.0) -> nn.Module:
    """A smoothing, and a threshold somewhere."""
    layers = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "a", "kind": "conv", "inputs": ["in"], "channels": [1, 1], "kernel": [5, 5]},
    ]
    net = GraphNet(layers)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        net.layers[1].conv.weight.copy_(torch.from_numpy(gain * rng.uniform(-0.3, 1, (1, 1, 5, 5)).astype("f4")))  # type: ignore[union-attr]
        net.layers[1].conv.bias.fill_(float(rng.uniform(-1, 1)))  # type: ignore[union-attr]
    return net


def slice_facts(net: nn.Module, feature: str, **more: Any) -> ModelFacts:
    values = {
        "network": "graph",
        "arguments": {"layers": net.description},
        "features": [feature],
        "voxel_size": [10, 10, 10],
        "patch": [1, 64, 64],
        "normalisation": "per_slice",
    }
    return ModelFacts.from_json({**values, **more})


def volume_model(path: Path, **more: Any) -> Path:
    arguments = {"width": 2, "levels": 2}
    values = {
        "network": "unet3d",
        "arguments": arguments,
        "features": ["core"],
        "voxel_size": [10, 10, 10],
        "patch": [8, 32, 32],
        "stride": [2, 2, 2],
    }
    torch.manual_seed(1)
    module = build("unet3d", arguments)
    with torch.no_grad():
        module.head.weight.mul_(300)  # type: ignore[union-attr, operator]
    save_model(path, module, ModelFacts.from_json({**values, **more}))
    return path


def tomogram(path: Path) -> Path:
    noise = np.random.default_rng(0).normal(size=SHAPE)
    array = ndimage.gaussian_filter(noise, (0.5, 1.5, 1.5)).astype("float32")
    write_mrc(path, [array], SHAPE, "float32", (10.0, 10.0, 10.0))
    return path


def voxels(url: str | Path) -> np.ndarray:
    return np.asarray(open_source(open_volume(str(url))).read(Box.of_shape(SHAPE)))


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


# -- ONNX ---------------------------------------------------------------------------------------------------


def test_a_model_predicts_the_same_as_an_onnx_file(volengine: Command, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    volume_model(tmp_path / "core.safetensors", normalisation="volume")
    net = slice_net(1)
    save_model(tmp_path / "thin.safetensors", net, slice_facts(net, "thin", overlap=0.25))
    tomogram(tmp_path / "t.mrc")
    for name in ("core", "thin"):
        code, out, _ = volengine("models", "export", f"{name}.safetensors", f"{name}.onnx")
        assert code == 0
        assert out.splitlines()[0] == f"{name}.onnx: {name} at 10 angstrom"
        assert "onnxruntime's answers differ from PyTorch's by " in out
        for kind in ("safetensors", "onnx"):
            assert volengine("segment", "t.mrc", "--model", f"{name}.{kind}", "--out", kind)[0] == 0
        here, there = (voxels(tmp_path / kind / f"t__{name}.ome.zarr").astype(int) for kind in ("safetensors", "onnx"))
        assert here.std() > 10
        assert np.abs(here - there).max() <= 1
        assert (here != there).mean() < 1e-3
    code, out, _ = volengine("models", "show", "core.onnx", "--json")
    assert code == 0
    assert "network: unet3d" in json.loads(out)["arguments"]


def test_onnx_files_of_strangers_are_told_their_facts_once(volengine: Command, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), "float32"), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4), helper.make_node("Sigmoid", ["c"], ["out"])]
    ends = [helper.make_tensor_value_info(n, 1, ["b", 1, "y", "x"]) for n in ("x", "out")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "f.onnx")
    tomogram(tmp_path / "t.mrc")
    before = names(tmp_path)
    code, _, err = volengine("segment", "t.mrc", "--model", "f.onnx", "--out", "p")
    assert code != 0
    code, _, err = volengine("models", "show", "f.onnx")
    assert (code, err.count("\n")) == (2, 1)
    assert "Import it once: volengine models import f.onnx OUT.onnx --voxel-size" in err
    told = ["--voxel-size", "10", "--features", "spot", "--patch", "1,32,32", "--normalisation", "per_slice"]
    code, _, err = volengine("models", "import", "f.onnx", "g.safetensors", *told)
    assert (code, err.count("\n")) == (2, 1)
    assert "let the name end with .onnx" in err
    assert "g.safetensors" not in names(tmp_path) - before
    code, out, _ = volengine("models", "import", "f.onnx", "g.onnx", *told)
    assert (code, out) == (0, "g.onnx: spot at 10 angstrom, patch (1, 32, 32)\n")
    assert volengine("segment", "t.mrc", "--model", "g.onnx", "--out", "q")[0] == 0
    found = voxels(tmp_path / "q" / "t__spot.ome.zarr")
    assert found.min() < 50 < 200 < found.max()


# -- BioImage and Ais ---------------------------------------------------------------------------------------


def test_a_package_for_the_zoo(volengine: Command, tmp_path: Path) -> None:
    spec = pytest.importorskip("bioimageio.spec")
    volume_model(tmp_path / "core.safetensors", normalisation="global_mad")
    said = ["--authors", "A. Author,B. Author", "--licence", "CC-BY-4.0", "--title", "Cores of capsids"]
    code, out, _ = volengine("models", "export", "core.safetensors", "core.bioimage.zip", *said)
    assert code == 0
    assert "must be normalised before the model gets it, by Ais's global_mad" in out
    found = spec.load_description(tmp_path / "core.bioimage.zip", perform_io_checks=True)
    assert found.validation_summary.status in ("passed", "valid-format")
    with zipfile.ZipFile(tmp_path / "core.bioimage.zip") as archive:
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
    assert (rdf["name"], [a["name"] for a in rdf["authors"]]) == ("Cores of capsids", ["A. Author", "B. Author"])


def test_an_archive_for_ais_and_back(volengine: Command, tmp_path: Path) -> None:
    net = slice_net(2)
    save_model(tmp_path / "a.safetensors", net, slice_facts(net, "thin", threshold=0.4, tta=2))
    assert volengine("models", "export", "a.safetensors", "a.scnm")[:2] == (0, "a.scnm: thin at 10 angstrom\n")
    _, out, _ = volengine("models", "export", "a.safetensors", "mad.scnm", "--normalisation", "global_mad")
    assert "trained with the normalisation per_slice; mad.scnm says global_mad" in out
    assert load_facts(tmp_path / "mad.scnm").normalisation == "global_mad"
    assert volengine("models", "import", "a.scnm", "b.safetensors", "--voxel-size", "12")[0] == 0
    module, facts = load_model(tmp_path / "b.safetensors")
    assert (facts.features, facts.threshold, facts.tta, facts.voxel_size[0]) == (("thin",), 0.4, 2, 12.0)
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(module(x), net.eval()(x), atol=1e-4)


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "core.safetensors", "core.tflite"], "its ending is none of .onnx, .scnm, .bioimage.zip"),
        (["export", "none.safetensors", "a.onnx"], "none.safetensors: no such model file"),
        (["export", "cut.onnx", "a.onnx"], "cut.onnx is no ONNX file, or it is cut off"),
        (["export", "core.safetensors", "nowhere/a.onnx"], "the folder nowhere does not exist"),
        (["export", "core.safetensors", "folder", "--format", "onnx"], "is a folder"),
        (["export", "core.safetensors", "core.safetensors", "--format", "onnx"], "is the model itself"),
        (["export", "core.safetensors", "a.scnm"], "Ais does not have the normalisation 'volume'"),
        (["export", "core.safetensors", "a.onnx", "--licence", "MIT"], "--licence is for the BioImage Model Zoo"),
        (["export", "core.safetensors", "a.onnx", "--feature", "core"], "--feature is for Ais"),
        (
            ["export", "core.safetensors", "a.bioimage.zip", "--licence", "mine"],
            "does not accept the model's description",
        ),
        (["export", "two.safetensors", "a.scnm", "--normalisation", "per_slice"], "A model of Ais has one feature"),
        (["export", "oblong.safetensors", "a.scnm"], "Ais has square pixels"),
        (["import", "cut.onnx", "a.onnx", "--voxel-size", "1"], "is no ONNX file"),
        (["import", "core.safetensors", "a.safetensors", "--voxel-size", "-1"], "must be positive"),
        (["import", "core.safetensors", "a.safetensors", "--activation", "none"], "--activation is for ONNX files"),
        (["import", "bad.scnmgroup", "group"], "bad.scnmgroup is no uncompressed tar archive"),
        (["import", "none.scnmgroup", "group"], "none.scnmgroup: no such model file"),
        (["import", "bad.scnmgroup", "full"], "full is there already"),
        (["import", "bad.scnmgroup", "no/where"], "does not exist"),
        (["import", "bad.scnmgroup", "group", "--voxel-size", "3"], "leave out the options"),
        (["show", "bad.scnmgroup"], "bad.scnmgroup is no uncompressed tar archive"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    volengine: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("bioimageio.spec")
    volume_model(tmp_path / "core.safetensors")
    net = build("unet", {"channels": 2})
    facts = {"network": "unet", "arguments": {"channels": 2}, "features": ["a", "b"], "voxel_size": [10, 10, 10]}
    save_model(
        tmp_path / "two.safetensors", net, ModelFacts.from_json({**facts, "patch": [1, 64, 64], "stride": [1, 4, 4]})
    )
    thin = slice_net(0)
    save_model(tmp_path / "oblong.safetensors", thin, slice_facts(thin, "thin", voxel_size=[10, 10, 12]))
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x08\x12\x09voleng")
    (tmp_path / "bad.scnmgroup").write_bytes(b"no archive" * 100)
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("precious")
    before = {name: os.stat(tmp_path / name).st_mtime_ns for name in names(tmp_path)}
    code, out, err = volengine("models", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert {name: os.stat(tmp_path / name).st_mtime_ns for name in names(tmp_path)} == before


def test_an_older_file_stays_when_the_new_one_cannot_be_made(volengine: Command, tmp_path: Path) -> None:
    volume_model(tmp_path / "core.safetensors")
    (tmp_path / "a.scnm").write_text("the old one")
    assert volengine("models", "export", "core.safetensors", "a.scnm")[0] == 2
    assert (tmp_path / "a.scnm").read_text() == "the old one"


def test_onnx_cannot_become_an_archive_of_ais(volengine: Command, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    volume_model(tmp_path / "core.safetensors", normalisation="per_slice")
    assert volengine("models", "export", "core.safetensors", "core.onnx")[0] == 0
    code, _, err = volengine("models", "export", "core.onnx", "core.scnm")
    assert (code, err.count("\n")) == (2, 1)
    assert "export the model that it was made from" in err


def test_python_says_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    volume_model(tmp_path / "core.safetensors")
    made = export_model(str(tmp_path / "core.safetensors"), str(tmp_path / "x"), ModelExportRecipe(format="onnx"))
    assert made.facts == load_facts(tmp_path / "core.safetensors")
    assert made.notes[0].startswith("Opset 17.")
    assert made.path.read_bytes()[:1] == b"\x08"


# -- a group of Ais -----------------------------------------------------------------------------------------

PARTS = {  # emits, absorbs
    "Membrane": (True, True),
    "Ribosome (70S)": (True, True),
    "Carbon": (True, False),
    "Microtubule": (False, False),
}
INTERACTIONS = [
    {"parent_title": "Ribosome (70S)", "partner_title": "Membrane", "type": 0, "radius": 4.0, "threshold": 0.5},
    {"parent_title": "Membrane", "partner_title": "Ribosome (70S)", "type": 1, "radius": 3.5, "threshold": 0.6},
    {"parent_title": "Microtubule", "partner_title": "Membrane", "type": 0, "radius": 5.0, "threshold": 0.3},
]


def group(path: Path, interactions: list[dict[str, Any]] | None = None, **more: Any) -> Path:
    members: dict[str, bytes] = {}
    for number, (title, (emits, absorbs)) in enumerate(PARTS.items()):
        net = slice_net(number)
        facts = slice_facts(net, title, emits=emits, absorbs=absorbs, threshold=0.4, **more)
        members[f"cell_model_{number}.scnm"] = scnm_bytes(net, facts)
    members["cell_interactions.json"] = json.dumps(INTERACTIONS if interactions is None else interactions).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def as_ais_does(maps: dict[str, np.ndarray], pixel_nm: float) -> dict[str, np.ndarray]:
    """Competition, then the interactions in their order: Ais's own steps with scipy's dilation, slice by slice."""
    maps = {title: array.copy() for title, array in maps.items()}
    strongest = np.max([maps[t] for t, (emits, _) in PARTS.items() if emits], axis=0)
    for title, (_, absorbs) in PARTS.items():
        if absorbs:
            maps[title][maps[title] < strongest] = 0
    for item in INTERACTIONS:
        reach = int(item["radius"] // pixel_nm)  # type: ignore[operator, call-overload]
        y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
        disc = x**2 + y**2 < reach**2
        partner = maps[str(item["partner_title"])] > float(item["threshold"]) * 255  # type: ignore[arg-type]
        near = np.stack([ndimage.binary_dilation(part, disc) for part in partner])
        maps[str(item["parent_title"])][~near if item["type"] == 0 else near] = 0
    return maps


def test_a_group_of_ais_runs_as_it_is(volengine: Command, tmp_path: Path) -> None:
    group(tmp_path / "cell.scnmgroup")
    tomogram(tmp_path / "t.mrc")
    code, out, _ = volengine("models", "show", "cell.scnmgroup")
    assert code == 0
    assert "Membrane: 10 angstrom, per_slice, emits, absorbs" in out
    assert "Carbon: 10 angstrom, per_slice, emits\n" in out
    assert [
        out.index(word) for word in ("compete", "'child': 'Ribosome", "'child': 'Membrane", "'child': 'Microtubule")
    ]
    code, out, _ = volengine("models", "import", "cell.scnmgroup", "cell")
    assert code == 0
    assert out.splitlines()[-1].startswith(
        f"{tmp_path / 'cell' / 'recipe.yaml'}: 4 rules; apply it with: volengine run "
    )
    files = {"Membrane.safetensors", "Ribosome_70S_.safetensors", "Carbon.safetensors", "Microtubule.safetensors"}
    assert names(tmp_path / "cell") == {*files, "recipe.yaml"}
    assert load_facts(tmp_path / "cell" / "Membrane.safetensors").threshold == 0.4
    text = (tmp_path / "cell" / "recipe.yaml").read_text()
    recipe = yaml.safe_load(text)
    told = yaml.safe_load(text.replace("# pick:", "pick:").replace("#   - {", "  - {"))
    assert told["pick"] == [{"feature": title, "threshold": 0.4} for title in PARTS]
    rules = recipe["interact"]["rules"]
    assert [next(iter(rule)) for rule in rules] == ["compete", "interact", "interact", "interact"]
    assert rules[1]["interact"]["child"] == "Ribosome (70S)"  # the one that Ais calls parent

    code, _, err = volengine("run", "cell/recipe.yaml", "t.mrc", "--out", "out")
    assert code == 0, err
    raw = {title: voxels(feature_store("out/predictions", "t", title)) for title in PARTS}
    wanted = as_ais_does(raw, 1.0)
    chain = RuleChain(
        (
            Compete(("Membrane", "Ribosome (70S)", "Carbon"), ("Membrane", "Ribosome (70S)")),
            *(
                Interact(
                    str(i["parent_title"]),
                    str(i["partner_title"]),
                    "avoid" if i["type"] else "colocalize",
                    float(str(i["radius"])),
                    float(str(i["threshold"])),
                )
                for i in INTERACTIONS
            ),
        ),
        (10, 10, 10),
        "ais",
    )
    by_hand = chain.apply(raw)
    assert not Path(feature_store("out/gated", "t", "Carbon")).exists()  # no rule changes it
    for title in ("Membrane", "Ribosome (70S)", "Microtubule"):
        found = voxels(feature_store("out/gated", "t", title))
        assert np.array_equal(found, wanted[title])
        assert np.array_equal(found, by_hand[title])
        assert 0 < (found > 0).sum() < (raw[title] > 0).sum()  # some of it stays, some of it goes


def test_a_group_without_rules_and_with_views(volengine: Command, tmp_path: Path) -> None:
    group(tmp_path / "cell.scnmgroup", [], tta=4)
    global_parts = yaml.safe_load((_imported(volengine, tmp_path) / "recipe.yaml").read_text())
    assert global_parts["segment"]["tta"] == 4
    assert [next(iter(rule)) for rule in global_parts["interact"]["rules"]] == ["compete"]
    code, out, _ = volengine("models", "show", "cell.scnmgroup", "--json")
    assert code == 0
    assert len(json.loads(out)["models"]) == 4


def _imported(volengine: Command, folder: Path) -> Path:
    (folder / "cell").mkdir()  # an empty folder may be there
    assert volengine("models", "import", "cell.scnmgroup", "cell")[0] == 0
    return folder / "cell"


def test_a_group_that_cannot_be_used_leaves_nothing(volengine: Command, tmp_path: Path) -> None:
    strange = [{**INTERACTIONS[0], "partner_title": "Vesicle"}]
    group(tmp_path / "cell.scnmgroup", strange)
    before = names(tmp_path)
    code, _, err = volengine("models", "import", "cell.scnmgroup", "cell")
    assert (code, err.count("\n")) == (2, 1)
    assert "an interaction is about 'Vesicle'" in err
    assert names(tmp_path) == before


def test_a_full_disk_leaves_nothing(volengine: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group(tmp_path / "cell.scnmgroup")
    before = names(tmp_path)
    calls: list[Path] = []

    def full(path: Path, *args: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(path))
        save_model(path, *args)

    monkeypatch.setattr("volengine.nets.checkpoint.save_model", full)
    code, _, err = volengine("models", "import", "cell.scnmgroup", "cell")
    assert (code, len(calls)) == (1, 3)
    assert "No space left" in err
    assert names(tmp_path) == before
