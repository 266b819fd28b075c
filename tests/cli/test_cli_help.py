"""The help of every verb, read as a user reads it, and what its options do: none is without effect."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import logging
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
import numpy as np
import pytest
from calling import Command, commands
from click.testing import CliRunner

import volengine
from volengine.cli.command import Command as Verb
from volengine.cli.help import COMMON, MESSAGES, STORAGE, WHAT, WHERE, record, sections_of
from volengine.cli.main import SECTIONS, VERBS, cli
from volengine.cli.options import FieldType
from volengine.core.recipe import Recipe
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc

PACKAGE = Path(volengine.__file__).parent
ALL = [pytest.param(path, command, id=" ".join(path)) for path, command in commands()]
RUNS = ("convert", "simulate", "segment", "interact", "pick", "score", "stats", "run")


def help_of(path: tuple[str, ...], columns: int = 100) -> str:
    done = CliRunner().invoke(cli, [*path, "--help"], terminal_width=columns, env={"COLUMNS": str(columns)})
    assert done.exit_code == 0, done.output
    return str(done.output)


def shown(path: tuple[str, ...], command: click.Command) -> dict[str, dict[str, str]]:
    """The text of each option by its names, by section."""
    context = click.Context(command, info_name=path[-1])
    found = sections_of(command, context, command.sections)  # type: ignore[attr-defined]
    return {title: dict(record(p, context, title) for p in params) for title, params in found.items()}


@pytest.mark.parametrize(("path", "command"), ALL)
def test_help_fits_the_terminal_and_has_sections_and_examples(path: tuple[str, ...], command: click.Command) -> None:
    text = help_of(path)
    assert max(map(len, text.splitlines())) <= 100
    assert "UNSET" not in text  # click's word for no default
    titles = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    assert "Options" not in titles
    assert titles[-1].startswith("Example")
    assert MESSAGES in titles
    if path[0] in RUNS:
        assert {WHAT, WHERE, STORAGE} <= set(titles)
    for flag in ("-v, --verbose", "-q, --quiet", "-h, --help"):
        assert flag in text


@pytest.mark.parametrize(("path", "command"), ALL)
def test_no_two_options_have_the_same_text_and_each_has_a_default(
    path: tuple[str, ...], command: click.Command
) -> None:
    texts: Counter[str] = Counter()
    for title, options in shown(path, command).items():
        for names, text in options.items():
            assert text[0] != "[", f"{names} has no text"
            texts[re.sub(r" ?\[.*?\]", "", text)] += 1
            if title != MESSAGES:
                assert re.search(r"default[^.;]*:|\[required\]|\[no default\]", text, re.IGNORECASE), f"{names}: {text}"
    assert [text for text, times in texts.items() if times > 1] == []


@pytest.mark.parametrize(("path", "command"), ALL)
def test_choices_are_shown_as_they_are_written(path: tuple[str, ...], command: click.Command) -> None:
    context = click.Context(command)
    for option in (p for p in command.params if isinstance(p, click.Option)):
        shown = option.make_metavar(context)
        for word in re.split(r"[|\[\]]", shown):
            choices = isinstance(option.type, click.Choice) or (isinstance(option.type, FieldType) and "|" in shown)
            if choices and word not in ("TEXT", "NUMBER", "INT", "Z,Y,X", "TEXT,..."):
                assert word == word.lower(), option.opts


def test_help_of_a_choice_names_what_is_accepted() -> None:
    assert "--identity quick|content" in help_of(("convert",))
    assert "--region Z,Y,X,Z,Y,X" in help_of(("picks", "filter"))
    assert "--patch Z,Y,X|slice" in help_of(("segment",))


@pytest.mark.parametrize(("path", "command"), ALL)
def test_examples_are_understood(path: tuple[str, ...], command: Verb) -> None:
    """Each example goes through the parser of the verb that it names: its options exist and take these values."""
    assert command.examples
    for example in command.examples:
        program, *words = shlex.split(example)
        assert program == "volengine"
        assert not path or path[0] == words[0], example
        group: click.Command = cli
        context = click.Context(cli)
        while isinstance(group, click.Group) and words and not words[0].startswith("-"):
            found = group.get_command(context, words[0])
            assert found is not None
            group, words = found, words[1:]
        if "--help" not in words:
            group.make_context("verb", words)


@pytest.mark.parametrize(("path", "command"), ALL)
def test_what_a_verb_makes_is_named_by_out(path: tuple[str, ...], command: click.Command) -> None:
    """No argument of any verb is an output."""
    usage = help_of(path).splitlines()[0]
    assert not re.search(r"\bOUT\b", usage)


def test_each_section_names_options_that_exist() -> None:
    known = {p.name for _, command in commands() for p in command.params}
    known |= {"verbose", "quiet", "version"}
    assert {name for names in COMMON.values() for name in names} <= known
    for _, command in commands():
        own = {name for names in command.sections.values() for name in names}  # type: ignore[attr-defined]
        assert own <= {p.name for p in command.params}


def test_every_verb_stands_once_in_the_help_of_the_program() -> None:
    listed = [verb for verbs in SECTIONS.values() for verb in verbs]
    assert len(listed) == len(set(listed))
    text = help_of(())
    for verb in VERBS:
        assert len(re.findall(rf"^  {verb} ", text, re.MULTILINE)) == 1


# -- no option without effect ------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "command"), ALL)
def test_each_function_uses_all_its_arguments(path: tuple[str, ...], command: click.Command) -> None:
    function = inspect.unwrap(command.callback)  # type: ignore[arg-type]
    tree = ast.parse(inspect.getsource(function).lstrip())
    definition = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))
    arguments = {a.arg for a in (*definition.args.args, *definition.args.kwonlyargs)}
    used = {n.id for n in ast.walk(definition) if isinstance(n, ast.Name)}
    assert arguments - used == set()


def _accessed(*paths: Path) -> set[str]:
    """Names of attributes that the code reads, recipes' own checks left out."""
    found: set[str] = set()
    for path in paths:
        tree = ast.parse(path.read_text())
        checks = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "check"]
        skipped = {id(n) for check in checks for n in ast.walk(check)}
        found |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and id(n) not in skipped}
        found |= {
            n.value
            for n in ast.walk(tree)
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in skipped
        }
    return found


