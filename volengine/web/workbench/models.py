"""The models of a project: ``models`` in its folder, listed with their cards, brought in, handed on.

What is brought in is opened by the readers of models, which run nothing of a file, before it has its name. Nothing is
replaced or removed here.
"""

from __future__ import annotations

import io
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from volengine.core.aside import is_private, private_place
from volengine.core.errors import FormatError, InputError, MissingError, VolengineError
from volengine.io.shared_models import NAME, digest_of_file
from volengine.nets.facts_apart import facts_apart
from volengine.tasks.common.card_files import LARGEST, PICTURE, card_beside, training_folder
from volengine.tasks.models.exchange import export_model, import_model
from volengine.tasks.models.recipe import ENDINGS, ModelExportRecipe, ModelShareRecipe
from volengine.tasks.models.share import share_models

FOLDER, SHARED = "models", "shared-models"
LISTED = (".safetensors", ".onnx", ".scnm")
"""Endings of model files that are listed, and may be brought in."""

PACKAGE = ".zip"
"""Ending of a package of the BioImage Model Zoo, of which the ONNX file is taken."""

LARGEST_UPLOAD = 500_000_000
MOST = 500
"""Models that are listed."""

PICTURE_SIDE = 1200
LARGEST_PICTURE = 40_000_000
"""Pixels."""


@dataclass(frozen=True)
class _Known:
    state: tuple[int, int, int]
    told: dict[str, Any]


