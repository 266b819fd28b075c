"""picks measure: what surrounds each pick, as columns of the table.

Each tomogram is a job: surfaces are read one by one, volumes in blocks around the picks, by any number of workers. The
columns are kept in the run folder, and the table is written from these when all tomograms are done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import write_json
from volengine.core.errors import FormatError, InputError, MissingError, VolengineError
from volengine.core.json_text import parse_json
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts, place_key
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.engine.options import RunOptions
from volengine.engine.outlook import is_finished
from volengine.engine.plan import Plan
from volengine.engine.report import RunReport
from volengine.engine.run import Job, run_jobs
from volengine.io.copick.target import is_target
from volengine.io.names import PICKS_SUFFIXES, same_tomogram
from volengine.io.picks import ending_of
from volengine.tasks.common.ended import noted
from volengine.tasks.common.inputs import picks_files
from volengine.tasks.common.jobs import Request, Verb
from volengine.tasks.common.layout import file_name, plan_folder
from volengine.tasks.picks.convert import spaced
from volengine.tasks.picks.measure_given import Surroundings, TableGiven, label_of
from volengine.tasks.picks.measure_plan import plan_measure_picks
from volengine.tasks.picks.recipe import PicksMeasureRecipe
from volengine.tasks.picks.tables import Written, read_tables, write_tables

COLUMNS = "columns.npz"
"""File of a plan's folder with what was measured."""

WRITTEN = "written.json"
"""File of the run folder with the tables that were written, which the same command may replace."""


NAMED = 8
"""Tomograms that a message names."""


class _Tables(Verb[Any, Any, Any, Any]):
    """A verb whose product is a file of picks by its name, or files in a folder."""

    def is_product(self, out: str) -> bool:
        """Whether ``out`` names one file."""
        return not is_target(out) and not out.endswith("/") and not Path(out).is_dir()


def request(
    given: TableGiven, out: str, recipe: PicksMeasureRecipe, options: RunOptions
) -> Request[TableGiven, PicksMeasureRecipe, str]:
    """What the plan of one tomogram is made from; its product is a file in the run folder."""
    folder = plan_folder(MEASURE.run_dir(out, options), given.name)
    return Request(given.name, given, recipe, str(folder.path.absolute() / COLUMNS))


MEASURE = _Tables("picks measure", request, plan_measure_picks, run_name="picks-measure.run", into_projects=True)


@dataclass(frozen=True)
class _File:
    """A file of picks: its path, its tables with the names of their plans, and what there is to say.

    ``error`` is why it could not be read; then it has no tables.
    """

    path: str
    given: Sequence[TableGiven]
    notes: Sequence[str]
    error: VolengineError | None = None


@dataclass(frozen=True)
class Chosen:
    """The tomograms whose picks are measured, and no others.

    Parameters
    ----------
    where
        What says so, for messages.
    names
        Their names, in the order in which they are begun.
    apart
        Whether each has files of its own.
    """

    where: str
    names: tuple[str, ...]
    apart: bool = False