RECIPES = {
    verb: getattr(volengine, f"{verb.title()}Recipe")
    for verb in ("convert", "segment", "interact", "pick", "score", "stats", "train", "export")
}


@pytest.mark.parametrize("verb", RECIPES)
def test_each_field_of_a_recipe_is_read_where_the_verb_works(verb: str) -> None:
    recipe: type[Recipe] = RECIPES[verb]
    room = PACKAGE / "tasks" / verb
    paths = list(room.rglob("*.py")) if room.is_dir() else [room.with_suffix(".py")]
    missing = {f.name for f in dataclasses.fields(recipe)} - _accessed(*paths)
    assert missing == set()


def test_options_of_a_run_are_read_by_the_engine_or_the_verb() -> None:
    """``device`` is for verbs with networks, or projections on a GPU; the others are read by the engine for all."""
    engine = _accessed(*(PACKAGE / "engine").glob("*.py"), *(PACKAGE / "tasks" / "common").glob("*.py"))
    special = {"device", "identity", "dry_run"}  # the last one is for the command line
    assert {f.name for f in dataclasses.fields(RunOptions)} - special <= engine
    for verb in RUNS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        offered = {p.name for p in command.params}
        room = PACKAGE / "tasks" / verb
        read = _accessed(*(room.rglob("*.py") if room.is_dir() else [room.with_suffix(".py")]))
        assert ("device" in offered) == ("device" in read or verb == "run"), verb
        assert "identity" in read


# -- what is printed ---------------------------------------------------------------------------------------


