"""Volumes in HDF5 files, against h5py."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_files import eman2_file, ramp

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.hdf5.open import is_model, open_hdf5
from volengine.io.identity import check_unchanged
from volengine.io.names import file_and_dataset, suffix_of
from volengine.io.open import open_source, open_volume


def write(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name.replace("__", "/"), data=values)
    return path


def tags(text: str) -> str:
    return json.dumps({"axes": [{"key": k, "typeFlags": 2, "resolution": 0, "description": ""} for k in text]})


@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 8), st.integers(1, 9)),
    dtype=st.sampled_from(["u1", "<i2", ">i2", "<f4", ">f4", "f8", "f2", "?", "u4"]),
    how=st.sampled_from(
        [
            {},
            {"chunks": True},
            {"compression": "gzip"},
            {"compression": "gzip", "shuffle": True},
            {"compression": "lzf"},
            {"compression": "lzf", "shuffle": True, "fletcher32": True},
            {"fletcher32": True},
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
        ]
    ),
    block=st.sampled_from([0, 512, 4096]),
    chunk=st.integers(1, 4),
    data=st.data(),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_of_any_storage(tmp_path: Path, shape, dtype, how, block, chunk, data) -> None:
    values = (np.random.default_rng(3).random(shape) * 100).astype(dtype)
    if how:
        how = {**how, "chunks": tuple(min(chunk, n) for n in shape)}
    with h5py.File(tmp_path / "TS_01.h5", "w", userblock_size=block) as file:
        file.create_dataset("dataset", data=values, **how)
    volume = open_volume(tmp_path / "TS_01.h5", voxel_size=10)
    assert (volume.shape, volume.name, volume.path) == (shape, "TS_01", "/dataset")
    box = Box(*zip(*[sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in shape], strict=True))
    got = pickle.loads(pickle.dumps(open_source(volume))).read(box)
    assert got.dtype == np.dtype("u1" if dtype == "?" else dtype).newbyteorder("=")
    assert got.flags.c_contiguous
    assert np.array_equal(got, values[box.slices])


@pytest.mark.parametrize("maximum", [None, (None, 9, 9), (None, None, None)])
@pytest.mark.parametrize("chunks", [(2, 3, 4), (7, 8, 9)])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_every_index_of_chunks(tmp_path: Path, maximum: Any, chunks: tuple[int, ...], libver: str) -> None:
    """B-trees of both versions, fixed and extensible arrays, a single chunk, with and without filter."""
    values = np.random.default_rng(4).integers(0, 9, (7, 8, 9), dtype="i2")
    for compression in (None, "gzip"):
        with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
            file.create_dataset("x", data=values, chunks=chunks, maxshape=maximum, compression=compression)
        assert np.array_equal(open_volume(tmp_path / "a.h5", voxel_size=10)[:], values)


def test_deepfinder(tmp_path: Path) -> None:
    """DeepFinder writes one array ``dataset``, z, y, x, float16 or int8, and no voxel size."""
    write(tmp_path / "a.h5", dataset=ramp(dtype="float16"))
    with pytest.raises(InputError, match=r"/dataset states no voxel size.*--voxel-size"):
        open_volume(tmp_path / "a.h5")
    assert open_volume(tmp_path / "a.h5", voxel_size=10)[1, 2, 3] == ramp()[1, 2, 3]


@pytest.mark.parametrize("axes", ["zyxc", "tzyxc", "xyz", "czyx", "zcyx", "txyzc"])
@pytest.mark.parametrize("how", [{}, {"chunks": True, "compression": "gzip"}])
def test_ilastik_names_its_axes(tmp_path: Path, axes: str, how: dict[str, Any]) -> None:
    values = ramp(dtype="uint8")
    spare = [a for a in axes if a not in "zyx"]
    stored = values.reshape(*values.shape, *([1] * len(spare))).transpose(
        [("zyx" + "".join(spare)).index(a) for a in axes]
    )
    with h5py.File(tmp_path / "a_Probabilities.h5", "w") as file:
        file.create_dataset("exported_data", data=stored, **how).attrs["axistags"] = tags(axes)
    volume = open_volume(tmp_path / "a_Probabilities.h5", voxel_size=10)
    assert np.array_equal(volume[:], values)
    assert np.array_equal(volume[1, 1:3, 2:], values[1, 1:3, 2:])


@pytest.mark.parametrize("how", [{}, {"chunks": (2, 2, 2, 1)}])
def test_a_channel_is_chosen(tmp_path: Path, how: dict[str, Any]) -> None:
    values = np.stack([ramp(), ramp() + 1000], axis=-1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exported_data", data=values, **how).attrs["axistags"] = tags("zyxc")
    with pytest.raises(InputError, match=r"has 2 on its axis 'c'.*--channel \(0 to 1\)"):
        open_volume(tmp_path / "a.h5", voxel_size=10)
    with pytest.raises(InputError, match=r"0 to 1"):
        open_volume(tmp_path / "a.h5", voxel_size=10, channel=2)
    one, other = (open_volume(tmp_path / "a.h5", voxel_size=10, channel=c) for c in (0, 1))
    assert np.array_equal(one[:], ramp())
    assert np.array_equal(other[1:, :, 2:], ramp()[1:, :, 2:] + 1000)
    assert one.identity != other.identity


def test_four_axes_without_names_are_refused_if_all_are_long(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", dataset=np.zeros((2, 3, 4, 5), "f4"))
    with pytest.raises(InputError, match="no axistags"):
        open_volume(tmp_path / "a.h5", voxel_size=10)
    write(tmp_path / "b.h5", dataset=ramp()[None])
    assert np.array_equal(open_volume(tmp_path / "b.h5", voxel_size=10)[:], ramp())


@pytest.mark.parametrize(("bits", "limits"), [(0, (0, 0)), (5, (-50.0, 12.0)), (8, (-50.0, 77.5)), (12, (-60.0, 40.0))])
def test_eman2(tmp_path: Path, bits: int, limits: tuple[float, float]) -> None:
    """Reduced to 5 bits between -50 and 12 a step is 62 / 31 = 2: stored 3 is -44."""
    values = ramp()
    eman2_file(tmp_path / "a.hdf", values, 13.28, bits, limits)
    volume = open_volume(tmp_path / "a.hdf")
    assert volume.voxel_size == pytest.approx((13.28,) * 3)
    assert (volume.dtype, volume.path) == ("float32", "/MDF/images/0/image")
    step = (limits[1] - limits[0]) / (2**bits - 1) if bits else 0
    clipped = np.clip(values, *limits) if bits else values
    assert np.abs(volume[:] - clipped).max() <= step / 2 + 1e-6
    if bits == 5:
        with h5py.File(tmp_path / "a.hdf") as file:
            stored = file["MDF/images/0/image"][0, 1, 2]
        assert volume[0, 1, 2] == -50 + 2 * int(stored)


def test_eman2_does_not_know_the_voxel_size_if_it_is_1(tmp_path: Path) -> None:
    eman2_file(tmp_path / "a.hdf", ramp(), 1.0)
    with pytest.raises(InputError, match=r"apix is 1.0.*unknown"):
        open_volume(tmp_path / "a.hdf")


def test_attributes_that_json_cannot_hold_are_left_out(tmp_path: Path) -> None:
    eman2_file(tmp_path / "a.hdf", ramp(), 10.0)
    with h5py.File(tmp_path / "a.hdf", "r+") as file:
        file["MDF/images/0"].attrs["EMAN.sigma"] = np.float32(np.nan)
        file["MDF/images/0"].attrs["EMAN.mean"] = np.float32(3)
    kept = open_volume(tmp_path / "a.hdf").facts["hdf5"]
    assert kept["EMAN.mean"] == 3
    assert "EMAN.sigma" not in kept


def test_element_size_um_is_z_y_x(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=ramp()).attrs["element_size_um"] = [0.002, 0.001, 0.0015]
    assert open_volume(tmp_path / "a.h5").voxel_size == (20, 10, 15)


def test_several_volumes_need_a_choice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", raw=ramp(), seg__labels=ramp(dtype="int16") + 50, flat=np.zeros((4, 5)))
    with pytest.raises(
        InputError, match=r"holds 2 volumes: /raw \(3 x 4 x 5 float32\), /seg/labels.*Choose.*a\.h5:/raw"
    ):
        open_volume(path, voxel_size=10)
    place = f"{path}:/seg/labels"
    volume = open_volume(place, voxel_size=10)
    assert volume.place == volume.where == place
    assert np.array_equal(volume[:], ramp(dtype="int16") + 50)
    assert volume.identity != open_volume(f"{path}:/raw", voxel_size=10).identity
    assert open_volume(volume.place, voxel_size=10) == volume
    whole = [open_volume(f"{path}:{p}", voxel_size=10, identity="content").identity for p in ("/raw", "/seg/labels")]
    assert whole[0] != whole[1]
    with pytest.raises(MissingError, match=r"no volume '/other'.*/raw"):
        open_volume(f"{path}:/other", voxel_size=10)
    assert (suffix_of(place), file_and_dataset(place)) == (".h5", (str(path), "/seg/labels"))


def test_chunks_that_are_not_stored_are_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (4, 4, 4), "i2", chunks=(2, 2, 2), fillvalue=7)
        data[:2, :2, :2] = 1
    expected = np.full((4, 4, 4), 7)
    expected[:2, :2, :2] = 1
    assert np.array_equal(open_volume(tmp_path / "a.h5", voxel_size=10)[:], expected)


def test_models_are_no_volumes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["keras_version"] = "3.0"
        file.create_dataset("model_weights/conv/kernel", data=np.zeros((3, 3, 1, 8), "f4"))
    with pytest.raises(FormatError, match="a file of Keras"):
        open_volume(tmp_path / "model.h5", voxel_size=10)
    assert is_model(str(tmp_path / "model.h5"))
    assert not is_model(str(write(tmp_path / "a.h5", x=ramp())))


def _external(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (3, 4, 5), "f4", external=[(str(path.with_suffix(".bin")), 0, 240)])


def _virtual(path: Path) -> None:
    write(path.with_name("other.h5"), x=ramp())
    layout = h5py.VirtualLayout((3, 4, 5), "f4")
    layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "x", (3, 4, 5))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)


def _link(path: Path) -> None:
    write(path.with_name("other.h5"), x=ramp())
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink(str(path.with_name("other.h5")), "x")


def _scaled(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=ramp(), chunks=(1, 4, 5), scaleoffset=0)


def _cut(path: Path) -> None:
    write(path, x=np.random.default_rng(0).random((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:30_000])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_external, "other files"), (_virtual, "other files"), (_link, "no volume"), (_scaled, "'scaleoffset'"),
        (_cut, "truncated|damaged"),
        (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500)), "damaged"),
        (lambda p: p.write_bytes(b"no"), "no HDF5 file"),
        (lambda p: write(p, x=np.zeros((4, 5))), "no array of numbers with three axes"),
        (lambda p: write(p, x=np.zeros((3, 4, 5), "c8")), "no array of numbers with three axes"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, make, said: str) -> None:
    make(tmp_path / "a.h5")
    with pytest.raises(FormatError, match=said):
        open_volume(tmp_path / "a.h5", voxel_size=10)


def test_a_damaged_chunk_is_an_error_and_no_voxels(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 9, (8, 8, 8), dtype="u1")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        node = file.create_dataset("x", data=values, chunks=(4, 8, 8), compression="gzip")
        info = node.id.get_chunk_info(1)
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[info.byte_offset + info.size // 2] ^= 0xFF
    (tmp_path / "a.h5").write_bytes(data)
    volume = open_volume(tmp_path / "a.h5", voxel_size=10)
    assert np.array_equal(volume[:4], values[:4])
    with pytest.raises(FormatError, match=r"chunk at byte .* damaged"):
        volume[4:]


def test_a_change_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", x=ramp())
    volume = open_hdf5(path, voxel_size=10)
    with h5py.File(path, "r+") as file:
        file["x"][0, 0, 0] = 5
    with pytest.raises(FormatError, match="has changed since"):
        check_unchanged(volume)
