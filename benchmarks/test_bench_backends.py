"""benchmarks/backends.py, small: it runs, and the answers that it compares are those of one network."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from backends import LIBRARIES, measured, row

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", *LIBRARIES)),
    reason="the extras openvino and onnx are not installed",
)


@pytest.mark.parametrize(("name", "sides"), [("vggnet", (64, 64)), ("unet3d", (32, 32, 32))])
def test_every_library_is_measured(name, sides):
    found = measured(name, sides, rounds=1)
    assert list(found) == ["torch", "openvino", "onnxruntime"]
    for library in found.values():
        assert library["seconds"] > 0
        assert library["difference"] < 1e-4
    assert row(name, sides, found).count("|") == 8
