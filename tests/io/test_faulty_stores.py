"""Stores and web servers that fail: right voxels or an error that names the object; never others, never a hang."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from s3_server import Fault, Server, serving, use_server

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import MissingError, UnreachedError, VolengineError
from volengine.io import patience, zipped
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_source, open_volume
from volengine.io.stores import StoredObject, download, exists, stored_bytes, stored_file, stored_objects

s3fs = pytest.importorskip("s3fs")

SHAPE = (24, 40, 50)
PART = Box((4, 3, 2), (15, 40, 50))
"""Not all chunks of a shard, which would be read at once."""
ARRAY = np.random.default_rng(3).integers(1, 100, SHAPE).astype(np.int16)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of stores of each kind, by their keys: with shards, with plain chunks, of raw bytes; an MRC file."""
    import zarr

    folder = tmp_path_factory.mktemp("made")
    write_mrc(folder / "a.mrc", [ARRAY], SHAPE, "int16", (10.0, 10.0, 10.0))
    quiet = volengine.RunOptions(progress=False)
    sharded = volengine.ConvertRecipe(chunk=(8, 8, 8), shard=(24, 40, 56), levels=1)
    volengine.convert(folder / "a.mrc", folder / "shards.ome.zarr", sharded, quiet)
    plain = volengine.ConvertRecipe(chunk=(16, 16, 16), ngff="0.4", levels=1)
    volengine.convert(folder / "a.mrc", folder / "chunks.ome.zarr", plain, quiet)
    for name, shards in (("raw", None), ("rawshards", (24, 40, 64))):  # by another program: no checksums, no manifest
        root = zarr.create_group(folder / f"{name}.zarr", zarr_format=3)
        axes = [{"name": a, "type": "space", "unit": "angstrom"} for a in "zyx"]
        scale = [{"type": "scale", "scale": [10.0, 10.0, 10.0]}]
        image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        root.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
        array = root.create_array(
            "0", shape=SHAPE, dtype="int16", chunks=(8, 8, 16), shards=shards, compressors=None, fill_value=0
        )
        array[:] = ARRAY
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def server(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with these objects, and a client that does not wait long."""
    with serving() as running:
        running.buckets["bucket"] = dict(objects)
        use_server(monkeypatch, running.endpoint, AWS_MAX_ATTEMPTS="1")
        monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.01)
        monkeypatch.setattr(patience, "ANSWER_S", 1.5)
        monkeypatch.setattr(patience, "PATIENCE_S", 20.0)
        yield running
        s3fs.S3FileSystem.clear_instance_cache()


def place(server: Server, scheme: str, name: str) -> str:
    return f"s3://bucket/{name}" if scheme == "s3" else f"http://127.0.0.1:{server.server_port}/bucket/{name}"


KINDS = [
    "rawshards.zarr",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("shards.ome.zarr", "chunks.ome.zarr", "raw.zarr")),
]
SCHEMES = ["s3", "http"]
PASSING = {
    "500": Fault("status", times=2),
    "503": Fault("status", times=2, status=503, code="SlowDown"),
    "429": Fault("status", times=2, status=429, code="TooManyRequests", headers={"Retry-After": "0"}),
    "cut": Fault("cut", times=2),
    "silent": Fault("silent", times=1),
    "slow": Fault("slow", times=1),
    "shifted": Fault("shifted", times=2, ranged=True),
    "redirect": Fault("redirect", times=1),
}
LASTING = {
    "500": Fault("status"),
    "403": Fault("status", status=403, code="AccessDenied"),
    "expired": Fault("status", status=400, code="ExpiredToken"),
    "no bucket": Fault("status", status=404, code="NoSuchBucket"),
    "gone": Fault("status", status=410, code="Gone"),
    "cut": Fault("cut"),
    "slow": Fault("slow"),
    "silent": Fault("silent"),
    "redirect": Fault("redirect"),
}


def read(volume: volengine.OpenVolume | volengine.Volume) -> NDArray[np.int16]:
    return np.asarray(open_source(volume).read(PART))


def arm(server: Server, fault: Fault, part: str) -> None:
    server.faults.append(Fault(**{**vars(fault), "part": part}))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", PASSING)
def test_what_passes_is_repeated(server: Server, scheme: str, kind: str, what: str) -> None:
    volume = open_volume(place(server, scheme, kind))
    arm(server, PASSING[what], f"{kind}/0/{'' if kind == 'chunks.ome.zarr' else 'c/'}0")
    assert np.array_equal(read(volume), ARRAY[PART.slices])
    if not (what == "shifted" and kind in ("chunks.ome.zarr", "raw.zarr")):  # those are read whole
        assert server.struck


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["raw.zarr", KINDS[1], pytest.param("rawshards.zarr", marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", LASTING)
def test_what_does_not_pass_is_an_error_that_names_the_object(
    server: Server, monkeypatch: pytest.MonkeyPatch, scheme: str, kind: str, what: str
) -> None:
    """Never zeros: only an answer that there is no such object means that there is none."""
    if scheme == "http" and what == "no bucket":
        pytest.skip("over HTTP, 404 says that there is no such object, whatever the body says")
    monkeypatch.setattr(patience, "ATTEMPTS", 2)
    volume = open_volume(place(server, scheme, kind))
    arm(server, LASTING[what], f"{kind}/0/c/0/0/0")
    began = time.monotonic()
    with pytest.raises((UnreachedError, MissingError), match=rf"{kind}/0/c/0/0/0 cannot be reached") as caught:
        read(volume)
    assert time.monotonic() - began < 60
    refused = what in ("403", "expired", "no bucket", "gone")
    assert isinstance(caught.value, MissingError) == refused or what == "redirect"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["shards.ome.zarr", "rawshards.zarr"])
def test_a_server_that_knows_no_ranges_is_understood(server: Server, scheme: str, kind: str) -> None:
    """The first frame of a whole shard would be taken for any chunk of it."""
    volume = open_volume(place(server, scheme, kind))
    server.faults.append(Fault("whole", f"{kind}/0/c/", ranged=True))
    assert np.array_equal(read(volume), ARRAY[PART.slices])
    assert ("whole", f"{kind}/0/c/0/0/0") in server.struck


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_body_that_is_short_and_says_so_is_an_error(server: Server, scheme: str, kind: str) -> None:
    """Half of an object with a length that fits cannot be told from a damaged one; it must not be decoded."""
    volume = open_volume(place(server, scheme, kind))
    arm(server, Fault("lie"), f"{kind}/0/{'' if kind == 'chunks.ome.zarr' else 'c/'}0")
    with pytest.raises(VolengineError, match=rf"{kind}.*0/0/0"):
        read(volume)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_chunk_that_is_not_there_is_zero_unless_the_manifest_lists_it(server: Server, scheme: str) -> None:
    del server.buckets["bucket"]["raw.zarr/0/c/0/0/0"]
    voxels = read(open_volume(place(server, scheme, "raw.zarr")))
    wanted = ARRAY.copy()
    wanted[:8, :8, :16] = 0
    assert np.array_equal(voxels, wanted[PART.slices])
    volume = open_volume(place(server, scheme, "shards.ome.zarr"))
    del server.buckets["bucket"]["shards.ome.zarr/0/c/0/0/0"]
    with pytest.raises(VolengineError, match=r"shards\.ome\.zarr, array '0': the shard c/0/0/0 .*is lost"):
        read(volume)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_shard_that_is_replaced_while_it_is_read_is_read_anew(
    server: Server, objects: dict[str, bytes], tmp_path: Path, scheme: str
) -> None:
    """The index of one shard and the bytes of another would be voxels that never were: these have no checksums."""
    import zarr

    store = zarr.create_array(
        tmp_path / "other", shape=SHAPE, dtype="int16", chunks=(8, 8, 16), shards=(24, 40, 64), compressors=None
    )
    new = ARRAY.copy()
    new[:8] = 0  # chunks of zeros are not stored, so all others lie elsewhere
    store[:] = new
    shard = (tmp_path / "other/c/0/0/0").read_bytes()
    assert len(shard) != len(objects["rawshards.zarr/0/c/0/0/0"])
    volume = open_volume(place(server, scheme, "rawshards.zarr"))
    key = "rawshards.zarr/0/c/0/0/0"

    def replace() -> None:
        server.buckets["bucket"][key] = shard

    # the index is the first request; the second one finds another object
    server.faults += [Fault("as it is", key, times=1), Fault("as it is", key, times=1, before=replace)]
    assert np.array_equal(read(volume), new[PART.slices])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_errors_are_not_taken_for_no_such_object(server: Server, scheme: str) -> None:
    url = place(server, scheme, "raw.zarr")
    for status, code in ((403, "AccessDenied"), (500, "InternalError")):
        server.faults[:] = [Fault("status", "raw.zarr", method="*", status=status, code=code)]
        for ask in (
            lambda: exists(url) if scheme == "s3" else stored_bytes(url, "zarr.json"),
            lambda: stored_bytes(url, "zarr.json"),
            lambda: stored_file(f"{url}/zarr.json"),
            lambda: open_volume(url),
            lambda: stored_objects(url, "0") if scheme == "s3" else stored_bytes(url, "0/zarr.json"),
        ):
            with pytest.raises((UnreachedError, MissingError), match="cannot be reached"):
                ask()
    server.faults.clear()
    assert stored_file(f"{url}/none.json") is None
    assert stored_bytes(url, "none.json") is None
    found = stored_file(f"{url}/zarr.json")
    assert isinstance(found, StoredObject)
    assert found.size == len(server.buckets["bucket"]["raw.zarr/zarr.json"])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_download_is_of_one_file(server: Server, scheme: str, tmp_path: Path, monkeypatch) -> None:
    from volengine.io import stores

    monkeypatch.setattr(stores, "DOWNLOAD_BYTES", 10_000)
    url, target = place(server, scheme, "a.mrc"), tmp_path / "a.mrc"
    arm(server, PASSING["cut"], "a.mrc")
    with target.open("wb") as file:
        download(url, file)
    assert target.read_bytes() == server.buckets["bucket"]["a.mrc"]

    def replace() -> None:
        server.buckets["bucket"]["a.mrc"] = bytes(reversed(server.buckets["bucket"]["a.mrc"]))

    server.faults.append(Fault("as it is", "a.mrc", times=1))
    server.faults.append(Fault("as it is", "a.mrc", times=1, before=replace))
    with pytest.raises(VolengineError, match="written again while it was read"):
        download(url, BytesIO())


# -- files behind URLs -----------------------------------------------------------------------------------------


@pytest.fixture
def files(server: Server, tmp_path: Path) -> dict[str, bytes]:
    """The MRC file packed, and a store in an archive, as RFC-9 says and compressed."""
    import bz2
    import gzip
    import io
    import zipfile

    stored = server.buckets["bucket"]
    stored["b.mrc.gz"] = gzip.compress(stored["a.mrc"])
    stored["c.mrc.bz2"] = bz2.compress(stored["a.mrc"])
    for name, how in (("plain.ozx", zipfile.ZIP_STORED), ("packed.zarr.zip", zipfile.ZIP_DEFLATED)):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", how) as archive:
            for key, data in list(stored.items()):
                if key.startswith("shards.ome.zarr/"):
                    archive.writestr(key.partition("/")[2], data)
        stored[name] = made.getvalue()
    return stored


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["a.mrc", pytest.param("plain.ozx", marks=pytest.mark.slow), "packed.zarr.zip"])
def test_parts_of_files_behind_urls(
    server: Server, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, scheme: str, name: str
) -> None:
    """Voxel (20, 7, 3) of the file is at byte 1024 + 2 · ((20 · 40 + 7) · 50 + 3), whatever reads it."""
    volume = open_volume(place(server, scheme, name))
    assert np.array_equal(read(volume), ARRAY[PART.slices])
    at = 1024 + 2 * ((20 * 40 + 7) * 50 + 3)
    assert volume[20, 7, 3] == int.from_bytes(files["a.mrc"][at : at + 2], "little")
    for what in ("cut", "500", "shifted", "silent"):
        server.faults[:] = []
        arm(server, PASSING[what], name)
        assert np.array_equal(read(volume), ARRAY[PART.slices])
    server.faults[:] = [Fault("status", name, status=403, code="AccessDenied")]
    with pytest.raises(MissingError, match=rf"{name} cannot be reached"):
        read(volume)
    server.faults[:] = [Fault("whole", name)]
    assert np.array_equal(read(volume), ARRAY[PART.slices])
    server.faults[:] = []
    source = open_source(volume)
    source.read(PART)
    files[name] = files[name][:-4] + bytes(b ^ 1 for b in files[name][-4:])
    monkeypatch.setattr(zipped, "FRESH_S", 0.0)
    with pytest.raises(VolengineError, match=rf"{re.escape(name)}"):
        source.read(PART)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["a.mrc", "b.mrc.gz", "c.mrc.bz2", "plain.ozx", "raw.zarr", "chunks.ome.zarr"])
def test_convert_from_a_url(server: Server, files: dict[str, bytes], tmp_path: Path, scheme: str, name: str) -> None:
    """Files are copied to the run folder first, whole and of one version; nothing of it is left there."""
    arm(server, PASSING["cut"], name)
    options = volengine.RunOptions(progress=False)
    made = volengine.convert(place(server, scheme, name), tmp_path / "b.ome.zarr", None, options)
    assert np.array_equal(made[:], ARRAY)
    assert server.struck
    assert not list(tmp_path.rglob("source.mrc"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_file_that_is_replaced_between_plan_and_reading(
    server: Server, files: dict[str, bytes], tmp_path: Path, scheme: str
) -> None:
    from volengine.io.identity import check_unchanged

    volume = open_volume(place(server, scheme, "a.mrc"))
    check_unchanged(volume)
    assert open_volume(place(server, scheme, "a.mrc"), identity="content").identity
    files["a.mrc"] = files["a.mrc"][:-1] + b"\x55"
    with pytest.raises(VolengineError, match="has changed"):
        check_unchanged(volume)
    assert open_volume(place(server, scheme, "a.mrc")).identity != volume.identity
    del files["a.mrc"]
    with pytest.raises(VolengineError, match="is gone"):
        check_unchanged(volume)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["none.mrc", "none.ozx", "none.zarr", "none.mrc.gz", "a.tif"])
def test_files_that_are_not_there_or_not_read(server: Server, scheme: str, name: str) -> None:
    with pytest.raises(volengine.core.errors.InputError, match=name):
        open_volume(place(server, scheme, name))
