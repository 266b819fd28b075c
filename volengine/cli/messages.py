"""How much a verb says: ``-q`` errors only, ``-v`` also every step of a run, and where in the code an error came from.

What was asked for is always printed: the facts of ``info``, a score without ``--out``, JSON. Reports about what was
done go through :func:`say`, which ``-q`` silences. Log lines of the package (:mod:`logging`, logger ``volengine``)
reach the terminal with ``-v``.
"""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

GIVE = {"set": "give", "Set": "Give"}

SIZE_ASKED = re.compile(
    r"(?P<before>(?P<path>[^\n]+?): [^\n]*?)"
    r"Give the (true )?voxel size,? in angstrom(:| with) --voxel-size(?P<size> [0-9]+(\.[0-9]+)?)?"
)
"""What files without a voxel size say, which not every command can be told."""


@dataclass
class Asked:
    """What the user has asked for, on any level of the command line."""

    verbose: bool = False
    quiet: bool = False


class Lines(logging.Handler):
    """Writes log records as lines of the terminal, without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record to standard error."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def quiet() -> bool:
    """Whether the present command was called with ``-q``."""
    context = click.get_current_context(silent=True)
    asked = context.find_object(Asked) if context else None
    return asked is not None and asked.quiet


def verbose() -> bool:
    """Whether the present command was called with ``-v``."""
    context = click.get_current_context(silent=True)
    asked = context.find_object(Asked) if context else None
    return asked is not None and asked.verbose


def say(text: str) -> None:
    """Print a line of a report, unless the command was called with ``-q``."""
    if not quiet():
        click.echo(text)


def options() -> list[click.Option]:
    """The options ``-v`` and ``-q``, which every command has."""
    told: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True, "callback": _told}
    more = "Print every step of a run as well, and for an error where in the code it came from."
    silent = "Print errors only, and what was asked for (facts, scores without --out, JSON): no progress, no report."
    return [
        click.Option(["-v", "--verbose"], help=more, **told),
        click.Option(["-q", "--quiet"], help=silent, **told),
    ]


def _told(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Remember what was asked for."""
    if value and not ctx.resilient_parsing:
        asked = ctx.ensure_object(Asked)
        setattr(asked, str(param.name), True)
        if asked.verbose and asked.quiet:
            raise click.UsageError("-v asks for more lines and -q for none; give one of them.", ctx)


def as_options(text: str, names: Collection[str]) -> str:
    """Say what a message asks for by the options of a command, instead of by arguments of Python.

    Parameters
    ----------
    text
        A message.
    names
        Names of the command's parameters. Others are left as they are.

    >>> as_options("a.tbl does not say the voxel size: set voxel_size (angstrom).", ["voxel_size"])
    'a.tbl does not say the voxel size: give --voxel-size (angstrom).'
    >>> as_options("Profiles are read from a tomogram; give tomogram or volume.", ["tomogram", "volume"])
    'Profiles are read from a tomogram; give --tomogram or --volume.'
    >>> said = as_options("a b.mrc: no voxel size. Give the true voxel size, in angstrom: --voxel-size 10.5.", ["box"])
    >>> said.partition(". ")[2].partition("): ")[2]  # each file is left as it is
    "volengine convert 'a b.mrc' --out 'a b.ome.zarr' --voxel-size 10.5."
    >>> as_options("set format to one of relion, csv.", ["read_as", "to"])
    'give --read-as or --to, one of relion, csv.'
    >>> as_options("set format to one of relion, csv.", ["picks"])[:60]
    'first make a table of it: volengine picks convert FILE --rea'
    >>> as_options("TrainRecipe: 'features' is missing.", ["features"])
    'Give --features, which has no default.'
    """

    def option(match: re.Match[str]) -> str:
        word, name = match["word"], match["name"]
        if name not in names:
            return match[0]
        return f"{GIVE.get(word, word)} --{name.replace('_', '-')}"

    def given_names(match: re.Match[str]) -> str:
        return re.sub(r"(?P<word>[Gg]ive|and|or) (?P<name>[a-z_]+)", option, match[0])

    missing = re.fullmatch(r"\w+Recipe: '(\w+)' is missing\.", text)
    if missing and missing[1] in names:
        return f"Give --{missing[1].replace('_', '-')}, which has no default."
    forms = ["format"] if "format" in names else [name for name in ("read_as", "to") if name in names]
    if forms:
        given = " or ".join(f"--{name.replace('_', '-')}" for name in forms)
        text = text.replace("set format to one of", f"give {given}, one of")
    else:
        first = (
            "first make a table of it: volengine picks convert FILE --read-as FORMAT --out TABLE.star; FORMAT is one of"
        )
        text = text.replace("set format to one of", first)
    if re.search(r"\b[Ss]et [a-z]", text):
        text = re.sub(r"\b(?P<word>[Ss]et) (?P<name>[a-z_]+)(?= \(|[.,;:]|$| to\b)", option, text)
        text = re.sub(r"\b(?P<word>and|or) (?P<name>[a-z_]+)(?= \()", option, text)
    text = re.sub(r"\b[Gg]ive [a-z_]+(?:,? (?:and|or) [a-z_]+)*(?=[.,;:]|$)", given_names, text)
    if "voxel_size" not in names:
        text = SIZE_ASKED.sub(_store_first, text)
    return text


def _store_first(match: re.Match[str]) -> str:
    """The command that makes a store with a voxel size of a file that has none."""
    path = match["path"]
    store = re.sub(r"(\.ome)?\.[A-Za-z0-9]+/?$", "", path)
    store = f"{store}_sized.ome.zarr" if path.rstrip("/").endswith(".zarr") else f"{store}.ome.zarr"
    command = f"volengine convert {shlex.quote(path)} --out {shlex.quote(store)} --voxel-size{match['size'] or ' 10.5'}"
    kinds = "a mask or labels: and --kind labels; a prediction: --kind probability"
    return f"{match['before']}First write a store that states the true one ({kinds}): {command}"


@contextmanager
def terminal(ctx: click.Context) -> Iterator[None]:
    """With ``-v`` the log's lines go to the terminal while a command runs; with ``-q`` not even its warnings do."""
    asked, logger = ctx.find_object(Asked), logging.getLogger("volengine")
    if asked is not None and asked.quiet:
        before = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(before)
        return
    if asked is None or not asked.verbose or any(isinstance(handler, Lines) for handler in logger.handlers):
        yield
        return
    handler, level = Lines(), logger.level
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
