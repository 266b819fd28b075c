"""view: a page on which a run, a collection, a store or a file is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from volengine.core.paths import PathsLike, path_text, path_texts
from volengine.web.recipe import ServeRecipe
from volengine.web.start import check_packages, open_as_asked
from volengine.web.view.recipe import ViewRecipe


def view(
    paths: PathsLike,
    recipe: ViewRecipe | None = None,
    serve: ServeRecipe | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> None:
    """Serve a page on which volumes, predictions, labels, picks and surfaces are looked at, until Ctrl-C.

    Chunks are read when somebody looks at them, from the level that fits the screen. Only what was found at the paths
    is served, to who has the link with its token. Nothing is written but views that users save.

    Parameters
    ----------
    paths
        Volumes of any format, tables of picks, sets of surfaces, mesh files, run folders, folders of outputs, of
        samples or of volumes, manifests and lists, URLs of volumes. Several tomograms are offered as a list.
    recipe
        What is shown, and how.
    serve
        Where, and to whom.
    say
        Is given the lines for the user, among them the link; default: they are printed.

    Raises
    ------
    InputError
        Nothing to show is found, or the server cannot listen there.
    DependencyError
        The packages of the extra ``web`` are missing.

    Examples
    --------
    ``volengine.view("TS_01.ome.zarr")`` prints a link and serves it until Ctrl-C. What is not there is refused before:

    >>> import volengine
    >>> volengine.view("gone.mrc")
    Traceback (most recent call last):
    volengine.core.errors.MissingError: gone.mrc: no such file or folder.
    """
    check_packages("view")
    from volengine.web.app import make_app
    from volengine.web.assets import viewer_files
    from volengine.web.serve import gate_of
    from volengine.web.serve import serve as run_server
    from volengine.web.view.find import find
    from volengine.web.view.routes import Views, view_routes
    from volengine.web.view.saved import SavedViews, default_folder

    recipe, serve = ViewRecipe.of(recipe), ServeRecipe.of(serve)
    open_as_asked(recipe.anonymous)
    viewer_files()
    folder = default_folder() if recipe.state is None else Path(path_text(recipe.state))
    found = find(path_texts(paths), recipe.overlay, links=recipe.links)
    views = Views(found, recipe, SavedViews(folder))
    if len(found) == 1:
        views.scene(0)  # what is wrong with the only one is said here
    run_server(make_app(gate_of(serve), view_routes(views), page="view.html"), serve, say or print)