class PicksCase:
    """The files of one command: their jobs, and the tables that are written at the end.

    Parameters
    ----------
    sources
        Files of picks, globs, or folders of files of picks. One of several that cannot be read fails alone.
    out
        The file to write, or a folder; with several files a name without an ending is that of a folder.
    recipe, options
        What is measured, and how to run.
    chosen
        The tomograms that are meant; default: all. One that has no picks fails alone.

    Raises
    ------
    MissingError, FormatError
        The file does not exist, or is damaged.
    InputError
        Something exists at ``out``, or nothing can be measured.
    """

    def __init__(
        self,
        sources: PathsLike,
        out: str,
        recipe: PicksMeasureRecipe,
        options: RunOptions,
        chosen: Chosen | None = None,
    ):
        self.options, self.chosen = options, chosen
        self.recipe = recipe.with_(overwrite=recipe.overwrite or options.overwrite)
        paths = picks_files(path_texts(sources))
        files = max(len(paths), len(chosen.names) if chosen is not None and chosen.apart else 1)
        self.several = files > 1
        self.out = out = folder_named(out, files)
        self.run_dir = MEASURE.run_dir(out, options)
        self.unwritten = list[str]()
        self._refuse_twins(paths)
        self._refuse_out(paths)
        read = [self._read(path) for path in paths]
        tables = [one for _, some, _, _ in read for one in some]
        sure = not any(error for *_, error in read) and (chosen is None or len(chosen.names) == 1)
        around = Surroundings(tables, self.recipe, alone=sure)
        names = Counter(map(_plan_name, tables))
        self.files = [
            _File(path, list(self._given(path, some, names, around)), notes, error)
            for path, some, notes, error in read
            if some or error or chosen is None
        ]
        self.missing = self._missing(tables)

    def _read(self, path: str) -> tuple[str, list[Picks], list[str], VolengineError | None]:
        """The tables of a file with what there is to say; or why it cannot be read."""
        try:
            tables, notes = read_tables(path, self.recipe)
            if self.chosen is not None:
                every, tables = len(tables), [one for one in tables if same_tomogram(one.tomogram, self.chosen.names)]
                if left := every - len(tables):
                    notes.append(
                        f"{path}: picks of {counted(left, 'tomogram')} were left out, as {self.chosen.where} says."
                    )
            tables, more = spaced(tables, self.recipe.spacing_nm)
        except (VolengineError, OSError) as error:
            if not self.several:
                raise
            told = error if isinstance(error, VolengineError) else FormatError(f"{path}: cannot be read ({error}).")
            return path, [], [], told
        return path, tables, [*notes, *more], None

    def _missing(self, tables: Sequence[Picks]) -> list[str]:
        """The chosen tomograms of which there are no picks."""
        there = [one.tomogram for one in tables]
        return [name for name in (self.chosen.names if self.chosen else ()) if not _is_there(name, there)]

    def _given(
        self, path: str, tables: Sequence[Picks], names: Mapping[str, int], around: Surroundings
    ) -> Iterator[TableGiven]:
        how = "content" if self.options.identity == "content" else "quick"
        for one in tables:
            name = _plan_name(one)
            yield TableGiven(f"{file_name(_stem(path))}-{name}" if names[name] > 1 else name, one, around, how)

    def _refuse_out(self, paths: Sequence[str]) -> None:
        """Refuse to replace a table that is not of this run folder, before anything is computed."""
        if self.recipe.overwrite or not (self.several or MEASURE.is_product(self.out)) or is_target(self.out):
            return
        for path in map(Path, map(self._place, paths)):
            if path.exists() and not self._ours(path):
                raise InputError(f"{path} exists; give another name or --overwrite.")

    def _refuse_twins(self, paths: Sequence[str]) -> None:
        """Refuse files whose tables would have one name."""
        if not self.several or is_target(self.out):
            return
        first: dict[str, str] = {}
        for path in paths:
            other = first.setdefault(place_key(_stem(path)), path)
            if other != path:
                raise InputError(
                    f"{other} and {path} would both be written to {self._place(path)}; rename one of them."
                )

    def _place(self, path: str) -> str:
        """Where the picks of a file are written; a folder, if each tomogram has a file of its own."""
        if not self.several or is_target(self.out):
            return self.out
        return f"{self.out.rstrip('/')}/{_stem(path)}{ending_of(self.recipe.to)}"

    def _ours(self, path: Path) -> bool:
        """Whether an earlier call with the same run folder has written a file, as it is now."""
        with suppress(OSError, FormatError):
            told = parse_json((Path(self.run_dir) / WRITTEN).read_bytes(), WRITTEN)
            stat = path.stat()
            return isinstance(told, dict) and told.get(str(path.absolute())) == [stat.st_size, stat.st_mtime_ns]
        return False

    def jobs(self) -> list[Job]:
        """A job for each tomogram of each file; those of what cannot be read, or is not there, fail with the reason."""
        made = [
            (one.picks.tomogram, MEASURE.job(label_of(file.path, one.picks), one, self.out, self.recipe, self.options))
            for file in self.files
            for one in file.given
        ]
        made += [("", _failing(Path(file.path).name, file.error)) for file in self.files if file.error]
        if self.chosen is None:
            return [job for _, job in made]
        names = self.chosen.names
        for name in self.missing:
            error = MissingError(f"There are no picks of {name}, which {self.chosen.where} has; was it run?")
            made.append((name, _failing(name, error)))
        order = {name: number for number, name in enumerate(names)}
        made.sort(key=lambda one: order.get(same_tomogram(one[0], names) or "", len(order)))
        return [job for _, job in made]

    def finish(self, report: RunReport) -> list[Written]:
        """Write the tables with the columns.

        Parameters
        ----------
        report
            That of the run of :meth:`jobs`. A file that would lack a tomogram is not written; in a folder each tomogram
            has a file of its own.

        Raises
        ------
        InputError
            A file exists, or the format cannot hold the picks.
        """
        made = []
        plans = report.data["plans"]
        done = {name for name, plan in plans.items() if not plan["error"]}
        done = {name for name in done if is_finished(plan_folder(self.run_dir, name))}
        for file in self.files:
            lost = [one for one in file.given if one.name not in done]
            if file.error or lost:
                self.unwritten.append(self._said_of(file, lost))
            if file.error or (lost and (len(lost) == len(file.given) or not self._own_files())):
                continue
            made.append(self._written(file, [one for one in file.given if one not in lost]))
        return made

    def _said_of(self, file: _File, lost: Sequence[TableGiven]) -> str:
        """What is not written, and why, in the words of the user: the table, whose tomograms, the file of picks."""
        again = "mend what the error names, and give the same command again"
        names = [one.picks.tomogram or "its tomogram" for one in lost]
        shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        if file.error:
            return f"{self._place(file.path)}: not written, as {file.path} cannot be read; {again}."
        if len(lost) < len(file.given) and self._own_files():
            return f"{self.out}: has no table of {shown} (from {file.path}), not measured; {again}."
        return f"{self._place(file.path)}: not written, as {shown} of {file.path} is not measured; {again}."

    def _own_files(self) -> bool:
        """Whether each tomogram is written into a file of its own."""
        return not self.several and (is_target(self.out) or not MEASURE.is_product(self.out))

    def _written(self, file: _File, given: Sequence[TableGiven]) -> Written:
        tables, notes = [], list(file.notes)
        for one in given:
            folder = plan_folder(self.run_dir, one.name)
            with np.load(folder.path / COLUMNS, allow_pickle=False) as found:
                columns = {name: found[name] for name in found.files}
            notes += noted(folder).get("notes", ())
            replaced = [name for name in columns if name in one.picks.extra]
            if replaced:
                notes.append(f"{one.picks.tomogram}: measured anew: {', '.join(replaced)}.")
            tables.append(one.picks.with_(extra={**one.picks.extra, **columns}))
        out = self._place(file.path)
        if self.several and not is_target(out):
            Path(out).parent.mkdir(parents=True, exist_ok=True)
        ours = not is_target(out) and MEASURE.is_product(out) and self._ours(Path(out))
        written = write_tables(out, tables, self.recipe.with_(overwrite=self.recipe.overwrite or ours), notes)
        self._remember(written.files)
        return written

    def _remember(self, files: Sequence[str]) -> None:
        place = Path(self.run_dir) / WRITTEN
        told: Any = {}
        with suppress(OSError, FormatError):
            told = parse_json(place.read_bytes(), WRITTEN)
        stats = {str(Path(file).absolute()): Path(file).stat() for file in files}
        mine = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
        write_json(place, {**(told if isinstance(told, dict) else {}), **mine})

    def empty(self) -> list[str]:
        """Which tables have no picks."""
        return [label_of(file.path, one.picks) for file in self.files for one in file.given if not len(one.picks)]


