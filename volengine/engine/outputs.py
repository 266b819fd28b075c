"""The outputs of a plan: images and products, created before the first unit and completed after the last one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine.core.aside import sweep
from volengine.core.atomic import replacing
from volengine.core.digest import digest_of
from volengine.core.errors import BusyError, FormatError, InputError, VolengineError
from volengine.core.fields import fields_of
from volengine.core.image import ImageSpec
from volengine.core.text import texts_in, with_texts
from volengine.engine.driver_lock import drivers
from volengine.engine.inventory import claimed_objects
from volengine.engine.ledger import PlanFolder
from volengine.engine.made_by import made_by
from volengine.engine.options import RunOptions
from volengine.engine.problems import Problem, missing
from volengine.engine.stage import Stage
from volengine.engine.tally import Counted
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.manifest import NAME as MANIFEST
from volengine.io.omezarr.nodes import read_node
from volengine.io.omezarr.objects import Stored, crc32c, crc32c_of_file
from volengine.io.omezarr.parents import remove_parents
from volengine.io.stores import local_copy, local_path, stored_bytes, stored_file

if TYPE_CHECKING:
    from volengine.engine.plan import Call, Plan

FINISHED = "finished.json"
"""File of a plan's folder that says which plan is complete, and which products it has written."""

IMAGES = "images.json"
"""File of a plan's folder that says how its images were created."""

UNITS = "units.json"
"""File of a plan's folder with the number of units of each stage."""

CHANGED = "was changed: its checksum differs from what was written"

