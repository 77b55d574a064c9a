"""What a policy comes to on the table of trainings, `esper/GrowthTable-v0`, whose best return is known."""

from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

import torch
from attrs import define, field, frozen, validators

from esper_app.api import PluginSet, PolicyCard, load_policy, rebuild_policy
from esper_core.api import EsperError
from esper_simic.api import Tabulated

#: The word for the table that comes with esper-adapter-gymnasium.
BUNDLED = "bundled"


@frozen(kw_only=True)
class OnTable:
    """Where policies are tried beside hosts that are trained.

    Attributes:
        table: a file with a table; ``bundled``: the one that comes with esper-adapter-gymnasium.
        episodes: how many each policy plays; both draw the same random numbers.
    """

    table: str = BUNDLED
    episodes: int = field(default=16, validator=validators.ge(1))


@define
class Table:
    """A table for the policies of one plugin set. The best return is found once for each reward.

    Raises:
        EsperError: E190 if esper-adapter-gymnasium is not installed, E502 if there is no such table.
    """

    where: OnTable
    plugins: PluginSet
    _best: dict[str, float] = field(factory=dict, init=False)
    _model: Any = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            from esper_adapter_gymnasium.table_env import model_of
        except ModuleNotFoundError as error:
            what, why = "there is no table to try policies on", "esper-adapter-gymnasium is not installed"
            fix = "pip install esper-adapter-gymnasium"
            raise EsperError("E190", what, where="--table", why=why, fix=fix) from error
        self._model = model_of(None if self.where.table == BUNDLED else self.where.table)

    def compare(self, champion: Path, challenger: Path) -> Tabulated:
        """Return what two policies come to, by their cards.

        Raises:
            EsperError: E643 if a policy has other blueprints than the table, E204 if the table has not all terms of its
                reward, and what keeps a policy from being read.
        """
        one, other = (self.returns(it) for it in (champion, challenger))
        return Tabulated(champion=one, challenger=other, best=self._best_return(load_policy(champion).card))

    def returns(self, card: Path) -> list[float]:
        """Return what a policy earns in each episode: the discounted sum of its rewards. Raises as `compare`.

        NaN for a policy with numbers that are not finite: what it decides is not its own.
        """
        from esper_adapter_gymnasium.episodes import play_round

        saved = load_policy(card)
        self._refuse_other_blueprints(saved.card, card)
        if not all(bool(torch.isfinite(it).all()) for it in saved.state.tensors.values()):
            return [nan] * self.where.episodes
        policy = rebuild_policy(saved.card, self.plugins.registry)
        policy.restore(saved.state)
        played = play_round(policy.actor, self._rewards(saved.card), hosts=self.where.episodes)
        return [float(it) for it in played.returns]

    def _best_return(self, card: PolicyCard) -> float:
        from esper_adapter_gymnasium.oracle import solve

        key = repr(sorted(card.rewards.items()))
        if key not in self._best:
            self._best[key] = solve(self._rewards(card)).best_return
        return self._best[key]

    def _rewards(self, card: PolicyCard) -> Any:
        from esper_adapter_gymnasium.rewards import TableRewards

        terms = [{"name": _short(it), "weight": it["weight"], **it["options"]} for it in card.rewards["terms"]]
        return TableRewards(self._model, terms, float(card.rewards["gamma"]))

    def _refuse_other_blueprints(self, card: PolicyCard, path: Path) -> None:
        from esper_adapter_gymnasium.records import catalogue

        of_table = {it.name: dict(it.options) for it in catalogue(self._model)}
        of_policy = {it["name"]: dict(it["options"]) for it in card.blueprints}
        if [*of_table.items()] != [*of_policy.items()]:
            raise EsperError(
                "E643",
                "the policy cannot be tried on the table",
                where=str(path),
                why=f"it germinates {_in_words(of_policy)}, the table knows {_in_words(of_table)}",
                fix="leave --table out, or make a table: tools/growth_table.py of esper-adapter-gymnasium",
            )


def _short(term: Mapping[str, Any]) -> str:
    return str(term["name"]).rpartition("/")[2]


def _in_words(blueprints: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{name} {dict(options)}" if options else name for name, options in blueprints.items()) or "none"
