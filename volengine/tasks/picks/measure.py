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
from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_json
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.core.picks import Picks
from volengine.engine.options import RunOptions
from volengine.engine.outlook import is_finished
from volengine.engine.report import RunReport
from volengine.engine.run import Job, run_jobs
from volengine.io.copick.target import is_target
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
    """A file of picks: its path, its tables with the names of their plans, and what there is to say."""

    path: str
    given: Sequence[TableGiven]
    notes: Sequence[str]


class PicksCase:
    """The files of one command: their jobs, and the tables that are written at the end.

    Parameters
    ----------
    sources
        Files of picks, globs, or folders of files of picks.
    out
        The file to write, or a folder.
    recipe, options
        What is measured, and how to run.

    Raises
    ------
    MissingError, FormatError
        A file does not exist, or is damaged.
    InputError
        Something exists at ``out``, or nothing can be measured.
    """

    def __init__(self, sources: PathsLike, out: str, recipe: PicksMeasureRecipe, options: RunOptions):
        self.out, self.options = out, options
        self.recipe = recipe.with_(overwrite=recipe.overwrite or options.overwrite)
        self.run_dir = MEASURE.run_dir(out, options)
        self.unwritten = list[str]()
        paths = picks_files(path_texts(sources))
        self.several = len(paths) > 1
        if self.several and MEASURE.is_product(out):
            raise InputError(f"--out {out} is one file, and there are {len(paths)} of picks; give a folder: {out}/")
        self._refuse_out()
        read = [(path, *self._tables(path)) for path in paths]
        names = Counter(_plan_name(one) for _, tables, _ in read for one in tables)
        self.files = [_File(path, list(self._given(path, tables, names)), notes) for path, tables, notes in read]

    def _tables(self, path: str) -> tuple[list[Picks], list[str]]:
        tables, notes = read_tables(path, self.recipe)
        tables, more = spaced(tables, self.recipe.spacing_nm)
        return tables, [*notes, *more]

    def _given(self, path: str, tables: Sequence[Picks], names: Mapping[str, int]) -> Iterator[TableGiven]:
        around = Surroundings(tables, self.recipe)
        how = "content" if self.options.identity == "content" else "quick"
        for one in tables:
            name = _plan_name(one)
            yield TableGiven(f"{file_name(_stem(path))}-{name}" if names[name] > 1 else name, one, around, how)

    def _refuse_out(self) -> None:
        path = Path(self.out)
        if MEASURE.is_product(self.out) and path.exists() and not self.recipe.overwrite and not self._ours(path):
            raise InputError(f"{path} exists; give another name or --overwrite.")

    def _ours(self, path: Path) -> bool:
        """Whether an earlier call with the same run folder has written a file, as it is now."""
        with suppress(OSError, FormatError):
            told = parse_json((Path(self.run_dir) / WRITTEN).read_bytes(), WRITTEN)
            stat = path.stat()
            return isinstance(told, dict) and told.get(str(path.absolute())) == [stat.st_size, stat.st_mtime_ns]
        return False

    def jobs(self) -> list[Job]:
        """A job for each tomogram of each file."""
        return [
            MEASURE.job(label_of(file.path, one.picks), one, self.out, self.recipe, self.options)
            for file in self.files
            for one in file.given
        ]

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
            if lost and (len(lost) == len(file.given) or not self._own_files()):
                self.unwritten.append(file.path)
                continue
            made.append(self._written(file, [one for one in file.given if one not in lost]))
        return made

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
        out = self.out
        if self.several and not is_target(out):
            out = f"{out.rstrip('/')}/{_stem(file.path)}{ending_of(self.recipe.to)}"
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


def _stem(path: str) -> str:
    return Path(path.partition("#")[0].rstrip("/")).name.partition(".")[0] or "picks"


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
        A file of picks of any format, of one or many tomograms.
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
    return written[0]