CLEANED = "cleaned"
"""File of a plan's folder that says that scratch arrays and the tables of blocks were deleted.

It is empty, for those of all stages, or lists the names of the stages of which they are still gone.
"""


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
        self._relative: dict[str, str] = {}
        self._made = set[str]()  # keys of the images that were created in this attempt

    # -- images --------------------------------------------------------------------------------------------

    def create(self, finished: Any = None) -> None:
        """Create the images, or recognise those of an earlier run; forget receipts of those that are made anew.

        Metadata that are damaged are written again. ``finished`` is the record of the last time when the plan was
        finished, which tells more of them.
        """
        token = self.folder.token()
        known = self._known()
        digests = self.digests
        for spec in self.plan.images:  # all are looked at before any is changed
            self._check(spec, token, known.get(self._key(spec)), digests[self._key(spec)])
        for spec in self.plan.images:
            key = self._key(spec)
            if known.get(key) == digests[key] and not spec.scratch and not self.options.overwrite:
                lost = [path for path, name, _ in self._lost_nodes(spec, finished) if name != MANIFEST]
                self._mend(spec, token, lost)
            ours = omezarr.store_token(spec.url, spec.group) == token
            if ours and known.get(key) == digests[key]:
                if not spec.scratch:
                    # it is not complete while its units are run again
                    omezarr.reopen_image(spec, run=self._run, durable=self.options.durable)
                continue
            if ours:
                omezarr.remove(spec.url, spec.group)
            elif spec.scratch and not spec.group and read_node(spec.url) is None:
                self._remove_rest(spec)
            self._create(spec, token)
            self._made.add(key)
            self.folder.forget(self.writers(spec))
        self.note_images()

    def note_images(self) -> None:
        """Record how the images were created, by where they are from the folder."""
        self.folder.write_json(IMAGES, {**self._known(), **self.digests})

    def _check(self, spec: ImageSpec, token: str, before: str | None, now: str) -> None:
        """Refuse an image whose place is taken by another run, another program, or another feature of this run.

        One that this run has created in this very way is its own, also if its metadata are damaged.
        """
        if self.options.overwrite and not spec.scratch:
            self._check_owner(spec, token)
        if spec.scratch or self.options.overwrite or before == now:
            return
        node = read_node(spec.url, spec.group)
        if node is not None and node.ours.get("token") == token:
            _check_feature(spec, now if before is None else before)
            _check_strangers(spec)
        elif node is not None:
            run = str(node.ours.get("run") or "")
            lost = run == self._run or _is_gone(run)  # another token, in the folder that has made it
            gone = f" What the run that made it had written into {run} is not there any more." if lost else ""
            raise InputError(f"{spec.where} exists.{gone} {spec.otherwise}")

    def _check_owner(self, spec: ImageSpec, token: str) -> None:
        """Refuse to overwrite an image that another run is writing at present."""
        try:
            node = read_node(spec.url, spec.group)
        except FormatError:
            return
        run = "" if node is None or node.ours.get("token") == token else str(node.ours.get("run") or "")
        for holder in drivers(Path(run)).values() if run else ():
            if holder.local() or not self.options.take_over:
                raise BusyError(
                    f"{spec.where} is being written by another run, in {run}: {holder}. Wait for it, or end it, before "
                    "it is overwritten. One on another machine that is known to be dead is ignored with --take-over."
                )

    @property
    def _run(self) -> str:
        """The run folder, which may be looked at from another folder."""
        return str(self.folder.path.parent.parent.absolute())

    def _remove_rest(self, spec: ImageSpec) -> None:
        """Delete what a driver that was killed while it deleted a scratch array has left: chunks without metadata."""
        place = local_path(spec.url)
        if place is not None and self.folder.scratch in place.parents:
            shutil.rmtree(place, ignore_errors=True)

    def _create(self, spec: ImageSpec, token: str) -> None:
        try:
            omezarr.create_image(
                spec,
                token=token,
                run="" if spec.scratch else self._run,
                overwrite=self.options.overwrite,
                durable=self.options.durable,
            )
        except OSError as error:
            if isinstance(error, VolengineError):
                raise
            hint = " (pick: --no-labels writes no labels into the store)" if spec.kind == "labels" else ""
            raise InputError(
                f"{spec.where} cannot be created ({error.strerror or error}). Give another --out, or the right to "
                f"write there{hint}."
            ) from error

    def _mend(self, spec: ImageSpec, token: str, lost: Sequence[str]) -> None:
        """Write again what is lost of the metadata of an image that this run has created in this very way."""
        headless = omezarr.drop_damaged(spec, token, lost)
        if headless or omezarr.store_token(spec.url, spec.group) == token:
            run = "" if spec.scratch else self._run
            omezarr.create_image(spec, token=token, run=run, known=headless, durable=self.options.durable)

    def _key(self, spec: ImageSpec) -> str:
        return f"{self._from_here(spec.url)}|{spec.group}|{spec.levels[0].path if spec.scratch else ''}"

    def _known(self) -> dict[str, str]:
        """How the images were created; those of which it is not known (any more) are made anew."""
        found = self._record(IMAGES)
        return {key: made for key, made in found.items() if isinstance(made, str)} if isinstance(found, dict) else {}

    def _record(self, name: str) -> Any:
        """Read a file of the plan's folder; a damaged one proves nothing, as if it were not there."""
        try:
            return self.folder.read_json(name)
        except FormatError:
            return None

    def finished(self) -> dict[str, Any] | None:
        """Return the record of the last time when the plan was finished; ``None`` if it was not, or it is damaged."""
        found = self._record(FINISHED)
        return found if _is_finished(found) else None

    def _made_as(self, spec: ImageSpec) -> str:
        """Digest of an image's description, of a scratch array also of the stages that write it; and its feature.

        A scratch array has no history that tells one recipe or source from another.
        """
        writers = [self.plan.identities[name] for name in self.writers(spec)] if spec.scratch else []
        described = {**spec.to_json(), "url": self._from_here(spec.url)}
        return f"{digest_of([described, writers])} {spec.facts.get('feature', '')}".rstrip()

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of each image by its key what :meth:`_made_as` says, once: plan and folder stay as they are."""
        return {self._key(spec): self._made_as(spec) for spec in self.plan.images}

    def written_by(self, calls: Iterable[Call]) -> dict[str, str]:
        """Return the files that calls at the end of a plan say that they write, by their keys in records."""
        return {self._from_here(place): place for call in calls for place in call.writes}

    def described(self) -> str:
        """Return a digest of all results and images of the plan: two plans with the same one may run side by side."""
        return digest_of([self.plan.identities, self.digests])

    def _from_here(self, place: str) -> str:
        """Return a path relative to the plan's folder, so that it holds when outputs and run folder are moved."""
        if place not in self._relative:
            path = local_path(place)
            self._relative[place] = place if path is None else os.path.relpath(path, self.folder.path)
        return self._relative[place]

    def _from_there(self, place: str) -> str:
        """Return the path or URL of what :meth:`_from_here` has made."""
        return place if "://" in place else os.path.normpath(self.folder.path / place)

    @cached_property
    def _calls(self) -> str:
        """Digest of the calls at the end: products that another call writes are not these.

        It holds when outputs, run folder and sources are moved together.
        """
        calls = [fields_of(call) for call in self.plan.finish]
        paths = {text for text in texts_in(calls) if os.path.isabs(text)}  # noqa: PTH117
        return digest_of(with_texts(calls, {path: self._from_here(path) for path in paths}))

    def _are_calls(self, recorded: Any) -> bool:
        """Whether a record says that the calls at the end were these; earlier ones name the paths as they were."""
        return bool(recorded == self._calls) or recorded == digest_of([fields_of(call) for call in self.plan.finish])

    def writers(self, spec: ImageSpec) -> list[str]:
        """Return the names of the stages that write an image."""
        paths = {spec.array_path(level) for level in range(len(spec.levels))}
        return [
            s.name
            for s in self.plan.stages
            if any(o.volume.url == spec.url and o.volume.path in paths for o in s.outputs.values())
        ]

    def remove_unwritten(self) -> None:
        """Delete the images without any finished unit, so that a failed run leaves no empty image behind.

        What this attempt has found there stays, marked as not complete (its units were withdrawn because some of its
        objects were lost; most may be good), and so does an image whose store holds what somebody else has added.
        """
        done = self.folder.done(self.plan.identities)
        token = self.folder.token()
        for spec in self.plan.images:
            written = any(done[name] for name in self.writers(spec))
            ours = not spec.scratch and omezarr.store_token(spec.url, spec.group) == token
            made_here = self._key(spec) in self._made
            if ours and not written and (made_here or not omezarr.is_begun(spec)) and not omezarr.strangers(spec):
                omezarr.remove(spec.url, spec.group)
                remove_parents(spec.url, spec.group)

    # -- completeness --------------------------------------------------------------------------------------

    def complete(self) -> bool:
        """Return whether this very plan is finished, and its images and products are still there.

        The objects inside of the images are not looked at; see :func:`volengine.engine.inventory.losses`.
        """
        finished = self.finished()
        if finished is None or finished["fingerprint"] != self.plan.fingerprint:
            return False
        if not self._are_calls(finished.get("calls")):
            return False
        return not self.lost_images(finished) and not self.lost_products(finished)

    def unproven(self) -> int:
        """Return the number of units without a receipt, of the stages whose results are to be there."""
        gone, done = self.gone(), self.folder.done(self.plan.identities)
        return sum(len(s.tiling) - len(done[s.name]) for s in self.plan.stages if s.name not in gone)

    def lost_images(self, finished: Any = None) -> list[Problem]:
        """Return the images that are not there, not this run's, not complete, or have other metadata."""
        token, known = self.folder.token(), self._known()
        finished = finished or self.finished()
        found = []
        for spec in self.plan.images:
            if spec.scratch:
                continue
            as_known = known.get(self._key(spec)) == self.digests[self._key(spec)]
            found += self._wrong_image(spec, token, omezarr.wrong_metadata(spec, token) if as_known else "", finished)
        return found

    def _wrong_image(self, spec: ImageSpec, token: str, wrong: str, finished: Any) -> list[Problem]:
        """Return what is wrong with an image, given what is wrong with its metadata (empty: nothing)."""
        where, owner = spec.where, "" if wrong == "damaged" else omezarr.store_token(spec.url, spec.group)
        if wrong == "damaged":
            return [Problem(where, "damaged", "is damaged: its metadata cannot be read")]
        if owner != token:
            return [Problem(where, "foreign", "was written by another run") if owner else missing(where)]
        if wrong == "changed":
            return [Problem(where, "damaged", "was changed: its metadata are not those that were written")]
        if not omezarr.is_complete(spec.url, spec.group):
            return [Problem(where, "damaged", "is not complete")]
        if root := omezarr.wrong_root(spec):
            unread = "is damaged: its metadata cannot be read"
            return [missing(spec.url) if root == "missing" else Problem(spec.url, "damaged", unread)]
        if not omezarr.is_listed(spec):
            why = f"does not list {spec.group}, so viewers do not show it"
            return [Problem(f"{spec.url}/labels", "damaged", why)]
        found = (finished or {}).get("found") if spec is self.plan.images[0] else None
        if found and omezarr.found_facts(spec) != found:
            return [Problem(where, "damaged", "was changed: what was found while it was made is not what was written")]
        return [problem for _, _, problem in self._lost_nodes(spec, finished)]

    def _nodes(self, spec: ImageSpec) -> dict[str, tuple[str, str]]:
        """Path of the array and name of each file of an image that does not change once it is finished, by a key."""
        names = (".zarray" if spec.ngff == "0.4" else "zarr.json", MANIFEST)
        paths = [spec.array_path(level) for level in range(len(spec.levels))]
        return {f"{self._from_here(spec.url)}|{path}|{name}": (path, name) for path in paths for name in names}

    def _lost_nodes(self, spec: ImageSpec, finished: Any) -> list[tuple[str, str, Problem]]:
        """Return array path, name and problem of metadata files that are not what the record says of them."""
        known = (finished or {}).get("nodes", {})
        found = []
        for key, (path, name) in self._nodes(spec).items():
            if key in known:
                data, where = stored_bytes(spec.url, f"{path}/{name}"), f"{spec.url}/{path}/{name}"
                if data is None:
                    found.append((path, name, missing(where)))
                elif [len(data), crc32c(data)] != list(known[key]):
                    found.append((path, name, Problem(where, "damaged", CHANGED)))
        return found

    def lost_products(self, finished: Any = None, *, deep: bool = False) -> list[Problem]:
        """Return the products that are not what was written (``deep``: by their checksums, too)."""
        known = (finished or self.finished() or {}).get("products", {})
        found = []
        for name, (size, crc) in known.items():
            place = self._from_there(name)
            stored = stored_file(place)
            if stored is None:
                found.append(missing(place))
            elif stored.size != size:
                found.append(Problem(place, "damaged", f"has {stored.size} bytes, not {size}"))
            elif deep and sum_of(place) != (size, crc):
                found.append(Problem(place, "damaged", CHANGED))
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
        cleaned = {stage.name for stage in self.plan.stages if self.cleaned(stage)}
        try:
            text = (self.folder.path / CLEANED).read_text(errors="replace")
        except FileNotFoundError:
            return set()
        names = set(text.split("\n")) - {""}
        # Of a damaged list nothing is believed: what is taken for gone is made again where it is read.
        return cleaned & names if names and names <= {stage.name for stage in self.plan.stages} else cleaned

    def wanted(self, stages: Iterable[str]) -> None:
        """Record that the results of these stages, which were deleted, are made again."""
        left = sorted(self.gone() - set(stages))
        if left:
            with replacing(self.folder.path / CLEANED, durable=self.options.durable) as file:
                file.write("\n".join(left).encode())
        else:
            (self.folder.path / CLEANED).unlink(missing_ok=True)

    # -- end -----------------------------------------------------------------------------------------------

    def said(self) -> list[str]:
        """Return the lines about what was made that were recorded when the plan was finished."""
        return list((self.finished() or {}).get("said", []))

    def finish(self, products: Iterable[str], said: Sequence[str] = (), found: Mapping[str, Any] | None = None) -> None:
        """Complete the images with their manifests, delete scratch data, and record that the plan is finished.

        ``products`` are the files that were written, ``said`` are lines about what the calls have made, ``found`` are
        further facts of the first image.
        """
        durable = self.options.durable
        files = list(dict.fromkeys(products))
        counted = Counted(self.plan)
        kept = [spec for spec in self.plan.images if not spec.scratch]
        arrays = {id(spec): [(spec.url, spec.array_path(level)) for level in range(len(spec.levels))] for spec in kept}
        wanted = [place for places in arrays.values() for place in places]
        written = claimed_objects(self.plan, self.folder, wanted, counted.add)
        for spec in kept:
            objects = [written.pop(place) for place in arrays[id(spec)]]
            omezarr.finish_image(spec, objects, found if spec is self.plan.images[0] else None, durable=durable)
        if not self.options.keep_scratch:
            self._clean()
        finished = {
            "fingerprint": self.plan.fingerprint,
            "time": round(time.time(), 3),
            "calls": self._calls,
            "products": {self._from_here(place): list(sum_of(place)) for place in files},
            "nodes": self._sums(),
            "said": [*counted.lines(), *said],
            "units": self.plan.units,
            "seconds": round(counted.seconds, 3),
            "by": made_by(),
        }
        if found:
            finished["found"] = dict(found)
        self.folder.write_json(FINISHED, finished, durable=durable)
        for place in files:
            local = local_path(place)
            if local is not None:
                sweep(local.parent, below=False)

    def _sums(self) -> dict[str, Stored]:
        """Size and checksum of the metadata files of all images, by the keys of :meth:`_nodes`."""
        found: dict[str, Stored] = {}
        for spec in self.plan.images:
            for key, (path, name) in ({} if spec.scratch else self._nodes(spec)).items():
                data = stored_bytes(spec.url, f"{path}/{name}") or b""
                found[key] = (len(data), crc32c(data))
        return found

    def _clean(self) -> None:
        (self.folder.path / CLEANED).write_bytes(b"")
        shutil.rmtree(self.folder.scratch, ignore_errors=True)
        for stage in self.plan.stages:
            if stage.emits and len(stage.tiling) > 1:
                self.folder.remove_tables(stage.name)


