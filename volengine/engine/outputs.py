"""The outputs of a plan: images and products, created before the first unit and completed after the last one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from volengine.core.aside import sweep
from volengine.core.digest import digest_of
from volengine.core.errors import InputError, VolengineError
from volengine.core.image import ImageSpec
from volengine.engine.inventory import objects_of
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.stage import Stage
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.objects import Stored, crc32c_of_file
from volengine.io.stores import local_copy, local_path, stored_file

if TYPE_CHECKING:
    from volengine.engine.plan import Plan

FINISHED = "finished.json"
"""File of a plan's folder that says which plan is complete, and which products it has written."""

CLEANED = "cleaned"
"""File of a plan's folder that says that scratch arrays and the tables of blocks were deleted."""


class Outputs:
    """Creates, recognises and completes what a plan writes.

    The caller holds the lock of the plan's folder.

    Parameters
    ----------
    plan, folder, options
        The plan, its folder, and the options of the run.
    """

    def __init__(self, plan: Plan, folder: PlanFolder, options: RunOptions):
        self.plan = plan
        self.folder = folder
        self.options = options

    # -- images --------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Create the images, or recognise those of an earlier run; forget receipts of those that are made anew."""
        token = self.folder.token()
        known = self.folder.read_json("images.json") or {}
        digests = {}
        for spec in self.plan.images:
            key = f"{self._from_here(spec.url)}|{spec.group}|{spec.levels[0].path if spec.scratch else ''}"
            digests[key] = self._made_as(spec)
            ours = omezarr.store_token(spec.url, spec.group) == token
            if ours and not self.options.overwrite:
                _check_feature(spec, known.get(key, digests[key]))
            if ours and known.get(key) == digests[key]:
                if not spec.scratch:
                    # it is not complete while its units are run again
                    omezarr.reopen_image(spec, durable=self.options.durable)
                continue
            if ours:
                omezarr.remove(spec.url, spec.group)
            self._create(spec, token)
            self.folder.forget(self.writers(spec))
        self.folder.write_json("images.json", {**known, **digests})

    def _create(self, spec: ImageSpec, token: str) -> None:
        try:
            omezarr.create_image(spec, token=token, overwrite=self.options.overwrite, durable=self.options.durable)
        except OSError as error:
            if isinstance(error, VolengineError):
                raise
            where = "/".join(filter(None, (spec.url, spec.group)))
            hint = " (pick: --no-labels writes no labels into the store)" if spec.kind == "labels" else ""
            raise InputError(
                f"{where} cannot be created ({error.strerror or error}). Give another --out, or the right to write "
                f"there{hint}."
            ) from error

    def _made_as(self, spec: ImageSpec) -> str:
        """Digest of an image's description, of a scratch array also of the stages that write it; and its feature.

        A scratch array has no history that tells one recipe or source from another.
        """
        writers = [self.plan.identities[name] for name in self.writers(spec)] if spec.scratch else []
        described = {**spec.to_json(), "url": self._from_here(spec.url)}
        return f"{digest_of([described, writers])} {spec.facts.get('feature', '')}".rstrip()

    def _from_here(self, place: str) -> str:
        """Return a path relative to the plan's folder, so that it holds when outputs and run folder are moved."""
        path = local_path(place)
        return place if path is None else os.path.relpath(path, self.folder.path)

    def _from_there(self, place: str) -> str:
        """Return the path or URL of what :meth:`_from_here` has made."""
        return place if "://" in place else os.path.normpath(self.folder.path / place)

    def _calls(self) -> str:
        """Digest of the calls at the end: products that another call writes are not these."""
        return digest_of([asdict(call) for call in self.plan.finish])

    def writers(self, spec: ImageSpec) -> list[str]:
        """Return the names of the stages that write an image."""
        paths = {spec.array_path(level) for level in range(len(spec.levels))}
        return [
            s.name
            for s in self.plan.stages
            if any(o.volume.url == spec.url and o.volume.path in paths for o in s.outputs.values())
        ]

    def remove_unwritten(self) -> None:
        """Delete the images without any finished unit, so that a failed run leaves no empty image behind."""
        done = self.folder.done(self.plan.identities)
        token = self.folder.token()
        for spec in self.plan.images:
            written = any(done[name] for name in self.writers(spec))
            if not spec.scratch and not written and omezarr.store_token(spec.url, spec.group) == token:
                omezarr.remove(spec.url, spec.group)

    # -- completeness --------------------------------------------------------------------------------------

    def complete(self) -> bool:
        """Return whether this very plan is finished, and its images and products are still there.

        The objects inside of the images are not looked at; see :func:`volengine.engine.inventory.losses`.
        """
        finished = self.folder.read_json(FINISHED)
        if finished is None or finished["fingerprint"] != self.plan.fingerprint:
            return False
        if finished.get("calls") != self._calls():
            return False
        return not self.lost_images() and not self.lost_products(finished)

    def lost_images(self) -> list[tuple[str, str]]:
        """Return the images that are not there, not this run's or not complete, and why."""
        token = self.folder.token()
        found = []
        for spec in self.plan.images:
            where = "/".join(filter(None, (spec.url, spec.group)))
            if spec.scratch:
                continue
            if (owner := omezarr.store_token(spec.url, spec.group)) != token:
                found.append((where, "was written by another run" if owner else "is missing"))
            elif not omezarr.is_complete(spec.url, spec.group):
                found.append((where, "is not complete"))
        return found

    def lost_products(self, finished: Any = None, *, deep: bool = False) -> list[tuple[str, str]]:
        """Return the products that are not what was written (``deep``: by their checksums, too), and why."""
        known = (finished or self.folder.read_json(FINISHED) or {}).get("products", {})
        found = []
        for name, (size, crc) in known.items():
            place = self._from_there(name)
            stored = stored_file(place)
            if stored is None:
                found.append((place, "is missing"))
            elif stored.size != size:
                found.append((place, f"has {stored.size} bytes, not {size}"))
            elif deep and _sum(place) != (size, crc):
                found.append((place, "was changed: its checksum differs from what was written"))
        return found

    def cleaned(self, stage: Stage) -> bool:
        """Return whether results of a stage are deleted at the end of the run: scratch arrays, tables of blocks.

        The table of a stage with one unit is kept, because it is small and products are written from it.
        """
        scratch = {spec.url for spec in self.plan.images if spec.scratch}
        if stage.transient or (stage.emits and len(stage.tiling) > 1):
            return True
        return any(o.volume.url in scratch for o in stage.outputs.values())

    def gone(self) -> set[str]:
        """Return the names of the stages whose results were deleted at the end of an earlier run."""
        if not (self.folder.path / CLEANED).exists():
            return set()
        return {stage.name for stage in self.plan.stages if self.cleaned(stage)}

    # -- end -----------------------------------------------------------------------------------------------

    def said(self) -> list[str]:
        """Return the lines about what was made that were recorded when the plan was finished."""
        return list((self.folder.read_json(FINISHED) or {}).get("said", []))

    def finish(self, products: Iterable[str], said: Sequence[str] = ()) -> None:
        """Complete the images with their manifests, delete scratch data, and record that the plan is finished.

        ``products`` are the files that were written, ``said`` are lines about what was made.
        """
        durable = self.options.durable
        files = list(dict.fromkeys(products))
        for spec in self.plan.images:
            if not spec.scratch:
                paths = [spec.array_path(level) for level in range(len(spec.levels))]
                objects = [objects_of(self.plan, self.folder, spec.url, path) for path in paths]
                omezarr.finish_image(spec, objects, durable=durable)
        if not self.options.keep_scratch:
            self._clean()
        finished = {
            "fingerprint": self.plan.fingerprint,
            "time": round(time.time(), 3),
            "calls": self._calls(),
            "products": {self._from_here(place): list(_sum(place)) for place in files},
            "said": list(said),
        }
        self.folder.write_json(FINISHED, finished, durable=durable)
        for place in files:
            local = local_path(place)
            if local is not None:
                sweep(local.parent, below=False)

    def _clean(self) -> None:
        (self.folder.path / CLEANED).touch()
        shutil.rmtree(self.folder.scratch, ignore_errors=True)
        for stage in self.plan.stages:
            if stage.emits and len(stage.tiling) > 1:
                self.folder.remove_tables(stage.name)


def _sum(place: str) -> Stored:
    """Return size and checksum of a product."""
    with local_copy(place) as path:
        return crc32c_of_file(path)


def _check_feature(spec: ImageSpec, former: str) -> None:
    """Refuse to replace the image of one feature by that of another, which has the same file name.

    Raises
    ------
    InputError
        The image is of another feature; ``former`` is what :meth:`Outputs._made_as` has said of it.
    """
    feature, before = str(spec.facts.get("feature", "")), former.partition(" ")[2]
    if feature != before:
        raise InputError(
            f"{spec.url} is the image of {before!r}, which an earlier call has written; {feature!r} has the same file "
            "name. Give another --out, or --overwrite to lose the former."
        )
