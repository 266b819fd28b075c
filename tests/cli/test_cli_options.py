"""Every option of every verb, found in the tree of commands: lists keep all values, single values are given once."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import click
import pytest
from calling import Command, commands
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from volengine.cli.command import split_list
from volengine.cli.main import cli
from volengine.cli.options import FieldType
from volengine.core.recipe import coerce

OPTIONS = [
    pytest.param(command, option, id=" ".join((*path, option.opts[0])))
    for path, command in commands()
    for option in command.params
    if isinstance(option, click.Option)
]


def hints(option: click.Option) -> tuple[Any, ...]:
    """The types that an option takes."""
    if not isinstance(option.type, FieldType):
        names = {"integer": int, "float": float, "text": str}
        return (names.get(option.type.name, option.type),)
    return typing.get_args(option.type.hint) or (option.type.hint,) if not _is_tuple(option) else (option.type.hint,)


def _is_tuple(option: click.Option) -> bool:
    return typing.get_origin(option.type.hint) is tuple or typing.get_origin(option.type.hint) is typing.Literal


def sample(option: click.Option) -> str:
    """A text that the option takes."""
    if isinstance(option.type, click.Choice):
        return str(option.type.choices[0])
    hint = next(h for h in hints(option) if h is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        return str(next(word for word in typing.get_args(hint) if word))
    if typing.get_origin(hint) is tuple:
        of = typing.get_args(hint)
        words = {int: "3", float: "2.5", str: "a"}
        return words[of[0]] if of[-1] is Ellipsis else ",".join(words[kind] for kind in of)
    return {int: "3", float: "2.5", str: "a"}[hint]


def parsed(command: click.Command, option: click.Option, *values: str) -> Any:
    """What a command's function would be given for an option with these values."""
    rest = ["x"] * sum(max(1, p.nargs) for p in command.params if isinstance(p, click.Argument))
    for other in command.params:
        if isinstance(other, click.Option) and other.required and other is not option:
            rest += [other.opts[0], sample(other)]
    flags = [word for value in values for word in (option.opts[0], value)]
    if isinstance(command, click.Group):
        rest = []
    return command.make_context("verb", [*flags, *rest]).params[str(option.name)]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_a_list_keeps_all_values_and_a_single_value_is_given_once(command: click.Command, option: click.Option) -> None:
    if option.is_flag:
        pair = [option.opts[0], (*option.secondary_opts, option.opts[0])[0]]
        with pytest.raises(click.UsageError, match="2 times"):
            command.make_context("verb", pair)
        return
    value = sample(option)
    if option.multiple:
        assert isinstance(option.type, FieldType)
        assert option.type.takes_list
        one = coerce([2, 3, 4], tuple[int, ...], "") if option.type.name[:3] in ("int", "flo") else ("p", "q", "r")
        a, b, c = map(str, one)
        assert parsed(command, option, a, b, c) == one
        assert parsed(command, option, f"{a},{b}", c) == one
        assert parsed(command, option, f"{a}, {b},{c}") == one
        with pytest.raises(click.BadParameter, match="empty value"):
            parsed(command, option, f"{a},,{b}")
        return
    assert not (isinstance(option.type, FieldType) and option.type.takes_list)
    parsed(command, option, value)
    with pytest.raises(click.UsageError, match=r"2 times.*give it once"):
        parsed(command, option, value, value)


NUMBERS = [p for p in OPTIONS if not p.values[1].is_flag and float in hints(p.values[1])]


@pytest.mark.parametrize(("command", "option"), NUMBERS)
@pytest.mark.parametrize("text", ["1e-3", "1E5", ".5", "5.", "+1.5e+2", "-2e1", "7"])
def test_every_number_may_have_an_exponent(command: click.Command, option: click.Option, text: str) -> None:
    if text.startswith("-") and option._flag_needs_value:
        pytest.skip("a number that may be left out (--watch) cannot begin with -, as another option does")
    value = parsed(command, option, text)
    assert value == float(text)
    assert isinstance(value, float)


@pytest.mark.parametrize(("command", "option"), NUMBERS)
@pytest.mark.parametrize("text", ["1:2:3", "1e", "nan", "inf", "1e999", "yes", "null", "0x10", "1_000", ""])
def test_what_is_no_number_is_refused(command: click.Command, option: click.Option, text: str) -> None:
    with pytest.raises(click.BadParameter, match="number"):
        parsed(command, option, text)


