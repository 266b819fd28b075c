"""What is known of a tilt series, whatever program wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from volengine.core.errors import FormatError

MAX_ANGLE = 90.0
MAX_BYTES = 2**26
"""Largest size of a text file of metadata, bytes."""
COLUMNS = ("sections", "used", "dose", "defocus", "nominal_defocus", "axis_angle", "images")


@dataclass(frozen=True)
class TiltSeries:
    """Metadata of a tilt series, in the order of its file. What a file does not say is ``None``.

    Parameters
    ----------
    source, format
        Name of the file, and what it is: ``mdoc``, ``tlt``, ``aln``, ``relion``, ``tomostar``, ``warp``.
    angles
        Tilt angles in degrees, as the file has them: signs and offsets differ between programs, see ``notes``.
    sections
        Section of each image in the raw stack, from 0.
    used
        Whether an image is used.
    dose, dose_rule
        Electrons per square angstrom, and whether they are counted up to the beginning of an image or otherwise.
    defocus
        Measured defocus, angstrom, positive is underfocus; the mean of both axes.
    nominal_defocus
        Defocus that was aimed at, angstrom, positive is underfocus.
    axis_angle
        Direction of the tilt axis in the image, degrees, as the file has it.
    images
        File of each image.
    pixel_size
        Pixel size of the images, angstrom.
    thickness_px
        Thickness of the specimen, pixels of the raw images (AreTomo).
    volume_size
        Size of the reconstructed volume, angstrom, z, y, x (Warp).
    dark
        Sections, from 0, that were left out as dark.
    notes
        Sentences about what the numbers mean.
    """

    source: str
    format: str
    angles: tuple[float, ...]
    sections: tuple[int, ...] | None = None
    used: tuple[bool, ...] | None = None
    dose: tuple[float, ...] | None = None
    dose_rule: str = ""
    defocus: tuple[float, ...] | None = None
    nominal_defocus: tuple[float, ...] | None = None
    axis_angle: tuple[float, ...] | None = None
    images: tuple[str, ...] | None = None
    pixel_size: float | None = None
    thickness_px: float | None = None
    volume_size: tuple[float, float, float] | None = None
    dark: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def check(self, path: str) -> Self:
        """Refuse numbers that no tilt series has; return it.

        Raises
        ------
        FormatError
            There is no image, an angle is beyond 90 degrees, a number is not finite, or columns differ in length.
        """
        if not self.angles:
            raise FormatError(f"{path}: names no image of a tilt series.")
        wrong = [a for a in self.angles if not abs(a) <= MAX_ANGLE]
        if wrong:
            raise FormatError(f"{path}: {wrong[0]} is no tilt angle; -90 to 90 degrees were expected.")
        for name in COLUMNS:
            column = getattr(self, name)
            if column is None:
                continue
            if len(column) != len(self.angles):
                raise FormatError(f"{path}: has {len(self.angles)} angles, but {len(column)} values of {name}.")
            if not all(isinstance(v, str) or math.isfinite(v) for v in column):
                raise FormatError(f"{path}: {name} has a value that is not finite.")
        for name, value in (("pixel size", self.pixel_size), ("thickness", self.thickness_px)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise FormatError(f"{path}: its {name} is {value}; a positive number was expected.")
        return self

    def summary(self) -> dict[str, Any]:
        """Return plain names and JSON values: ranges (lowest, highest) of the columns; what is unknown is left out.

        >>> TiltSeries("TS_01.tlt", "tlt", (-60.0, 0.0, 60.0)).summary()
        {'source': 'TS_01.tlt', 'format': 'tlt', 'tilts': 3, 'angles': [-60.0, 60.0]}
        """
        found: dict[str, Any] = {
            "source": self.source,
            "format": self.format,
            "tilts": len(self.angles),
            "angles": _range(self.angles),
            "used": None if self.used is None else sum(self.used),
            "dark": list(self.dark),
            "axis_angle": _range(self.axis_angle),
            "dose": _range(self.dose),
            "dose_rule": self.dose_rule,
            "defocus": _range(self.defocus),
            "nominal_defocus": _range(self.nominal_defocus),
            "pixel_size": self.pixel_size,
            "thickness_px": self.thickness_px,
            "volume_size": None if self.volume_size is None else list(self.volume_size),
            "notes": list(self.notes),
        }
        return {name: value for name, value in found.items() if value not in (None, "", [])}

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, without those that the file does not say."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {k: v for k, v in plain.items() if v not in (None, "", [])}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make a tilt series from the values of :meth:`to_json`; unknown names are left out.

        Raises
        ------
        FormatError
            They are of no tilt series.
        """
        names = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in names}
        try:
            return cls(**values).check(str(values.get("source")))
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"The tilt series is damaged ({error}).") from error

    def with_(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)


def _range(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [min(values), max(values)]


def lines_of(path: str, what: str) -> list[str]:
    """Read the lines of a text file of metadata; bytes that are no UTF-8 are read as Latin-1.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is empty, larger than :data:`MAX_BYTES`, or no text.
    """
    from volengine.io.files import first_bytes

    raw, size = first_bytes(path, MAX_BYTES, what)
    if size > MAX_BYTES:
        raise FormatError(f"{path}: has {size} bytes; {what} of at most {MAX_BYTES} was expected.")
    if b"\0" in raw:
        raise FormatError(f"{path}: is no text; {what} was expected.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def number(text: str, path: str, line: int, what: str) -> float:
    """Read a number.

    Raises
    ------
    FormatError
        The text is none, or it is not finite.
    """
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{path}, line {line}: {what} is {text[:40]!r}; a number was expected.")
    return value


def file_name(path: str) -> str:
    """The name of a file, for Windows' paths as well."""
    return Path(path.replace("\\", "/")).name


def contradiction(path: str, key: str, one: tuple[str, int], other: tuple[str, int]) -> str:
    """Say that a file states two values of one thing; empty if both are the same, up to blanks.

    Parameters
    ----------
    path, key
        The file, and what is stated.
    one, other
        The values, each with its line.

    Examples
    --------
    >>> contradiction("a.mdoc", "TiltAngle", ("3", 7), ("-3", 9))
    "a.mdoc, lines 7 and 9: TiltAngle is there twice, as '3' and '-3'; keep the right one."
    """
    if one[0].split() == other[0].split():
        return ""
    told = " and ".join(repr(value[:40]) for value, _ in (one, other))
    return f"{path}, lines {one[1]} and {other[1]}: {key} is there twice, as {told}; keep the right one."


def stated_once(entries: dict[str, tuple[str, int]], key: str, value: str, line: int, path: str) -> None:
    """Put a value and its line to the others of a file.

    Raises
    ------
    FormatError
        Another value of this key is there.
    """
    if key in entries and (said := contradiction(path, key, entries[key], (value, line))):
        raise FormatError(said)
    entries[key] = (value, line)
