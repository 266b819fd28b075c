"""What is fuzzed: for each class of readers some valid files, and the reader."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from fuzz_samples import ROOT, Sample, Target, tar, tolerate, unzip, zipped
from fuzz_volumes import (
    amira_samples,
    em_samples,
    hdf5_samples,
    mrc_samples,
    nifti_volume_samples,
    picks_samples,
    read_amira_file,
    read_nifti_volume,
    read_picks_file,
    read_tilts_file,
    read_volume,
    read_zarr_file,
    tiff_samples,
    tilts_samples,
    zarr_samples,
)

# -- copick projects --------------------------------------------------------------------------------------------------


def project_samples(folder: Path) -> list[Sample]:
    from copick_projects import write_config, write_table

    write_table(folder / "static", "TS_1", "bob_1", "ribosome", [(10, 20, 30)])
    config = write_config(folder / "config.json", "overlay", folder / "static", user_id="bob", session_id="1")
    return [Sample("config.json", config.read_bytes(), "", True)]


def read_project_file(path: Path) -> None:
    from volengine.io.copick.choice import chosen_picks, chosen_volumes
    from volengine.tasks.info.projects import project_facts, project_in_words

    tolerate(lambda: chosen_volumes(str(path)))
    tolerate(lambda: chosen_picks(f"{path}#picks=*"))
    project_in_words(project_facts(str(path)))


# -- structures, meshes, training sets --------------------------------------------------------------------------------


def structure_samples(folder: Path) -> list[Sample]:
    atoms = [("N", "N"), ("CA", "C"), ("C", "C"), ("O", "O"), ("CB", "C")]
    pdb = ""
    for model in (1, 2):
        pdb += f"MODEL     {model:4d}\n"
        for i, (name, element) in enumerate(atoms, 1):
            pdb += (
                f"ATOM  {i:5d} {name:^4} ALA A{model:4d}    {i:8.3f}{2 * i:8.3f}{3 * i:8.3f}{1:6.2f}{0:6.2f}"
                f"          {element:>2}\n"
            )
        pdb += "ENDMDL\n"
    head = "REMARK 350 BIOMOLECULE: 1\nREMARK 350 APPLY THE FOLLOWING TO CHAINS: A\n"
    for row in range(3):
        head += f"REMARK 350   BIOMT{row + 1}   1 " + "".join(f"{float(row == c):10.6f}" for c in range(3)) + "  0.00\n"
    columns = "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id "
    columns += "label_seq_id Cartn_x Cartn_y Cartn_z occupancy auth_asym_id auth_seq_id"
    cif = "data_x\nloop_\n" + "".join(f"_atom_site.{c}\n" for c in columns.split())
    for i, (name, element) in enumerate(atoms, 1):
        cif += f"ATOM {i} {element} {name} . ALA A 1 {i} {i} 2 3 1.0 A {i}\n"
    cif += "loop_\n_pdbx_struct_assembly_gen.assembly_id\n_pdbx_struct_assembly_gen.oper_expression\n"
    cif += "_pdbx_struct_assembly_gen.asym_id_list\n1 (1-2)(1,2) A\nloop_\n_pdbx_struct_oper_list.id\n"
    names = [f"matrix[{i}][{j}]" for i in (1, 2, 3) for j in (1, 2, 3)] + [f"vector[{i}]" for i in (1, 2, 3)]
    cif += "".join(f"_pdbx_struct_oper_list.{n}\n" for n in names)
    cif += "1 1 0 0 0 1 0 0 0 1 0 0 0\n2 1 0 0 0 1 0 0 0 1 5 5 5\n"
    cif += "loop_\n_pdbx_struct_assembly.id\n1\n"
    files = (("a.pdb", pdb), ("a.pdb1", head + pdb), ("a.cif", cif))
    plain = [Sample(name, data.encode(), "", True) for name, data in files]
    return [*plain, Sample("b.cif.gz", gzip.compress(cif.encode()), "gz")]


def read_structure_file(path: Path) -> None:
    from volengine.io.structures.read import read_structure

    read_structure(path)


def mesh_samples(folder: Path) -> list[Sample]:
    from volengine.io.meshes import write_mesh

    at = np.array([[0, 0, 0], [0, 0, 10], [0, 10, 0], [10, 0, 0]], float)
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
    found = []
    for ending in ("ply", "obj", "stl", "glb"):
        more = {"columns": {"a": np.arange(4.0)}} if ending == "ply" else {}
        write_mesh(folder / f"m.{ending}", at, faces, **more)
        found.append(Sample(f"m.{ending}", (folder / f"m.{ending}").read_bytes(), "", ending in ("obj", "ply")))
    return found


def read_mesh_file(path: Path) -> None:
    from volengine.io.meshes import read_mesh

    read_mesh(path)


def morphometrics_samples(folder: Path) -> list[Sample]:
    from volengine.io.morphometrics import write_morphometrics

    columns = {"index": [0, 1], "kappa_1": [0.05, -1e-3], "thickness": [3.5, np.nan]}
    write_morphometrics(folder / "a.csv", columns | {f"xyz_{axis}": [1.0, 2.0] for axis in "xyz"})
    return [Sample("a.csv", (folder / "a.csv").read_bytes(), "", True)]


def read_morphometrics_file(path: Path) -> None:
    from volengine.io.morphometrics import read_morphometrics

    read_morphometrics(path)


def membrain_pick_samples(folder: Path) -> list[Sample]:
    from volengine.core.surface import Surface
    from volengine.io.membrain_pick import write_membrain_pick

    at = np.array([[0, 0, 0], [0, 0, 10], [0, 10, 0], [10, 0, 0]], float)
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
    columns = {"score": np.arange(4.0), "label": np.arange(4), "normal_value_00": np.ones(4)}
    one = Surface(at, faces, np.eye(4)[:, :3], columns)
    for number in (1, 2):
        write_membrain_pick(
            folder / f"{number}.h5", [one] * number, 10.0, tomogram="a.mrc", centres=[np.ones((2, 3))] * number
        )
    return [Sample(f"{number}.h5", (folder / f"{number}.h5").read_bytes()) for number in (1, 2)]


def read_membrain_pick_file(path: Path) -> None:
    from volengine.io.surfaces import open_surfaces

    list(open_surfaces(path))


def surface_model_samples(folder: Path) -> list[Sample]:
    import torch

    from volengine.nets.architectures.surface_rings import SurfaceRings
    from volengine.nets.surface_model import SurfaceModelFacts, save_surface_model

    torch.manual_seed(0)
    facts = SurfaceModelFacts("receptor", (0.0, 10.0), (0.0, 10.0), 4, 4, 1)
    save_surface_model(folder / "a.safetensors", SurfaceRings(2, 2, 4, 1), facts)
    average = np.ones((2, 2, 8), np.float32)
    turned = facts.with_(turn_fold=1, turn_error_deg=3.0)
    save_surface_model(folder / "b.safetensors", SurfaceRings(2, 2, 4, 1), turned, average)
    return [Sample(name, (folder / name).read_bytes()) for name in ("a.safetensors", "b.safetensors")]


def read_surface_model(path: Path) -> None:
    from volengine.nets.surface_model import load_surface_model, load_turn_average

    tolerate(lambda: load_surface_model(path))
    load_turn_average(path)


def scnt_samples(folder: Path) -> list[Sample]:
    import tifffile
    from scnt_write import ScntSample, write_scnt

    image, labels = np.ones((3, 8, 8), np.float32), np.zeros((8, 8), np.int8)
    boxes = [ScntSample(image, labels, "TS_01.mrc", "x", (1, 2, k)) for k in range(2)]
    write_scnt(str(folder / "a.scnt"), boxes, 10.0)
    stack = np.zeros((2, 5, 8, 8), np.float32)
    tifffile.imwrite(folder / "b.scnt", stack, description="apix=10.0", photometric="minisblack")
    return [
        Sample("a.scnt", (folder / "a.scnt").read_bytes(), "tar"),
        Sample("b.scnt", (folder / "b.scnt").read_bytes()),
    ]


def read_scnt_file(path: Path) -> None:
    from volengine.io.training.scnt import open_scnt

    found = open_scnt(str(path))
    for number in range(min(3, len(found))):
        found.read(number)


def nifti_samples(folder: Path) -> list[Sample]:
    import nibabel

    found = []
    for number, dtype in enumerate(("u1", "f4", "i2")):
        image = nibabel.Nifti1Image(np.arange(60, dtype=dtype).reshape(3, 4, 5), np.eye(4))
        path = folder / f"n{number}.nii"
        nibabel.save(image, path)
        found.append(Sample(path.name, path.read_bytes()))
    return [*found, Sample("n.nii.gz", gzip.compress(found[0].data), "gz")]


def read_nifti_file(path: Path) -> None:
    from volengine.io.training.nifti import read_nifti

    read_nifti(str(path))


def montage_samples(folder: Path) -> list[Sample]:
    import numpy as np
    from montage_files import mdoc, montage
    from mrc_files import write

    pieces = [(4 * n, 0, n // 2) for n in range(4)]
    stack = np.arange(80, dtype="i2").reshape(4, 4, 5)
    plain = write(folder / "plain.st", stack, 1).read_bytes()
    aligned = [f"{x + 0.5} {y} {z}" for x, y, z in pieces]
    text = mdoc(pieces, (5, 4), "m.st", AlignedPieceCoords=aligned, TiltAngle=["1", "2", "3", "4"])
    listed = "\n".join(f"{x} {y} {z}" for x, y, z in pieces)
    tiles = "unit: nm\ntiles:\n  - {path: a.mrc, position: [0, 1.5, 2]}\n  - {path: b.mrc, position: [0, 1.5, 9]}\n"
    return [
        *(
            Sample(f"m{n}.st", montage(folder / f"m{n}.st", stack, pieces, flags, order).read_bytes())
            for n, (flags, order) in enumerate(((2, "<"), (2 + 1 + 4, ">")))
        ),
        Sample("m.st.mdoc", text.encode(), "", True, {"m.st": plain}),
        Sample("m.pl", listed.encode(), "", True, {"m.st": plain}),
        Sample("tiles.yaml", tiles.encode(), "", True),
    ]


def read_montage_file(path: Path) -> None:
    from volengine.core.errors import InputError
    from volengine.io.montage.find import find_montage
    from volengine.io.mrc.open import open_mrc
    from volengine.io.open import open_volume
    from volengine.tasks.convert.mosaic import mosaic_of
    from volengine.tasks.convert.tiles import read_tiles

    if path.suffix == ".yaml":
        read_tiles(str(path))
        return
    stack = path if path.suffix == ".st" else path.with_name("m.st")
    found = find_montage(stack, pieces=path if path.suffix == ".pl" else "")
    if found is None:
        open_volume(stack, voxel_size=10.0)
        return
    if path.suffix != ".pl":  # never a volume
        try:
            open_volume(stack, voxel_size=10.0)
        except InputError:
            pass
        else:
            raise AssertionError("a montage was opened as a volume")
    moved = found if found.aligned is None else found.at_aligned()
    for section in moved.sections[:3]:
        mosaic_of(moved, section, open_mrc(stack, 10.0), None).empty_vox()


# -- models ----------------------------------------------------------------------------------------------------------


def safetensors_samples(folder: Path) -> list[Sample]:
    from onnx_models import facts_of

    from volengine.nets.checkpoint import save_model
    from volengine.nets.registry import build

    found = []
    for name, arguments, stride in (
        ("unet2d", {"width": 4, "levels": 2}, (1, 2, 2)), ("unet3d", {"width": 2, "levels": 2}, (2, 2, 2)),
    ):  # fmt: skip
        facts = facts_of(name, stride, arguments=arguments)
        save_model(folder / f"{name}.safetensors", build(name, arguments), facts)
        found.append(Sample(f"{name}.safetensors", (folder / f"{name}.safetensors").read_bytes(), "safetensors"))
    return found


def read_model(path: Path) -> None:
    from volengine.nets.checkpoint import load_facts, load_model

    load_facts(path)
    load_model(path)


def keras_samples(folder: Path) -> list[Sample]:
    parts = unzip((ROOT / "tests/references/keras3.zip").read_bytes())
    parts |= {f"k2{k}": v for k, v in unzip((ROOT / "tests/references/keras2.zip").read_bytes()).items()}
    names = sorted(n for n in parts if n.endswith((".h5", ".keras")) and not n.endswith(".weights.h5"))
    found = [Sample(n, parts[n], "zip" if n.endswith(".keras") else "") for n in names]
    told = {"title": "x", "apix": 10.0, "box_size": 64, "overlap": 0.2, "normalization": None, "threshold": 0.5}
    members = {"x_weights.h5": parts["k2chain.h5"], "x_metadata.json": json.dumps(told).encode()}
    return [*found, Sample("x.scnm", tar(members), "tar")]


def read_foreign(path: Path) -> None:
    from volengine.nets.formats.foreign import load_scnm
    from volengine.nets.formats.keras.read import read_keras

    if path.suffix == ".scnm":
        load_scnm(path)
    else:
        read_keras(path).module()


def spectrum_samples(folder: Path) -> list[Sample]:
    own = "freq_1_a\tamplitude\n" + "".join(f"{k / 300!r}\t{10 / k!r}\n" for k in range(1, 9))
    membrain = "freq\tintensity\n" + "".join(f"{k}\t{10 / (k + 1)!r}\n" for k in range(8))
    return [Sample("a.tsv", own.encode(), "", True), Sample("m.tsv", membrain.encode(), "", True)]


def read_spectrum_file(path: Path) -> None:
    from volengine.io.spectra import read_spectrum

    tolerate(lambda: read_spectrum(path, 10.0))
    read_spectrum(path)


def easymode_samples(folder: Path) -> list[Sample]:
    """Weights of easymode's smallest network, of four values that pack well, and its JSON file."""
    from easymode_weights import Keras

    keras = Keras((32, 64, 128, 256), batch=False, bias=True)
    for layers in keras.blocks.values():
        for _, weights in layers:
            weights.update({k: keras.rng.choice(np.float32([-1, 0, 0.5, 1]), v.shape) for k, v in weights.items()})
    weights = keras.write(folder / "x.h5", compression=4).read_bytes()
    told = json.dumps({"apix": 10.0, "apix_z": None, "arch": "unet-easymode"}).encode()
    return [
        Sample("x.h5", weights, beside={"x.json": told}),
        Sample("x.json", told, "json", True, {"x.h5": weights}),
    ]