def test_there_are_options_of_each_kind() -> None:
    assert len(OPTIONS) > 150
    assert len(NUMBERS) > 15
    assert sum(p.values[1].multiple for p in OPTIONS) > 15


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["{!r}", "{:e}", "{:.17E}", "{:g}"]))
def test_a_float_is_read_as_python_reads_it(number: float, form: str) -> None:
    text = form.format(number)
    if "inf" not in text and abs(float(text)) != float("inf"):
        assert FieldType(float, "x").convert(text, None, None) == float(text)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\\"), min_size=1).map(str.strip).filter(bool)))
def test_commas_in_values_are_escaped(values: list[str]) -> None:
    if values:
        assert split_list(",".join(value.replace(",", "\\,") for value in values)) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("c.json#run=TS_1,tomo=wbp,spacing=10", ["c.json#run=TS_1,tomo=wbp,spacing=10"]),
        ("a.mrc,c.json#seg=a, user=b ,d.mrc", ["a.mrc", "c.json#seg=a,user=b", "d.mrc"]),
        ("c.json#run=1,tomo=w,d.json#picks=r,user=u", ["c.json#run=1,tomo=w", "d.json#picks=r,user=u"]),
        ("s.zarr#labels/a,b=1.mrc", ["s.zarr#labels/a", "b=1.mrc"]),
    ],
)
def test_what_is_chosen_of_a_project_is_one_value(text: str, values: list[str]) -> None:
    assert split_list(text) == values


def test_a_file_with_a_comma_in_its_name_is_one_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a, b.mrc").touch()
    kind = FieldType(tuple[str, ...], "volume")
    assert kind.convert("a, b.mrc", None, None) == ("a, b.mrc",)
    assert kind.convert("a, c.mrc", None, None) == ("a", "c.mrc")
    assert kind.convert("a\0,b", None, None) == ("a\0", "b")


def test_both_models_are_used(volengine: Command, tmp_path: Path) -> None:
    """Until now ``--models A --models B`` used the last one only."""
    import numpy as np
    from threshold_net import save_threshold_model

    from volengine.io.mrc.write import write_mrc

    array = np.zeros((8, 16, 16), np.float32)
    array[2:5, 3:9, 4:11] = 3
    write_mrc(tmp_path / "t.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))
    for feature in ("a", "b", "c"):
        save_threshold_model(tmp_path / f"{feature}.safetensors", feature, patch=(4, 8, 8))
    a, b, c = (str(tmp_path / f"{feature}.safetensors") for feature in "abc")
    code, _, err = volengine(
        "segment", str(tmp_path / "t.mrc"), "--out", str(tmp_path / "out"), "--models", f"{a},{b}", "--models", c
    )
    assert code == 0, err
    assert {p.name for p in (tmp_path / "out").glob("*.zarr")} == {f"t__{feature}.ome.zarr" for feature in "abc"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--out", "m.safetensors", "--volume", "t", "--labels", "l", "--radius-nm", "5"], "no --points"),
        (["train", "r.yaml", "--out", "m.safetensors", "--labels", "l"], "there is none"),
        (["models", "--network", "unet3d", "show", "f"], "no effect"),
        (["models", "--json", "show", "f"], "no effect"),
    ],
)
def test_an_option_that_would_be_dropped_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "r.yaml").write_text("features: [a]\nsamples: [{volume: t, labels: [l]}]\n")
    words = [str(tmp_path / word) if word == "r.yaml" else word for word in words]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert message in result.output


def test_an_unknown_network_is_said_before_anything_is_looked_for(volengine: Command, tmp_path: Path) -> None:
    for words_given in ("--volume none.mrc --labels none_labels.mrc --features a", "r.yaml --context 0"):
        (tmp_path / "r.yaml").write_text("features: [a]\nsamples: [{volume: none.mrc}]\nnetwork: unet3e\n")
        words = [str(tmp_path / word) if word == "r.yaml" else word for word in words_given.split()]
        more = [] if "r.yaml" in words_given else ["--network", "unet3e"]
        code, _, err = volengine("train", *words, *more, "--out", "m.safetensors")
        assert code == 2
        assert "There is no network 'unet3e'. Did you mean unet3d" in err, err


def test_a_field_without_a_value_is_asked_for_as_an_option(volengine: Command, tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_bytes(b"")
    for verb in (["segment", "a.mrc"], ["train", "--volume", "a.mrc", "--labels", "a.mrc"]):
        code, _, err = volengine(*verb, "--out", "b.safetensors")
        assert code == 2
        assert err.endswith("which has no default.\n"), err
