"""The help of a verb: its options in sections, each with its default, and examples at the end.

Sections are *What* (the verb's own options), *Storage* (what is written, and how), *Where and how* (workers, memory,
what happens after a failure) and *Messages*; a verb may name further ones for its own options. An option that no
section names belongs to *What*.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum

import click

Sections = Mapping[str, tuple[str, ...]]
"""Names of options (as parameters: ``max_distance_vox``) by the title of their section."""

WHAT, STORAGE, WHERE, MESSAGES = "What", "Storage", "Where and how", "Messages"

COMMON: Sections = {
    STORAGE: (
        *("chunk", "shard", "ngff", "levels", "codec", "dtype", "rounding"),
        *("run_dir", "overwrite", "durable", "keep_scratch", "identity"),
    ),
    WHERE: (
        *("workers", "cluster", "max_workers", "wait_for_workers"),
        *("scheduler", "insecure", "tls_ca", "tls_cert", "tls_key", "part", "patience_s", "deadline"),
        *("memory_limit", "device", "block", "retries", "take_over", "dry_run", "progress"),
    ),
    MESSAGES: ("verbose", "quiet", "version"),
}
"""The sections that every verb shares."""

STATED = re.compile(r"\[required\]|\[no default\]|default[^.;]*:", re.IGNORECASE)


def sections_of(command: click.Command, ctx: click.Context, own: Sections) -> dict[str, list[click.Option]]:
    """The options of a command by section, in the order in which help lists them.

    Parameters
    ----------
    command, ctx
        The command and its context; options that are hidden or have no help are left out.
    own
        The command's further sections, which stand after *What*.
    """
    where = {name: title for titles in (COMMON, own) for title, names in titles.items() for name in names}
    found: dict[str, list[click.Option]] = {title: [] for title in (WHAT, *own, STORAGE, WHERE, MESSAGES)}
    for param in command.get_params(ctx):
        if isinstance(param, click.Option) and param.get_help_record(ctx) is not None:
            title = MESSAGES if param is command.get_help_option(ctx) else where.get(str(param.name), WHAT)
            found[title].append(param)
    return {title: params for title, params in found.items() if params}


def record(param: click.Option, ctx: click.Context, title: str) -> tuple[str, str]:
    """Names and text of an option; the text ends with the default, if it does not state it itself."""
    names, text = param.get_help_record(ctx) or ("", "")
    text = " ".join(text.split())
    if title != MESSAGES and not STATED.search(text):
        text += f" [default: {_default(param, ctx)}]"
    return names, text


def _default(param: click.Option, ctx: click.Context) -> str:
    """The default of an option as help says it."""
    value = param.get_default(ctx)
    if param.is_flag:
        return "yes" if value is True else "no"
    unset = isinstance(value, Enum) and value.name == "UNSET"  # what click 8.3 and later say of an option without one
    return "none" if value is None or value == () or unset else str(value)


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter, own: Sections) -> None:
    """Write the sections of a command's options."""
    for title, params in sections_of(command, ctx, own).items():
        with formatter.section(title):
            formatter.write_dl([record(param, ctx, title) for param in params], col_max=26)


def write_examples(formatter: click.HelpFormatter, examples: Iterable[str]) -> None:
    """Write examples as they are, one a line, so that they can be copied."""
    lines = list(examples)
    if lines:
        with formatter.section("Examples" if len(lines) > 1 else "Example"):
            for line in lines:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
