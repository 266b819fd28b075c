"""Checks of the documentation: what it promises must be there.

``python docs/check.py`` reads README, CONTRIBUTING, CHANGELOG, docs, examples and deploy, and lists what does not hold:

- a relative link whose file or heading does not exist;
- a ``python`` block that does not compile;
- a ``volengine ...`` line, in a ``console`` or ``bash`` block or in a script of ``deploy``, with a verb, option or
  value that the command line does not take;
- a part made from the code (:mod:`generated`) that is not up to date;
- a ``yaml`` block or example that is no YAML, or no valid recipe;
- a page of ``docs`` that no other page links to.

``python docs/check.py --run PAGE`` executes the blocks of one page from top to bottom in the current folder: every
``python`` block (all in one namespace), and the ``console``, ``bash`` and ``yaml`` blocks that a comment asks for:

- ``<!-- run -->`` before a ``console`` or ``bash`` block: run it with bash, any failing command ends it;
- ``<!-- file: NAME -->`` before a ``yaml`` block: write it to NAME;
- ``<!-- not run: REASON -->`` before a ``python`` block: leave it out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import generated

ROOT = Path(__file__).resolve().parents[1]
LAUNCHERS = ("exec", "srun", "time", "nohup")
SHELL = ("console", "bash", "sh")
SAMPLE = {"specimen", "tilts", "dose", "exposure", "reconstruct", "keep"}
"""Names that only the recipe of a simulation has."""
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*([\w+-]*)")
MARK = re.compile(r"^\s*<!--\s*(run|file|not run)(?::\s*(.*?))?\s*-->\s*$")
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:src|href|srcset)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Code:
    """A fenced block: its language, text and first line, and the mark (and its value) before it."""

    language: str
    text: str
    line: int
    mark: str = ""
    value: str = ""


def pages() -> list[Path]:
    """The Markdown files that are checked."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*top, *sorted((ROOT / "docs").glob("*.md")), *_deploy("*.md")]


def _deploy(pattern: str) -> list[Path]:
    return sorted((ROOT / "deploy").glob(pattern))


def blocks(text: str) -> Iterator[Code]:
    """The fenced blocks of a page, in order."""
    mark, value, fence, language, start, indent = "", "", "", "", 0, ""
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if fence:
            if found and found[2][0] == fence[0] and len(found[2]) >= len(fence) and not found[3]:
                yield Code(language, "\n".join(body) + "\n", start, mark, value)
                fence, mark, value = "", "", ""
            else:
                body.append(line.removeprefix(indent))
        elif found:
            indent, fence, language, start, body = found[1], found[2], found[3], number + 1, []
        elif marked := MARK.match(line):
            mark, value = marked[1], marked[2] or ""
        elif line.strip():
            mark, value = "", ""


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines outside of fenced blocks, without inline code."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if fence:
            if found and found[2][0] == fence[0] and len(found[2]) >= len(fence) and not found[3]:
                fence = ""
        elif found:
            fence = found[2]
        else:
            yield number, re.sub(r"`[^`]*`", "", line)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings, and those set by ``id="..."``."""
    seen: Counter[str] = Counter()
    found: set[str] = set()
    for line in (line for line in _outside(text) if re.match(r"#{1,6}\s", line)):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip().strip("#").strip())
        slug = re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-")
        found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
        seen[slug] += 1
    return found | set(re.findall(r"(?:id|name)=\"([^\"]+)\"", text))


def _outside(text: str) -> Iterator[str]:
    fenced = {n for b in blocks(text) for n in range(b.line - 1, b.line + b.text.count("\n") + 1)}
    return (line for number, line in enumerate(text.splitlines(), 1) if number not in fenced)


def links(text: str) -> Iterator[tuple[int, str]]:
    """The relative targets of links and pictures, with their lines."""
    for number, line in prose(text):
        for found in LINK.finditer(line):
            target = found[1] or found[2]
            if not re.match(r"[a-z][a-z0-9+.-]*:", target):
                yield number, target


def check_links(page: Path, text: str) -> Iterator[str]:
    for number, target in links(text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            yield f"{_where(page)}:{number}: {target}: there is no {name}"
        elif anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text())):
            yield f"{_where(page)}:{number}: {target}: {_where(file)} has no heading #{anchor}"


def commands(text: str, language: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each ``volengine`` call in a shell block, with the line (from 0) it begins on."""
    for number, line in _typed(text, language):
        if "volengine" not in line:
            continue
        for part in re.split(r"\s(?:&&|\|\||[|;&])(?:\s|$)", line):
            words = shlex.split(re.sub(r"\$\(\(.*?\)\)|\$\{?\w+\}?", "1", part), comments=True)
            while words and (re.match(r"\w+=", words[0]) or words[0] in LAUNCHERS or words[0].startswith("--")):
                words.pop(0)
            if words and words[0] == "volengine":
                yield number, words[1:]


