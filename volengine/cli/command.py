"""Commands that lose no value, and options that take a list.

Click keeps the last of several values of an option and drops the others without a word. A command of this module
refuses an option that is given twice. An option that takes a list may be repeated, may have commas between its values,
or both: ``--models a,b --models c``. A comma that belongs to a value is written ``\\,``.

>>> split_list("a.mrc, b.mrc")
['a.mrc', 'b.mrc']
>>> split_list(r"a\\,b.mrc")
['a,b.mrc']
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import click

COMMA = re.compile(r"(?<!\\),")


class Command(click.Command):
    """A command that refuses an option that is given twice, unless the option takes a list."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            refuse_repeated(self, ctx, args)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            refuse_repeated(self, ctx, args)
        return super().parse_args(ctx, args)


def refuse_repeated(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    """Refuse arguments in which an option that takes a single value stands more than once.

    Raises
    ------
    click.UsageError
        An option is repeated; a flag and its opposite count as the same option.
    """
    *_, order = command.make_parser(ctx).parse_args(list(args))
    for parameter, times in Counter(order).items():
        if times > 1 and isinstance(parameter, click.Option) and not (parameter.multiple or parameter.count):
            names = "/".join((*parameter.opts, *parameter.secondary_opts))
            raise click.UsageError(f"{names} is given {times} times, and takes one value; give it once.", ctx)


def split_list(text: str) -> list[str]:
    """The values of a text with commas between them, without spaces around them.

    Raises
    ------
    ValueError
        A value is empty.
    """
    parts = [part.strip().replace("\\,", ",") for part in COMMA.split(text)]
    if not all(parts):
        raise ValueError(f"{text!r} has an empty value between its commas.")
    return parts


def joined(ctx: click.Context, param: click.Parameter, value: Any) -> tuple[Any, ...] | None:
    """Callback of an option that takes a list: the values of all occurrences, in order; ``None`` if there is none."""
    return tuple(one for occurrence in value or () for one in occurrence) or None
