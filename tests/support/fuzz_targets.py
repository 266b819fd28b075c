"""What is fuzzed: for each class of readers some valid files, how they are taken apart and put together, the reader.

A file is mutated as a whole, or one of its parts is: the header of a ``.safetensors`` file, a member of a tar or zip.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutations import mutated, mutated_json

ROOT = Path(__file__).parents[2]
Parts = dict[str, bytes]


@dataclass(frozen=True)
class Sample:
    """A valid file: its name, its bytes, how it is taken apart (a key of :data:`PARTS`), and what lies beside it."""

    name: str
    data: bytes
    form: str = ""
    text: bool = False
    beside: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A class of readers: its valid files (made in a folder), and a function that reads all of one file."""

    samples: Callable[[Path], list[Sample]]
    read: Callable[[Path], Any]
    megabytes: int = 512


def change(sample: Sample, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    """A mutation of a sample: of the whole file, or of one of its parts."""
    if not sample.form or rng.random() < 0.3:
        return mutated(sample.data, rng, others, sample.text)
    try:
        return _changed(sample, rng)
    except (RecursionError, ValueError):  # what was drawn cannot be written down: nested too deeply, or in itself
        return mutated(sample.data, rng, others, sample.text)


def _changed(sample: Sample, rng: random.Random) -> bytes:
    parts = PARTS[sample.form][0](sample.data)
    name = rng.choice(sorted(parts))
    parts[name] = _changed_part(parts[name], rng)
    if sample.form == "tar" and rng.random() < 0.1:
        parts[rng.choice(("../x", "/abs", name + "x", "a/b/c"))] = parts.pop(name)
    return PARTS[sample.form][1](parts)


def _changed_part(data: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(data)
    except ValueError:
        return mutated(data, rng, (), text=False)
    if rng.random() < 0.7:
        return json.dumps(mutated_json(value, rng)).encode()
    return mutated(data, rng, (), text=True)


# -- containers --------------------------------------------------------------------------------------------------------


def untar(data: bytes) -> Parts:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def tar(parts: Parts) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def unzip(data: bytes) -> Parts:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def zipped(parts: Parts) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return stream.getvalue()


def unsafe(data: bytes) -> Parts:
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    told = {k: v for k, v in header["__metadata__"].items() if k == "volengine"}
    return {"header": json.dumps(header).encode(), "told": told["volengine"].encode(), "body": data[8 + size :]}


def safe(parts: Parts) -> bytes:
    header = parts["header"]
    try:
        value = json.loads(header)
        if "volengine" in value["__metadata__"]:
            value["__metadata__"]["volengine"] = parts["told"].decode("latin-1")
            header = json.dumps(value).encode()
    except (ValueError, KeyError, TypeError):
        pass
    return struct.pack("<Q", len(header)) + header + parts["body"]


PARTS: dict[str, tuple[Callable[[bytes], Parts], Callable[[Parts], bytes]]] = {
    "tar": (untar, tar),
    "zip": (unzip, zipped),
    "safetensors": (unsafe, safe),
    "gz": (lambda data: {"file": gzip.decompress(data)}, lambda parts: gzip.compress(parts["file"], 1)),
    "json": (lambda data: {"file": data}, lambda parts: parts["file"]),
}


# -- picks ----------------------------------------------------------------------------------------------------------


def picks_samples(folder: Path) -> list[Sample]:
    from full_picks import make_picks

    from volengine.core.picks import Picks
    from volengine.io.picks import write_picks
    from volengine.io.picks.formats import FORMATS

    cubes = make_picks(voxel_size=(10.0, 10.0, 10.0), tomogram="TS_01", origin=(0.0, 0.0, 0.0))
    plain = Picks([[1, 2, 3], [4, 5.5, 6]], voxel_size=(10, 10, 10), shape=(20, 20, 20), tomogram="TS_01")
    found = []
    for number, table in enumerate((cubes, plain)):
        for format in (name for name, one in FORMATS.items() if one.reads and one.writes):
            ending = FORMATS[format].endings[0].removeprefix(".")
            inner = folder / f"{format}{number}"
            inner.mkdir()
            path = inner / f"{format}{number}.{ending}"
            write_picks(path, table, format)
            beside = {other.name: other.read_bytes() for other in inner.iterdir() if other != path}
            text = b"\0" not in path.read_bytes()
            found.append(Sample(path.name, path.read_bytes(), "json" * (ending == "json"), text, beside))
            if ending in ("star", "csv"):
                bare = b"\n".join(v for v in path.read_bytes().split(b"\n") if not v.startswith(b"#"))
                found.append(Sample(f"bare-{path.name}", bare, "", True))
    found += other_picks_samples(folder, (cubes, plain))
    tomograms = (
        b"data_global\nloop_\n_rlnTomoName\n_rlnTomoSizeX\n_rlnTomoSizeY\n_rlnTomoSizeZ\n_rlnTomoTiltSeriesPixelSize\n"
        b"_rlnTomoTomogramBinning\nTS_01 80 70 60 2.5 4\n"
    )
    optimisation = b"data_\n_rlnTomoParticlesFile relion50.star\n_rlnTomoTomogramsFile tomograms.star\n"
    files = {"relion50.star": (folder / "relion50" / "relion50.star").read_bytes(), "tomograms.star": tomograms}
    found.append(Sample("optimisation_set.star", optimisation, "", True, files))
    found.append(Sample("tomograms.star", tomograms, "", True, {"x.star": optimisation, **files}))
    warp = (
        b"# Schl\xfcssel\ndata_optics\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n"
        b"_rlnTomoSubtomogramBinning\n"
        b"_rlnImagePixelSize\n1 0.8 5.0 4.0\n\ndata_particles\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n"
        b"_rlnCoordinateZ\n_rlnOpticsGroup\n_rlnOriginXAngst\n_rlnOriginYAngst\n_rlnOriginZAngst\n"
        b"a/TS_01.tomostar 1.5 2 3 1.000000 1 2 3\n"
    )
    found.append(Sample("warp2d.star", warp, "", True))
    groups = b"tomogram,group\nTS_01,a\nTS_02,b\n"
    return [*found, Sample("groups.csv", groups, "", True)]


def other_picks_samples(folder: Path, tables: tuple[Any, ...]) -> list[Sample]:
    """Files of the formats of other programs, one of each table, and one of each that is only read."""
    import h5py

    from volengine.io.picks import write_picks
    from volengine.io.picks.formats import FORMATS

    found = []
    for format in ("portal", "imod", "imod-text", "stopgap", "motl", "eman2", "coords", "cbox", "artiax", "cmm"):
        for number, table in enumerate(tables):
            path = folder / f"{format}{number}{FORMATS[format].endings[0]}"
            write_picks(path, table, format)
            beside = path.with_suffix(".doc")
            near = {beside.name: beside.read_bytes()} if format in ("stopgap", "motl") else {}
            text = format not in ("imod", "motl")
            found.append(Sample(path.name, path.read_bytes(), "json" * (format == "eman2"), text, near))
    mesh = np.arange(18, dtype=">f4").tobytes() + np.array([-25, 0, 2, 4, -22, -1], ">i4").tobytes()
    chunk = b"MESH" + struct.pack(">iiIhh", 6, 6, 0, 0, 0) + mesh
    model = (folder / "imod1.mod").read_bytes()
    found.append(Sample("mesh.mod", model[:-4] + chunk + b"IEOF"))
    with h5py.File(folder / "a__b.hdf", "w") as file:
        for number in range(2):
            group = file.create_group(f"MDF/images/{number}")
            group.attrs["EMAN.ptcl_source_coord"], group.attrs["EMAN.apix_x"] = [1.0, 2.0, 3.0], 4.0
    return [*found, Sample("a__b.hdf", (folder / "a__b.hdf").read_bytes())]


def read_picks_file(path: Path) -> None:
    from volengine.io.picks import read_all
    from volengine.tasks.stats.groups import read_groups

    format = "imod-text" if path.name.startswith("imod-text") else "imod-mesh" if path.name == "mesh.mod" else None
    origin = {"origin": (1.0, 2.0, 3.0)} if path.suffix == ".cmm" else {}
    for more in ({}, {"voxel_size": (10.0, 10.0, 10.0), "shape": (20, 20, 20), **origin}):
        tolerate(lambda more=more: [repr(p) for p in read_all(path, format, **more).values()])
    if path.suffix == ".csv":
        read_groups(str(path))


def tolerate(read: Callable[[], Any]) -> None:
    """Read; an error of the package's own class is an answer."""
    from volengine.core.errors import VolengineError

    try:
        read()
    except VolengineError:
        return


# -- volumes ---------------------------------------------------------------------------------------------------------


def mrc_samples(folder: Path) -> list[Sample]:
    from mrc_files import ramp, write

    found = []
    for mode, kind in ((0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")):
        path = write(folder / f"m{mode}.mrc", ramp(dtype=kind), mode)
        found.append(Sample(path.name, path.read_bytes()))
    path = write(folder / "ext.mrc", ramp(dtype="f4"), 2, ext=bytes(range(256)) * 4)
    found.append(Sample(path.name, path.read_bytes()))
    path = write(folder / "big.mrc", ramp(dtype=">i2"), 1, order=">")
    found.append(Sample(path.name, path.read_bytes()))
    return [*found, Sample("z.mrc.gz", gzip.compress(found[0].data), "gz")]


def tiff_samples(folder: Path) -> list[Sample]:
    import tifffile

    found = []
    array = np.arange(3 * 8 * 9).reshape(3, 8, 9)
    for number, (dtype, more) in enumerate((
        ("u1", {}), ("u2", {"imagej": True}), ("f4", {"bigtiff": True}), ("i2", {"compression": "zlib"}),
        ("u2", {"tile": (16, 16)}), ("u1", {"ome": True}), ("u2", {"byteorder": ">"}),
        ("u2", {"compression": "zlib", "predictor": True, "rowsperstrip": 2}),
    )):  # fmt: skip
        path = folder / f"t{number}.tif"
        tifffile.imwrite(path, array.astype(dtype), photometric="minisblack", **more)  # type: ignore[arg-type]
        found.append(Sample(path.name, path.read_bytes()))
    return found


def read_volume(path: Path) -> None:
    from volengine.core.boxes import Box
    from volengine.io.open import open_source, open_volume

    volume = open_volume(str(path), voxel_size=10.0)
    if volume.size < 10**6 and not path.name.endswith(".gz"):
        open_source(volume).read(Box((0, 0, 0), volume.shape))


def zarr_samples(folder: Path) -> list[Sample]:
    """Stores of Zarr v2 and v3 of every NGFF that is written, each in a zip archive."""
    from volengine.core.boxes import Box
    from volengine.core.image import ImageSpec
    from volengine.io.omezarr.arrays import ZarrSink
    from volengine.io.omezarr.image import create_image, finish_image
    from volengine.io.omezarr.levels import plan_levels

    found, array = [], np.arange(1, 8 * 16 * 16 + 1, dtype="int16").reshape(8, 16, 16)
    for ngff in ("0.4", "0.5", "0.6"):
        store = folder / f"z{ngff}.ome.zarr"
        levels = plan_levels(array.shape, chunk=(4, 8, 8), ngff=ngff)  # type: ignore[arg-type]
        spec = ImageSpec(str(store), "t", "int16", "intensity", (10.0,) * 3, levels, ngff=ngff)  # type: ignore[arg-type]
        create_image(spec, token="t")
        ZarrSink(spec.volume()).write(Box.of_shape(array.shape), array)
        finish_image(spec)
        files = {f.relative_to(store).as_posix(): f.read_bytes() for f in sorted(store.rglob("*")) if f.is_file()}
        found.append(Sample(f"z{ngff}.ozx", zipped(files), "zip"))
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in files.items():
                archive.writestr(f"t.zarr/{name}", data)
        found.append(Sample(f"z{ngff}.zarr.zip", stream.getvalue()))
    return found


def read_zarr_file(path: Path) -> None:
    from volengine.io.omezarr.read import list_groups

    tolerate(lambda: list_groups(str(path)))
    read_volume(path)


def em_samples(folder: Path) -> list[Sample]:
    from volume_files import em_bytes, ramp

    kinds = [("int16", "<"), ("float32", ">"), ("int8", "<")]
    return [Sample(f"e{i}.em", em_bytes(ramp(dtype=dtype), order)) for i, (dtype, order) in enumerate(kinds)]


def hdf5_samples(folder: Path) -> list[Sample]:
    import h5py
    from volume_files import eman2_file, ramp

    eman2_file(folder / "a.hdf", ramp(), 10.0, 8, (-50.0, 10.0))
    with h5py.File(folder / "b.h5", "w") as file:
        file.create_dataset("dataset", data=ramp(dtype="float16"))
    axes = {"axes": [{"key": k} for k in "zyxc"]}
    with h5py.File(folder / "c.h5", "w", libver="latest") as file:
        node = file.create_dataset("exported_data", data=ramp()[..., None], chunks=(2, 2, 2, 1), compression="gzip")
        node.attrs["axistags"] = json.dumps(axes)
    return [Sample(name, (folder / name).read_bytes()) for name in ("a.hdf", "b.h5", "c.h5")]


def amira_samples(folder: Path) -> list[Sample]:
    from volume_files import amira_bytes, graph_bytes, ramp

    found = [
        Sample("a.am", amira_bytes(ramp(dtype="uint8"), "byte")),
        Sample("b.am", amira_bytes(ramp(dtype="int16"), "short", "BINARY 2.0")),
        Sample("c.am", amira_bytes(ramp(), "float", "3D ASCII 2.0"), "", True),
        Sample("d.am", amira_bytes((ramp() > -30).astype("u1"), "byte", name="Labels", rle=True)),
    ]
    forms = ("BINARY-LITTLE-ENDIAN 2.1", "3D ASCII 2.0")
    return [*found, *(Sample(f"g{i}.am", graph_bytes(form), "", i == 1) for i, form in enumerate(forms))]


def read_amira_file(path: Path) -> None:
    from volengine.io.amira.graph import read_spatial_graph

    tolerate(lambda: read_spatial_graph(path))
    read_volume(path)


def nifti_volume_samples(folder: Path) -> list[Sample]:
    import nibabel

    found = []
    for number, (dtype, kind) in enumerate((("i2", "Nifti1Image"), ("f4", "Nifti2Image"))):
        image = getattr(nibabel, kind)(np.arange(60, dtype=dtype).reshape(3, 4, 5), np.diag([1e-3, 1e-3, 1e-3, 1]))
        image.header.set_xyzt_units("micron")
        nibabel.save(image, folder / f"v{number}.nii")
        found.append(Sample(f"v{number}.nii", (folder / f"v{number}.nii").read_bytes()))
    return [*found, Sample("v.nii.gz", gzip.compress(found[0].data), "gz")]


def read_nifti_volume(path: Path) -> None:
    from volengine.io.open import unpack

    read_volume(path)
    if path.name.endswith(".gz"):
        unpack(path, path.with_name("plain.nii"))


def tilts_samples(folder: Path) -> list[Sample]:
    from tilt_files import ALL

    return [Sample(name, text.encode(), "", True) for name, text in ALL.items()]


def read_tilts_file(path: Path) -> None:
    from volengine.io.tilts import TiltSeries, read_tilts

    series = read_tilts(path)
    assert TiltSeries.from_json(json.loads(json.dumps(series.to_json()))) == series
    json.dumps(series.summary())


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
    return [*found, Sample("a.yaml", b"a: &a [1, 2]\nb: *a\nc: {d: 1e-3, e: 0x10, f: 2026-01-01}\n", "", True)]


def read_recipe(path: Path) -> None:
    from volengine.tasks.common.yaml_recipes import read_yaml
    from volengine.tasks.run import RunRecipe
    from volengine.tasks.simulate.recipe import SimulateRecipe
    from volengine.tasks.train.recipe import TrainRecipe

    data = read_yaml(path)
    for recipe in (RunRecipe, SimulateRecipe, TrainRecipe):
        tolerate(lambda recipe=recipe: repr(recipe.from_json(data)))


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


TARGETS: dict[str, Target] = {
    "picks": Target(picks_samples, read_picks_file),
    "mrc": Target(mrc_samples, read_volume),
    "tiff": Target(tiff_samples, read_volume),
    "zarr": Target(zarr_samples, read_zarr_file),
    "em": Target(em_samples, read_volume),
    "hdf5": Target(hdf5_samples, read_volume, 1024),
    "amira": Target(amira_samples, read_amira_file),
    "nifti_volumes": Target(nifti_volume_samples, read_nifti_volume),
    "tilts": Target(tilts_samples, read_tilts_file),
    "structures": Target(structure_samples, read_structure_file),
    "meshes": Target(mesh_samples, read_mesh_file),
    "scnt": Target(scnt_samples, read_scnt_file),
    "nifti": Target(nifti_samples, read_nifti_file),
    "safetensors": Target(safetensors_samples, read_model),
    "keras": Target(keras_samples, read_foreign, 1024),
    "easymode": Target(easymode_samples, read_easymode_file, 1024),
    "onnx": Target(onnx_samples, read_onnx_file, 1024),
    "ckpt": Target(ckpt_samples, read_ckpt_file, 1024),
    "yaml": Target(yaml_samples, read_recipe),
    "run": Target(run_samples, read_run),
}
