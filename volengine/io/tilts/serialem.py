"""Metadata of SerialEM (``.mdoc``), and IMOD's lists of angles (``.rawtlt``, ``.tlt``).

An ``.mdoc`` is a list of ``key = value``: first of the series, then of each image behind ``[ZValue = n]`` (SerialEM's
own description of its autodoc files; compared with ``mdocfile``). The dose before an image is ``PriorRecordDose``; if
it is missing, the sum of ``ExposureDose`` of all images that are older by ``DateTime``. Defocus is in µm there,
negative is underfocus. The own reader names the line that is damaged; ``mdocfile`` needs pandas and pydantic for a list
of words.
"""

from __future__ import annotations

import re
from datetime import datetime

from volengine.core.errors import FormatError
from volengine.io.tilts.series import TiltSeries, file_name, lines_of, number, stated_once

_SECTION = re.compile(r"\[\s*(\w+)\s*=\s*(.*?)\s*\]")
_AXIS = re.compile(r"tilt axis angle\s*=\s*([-+]?\d{1,9}(?:\.\d{1,9})?)", re.IGNORECASE)
_TIMES = ("%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%Y-%b-%d %H:%M:%S")
UM = 1e4

READ = (
    "TiltAngle", "RotationAngle", "TargetDefocus", "PixelSpacing", "SubFramePath", "PriorRecordDose", "ExposureDose",
    "DateTime", "PieceCoordinates",
)  # fmt: skip
"""Keys that are read; two values of one are refused, whereas programs may repeat others."""

Entries = dict[str, tuple[str, int]]
"""Values and their lines, by key."""


def read_mdoc(path: str) -> TiltSeries:
    """Read the ``.mdoc`` of a tilt series; images are in the order of the file.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It has no image with an angle (a montage, a map), some lack what others have, two values of one key are there,
        or a line is damaged.
    """
    head, images, titles = _parse(path)
    if not images:
        raise FormatError(f"{path}: has no image: no section [ZValue = 0] ....")
    if any("TiltAngle" not in image for _, image in images):
        raise FormatError(f"{path}: {len(images)} images, of which some have no TiltAngle; it is of no tilt series.")
    pieces = [at for at, image in images if "PieceCoordinates" in image]
    if pieces:
        raise FormatError(f"{path}: its images are pieces of a montage (PieceCoordinates); it is of no tilt series.")
    angles = _column(path, images, "TiltAngle")
    axis = _column(path, images, "RotationAngle")
    notes = []
    told = [float(m[1]) for m in map(_AXIS.search, titles) if m]
    if told:
        axis = (told[0],) * len(images)  # the axis of the series; RotationAngle is that of each camera image
        notes.append("The tilt axis is that of the title.")
    dose, rule = _dose(path, images)
    target = _column(path, images, "TargetDefocus")
    pixel = _column(path, images, "PixelSpacing")
    stated = float(head["PixelSpacing"][0]) if _is_number(head.get("PixelSpacing")) else None
    return TiltSeries(
        source=file_name(path),
        format="mdoc",
        angles=angles or (),
        sections=tuple(at for at, _ in images),
        dose=dose,
        dose_rule=rule,
        nominal_defocus=None if target is None else tuple(-v * UM for v in target),
        axis_angle=axis,
        images=tuple(file_name(i["SubFramePath"][0]) for _, i in images)
        if all("SubFramePath" in i for _, i in images)
        else None,
        pixel_size=pixel[0] if pixel is not None and pixel[0] > 0 else stated,
        notes=tuple(notes),
    ).check(path)


def _parse(path: str) -> tuple[Entries, list[tuple[int, Entries]], list[str]]:
    """Entries of the series, those of each image with its number, and the titles ``[T = ...]``."""
    head: Entries = {}
    images: list[tuple[int, Entries]] = []
    titles: list[str] = []
    entries: Entries | None = head
    for at, raw in enumerate(lines_of(path, "an mdoc file"), 1):
        line = raw.strip()
        if not line:
            continue
        section = _SECTION.fullmatch(line)
        if section and section[1] == "T":
            titles.append(section[2])
        elif section and section[1] == "ZValue":
            z = number(section[2], path, at, "ZValue")
            if z != int(z) or z < 0 or any(z == other for other, _ in images[-1:]):
                raise FormatError(f"{path}, line {at}: {line!r} is no number of an image, or is there twice.")
            entries = {}
            images.append((int(z), entries))
        elif section:
            if section[1] in ("FrameSet", "MontSection"):
                raise FormatError(f"{path}, line {at}: {line[:40]!r}: frames or a montage, not a tilt series.")
            entries = None  # another section: its entries are not of an image
        elif "=" in line and not line.startswith("["):
            key, _, value = (part.strip() for part in line.partition("="))
            if entries is not None and key in READ:
                stated_once(entries, key, value, at, path)
        elif not line.startswith("#"):
            raise FormatError(f"{path}, line {at}: {line[:40]!r}: 'key = value' or '[ZValue = n]' was expected.")
    numbers = [at for at, _ in images]
    if len(set(numbers)) != len(numbers):
        raise FormatError(f"{path}: two images have the same ZValue.")
    return head, images, titles


def _is_number(entry: tuple[str, int] | None) -> bool:
    try:
        return entry is not None and float(entry[0]) > 0
    except ValueError:
        return False


def _column(path: str, images: list[tuple[int, Entries]], key: str) -> tuple[float, ...] | None:
    """A number of every image; ``None`` unless all have it."""
    if not all(key in image for _, image in images):
        return None
    return tuple(number(image[key][0], path, image[key][1], key) for _, image in images)


def _dose(path: str, images: list[tuple[int, Entries]]) -> tuple[tuple[float, ...] | None, str]:
    """The dose before each image."""
    prior = _column(path, images, "PriorRecordDose")
    if prior is not None and any(v > 0 for v in prior):
        return prior, "before each image (PriorRecordDose)"
    exposure = _column(path, images, "ExposureDose")
    if exposure is None or not any(v > 0 for v in exposure):
        return None, ""
    times = [_time(image.get("DateTime", ("", 0))[0]) for _, image in images]
    known = [t for t in times if t is not None]
    if len(known) != len(images) or len(set(known)) != len(known):
        return None, ""  # their order in time is not known
    return tuple(
        sum(e for e, other in zip(exposure, known, strict=True) if other < t) for t in known
    ), "before each image (ExposureDose of the images that are older by DateTime)"


def _time(text: str) -> datetime | None:
    plain = " ".join(text.split())
    for form in _TIMES:
        try:
            return datetime.strptime(plain, form)
        except ValueError:
            continue
    return None


def read_angles(path: str) -> TiltSeries:
    """Read a list of angles, one on each line, in the order of the stack's sections (from 0).

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        A line has anything else than one number between -90 and 90.
    """
    angles = []
    for at, raw in enumerate(lines_of(path, "a list of tilt angles"), 1):
        words = raw.split()
        if not words:
            continue
        if len(words) != 1:
            raise FormatError(f"{path}, line {at}: {len(words)} values; one angle on each line was expected.")
        angles.append(number(words[0], path, at, "the angle"))
    return TiltSeries(file_name(path), "tlt", tuple(angles), sections=tuple(range(len(angles)))).check(path)
