"""Commands that lose no value, and options that take a list.

Click keeps the last of several values of an option and drops the others without a word. A command of this module
refuses an option that is given twice. An option that takes a list may be repeated, may have commas between its values,
or both: ``--models a,b --models c``. A comma that belongs to a value is written ``\\,``. Those of what is chosen of a
project, ``config.json#run=TS_1,tomo=wbp``, belong to it without that.

>>> split_list("a.mrc, b.mrc")
['a.mrc', 'b.mrc']
>>> split_list(r"a\\,b.mrc")
['a,b.mrc']
>>> split_list("config.json#run=TS_1,tomo=wbp,b.mrc")
['config.json#run=TS_1,tomo=wbp', 'b.mrc']
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import click
from click.shell_completion import CompletionItem

from volengine.cli.help import Sections, write_examples, write_options
from volengine.cli.messages import as_options, options, terminal
from volengine.core.errors import VolengineError

COMMA = re.compile(r"(?<!\\),")
CHOICE = re.compile(r"#\s*[A-Za-z]+\s*=")
MORE_OF_A_CHOICE = re.compile(r"[A-Za-z]+\s*=")


class PathText(click.types.StringParamType):
    """A text that is a path more often than not: a shell completes it to files."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ask the shell for files."""
        return [CompletionItem(incomplete, type="file")]


class Common:
    """What commands and groups share: no value is lost, help has sections and examples, ``-v`` and ``-q``.

    Parameters
    ----------
    examples
        Lines for the end of the help, which work as they are.
    sections
        Further sections of the help (:mod:`volengine.cli.help`).
    """

    params: list[click.Parameter]

    def __init__(self, *args: Any, examples: Sequence[str] = (), sections: Sections | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.sections = dict(sections or {})
        self._messages = options()
        for param in self.params:
            if type(param.type) is click.types.StringParamType:
                param.type = PathText()

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """``-h`` and ``--help``, in whatever context the command is asked; Click keeps the first answer."""
        return ["-h", "--help"]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options and arguments, with ``-v`` and ``-q`` before ``--help``."""
        *own, last = super().get_params(ctx)  # type: ignore[misc]
        found: list[click.Parameter] = [*own, *self._messages, last]
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse an option that is given twice, unless the option takes a list."""
        if not ctx.resilient_parsing:
            refuse_repeated(self, ctx, args)  # type: ignore[arg-type]
        rest: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, with ``-v`` with the log on the terminal; errors ask for options, not for arguments."""
        with terminal(ctx):
            try:
                return super().invoke(ctx)  # type: ignore[misc]
            except VolengineError as error:
                if len(error.args) == 1 and not isinstance(self, click.Group):  # a group has none of its verb's options
                    names = [str(param.name) for param in self.params if isinstance(param, click.Option)]
                    error.args = (as_options(str(error), names),)
                raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in sections, then the commands of a group."""
        write_options(self, ctx, formatter, self.sections)  # type: ignore[arg-type]
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what else the command says at its end, and the examples."""
        super().format_epilog(ctx, formatter)  # type: ignore[misc]
        write_examples(formatter, self.examples)


class Command(Common, click.Command):
    """A verb."""


class Group(Common, click.Group):
    """A group of verbs; a name that it does not know is answered with the nearest ones."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a name.

        Raises
        ------
        click.UsageError
            There is none; the message names those that are nearest.
        """
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            names = self.list_commands(ctx)
            near = get_close_matches(name.lower(), names, n=2, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(names)}."
            raise click.UsageError(f"There is no verb {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)


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

    The commas in what is chosen of a project, ``config.json#KEY=VALUE,KEY=VALUE``, stay in its value.

    Raises
    ------
    ValueError
        A value is empty.
    """
    parts: list[str] = []
    for part in map(str.strip, COMMA.split(text)):
        if parts and MORE_OF_A_CHOICE.match(part) and CHOICE.search(parts[-1]):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    if not all(parts):
        raise ValueError(f"{text!r} has an empty value between its commas.")
    return [part.replace("\\,", ",") for part in parts]


def joined(ctx: click.Context, param: click.Parameter, value: Any) -> tuple[Any, ...] | None:
    """Callback of an option that takes a list: the values of all occurrences, in order; ``None`` if there is none."""
    return tuple(one for occurrence in value or () for one in occurrence) or None
