"""A policy of which the first process alone is asked: what it decides is a topology transaction for all."""

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Decision, Situation
from esper_core.leyline.protocols import Actor
from esper_core.tamiyo.policy import Policy
from esper_distributed.ranks import Ranks


class FirstDecides:
    """An actor that asks another one in the first process, and gives its decisions to all, in order and numbered.

    Everything else that the other one offers, such as a memory, is its own.

    Args:
        actor: decides, in the first process.
        ranks: the processes.
    """

    def __init__(self, actor: Actor, ranks: Ranks) -> None:
        self._actor = actor
        self._ranks = ranks
        self._transaction = 0

    def decide(self, situations: Sequence[Situation]) -> list[Decision]:
        """Return the first process's decisions.

        Raises:
            EsperError: E651 if this process has carried out another number of transactions, E652 as `Ranks` says.
        """
        self._transaction += 1
        mine = self._transaction

        def decided() -> tuple[int, list[Decision]]:
            return mine, [*self._actor.decide(situations)]

        number, decisions = self._ranks.decided(f"topology transaction {mine}", decided)
        if number != mine:
            why = f"this is transaction {mine} here, and {number} in rank 0"
            what = "the network has not grown alike in all processes"
            raise EsperError("E651", what, why=why, fix="call the handle's methods in all processes alike")
        return decisions

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not set yet: a copy under construction
            raise AttributeError(name)
        return getattr(self._actor, name)


def deciding_first(policy: Policy, ranks: Ranks) -> Policy:
    """Return a policy of which the first process alone is asked."""
    return evolve(policy, actor=FirstDecides(policy.actor, ranks))
