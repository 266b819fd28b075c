"""The answers that settings need: rules applied to predictions, and picks, each computed once for all settings.

Settings share what does not differ between them: two that pick with other thresholds share the gated predictions, and a
feature whose fields are not varied is picked once. An answer is named by what it is made with, so that a sweep of more
values computes only what is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from volengine.core.digest import digest_of
from volengine.core.errors import InputError
from volengine.core.rules import changed_features
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.run import Job
from volengine.io.open import open_volume
from volengine.io.picks import ending_of
from volengine.tasks.common.jobs import Request, Verb
from volengine.tasks.common.layout import feature_store, file_name, join_url
from volengine.tasks.common.named import of_tomogram
from volengine.tasks.interact.plan import plan_interact
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.pick.description import PickOutputs
from volengine.tasks.pick.plan import plan_pick
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.run import RunRecipe

Predictions = Mapping[str, Volume]
"""The predictions of one tomogram, by feature."""

KEY = 8
"""Letters of an answer's name; they only keep answers apart in a folder that one sweep fills."""


@dataclass(frozen=True)
class Answer:
    """Picks of a feature, of all tomograms, with one setting.

    Parameters
    ----------
    rules
        The rules that change the prediction, or ``None`` if none does.
    pick
        What is picked.
    """

    rules: InteractRecipe | None
    pick: PickRecipe

    @classmethod
    def of(cls, recipe: RunRecipe) -> tuple[Answer, ...]:
        """The answers that a recipe asks for, in the order of its pick step."""
        changed = changed_features(recipe.interact.rules) if recipe.interact else ()
        picks = (one.with_(labels=False) for one in recipe.pick)
        return tuple(cls(recipe.interact if one.feature in changed else None, one) for one in picks)

    @property
    def key(self) -> str:
        """The answer's name."""
        return digest_of([self.rules and self.rules.to_json(), self.pick.to_json()])[:KEY]

    def folder(self, out: str) -> str:
        """The folder of the answer's tables."""
        return join_url(out, "picks", f"{file_name(self.pick.feature)}-{self.key}")

    def table(self, out: str, tomogram: str) -> str:
        """The table of picks of a tomogram."""
        name = f"{tomogram}__{file_name(self.pick.feature)}{ending_of(self.pick.format)}"
        return join_url(self.folder(out), name)

    def prediction(self, out: str, tomogram: str, given: Predictions) -> str:
        """What is picked from: the gated prediction, or the given one."""
        feature = self.pick.feature
        if self.rules is None:
            return given[feature].url
        return feature_store(rules_folder(out, self.rules), tomogram, feature)


def rules_folder(out: str, rules: InteractRecipe) -> str:
    """The folder of predictions that rules have changed."""
    return join_url(out, "rules", digest_of(rules.to_json())[:KEY])


def _rules_request(
    given: tuple[str, Predictions], out: str, recipe: InteractRecipe, options: RunOptions
) -> Request[Predictions, InteractRecipe, str]:
    name, predictions = given
    folder = rules_folder(out, recipe)
    return Request(f"{name}__{folder.rpartition('/')[2]}", predictions, recipe, folder)


def _picks_request(
    given: tuple[str, Predictions], out: str, recipe: Answer, options: RunOptions
) -> Request[Volume, PickRecipe, PickOutputs]:
    name, predictions = given
    url = recipe.prediction(out, name, predictions)
    if recipe.rules is None:
        volume = predictions[recipe.pick.feature]
    else:
        volume = of_tomogram(open_volume(url, identity=options.identity), recipe.pick.feature)
    table = recipe.table(out, name)
    plan = f"{name}__{file_name(recipe.pick.feature)}__{recipe.key}"
    return Request(plan, volume, recipe.pick, PickOutputs(table, f"{table}.ome.zarr"))


RULES = Verb("sweep", _rules_request, plan_interact, run_name="rules.run", light=True)
PICKS = Verb("sweep", _picks_request, plan_pick, run_name="picks.run", light=True)


def rules_jobs(
    answers: Sequence[Answer], tomograms: Mapping[str, Predictions], out: str, options: RunOptions
) -> list[Job]:
    """The jobs that apply rules: one for each tomogram and each list of rules."""
    every = {rules_folder(out, one.rules): one.rules for one in answers if one.rules is not None}
    return [
        RULES.job(f"{name}, rules {folder.rpartition('/')[2]}", (name, given), out, rules, options)
        for folder, rules in every.items()
        for name, given in tomograms.items()
    ]


def picks_jobs(
    answers: Sequence[Answer], tomograms: Mapping[str, Predictions], out: str, options: RunOptions
) -> list[Job]:
    """The jobs that pick: one for each tomogram and each answer."""
    return [
        PICKS.job(f"{name}, {one.pick.feature} {one.key}", (name, given), out, one, options)
        for one in answers
        for name, given in tomograms.items()
    ]


def check_features(recipe: RunRecipe, tomograms: Mapping[str, Predictions]) -> None:
    """Refuse predictions that lack a feature that the recipe picks.

    Raises
    ------
    InputError
        A tomogram has no prediction of it.
    """
    for name, given in tomograms.items():
        for one in recipe.pick:
            if one.feature not in given:
                raise InputError(
                    f"{name}: there is no prediction of {one.feature!r}, which the recipe picks; there are those of "
                    f"{', '.join(sorted(given))}."
                )