def read_easymode_file(path: Path) -> None:
    from volengine.nets.checkpoint import load_facts

    load_facts(path.with_suffix(".h5"))


def onnx_samples(folder: Path) -> list[Sample]:
    from onnx_models import small

    _, _, path = small(folder)
    return [Sample(path.name, path.read_bytes())]


def read_onnx_file(path: Path) -> None:
    from volengine.nets.formats.onnx.read import load_onnx

    load_onnx(path)


def ckpt_samples(folder: Path) -> list[Sample]:
    import torch

    state = {"state_dict": {"_model.a.weight": torch.ones(2, 3), "_model.b": torch.zeros(4)}, "epoch": 3}
    torch.save(state, folder / "a.ckpt")
    data = (folder / "a.ckpt").read_bytes()
    return [Sample("a.ckpt", data), Sample("b.ckpt", zipped(unzip(data)), "zip")]


def read_ckpt_file(path: Path) -> None:
    from volengine.nets.formats.foreign import load_ckpt

    load_ckpt(path)


# -- recipes, run folders ----------------------------------------------------------------------------------------------


def yaml_samples(folder: Path) -> list[Sample]:
    found = [Sample(p.name, p.read_bytes(), "", True) for p in sorted((ROOT / "examples").glob("*.yaml"))]
    cluster = b"kind: slurm\nmemory: 16GB\npools: [{workers: 2, gpus: 1}, {workers: 16, queue: cpu}]\n"
    found.append(Sample("cluster.yaml", cluster, "", True))
    return [*found, Sample("a.yaml", b"a: &a [1, 2]\nb: *a\nc: {d: 1e-3, e: 0x10, f: 2026-01-01}\n", "", True)]