def folder_named(out: str, files: int) -> str:
    """Return what ``--out`` means: with several files of picks, a name without an ending is that of a folder.

    Raises
    ------
    InputError
        It is a file, and there are several of picks.
    """
    if files < 2 or not MEASURE.is_product(out):
        return out
    path = Path(out)
    if path.suffix or path.exists():
        there = "exists and is a file" if path.exists() else "is one file"
        raise InputError(f"--out {out} {there}, and there are {files} of picks; give a folder: {path.with_suffix('')}/")
    return f"{out}/"


def _stem(path: str) -> str:
    name = Path(path.partition("#")[0].rstrip("/")).name
    ending = next((one for one in PICKS_SUFFIXES if name.lower().endswith(one) and len(name) > len(one)), "")
    return name[: len(name) - len(ending)] or "picks"


def _is_there(name: str, there: Sequence[str]) -> bool:
    return any(same_tomogram(name, [one]) for one in there)


def _failing(name: str, error: VolengineError) -> Job:
    def plan() -> Plan:
        raise error

    return Job(name, plan)


def _plan_name(picks: Picks) -> str:
    return file_name(picks.tomogram) if picks.tomogram else "picks"


def measure_picks(
    source: PathLike,
    out: PathLike,
    recipe: PicksMeasureRecipe | Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> Written:
    """Write the picks of a file with columns that say what surrounds them. Order and other columns are kept.

    Parameters
    ----------
    source
        A file of picks of any format, of one or many tomograms; or a folder or glob of such files.
    out
        The file to write, or a folder. Formats that hold no further columns say so; STAR and CSV hold them.
    recipe, options
        What is measured, and how to run.

    Returns
    -------
    Written
        As of ``convert_picks``. The columns, with the name of what was measured before the dot:

        - of surfaces ``distance_nm`` from the nearest point of a triangle (inf if there are none), ``side`` (1 outside
          of a closed one and on the side of the normals of an open one, -1 on the other, 0 on it), ``surface`` (its
          number), ``inside`` (of any closed one);
        - of labels and predictions ``distance_nm`` from the centre of the nearest voxel (0 inside, inf beyond the
          reach), ``depth_nm`` inside from the nearest voxel that is not of it (0 outside, inf beyond the reach),
          ``side``, ``inside``; of labels ``label``, the one inside or the nearest (0 beyond the reach); of predictions
          and other volumes ``value`` at the nearest voxel (NaN beyond the faces of the volume);
        - ``inside``: the names of all that the pick is inside of, joined by ``+``, or ``none``;
        - ``lamella.depth_nm`` from the nearest face of the slab (negative outside), ``lamella.low_nm`` and
          ``lamella.high_nm`` from the faces of low and high z, ``lamella.thickness_nm`` there;
        - ``neighbours.number`` of other picks within the radius, ``neighbours.distance_nm`` of the asked one.

    Raises
    ------
    MissingError, FormatError
        A file does not exist, is damaged, or is not what it is given for.
    InputError
        Something is not of a tomogram of the picks, has another extent or origin, or has no name; a surface has no
        sides; a lamella has no faces that can be found; or what ``convert_picks`` refuses.
    RunError
        A tomogram failed for another reason, or several did.
    """
    case = PicksCase([path_text(source)], path_text(out), PicksMeasureRecipe.of(recipe), options or RunOptions())
    report = run_jobs(case.jobs(), case.run_dir, case.options)
    written = case.finish(report)
    report.check()
    return together(written)


def together(written: Sequence[Written]) -> Written:
    """All that one command has written, as one."""
    counts: Counter[str] = Counter()
    for one in written:
        counts.update(one.counts)
    files = [file for one in written for file in one.files]
    notes = [note for one in written for note in one.notes]
    return Written(written[0].format, tuple(files), dict(counts), tuple(notes))
