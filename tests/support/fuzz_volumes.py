"""Valid files of picks, volumes and tilt series, and what reads all of them, for fuzzing."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_samples import Sample, tolerate, zipped

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
    packed = {"chunks": (2, 2, 2), "compression": "lzf", "shuffle": True, "fletcher32": True}
    with h5py.File(folder / "d.h5", "w", userblock_size=512) as file:
        file.create_dataset("x", data=ramp(), **packed)
    return [Sample(name, (folder / name).read_bytes()) for name in ("a.hdf", "b.h5", "c.h5", "d.h5")]


def amira_samples(folder: Path) -> list[Sample]:
    from volume_files import amira_bytes, graph_bytes, ramp

    found = [
        Sample("a.am", amira_bytes(ramp(dtype="uint8"), "byte")),
        Sample("b.am", amira_bytes(ramp(dtype="int16"), "short", "BINARY 2.0")),
        Sample("c.am", amira_bytes(ramp(), "float", "3D ASCII 2.0"), "", True),
        Sample("d.am", amira_bytes((ramp() > -30).astype("u1"), "byte", name="Labels", rle=True)),
        Sample("e.am", amira_bytes(ramp(), "float", zipped=True)),
    ]
    forms = ("BINARY-LITTLE-ENDIAN 2.1", "3D ASCII 2.0")
    graphs = [Sample(f"g{i}.am", graph_bytes(form), "", i == 1) for i, form in enumerate(forms)]
    return [*found, *graphs, Sample("gz.am", graph_bytes(zipped=True), "", True)]


def read_amira_file(path: Path) -> None:
    from volengine.io.amira.graph import read_spatial_graph
    from volengine.io.picks import read_picks

    tolerate(lambda: read_spatial_graph(path))
    tolerate(lambda: read_picks(path, voxel_size=(10.0, 10.0, 10.0), origin=(0.0, 0.0, 0.0)))
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