def read_recipe(path: Path) -> None:
    from volengine.core.yaml_recipes import read_yaml
    from volengine.engine.cluster_recipe import ClusterRecipe, read_cluster
    from volengine.tasks.run import RunRecipe
    from volengine.tasks.simulate.recipe import SimulateRecipe
    from volengine.tasks.train.recipe import TrainRecipe

    data = read_yaml(path)
    for recipe in (RunRecipe, SimulateRecipe, TrainRecipe, ClusterRecipe):
        tolerate(lambda recipe=recipe: repr(recipe.from_json(data)))
    if path.suffix == ".yaml":
        tolerate(lambda: repr(read_cluster(str(path)).parts()))


def run_samples(folder: Path) -> list[Sample]:
    from volengine.core.image import ImageSpec, Level
    from volengine.core.tiling import Tiling
    from volengine.core.volume import Volume
    from volengine.engine.plan import Plan
    from volengine.engine.stage import ArrayInput, Output, Stage, TableInput

    levels = (Level("0", (8, 8, 8), (1, 1, 1), (4, 4, 4)),)
    image = ImageSpec("out.ome.zarr", "t", "float32", "intensity", (10.0, 10.0, 10.0), levels)
    source = Volume("t.mrc", (8, 8, 8), "float32", (10.0, 10.0, 10.0), name="t", identity="x")
    copy = Stage(
        "convert", "volengine.tasks.convert.blocks:copy_block", Tiling((8, 8, 8), (4, 4, 4)),
        params={"factors": [[1, 1, 1]], "mode": "mean"}, arrays={"source": ArrayInput(source)},
        outputs={"0": Output(image.volume())}, emits=True,
    )  # fmt: skip
    last = Stage(
        "resolve", "volengine.tasks.pick.blocks:resolve_picks", Tiling((1, 1, 1), (1, 1, 1)), emits=True,
        tables={"all": TableInput("convert", "all")},
    )  # fmt: skip
    plan = Plan("t", (copy, last), (image,))
    receipt = {
        "stage": "convert",
        "number": 3,
        "identity": plan.identities["convert"],
        "seconds": 0.1,
        "time": 1.0,
        "wrote": {"0": None},
    }
    ledger = "".join(json.dumps({**receipt, "number": n}) + "\n" for n in range(4)).encode()
    files = {
        "run/plans/t/plan.json": json.dumps(plan.to_json()).encode(),
        "run/plans/t/ledger/h-1.jsonl": ledger,
        "run/plans/t/finished.json": json.dumps({"fingerprint": "other", "time": 1.0}).encode(),
    }
    return [
        Sample(name, data, "json", True, {k: v for k, v in files.items() if k != name}) for name, data in files.items()
    ]