def _typed(text: str, language: str) -> Iterator[tuple[int, str]]:
    """What is typed in a shell block, continued lines joined, with the line (from 0) each begins on.

    In a ``console`` block with prompts (``$ ``) everything else is output.
    """
    lines = iter(enumerate(text.splitlines()))
    prompted = language == "console" and re.search(r"^\$ ", text, re.MULTILINE) is not None
    for number, line in lines:
        if prompted and not line.startswith("$ "):
            continue
        line = line.removeprefix("$ ") if prompted else line
        while line.endswith("\\"):
            line = f"{line[:-1]} {next(lines, (0, ''))[1]}"
        yield number, line


def check_command(words: list[str]) -> str | None:
    """What the command line says against these words; ``None`` if it takes them."""
    import click

    from volengine.cli.main import cli

    if words and words[0] in ("--help", "-h", "--version"):
        return None
    command = cli.get_command(click.Context(cli), words[0]) if words else None
    if command is None:
        return f"there is no verb {' '.join(words[:1])!r}"
    if {"--help", "-h"} & {*words}:
        return None
    try:
        command.make_context(words[0], words[1:])
    except click.ClickException as error:
        return error.format_message()
    return None


def check_recipe(text: str) -> str | None:
    """What is wrong with a YAML text; recipes are known by their names."""
    import yaml

    from volengine.core.errors import InputError

    try:
        data = yaml.safe_load(text)
        if isinstance(data, dict):
            _recipe_of(data)
    except (yaml.YAMLError, InputError) as error:
        return str(error)
    return None


def _recipe_of(data: dict[str, Any]) -> object:
    if "apiVersion" in data:  # a Kubernetes object
        return data
    if "samples" in data:
        from volengine.tasks.train.recipe import TrainRecipe

        return TrainRecipe.from_json(data)
    if SAMPLE & set(data):
        from volengine.tasks.simulate.draw import sample_recipe

        return sample_recipe(data, 1)
    if "kind" in data:
        from volengine.engine.cluster_recipe import ClusterRecipe

        return ClusterRecipe.from_json(data)
    if "tiles" in data:
        from volengine.tasks.convert.tiles import tiles_in

        return tiles_in(data, "tiles")
    if "rules" in data:
        from volengine.tasks.interact.recipe import InteractRecipe

        return InteractRecipe.from_json(data)
    from volengine.tasks.run import RunRecipe

    return RunRecipe.from_json(data)


def check_code(page: Path, text: str) -> Iterator[str]:
    for block in blocks(text):
        if block.language == "python":
            try:
                compile(block.text, _where(page), "exec")
            except SyntaxError as error:
                yield f"{_where(page)}:{block.line + (error.lineno or 1) - 1}: {error.msg}"
        elif block.language in SHELL:
            yield from _shell(page, block.text, block.language, block.line)
        elif block.language == "yaml" and (said := check_recipe(block.text)):
            yield f"{_where(page)}:{block.line}: {said}"


def _shell(file: Path, text: str, language: str, first: int) -> Iterator[str]:
    for number, words in commands(text, language):
        if said := check_command(words):
            yield f"{_where(file)}:{first + number}: volengine {' '.join(words)}: {said}"


def check_reached(found: list[Path]) -> Iterator[str]:
    """Pages of ``docs`` that nobody links to."""
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in found
        for _, target in links(page.read_text())
        if not target.startswith("#")
    }
    for page in found:
        if page.parent.name == "docs" and page not in linked:
            yield f"{_where(page)}: no page links here"


def _where(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def check_all() -> list[str]:
    """Everything that does not hold."""
    found: list[str] = []
    for page in pages():
        text = page.read_text()
        found += check_links(page, text)
        found += check_code(page, text)
        if generated.filled(text) != text:
            found.append(f"{_where(page)}: parts made from the code are out of date; run python docs/generated.py")
    for script in _deploy("*.sh"):
        found += _shell(script, script.read_text(), "bash", 1)
    for example in sorted((ROOT / "examples").glob("*.yaml")):
        if said := check_recipe(example.read_text()):
            found.append(f"{_where(example)}: {said}")
    return [*found, *check_reached(pages())]


def run_page(page: Path) -> int:
    """Execute a page's blocks in the current folder; returns how many were run."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    names: dict[str, Any] = {"__name__": "__page__"}
    count = 0
    for block in blocks(page.read_text()):
        where = f"{_where(page)}:{block.line}"
        if block.language == "python" and block.mark != "not run":
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(page), "exec"), names)
        elif block.language in SHELL and block.mark == "run":
            script = "\n".join(line for _, line in _typed(block.text, block.language))
            print(f"{where}\n{script}", flush=True)
            subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, env={**os.environ, "PATH": path})
        elif block.mark == "file":
            Path(block.value).write_text(block.text)
        else:
            continue
        count += 1
    return count


def main() -> int:
    if sys.argv[1:2] == ["--run"]:
        for name in sys.argv[2:]:
            print(f"{name}: {run_page(Path(name).resolve())} blocks run")
        return 0
    found = check_all()
    print("\n".join(found) if found else f"{len(pages())} pages: all links, code, commands and recipes hold.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
