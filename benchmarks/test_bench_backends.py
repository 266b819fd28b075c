"""benchmarks/backends.py, small: it runs, and the answers that it compares are those of one network."""

from __future__ import annotations

import pytest

pytest.importorskip("openvino", reason="the extra openvino is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnxruntime is not installed")

from backends import measured, row


@pytest.mark.parametrize(("name", "sides"), [("vggnet", (64, 64)), ("unet3d", (32, 32, 32))])
def test_every_library_is_measured(name, sides):
    found = measured(name, sides, rounds=1)
    assert list(found) == ["torch", "openvino", "onnxruntime"]
    for library in found.values():
        assert library["seconds"] > 0
        assert library["difference"] < 1e-4
    assert row(name, sides, found).count("|") == 8
