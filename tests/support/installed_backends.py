"""The libraries that compute networks in PyTorch's place, each skipped where it is not installed."""

from importlib.util import find_spec

import pytest

BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            find_spec(name) is None or find_spec("onnx") is None, reason=f"the extra {name} is not installed"
        ),
    )
    for name in ("openvino", "onnxruntime")
]
