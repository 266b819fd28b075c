"""What the results of ``volengine run`` hold for ``picks measure``: tables of picks, and volumes by their feature.

A prediction is the one that the run has picked: after the rules, if these change the feature. Labels of picks are in
the tomogram that was segmented, or beside the prediction where the run has written no tomogram.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from volengine.core.errors import InputError, MissingError
from volengine.io.names import PICKS_SUFFIXES, suffix_of
from volengine.tasks.common.layout import feature_named, file_name

STORE = ".ome.zarr"
_WORD = re.compile(r"[^/\\*?\[\]#:]+")


def picks_of_run(results: str, tomograms: Collection[str]) -> list[str]:
    """The tables of picks of some tomograms in the results of a run, sorted by name.

    Parameters
    ----------
    results
        The folder that was ``--out`` of ``volengine run``.
    tomograms
        Names of the tomograms.

    Raises
    ------
    MissingError
        The folder has no picks, or none of these tomograms.
    """
    folder = _folder(results) / "picks"
    names = {file_name(name) for name in tomograms}
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    tables = [one for one in files if one.suffix.lower() in PICKS_SUFFIXES and one.is_file()]
    if not tables:
        raise MissingError(f"{results}: has no tables of picks in picks/; is it the --out of a run that picks?")
    found = [str(one) for one in tables if one.stem.rpartition("__")[0] in names]
    if not found:
        raise MissingError(f"{folder}: has no table of any of the {len(names)} tomograms, but {tables[0].name} ...")
    return found


def is_feature(text: str) -> bool:
    """Whether a text may name a feature: it is no path, no pattern and no file.

    >>> is_feature("membrane"), is_feature("p/membrane"), is_feature("*.mrc"), is_feature("membrane.mrc")
    (True, False, False, False)
    """
    return bool(_WORD.fullmatch(text)) and not suffix_of(text) and not Path(text).exists()


def predictions_of_run(results: str, feature: str) -> list[str]:
    """The prediction of a feature for each tomogram of a run.

    Parameters
    ----------
    results
        The folder that was ``--out`` of ``volengine run``.
    feature
        Name of the feature.

    Raises
    ------
    MissingError
        There is none.
    """
    found: dict[str, str] = {}
    known: dict[str, None] = {}
    for folder in ("predictions", "gated"):
        for store, tomogram, last in _predictions(results, folder):
            known[feature_named(last)] = None
            if last == file_name(feature):
                found[tomogram] = str(store)
    return _sorted(found, f"{results} has no prediction of {feature!r}", known)


def labels_of_run(results: str, feature: str) -> list[str]:
    """The label volume of a feature's picks for each tomogram of a run; arguments as of :func:`predictions_of_run`.

    Raises
    ------
    MissingError
        There is none.
    """
    found: dict[str, str] = {}
    known: dict[str, None] = {}

    def look(store: Path, tomogram: str) -> None:
        for group in sorted((store / "labels").glob("[!.]*")):
            if group.is_dir():
                known[feature_named(group.name)] = None
                if group.name == file_name(feature):
                    found[tomogram] = f"{store}#labels/{group.name}"

    for folder in ("predictions", "gated"):
        for store, tomogram, _ in _predictions(results, folder):
            look(store, tomogram)
    for folder in ("tomograms", "filtered"):
        for store in sorted((_folder(results) / folder).glob(f"*{STORE}")):
            look(store, store.name.removesuffix(STORE))
    return _sorted(found, f"{results} has no labels of picks of {feature!r}", known)


OF_RUN: dict[bool, Callable[[str, str], list[str]]] = {False: predictions_of_run, True: labels_of_run}
"""What a feature means, by whether labels are asked for."""


def _folder(results: str) -> Path:
    if "://" in results:
        raise InputError(f"--results {results}: must be a folder of this machine; name the volumes by their URLs.")
    folder = Path(results)
    if not folder.is_dir():
        raise MissingError(f"--results {results}: there is no such folder; it is the --out of volengine run.")
    return folder


def _predictions(results: str, folder: str) -> Iterator[tuple[Path, str, str]]:
    """The stores of predictions with the tomogram and the feature in their names."""
    for store in sorted((_folder(results) / folder).glob(f"*{STORE}")):
        tomogram, _, feature = store.name.removesuffix(STORE).rpartition("__")
        if tomogram:
            yield store, tomogram, feature


def _sorted(found: dict[str, str], said: str, known: Collection[str]) -> list[str]:
    if not found:
        raise MissingError(f"{said}, and no file or folder is called so; it has {', '.join(known) or 'none'}.")
    return [found[name] for name in sorted(found)]