def read_run(path: Path) -> None:
    from volengine.engine.show import status

    status(str(next(p for p in path.parents if p.name == "run")))


def manifest_samples(folder: Path) -> list[Sample]:
    """Manifests with comments, parameters, quotes and a mark, in each form."""
    columns = {"source": "a.mrc", "name": "a b", "voxel_size": "13.48", "invert": "yes", "pick.x.threshold": "0.5"}
    rows = [columns, {**columns, "source": "b.mrc", "name": "b", "state": "skip", "priority": "2"}]
    from volengine.tasks.collection.forms import empty, parse

    found = []
    for ending in ("csv", "tsv", "star", "yaml"):
        path = Path(f"m.{ending}")
        text = "# ours\n" + parse(empty(path, list(columns)), path).changed({}, rows)
        found.append(Sample(path.name, text.encode(), "", True))
    return found


def read_manifest(path: Path) -> None:
    from volengine.tasks.collection.manifest import Collection
    from volengine.tasks.collection.verb import skip

    found = Collection.read(path)
    tolerate(lambda: skip(path, [entry.name for entry in found.entries]))


def read_census(path: Path) -> None:
    from volengine.engine.census import census
    from volengine.engine.show import survey

    survey(census(next(p for p in path.parents if p.name == "run"), ["t", "u"]))