def _is_finished(found: Any) -> bool:
    """Whether a value is a record of a finished plan; one with values of another kind is damaged."""
    if not isinstance(found, dict) or not isinstance(found.get("fingerprint"), str):
        return False
    said = found.get("said", [])
    if not isinstance(said, list) or not all(isinstance(line, str) for line in said):
        return False
    sums = [found.get("products", {}), found.get("nodes", {})]
    return all(isinstance(part, dict) and all(map(_is_sum, part.values())) for part in sums)


def _is_sum(value: Any) -> bool:
    """Whether a value is a size and a checksum."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(n, int) for n in value)


def sum_of(place: str) -> Stored:
    """Return size and checksum of a product."""
    with local_copy(place) as path:
        return crc32c_of_file(path)


def _check_strangers(spec: ImageSpec) -> None:
    """Refuse to make a store anew, for another input or recipe, if others have added something to it."""
    if found := omezarr.strangers(spec):
        raise InputError(
            f"{spec.where} is to be made anew, because its input or recipe has changed. But it also holds "
            f"{', '.join(found)}, which no run of volengine has made, and which would be deleted. Move that to another "
            "place, or give another --out; --overwrite deletes it."
        )


def _is_gone(run: str) -> bool:
    """Whether a run folder, as an image names it, is missing."""
    return bool(run) and Path(run).is_absolute() and not Path(run).exists()


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
