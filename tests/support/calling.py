"""Types of the fixture that calls the command line, and the tree of its commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from volengine.cli.main import cli

Answer = tuple[int, str, str]
"""Exit code, output, messages."""
Command = Callable[..., Answer]


def commands(group: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words, groups that do something on their own included."""
    context = click.Context(group)
    if isinstance(group, click.Group):
        if group.invoke_without_command:
            yield path, group
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))
    else:
        yield path, group
