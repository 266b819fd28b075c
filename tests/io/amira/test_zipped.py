"""Amira lattices that are compressed with HxZip, against zlib."""

from __future__ import annotations

import pickle
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_files import amira_bytes, ramp

from volengine.core.boxes import Box
from volengine.core.errors import FormatError
from volengine.io.amira import zipped
from volengine.io.open import open_source, open_volume


@pytest.mark.parametrize(("kind", "dtype"), [("byte", "uint8"), ("short", "int16"), ("float", "float32")])
@pytest.mark.parametrize("form", ["BINARY-LITTLE-ENDIAN 2.1", "BINARY 2.0"])
def test_types_and_orders(tmp_path: Path, kind: str, dtype: str, form: str) -> None:
    values = ramp(dtype=dtype)
    (tmp_path / "a.am").write_bytes(amira_bytes(values, kind, form, zipped=True))
    volume = open_volume(tmp_path / "a.am")
    assert (volume.dtype, volume.voxel_size, volume.chunks) == (dtype, (200.0, 100.0, 100.0), (1, 4, 5))
    got = pickle.loads(pickle.dumps(open_source(volume))).read(Box((1, 0, 2), (3, 3, 4)))
    assert got.dtype.isnative
    assert np.array_equal(got, values[1:3, 0:3, 2:4])


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9)),
    kept=st.integers(1, 9),
    step=st.integers(1, 90),
    data=st.data(),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_from_any_state(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    kept: int,
    step: int,
    data: st.DataObject,
) -> None:
    values = np.random.default_rng(1).integers(0, 3, shape).astype("u1")
    path = tmp_path / f"{shape}_{kept}_{step}.am"
    path.write_bytes(amira_bytes(values, "byte", zipped=True))
    box = Box(*zip(*[sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in shape], strict=True))
    with monkeypatch.context() as patch:
        patch.setattr(zipped, "KEPT", kept)
        patch.setattr(zipped, "STEP", step)
        assert np.array_equal(open_source(open_volume(path, voxel_size=10)).read(box), values[box.slices])


def damaged(how: str) -> bytes:
    values = np.random.default_rng(1).random((6, 20, 20), "f4")
    data = amira_bytes(values, "float", zipped=True)
    stream = zlib.compress(values.tobytes())
    other = {
        "short": zlib.compress(values[:-1].tobytes()),
        "long": zlib.compress(values.tobytes() + b"0"),
        "flipped": stream[:2000] + bytes([stream[2000] ^ 255]) + stream[2001:],
        "sum": stream[:-1] + bytes([stream[-1] ^ 1]),
        "cut": stream[:-300],
        "bomb": zlib.compress(b""),
    }[how]
    return re.sub(rb"HxZip,\d+", b"HxZip,%d" % len(other), data[: data.index(b"\n@1\n") + 4]) + other + b"\n"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("short", "ends in slice 5 of 6"),
        ("long", "does not end with its 6 slices"),
        ("flipped", "is damaged"),
        ("sum", "is damaged"),
        ("cut", "ends in slice 5 of 6"),
        ("bomb", "cannot make the 9600 bytes"),
    ],
)
def test_damaged_streams_are_refused(tmp_path: Path, how: str, said: str) -> None:
    """Also for a box before the damage: a part of a damaged volume is no volume."""
    (tmp_path / "a.am").write_bytes(damaged(how))
    with pytest.raises(FormatError, match=said):
        open_volume(tmp_path / "a.am", voxel_size=10)[:1]
