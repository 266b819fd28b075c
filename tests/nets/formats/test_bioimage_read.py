"""Packages of the BioImage Model Zoo that are refused; those that are read: tests/web/test_workbench_models.py."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from volengine.core.errors import FormatError
from volengine.nets.formats.bioimage_read import onnx_of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no package"),
        ("a: [", "damaged"),
        ("weights: {pytorch_state_dict: {source: x.pt}}", "only ONNX is read"),
        ("weights: {onnx: {source: ../x.onnx}}", "not in it"),
        ("!!python/object/apply:os.system ['true']", "damaged"),
        ("- 1", "names no weights"),
        ("weights: {onnx: {source: a.onnx, source: b.onnx}}", "damaged .*'source' is there twice"),
    ],
)
def test_packages_that_are_refused(tmp_path: Path, text: str | None, said: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("rdf.yaml" if text is not None else "other", text or "")
    with pytest.raises(FormatError, match=said):
        onnx_of(tmp_path / "x.zip")