TARGETS: dict[str, Target] = {
    "picks": Target(picks_samples, read_picks_file),
    "spectrum": Target(spectrum_samples, read_spectrum_file),
    "project": Target(project_samples, read_project_file),
    "mrc": Target(mrc_samples, read_volume),
    "tiff": Target(tiff_samples, read_volume),
    "zarr": Target(zarr_samples, read_zarr_file),
    "em": Target(em_samples, read_volume),
    "hdf5": Target(hdf5_samples, read_volume, 1024),
    "amira": Target(amira_samples, read_amira_file),
    "nifti_volumes": Target(nifti_volume_samples, read_nifti_volume),
    "montage": Target(montage_samples, read_montage_file),
    "tilts": Target(tilts_samples, read_tilts_file),
    "structures": Target(structure_samples, read_structure_file),
    "meshes": Target(mesh_samples, read_mesh_file),
    "morphometrics": Target(morphometrics_samples, read_morphometrics_file),
    "membrain_pick": Target(membrain_pick_samples, read_membrain_pick_file, 1024),
    "surface_models": Target(surface_model_samples, read_surface_model, 1024),
    "scnt": Target(scnt_samples, read_scnt_file),
    "nifti": Target(nifti_samples, read_nifti_file),
    "safetensors": Target(safetensors_samples, read_model),
    "keras": Target(keras_samples, read_foreign, 1024),
    "easymode": Target(easymode_samples, read_easymode_file, 1024),
    "onnx": Target(onnx_samples, read_onnx_file, 1024),
    "ckpt": Target(ckpt_samples, read_ckpt_file, 1024),
    "yaml": Target(yaml_samples, read_recipe),
    "run": Target(run_samples, read_run),
    "manifest": Target(manifest_samples, read_manifest),
    "census": Target(run_samples, read_census),
}
