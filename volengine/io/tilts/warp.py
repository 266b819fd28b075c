"""Warp's and WarpTools' description of a tilt series (``.xml``).

The root is ``TiltSeries``; its children ``Angles``, ``Dose``, ``UseTilt``, ``AxisAngle``, ``MoviePath`` have one value
on each line, ``GridCTF`` one node for each image (its ``Z``), defocus in µm. Warp tilts by ``angle + LevelAngleY``; its
angles have the opposite sign of IMOD's and AreTomo's. ``AreAnglesInverted`` concerns the defocus only.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

from volengine.core.errors import FormatError
from volengine.io.tilts.series import TiltSeries, file_name, lines_of, number

UM = 1e4


def read_warp_xml(path: str) -> TiltSeries:
    """Read Warp's description of a tilt series.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no XML, or of something else than a tilt series; it defines entities; its columns do not fit together,
        or one is there twice.
    """
    root = _root(path)
    angles = _numbers(path, root, "Angles")
    if angles is None:
        raise FormatError(f"{path}: its TiltSeries has no Angles.")
    dose, used = _numbers(path, root, "Dose"), _words(path, root, "UseTilt")
    if used is not None and any(u.lower() not in ("true", "false") for u in used):
        raise FormatError(f"{path}: UseTilt has values other than True and False.")
    images = _words(path, root, "MoviePath")
    notes = ["The angles have Warp's sign, the opposite of IMOD's and AreTomo's."]
    for name in ("LevelAngleX", "LevelAngleY"):
        value = root.get(name)
        if value and (turn := number(value, path, 1, name)):
            notes.append(f"{name} is {turn:g} degrees.")
    if root.get("AreAnglesInverted", "").strip().lower() == "true":
        notes.append("AreAnglesInverted: the defocus grows to the other side.")
    size = _size(path, root.get("VolumeDimensionsAngstrom"))
    return TiltSeries(
        source=file_name(path),
        format="warp",
        angles=angles,
        used=None if used is None else tuple(u.lower() == "true" for u in used),
        dose=dose,
        dose_rule="" if dose is None else "accumulated (Dose)",
        defocus=_defocus(path, root, len(angles)),
        axis_angle=_numbers(path, root, "AxisAngle"),
        images=None if images is None else tuple(file_name(i) for i in images),
        pixel_size=_pixel(path, root),
        volume_size=size,
        notes=tuple(notes),
    ).check(path)


def _root(path: str) -> ET.Element:
    text = "\n".join(lines_of(path, "Warp's XML of a tilt series"))
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError(f"{path}: defines entities, which Warp's files never do; it is not read.")
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)  # it names an encoding, but this is text already
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is no XML, or is damaged ({error}).") from error
    if root.tag != "TiltSeries":
        raise FormatError(f"{path}: its root is {root.tag[:40]!r}; TiltSeries was expected (of movies it is Movie).")
    return root


def _only(path: str, root: ET.Element, name: str) -> ET.Element | None:
    """The child of this name; two are refused, because nothing says which counts."""
    found = root.findall(name)
    if len(found) > 1:
        raise FormatError(f"{path}: {name} is there {len(found)} times in its {root.tag}; keep the right one.")
    return found[0] if found else None


def _words(path: str, root: ET.Element, name: str) -> list[str] | None:
    node = _only(path, root, name)
    found = [line.strip() for line in (node.text or "").split("\n")] if node is not None else []
    return [line for line in found if line] or None


def _numbers(path: str, root: ET.Element, name: str) -> tuple[float, ...] | None:
    words = _words(path, root, name)
    return None if words is None else tuple(number(w, path, 1, name) for w in words)


def _defocus(path: str, root: ET.Element, count: int) -> tuple[float, ...] | None:
    """The defocus of each image, the mean over its nodes; ``None`` unless every image has one."""
    grid = _only(path, root, "GridCTF")
    if grid is None:
        return None
    found: dict[int, list[float]] = {}
    for node in grid.findall("Node"):
        z = number(node.get("Z") or "0", path, 1, "a node's Z")
        found.setdefault(int(z), []).append(number(node.get("Value") or "", path, 1, "a node's Value"))
    if sorted(found) != list(range(count)):
        return None
    return tuple(UM * math.fsum(found[z]) / len(found[z]) for z in range(count))


def _pixel(path: str, root: ET.Element) -> float | None:
    """``PixelSize`` of the CTF: an attribute, or a parameter."""
    ctf = _only(path, root, "CTF")
    if ctf is None:
        return None
    named = [p.get("Value") for p in ctf.findall("Param") if p.get("Name") == "PixelSize"]
    values = {number(told, path, 1, "PixelSize") for told in (ctf.get("PixelSize"), *named) if told}
    if len(values) > 1:
        raise FormatError(f"{path}: its CTF has several PixelSize: {', '.join(map(str, sorted(values)))}.")
    return next(iter(values), None)


def _size(path: str, text: str | None) -> tuple[float, float, float] | None:
    if not text:
        return None
    parts = [number(p.strip(), path, 1, "VolumeDimensionsAngstrom") for p in text.split(",")]
    if len(parts) != 3:
        raise FormatError(f"{path}: VolumeDimensionsAngstrom is {text[:60]!r}; three numbers were expected.")
    return None if min(parts) <= 0 else (parts[2], parts[1], parts[0])