@pytest.fixture
def tomogram(tmp_path: Path) -> str:
    path = str(tmp_path / "TS_01.mrc")
    data = np.arange(16**3, dtype=np.float32).reshape(16, 16, 16)
    write_mrc(path, [data], data.shape, data.dtype, (10.0, 10.0, 10.0))
    return path


def test_quiet_verbose_and_neither(volengine: Command, tomogram: str) -> None:
    assert volengine("convert", tomogram, "--out", "a.ome.zarr", "-q") == (0, "", "")
    code, out, messages = volengine("convert", tomogram, "--out", "b.ome.zarr")
    assert code == 0
    assert "run folder" in out
    assert "stage done" not in messages
    code, out, messages = volengine("convert", tomogram, "--out", "c.ome.zarr", "-v")
    assert code == 0
    assert "run folder" in out
    for event in ("start:", "plan: name=", "stage done: name=", "plan done:", "end:"):
        assert event in messages
    code, _, messages = volengine("convert", tomogram, "--out", "d.ome.zarr", "-v", "--quiet")
    assert code == 2
    assert "give one of them" in messages
    assert not logging.getLogger("volengine").handlers


def test_quiet_leaves_errors_and_answers(volengine: Command, tomogram: str) -> None:
    code, out, messages = volengine("convert", "no.mrc", "--out", "a.ome.zarr", "-q")
    assert (code, out) == (2, "")
    assert messages.startswith("Error: ")
    asked = volengine("-q", "info", tomogram)
    assert asked == volengine("info", tomogram)
    assert asked[1]


def test_verbose_says_where_an_error_came_from(volengine: Command) -> None:
    _, _, short = volengine("info", "no.mrc")
    _, _, long = volengine("info", "no.mrc", "-v")
    assert "Traceback" not in short
    assert long.startswith("Traceback")
    assert long.endswith(short)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["seg"], "Did you mean segment"),
        (["Convert"], "Did you mean convert"),
        (["models", "exprt"], "Did you mean export"),
        (["xyzzy"], "There are convert, "),
        (["pick", "a", "--out", "b", "--spacing"], "--spacing-nm"),
        (["pick", "a", "--out", "b", "--tresholds", "1"], "--threshold"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(words: list[str], hint: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert hint in done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_verbs_options_choices_and_files(shell: str) -> None:
    start = "import sys; sys.argv[0] = 'volengine'; from volengine.cli.main import main; main()"
    program = [sys.executable, "-c", start]

    def ask(mode: str, words: str = "", number: int = 0) -> str:
        env = {"_VOLENGINE_COMPLETE": f"{shell}_{mode}", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        if shell == "fish":
            env["COMP_CWORD"] = words.split(" ")[-1]
        done = subprocess.run(program, capture_output=True, text=True, env=env | {"PYTHONPATH": str(PACKAGE.parent)})
        return done.stdout

    assert "_VOLENGINE_COMPLETE" in ask("source")
    assert "segment" in ask("complete", "volengine seg", 1)
    assert "--spacing-nm" in ask("complete", "volengine pick --spac", 2)
    assert re.search(r"\bcontent\b", ask("complete", "volengine pick --identity con", 3))
    assert "file" in ask("complete", "volengine pick TS", 2)
    for words in ("picks convert a.csv --to re", "picks filter a.csv --format re", "pick a --format re"):
        found = ask("complete", f"volengine {words}", len(words.split()))
        assert re.search(r"\brelion5\b", found)
        assert not re.search(r"\bdynamo\b", found)
    assert "imod-mesh" in ask("complete", "volengine picks info --read-as imod", 4)
    assert "imod-mesh" not in ask("complete", "volengine pick a --to imod", 4)


def test_outputs_may_still_be_given_without_the_flag(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["export", "a.mrc"])
    assert done.exit_code == 2
    assert "Give SOURCE and --out" in done.output
    done = CliRunner().invoke(cli, ["export", "a", "b", "--out", "c"])
    assert "a, b" in done.output
