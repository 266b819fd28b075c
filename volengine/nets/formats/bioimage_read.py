"""Read packages of the BioImage Model Zoo: the weights that they have as ONNX. Nothing in them is run.

>>> onnx_of("membrane.bioimage.zip")                                                                # doctest: +SKIP

Source of the format: https://bioimage.io/docs, specifications 0.4 and 0.5: ``rdf.yaml`` names the files of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError
from volengine.core.json_text import shown
from volengine.core.yaml_recipes import parse_yaml
from volengine.nets.formats.archives import read_zip

DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml")
LARGEST_DESCRIPTION = 2_000_000


def onnx_of(path: str | Path) -> bytes:
    """The ONNX file of a package.

    Raises
    ------
    MissingError
        There is no such file.
    FormatError
        It is no package, is damaged, or has its weights in other formats only (whose reading would run code).
    """
    where = str(path)
    texts = read_zip(path, DESCRIPTIONS)
    if not texts:
        raise FormatError(f"{where} is no package of the BioImage Model Zoo: it has no {DESCRIPTIONS[0]}.")
    text = next(texts[name] for name in DESCRIPTIONS if name in texts)
    if len(text) > LARGEST_DESCRIPTION:
        raise FormatError(f"{where}: its description has {len(text)} bytes; it is not read.")
    try:
        told: Any = parse_yaml(text.decode("utf-8-sig"), "it")
    except (FormatError, UnicodeDecodeError) as error:
        raise FormatError(f"{where}: its description is damaged ({str(error).splitlines()[0]}).") from error
    weights = told.get("weights") if isinstance(told, Mapping) else None
    if not isinstance(weights, Mapping):
        raise FormatError(f"{where}: its description names no weights.")
    entry = weights.get("onnx")
    name = entry.get("source") if isinstance(entry, Mapping) else None
    if not isinstance(name, str):
        raise FormatError(
            f"{where} has its weights as {', '.join(map(str, weights)) or 'nothing'}; only ONNX is read, because the "
            "others may run code. Ask its authors for ONNX weights."
        )
    found = read_zip(path, (name,)).get(name)
    if found is None:
        raise FormatError(f"{where}: the file of its weights, {shown(name)}, is not in it.")
    return found
