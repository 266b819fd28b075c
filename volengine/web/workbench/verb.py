"""workbench: a page on which a project is looked at and annotated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from volengine.core.errors import InputError
from volengine.core.paths import PathLike
from volengine.core.text import counted
from volengine.engine.lock import Lock, read, remove
from volengine.web.recipe import ServeRecipe
from volengine.web.start import check_packages, open_as_asked
from volengine.web.workbench.project import Project
from volengine.web.workbench.recipe import WorkbenchRecipe

MOST_NOTES = 5
"""Of what was not found, that are said at the start."""


def workbench(
    project: PathLike,
    recipe: WorkbenchRecipe | None = None,
    serve: ServeRecipe | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> None:
    """Serve a page on which a whole project is looked at, sorted and annotated, until Ctrl-C.

    Everything that is drawn is an operation of the annotations (:class:`volengine.Annotations`) and on the disk when
    the page shows it. Several servers, commands and people may work on one project at the same time.

    Parameters
    ----------
    project
        A folder of tomograms or results, the manifest of a collection, or the configuration of a copick project. The
        page writes into ``annotations``, ``lists``, ``recipes``, ``models`` and ``jobs`` in this folder (that of the
        manifest; of a copick project, the folder ``NAME.volengine`` beside its configuration), runs also their results;
        thumbnails are kept in ``.workbench``.
    recipe
        Who draws, and how tomograms are opened.
    serve
        Where the page is served, and to whom.
    say
        Is given the lines for the user, among them the link; default: they are printed.

    Raises
    ------
    InputError
        There is no tomogram, or the server cannot listen there.
    DependencyError
        The packages of the extra ``web`` are missing.

    Examples
    --------
    ``volengine.workbench("project")`` prints a link and serves it until Ctrl-C. What is not there is refused before:

    >>> import volengine
    >>> volengine.workbench("gone")
    Traceback (most recent call last):
    volengine.core.errors.MissingError: gone: no such folder or manifest.
    """
    check_packages("workbench")
    from volengine.web.app import make_app
    from volengine.web.serve import gate_of
    from volengine.web.serve import serve as run_server
    from volengine.web.workbench.bench import Bench
    from volengine.web.workbench.routes import bench_routes

    recipe, serve, say = WorkbenchRecipe.of(recipe), ServeRecipe.of(serve), say or print
    open_as_asked(recipe.anonymous)
    found = Project(project, recipe)
    bench = Bench(found)
    for note in found.notes[:MOST_NOTES]:
        say(note)
    say(f"{counted(len(found), 'tomogram')} in {found.name}. Annotations are kept in {found.folder / 'annotations'}.")
    with contextlib.closing(bench.annotating), contextlib.closing(bench.curating), _beside_others(found, say):
        bench.annotating.catch_up()
        run_server(make_app(gate_of(serve), bench_routes(bench), page="workbench.html"), serve, say)


@contextlib.contextmanager
def _beside_others(project: Project, say: Callable[[str], None]) -> Iterator[None]:
    """Say whether another server shows the project; both may, as annotations allow several processes."""
    if not project.writable:
        say(f"{project.folder} cannot be written to, so it can only be looked at.")
        yield
        return
    lock = Lock(project.folder / ".workbench" / "server.lock")
    try:
        mine = lock.create()
        if not mine and (holder := read(lock.path)) is not None:
            if holder.gone():
                remove(lock.path, holder.nonce)
                mine = lock.create()
            else:
                say(f"Another server shows this project, too, and joins in what is drawn: {holder}.")
    except (InputError, OSError):  # it is for the message alone
        mine = False
    try:
        yield
    finally:
        if mine:
            lock.release()