class Models:
    """The models of a project.

    Parameters
    ----------
    project
        Folder of the project.
    writable
        Whether models can be brought in.
    links
        Whether links that lead out of the folder are followed.
    """

    def __init__(self, project: Path, *, writable: bool, links: bool = False):
        self.project, self.folder, self.writable, self.links = project, project / FOLDER, writable, links
        self._known: dict[str, _Known] = {}
        self._opening = threading.Lock()

    def names(self) -> list[str]:
        """Names of the model files, sorted."""
        try:
            found = [entry.name for entry in os.scandir(self.folder) if self._is_model(Path(entry.path))]
        except OSError:
            return []
        return sorted(found)[:MOST]

    def _is_model(self, path: Path) -> bool:
        if path.suffix.lower() not in LISTED or is_private(path.name) or not path.name.isprintable():
            return False
        if not self.links and not path.resolve().is_relative_to(self.project.resolve()):
            return False
        return path.is_file()

    def file(self, name: str) -> Path:
        """The file of a model that is listed.

        Raises
        ------
        MissingError
            There is none of this name.
        """
        if name not in self.names():
            raise MissingError(f"{name!r:.100}: there is no such model in {FOLDER}; load the page again.")
        return self.folder / name

    def listed(self) -> dict[str, Any]:
        """All models with what the page shows of each; one that cannot be read has a ``fault``."""
        return {
            "folder": str(self.folder),
            "writable": self.writable,
            "endings": [*LISTED, PACKAGE],
            "largest": LARGEST_UPLOAD,
            "models": [self._told(name) for name in self.names()],
        }

    def _told(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            facts = path.stat()
        except OSError as error:
            return {"name": name, "size": 0, "fault": str(error.strerror)}
        state = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
        known = self._known.get(name)
        if known is None or known.state != state:
            try:
                told = self._facts(path)
            except (VolengineError, OSError) as error:
                told = {"fault": str(error)}
            known = self._known[name] = _Known(state, told)
        return {"name": name, "size": facts.st_size, **known.told, **self._words(path)}

    def _words(self, path: Path) -> dict[str, Any]:
        place = shlex.quote(str(path))
        share = shlex.quote(str(self.project / SHARED))
        return {
            "use": f"volengine segment TOMOGRAM --model {place} --out predictions",
            "share": f"volengine models share {share} {place}",
            "export": {
                form: f"volengine models export {place} --out {shlex.quote(str(path.with_name(path.stem + ending)))}"
                for ending, form in ENDINGS.items()
                if ending != path.suffix.lower()
            },
            "picture": (training_folder(path) / PICTURE).is_file(),
        }

    @staticmethod
    def _facts(path: Path) -> dict[str, Any]:
        facts = facts_apart(path)
        epochs = facts.history[-1].get("epochs") if facts.history else None
        last = epochs[-1] if isinstance(epochs, list) and epochs and isinstance(epochs[-1], dict) else {}
        dice = last.get("validation_dice")
        card, _ = card_beside(path, facts, path.stem, digest_of_file(path))
        return {
            "features": [one for one in facts.features if facts.activation != "softmax" or one != "background"],
            "voxel_size": facts.said_voxel_size,
            "network": facts.network,
            "dice": float(dice) if isinstance(dice, int | float) else None,
            "card": card,
        }

    def picture(self, name: str) -> bytes:
        """The picture of validation patches of a model, as a WebP that is made here.

        Raises
        ------
        MissingError
            There is none.
        FormatError
            It cannot be decoded.
        """
        from PIL import Image

        file = training_folder(self.file(name)) / PICTURE
        if not file.is_file() or not (self.links or file.resolve().is_relative_to(self.project.resolve())):
            raise MissingError(f"{name}: there is no picture of its validation.")
        try:
            if file.stat().st_size > LARGEST:
                raise ValueError("it is too large")
            with Image.open(file, formats=("PNG",)) as picture:
                if picture.width * picture.height > LARGEST_PICTURE:
                    raise ValueError(f"it has {picture.width} x {picture.height} pixels")
                made = picture.convert("RGB")
            made.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            out = io.BytesIO()
            made.save(out, "WEBP", quality=80)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise FormatError(f"{file.name} of {name} cannot be shown: {error}") from error
        return out.getvalue()

    # -- in and out --------------------------------------------------------------------------------------------

    def check_new(self, name: str) -> str:
        """The name of a model to bring in.

        Raises
        ------
        InputError
            It is no safe name of a model file, there is one of this name, or the project cannot be written to.
        """
        ending = Path(name).suffix
        if not NAME.fullmatch(name) or ending not in (*LISTED, PACKAGE):
            raise InputError(
                f"{name!r:.100} cannot be brought in: letters, digits and . _ + - are possible, at most 80, and the "
                f"end is {', '.join(LISTED)} or {PACKAGE}. Rename the file."
            )
        if not self.writable:
            raise InputError("This project cannot be written to.")
        made = self._made(name)
        if os.path.lexists(self.folder / made):
            raise InputError(f"There is a model called {made} already; rename the file. Nothing is replaced here.")
        return made

    @staticmethod
    def _made(name: str) -> str:
        stem = name.removesuffix(PACKAGE)
        return name if stem == name else f"{stem.removesuffix('.bioimage')}.onnx"

    @contextmanager
    def incoming(self, name: str) -> Iterator[Path]:
        """A place for a file that comes in, which is not listed and disappears."""
        self.folder.mkdir(exist_ok=True)
        with private_place(self.folder) as place:
            yield place / name

    def bring_in(self, file: Path) -> dict[str, Any]:
        """Take a file that came in, if the readers of models can use it; return what the page shows of it.

        Raises
        ------
        InputError, FormatError
            It is no model that can be used as it is, or another one has got its name meanwhile.
        DependencyError
            An extra is not installed.
        """
        name = self.check_new(file.name)
        with self._opening:  # one at a time, for the server's memory
            try:
                if file.suffix == PACKAGE:
                    import_model(file, file.with_name(name))
                    file = file.with_name(name)
                _check_usable(file)
            except VolengineError as error:  # where it lay meanwhile says nothing to anybody
                error.args = (str(error).replace(f"{file.parent}{os.sep}", ""),)
                raise
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        final = self.folder / name
        try:
            os.link(file, final)  # fails if somebody else was first
        except FileExistsError:
            raise InputError(f"There is a model called {name} already; rename the file.") from None
        except OSError:  # a file system without links
            self.check_new(name)
            file.rename(final)
        return self._told(name)

    def exported(self, name: str, form: str) -> tuple[str, bytes]:
        """A model for another program: a name for its file, and the bytes.

        Raises
        ------
        InputError
            The format is not known, or cannot express the model.
        DependencyError
            An extra is not installed.
        """
        ending = next((ending for ending, one in ENDINGS.items() if one == form), None)
        path = self.file(name)
        if ending is None or ending == path.suffix.lower():
            raise InputError(f"{form!r:.20} is no format to export {name} to.")
        with TemporaryDirectory() as folder:
            made = Path(folder) / f"{path.stem}{ending}"
            export_model(path, made, ModelExportRecipe())
            return made.name, made.read_bytes()

    def share(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """Put a model into the project's folder of shared models.

        Raises
        ------
        InputError
            The fields are none of :class:`ModelShareRecipe`, or there is another model of this name.
        """
        if not self.writable:
            raise InputError("This project cannot be written to.")
        (made,) = share_models(self.project / SHARED, [self.file(name)], ModelShareRecipe.from_json(given))
        return {"use": made.use}


def _check_usable(file: Path) -> None:
    """Open a model wholly; of an own architecture, whose code is not run, the header alone."""
    from volengine.nets.checkpoint import load_facts, load_model
    from volengine.nets.registry import is_own

    if not is_own(load_facts(file).network):
        load_model(file)
