"""A policy under test: how it is built, and what it is shown."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from attrs import field, frozen

from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.learning import Decision, Round, Situation
from esper_core.leyline.protocols import Actor
from esper_core.leyline.specs import Capability, PolicySpec
from esper_core.tamiyo.policy import ANSWER, Policy, wrong_answer
from esper_testing.check import CheckFailure
from esper_testing.situations import CATALOGUE, host_names, situations
from esper_testing.subject import Subject
from esper_testing.usage import Usage

#: How many epochs are decided, and for how many hosts at once.
EPOCHS, HOSTS = 150, 3


@frozen(kw_only=True)
class PolicySubject(Subject[PolicySpec]):
    """What the policy checks look at.

    Attributes:
        catalogue: the blueprints that it may germinate.
    """

    #: Some options matter in situations only that made-up ones hardly ever are.
    shows_options: ClassVar[bool] = False

    catalogue: Catalogue = field(default=CATALOGUE)

    def build(self, hosts: int = HOSTS) -> Policy:
        """Return a new policy that has begun a round.

        Raises:
            EsperError: E530 if its actor does not offer what is declared.
        """
        policy = Policy(actor=self.build_actor(), name=self.spec.name, capabilities=self.spec.capabilities)
        policy.reset(Round(hosts=host_names(hosts), epochs=EPOCHS))
        return policy

    def build_actor(self) -> Actor:
        """Return a new actor."""
        actor: Actor = self.factory(self.config, self.catalogue)
        return actor

    def build_any(self) -> None:
        """Build one actor."""
        self.build_actor()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Decide for a short round, from its beginning."""
        policy, seen = self.build(), self.round(seed=20, epochs=8)
        begun = Round(hosts=host_names(HOSTS), epochs=len(seen))

        def use() -> Any:
            policy.reset(begun)
            return [[decision.actions for decision in decided(policy, situations)] for situations in seen]

        remembers = Capability.STATEFUL in self.spec.capabilities
        yield Usage(use=use, handed=[begun, *seen], remembers=remembers)

    def fingerprint(self) -> Any:
        """Return what it decides in rounds of different lengths."""
        policy, found = self.build(), []
        for number, epochs in enumerate((20, 60, EPOCHS)):
            policy.reset(Round(number=number, hosts=host_names(HOSTS), epochs=epochs))
            for seen in self.round(seed=30 + number, epochs=epochs):
                found.append([decision.actions for decision in decided(policy, seen)])
        return found

    def round(self, seed: int, hosts: int = HOSTS, epochs: int = EPOCHS) -> list[list[Situation]]:
        """Return what an actor is shown, epoch by epoch, a situation for each host."""
        return [situations(self.catalogue, hosts, epoch, epochs, seed) for epoch in range(epochs)]


def decided(policy: Policy, seen: Sequence[Situation]) -> list[Decision]:
    """Return one decision of the policy for every host.

    Raises:
        CheckFailure: if it does not return one for each.
    """
    decisions = policy.actor.decide(seen)
    if (wrong := wrong_answer(decisions, len(seen))) is not None:
        raise CheckFailure(
            f"it {wrong}",
            cause="a decision for the first host only, an Action in place of a Decision, or None for nothing to say",
            fix=ANSWER,
        )
    return list(decisions)
