"""What an ``.mdoc`` says of the pieces of a montage.

It is read with more tolerance than that of a tilt series: the file lies beside many stacks that are no montages, and
what is damaged in it must not keep these from being read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from volengine.core.errors import FormatError
from volengine.io.montage.pieces import ALIGNED, Coordinates
from volengine.io.mrc.rules import MAX_LENGTH_VOX
from volengine.io.tilts.series import contradiction, file_name, lines_of, number

_ENTRY = re.compile(r"\[\s*(\w+)\s*=\s*(.*?)\s*\]")
READ = ("Montage", "ImageFile", "ImageSize", "PieceCoordinates", *ALIGNED, "TiltAngle")
"""Keys that are read."""
WHOLE = re.compile(r"[-+]?\d{1,9}")
"""A whole number of a size that coordinates have."""


@dataclass(frozen=True)
class Document:
    """What an ``.mdoc`` says of pieces; values with their lines."""

    path: str
    head: dict[str, tuple[str, int]]
    images: dict[int, dict[str, tuple[str, int]]]
    twice: frozenset[int]
    """Images that are described twice."""
    contradictions: Mapping[str, str] = field(default_factory=dict)
    """What is wrong where a section gives one of :data:`READ` twice, with other values, by key."""

    @property
    def name(self) -> str:
        return file_name(self.path)

    def is_montage(self, found: Sequence[Coordinates] | None) -> bool:
        """Whether the file is a montage: ``Montage = 1``, or coordinates of pieces, whatever ``Montage`` is."""
        if {"Montage", "PieceCoordinates"} & set(self.contradictions):
            return True  # in doubt it is not read as a volume; :meth:`pieces` says what is wrong
        if self.head.get("Montage", ("0", 0))[0] not in ("", "0"):
            return True
        told = [image["PieceCoordinates"] for image in self.images.values() if "PieceCoordinates" in image]
        if not told:
            return False
        return are_pieces([self._triple(*entry, "PieceCoordinates") for entry in told])

    def pieces(self, shape: tuple[int, int, int]) -> list[Coordinates] | None:
        """Section, y, x of each image; ``None`` if no image has them. Two values of one key are refused."""
        if self.contradictions:
            raise FormatError(next(iter(self.contradictions.values())))
        if not any("PieceCoordinates" in image for image in self.images.values()):
            return None
        self._check(shape)
        found = []
        for n in range(shape[0]):
            if n in self.twice:
                raise FormatError(f"{self.path}: the image [ZValue = {n}] is there twice.")
            if n not in self.images or "PieceCoordinates" not in self.images[n]:
                raise FormatError(
                    f"{self.path}: the image [ZValue = {n}] is missing, or has no PieceCoordinates; the file has the "
                    f"images 0 to {shape[0] - 1}. Give a list of pieces: --montage --pieces FILE.pl."
                )
            found.append(self._triple(*self.images[n]["PieceCoordinates"], "PieceCoordinates"))
        return found

    def _check(self, shape: tuple[int, int, int]) -> None:
        size = self._size()
        if len(self.images) > shape[0] or (size is not None and size != shape[1:]):
            stated = "" if size is None else f" of {size[0]} x {size[1]} voxels (y, x)"
            raise FormatError(
                f"{self.path}: describes a montage of {len(self.images)} pieces{stated}, but the file beside it has "
                f"{shape[0]} images of {shape[1]} x {shape[2]}. If it is of another file, move it away; if the pieces "
                "were binned, give their list for the binned file: --montage --pieces FILE.pl."
            )

    def _size(self) -> tuple[int, int] | None:
        entry = self.head.get("ImageSize")
        words = entry[0].split() if entry else []
        if len(words) != 2 or not all(WHOLE.fullmatch(word) for word in words):
            return None
        return int(words[1]), int(words[0])

    def of_other_file(self, shape: tuple[int, int, int]) -> bool:
        """Whether neither the size nor the number of images is that of the file."""
        if "ImageSize" in self.contradictions:
            return False
        return self._size() not in (None, shape[1:]) and len(self.images) != shape[0]

    def _triple(self, text: str, line: int, key: str) -> tuple[int, int, int]:
        words = text.split()
        if len(words) != 3 or not all(WHOLE.fullmatch(word) for word in words):
            raise FormatError(f"{self.path}, line {line}: {key} is {text[:40]!r}; three whole numbers were expected.")
        x, y, z = map(int, words)
        return z, y, x

    def aligned(self, pieces: Sequence[Coordinates]) -> tuple[tuple[float, float], ...] | None:
        """y, x of each image as aligned; ``None`` unless all have them."""
        for key in ALIGNED:
            if all(key in self.images[n] for n in range(len(pieces))):
                return tuple(self._aligned(n, key, section) for n, (section, _, _) in enumerate(pieces))
        return None

    def _aligned(self, n: int, key: str, section: int) -> tuple[float, float]:
        text, line = self.images[n][key]
        values = [number(word, self.path, line, key) for word in text.split()]
        if len(values) not in (2, 3) or (len(values) == 3 and values[2] != section):
            raise FormatError(
                f"{self.path}, line {line}: {key} is {text[:40]!r}; x y and the section {section} were expected."
            )
        if max(abs(v) for v in values) > MAX_LENGTH_VOX:
            raise FormatError(f"{self.path}, line {line}: {key} is {text[:40]!r}, which no montage has.")
        return values[1], values[0]

    def tilt_angles(self) -> tuple[float, ...] | None:
        if not all("TiltAngle" in image for image in self.images.values()):
            return None
        entries = (self.images[n]["TiltAngle"] for n in sorted(self.images))
        return tuple(number(text, self.path, line, "TiltAngle") for text, line in entries)


def read_document(path: str) -> Document | None:
    """Read what an ``.mdoc`` says of pieces; ``None`` if it is no text.

    Lines that mean nothing here are passed over.
    """
    try:
        lines = lines_of(path, "an mdoc file")
    except FormatError:
        return None
    head: dict[str, tuple[str, int]] = {}
    images: dict[int, dict[str, tuple[str, int]]] = {}
    twice: set[int] = set()
    contradictions: dict[str, str] = {}
    entries: dict[str, tuple[str, int]] | None = head
    stated: dict[str, tuple[str, int]] = {}
    for at, raw in enumerate(lines, 1):
        line = raw.strip()
        section = _ENTRY.fullmatch(line)
        if section and section[1] == "T":
            continue  # a title
        if section:
            entries, stated = None, {}
            if section[1] == "ZValue" and WHOLE.fullmatch(section[2]):
                n = int(section[2])
                if n in images:
                    twice.add(n)
                entries = images.setdefault(n, {})
        elif "=" in line and entries is not None:
            key, _, value = (part.strip() for part in line.partition("="))
            if key in READ:
                if said := contradiction(path, key, stated.setdefault(key, (value, at)), (value, at)):
                    contradictions.setdefault(key, said)
                entries[key] = (value, at)
    return Document(path, head, images, frozenset(twice), contradictions)


def are_pieces(coordinates: Sequence[Coordinates]) -> bool:
    """Whether coordinates are of a montage: a section has several pieces, or one lies elsewhere than at 0, 0."""
    sections = Counter(z for z, _, _ in coordinates)
    return len(sections) < len(coordinates) or any(y or x for _, y, x in coordinates)
