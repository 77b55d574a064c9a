"""Who listens to a run that is gone through in memory: its policy is heard, and nobody else is told of it."""

from collections.abc import Callable, Mapping, Sequence

from attrs import define, evolve, field, frozen

from esper_core.leyline.actions import Action, Transition
from esper_core.leyline.events import Event
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.learning import Decision, Explanation, Situation, Trajectory
from esper_core.tamiyo.policy import Policy


@frozen(kw_only=True)
class Asked:
    """What a policy was asked about a host before an epoch, and what it said.

    Attributes:
        round: number of the round, from 0.
        situation: what it was shown.
        explanation: what it thought of that; None if it does not say.
        decision: what was done.
    """

    round: int
    situation: Situation
    explanation: Explanation | None
    decision: Decision


@frozen(kw_only=True)
class ListeningPolicy(Policy):
    """A policy that is heard: `heard` is told of everything, and `instead` says what is done in place of it, once."""

    heard: Callable[[Situation, Explanation | None, Decision], None]
    instead: dict[str, Action]

    def decide(self, situations: Sequence[Situation]) -> list[Decision]:
        """Decide as the policy does, and be heard."""
        explained = [self.explain(situation) for situation in situations]
        decisions = super().decide(situations)
        for index, (situation, explanation) in enumerate(zip(situations, explained, strict=True)):
            if (action := self.instead.pop(situation.host, None)) is not None:
                decisions[index] = evolve(decisions[index], actions=[action])
            self.heard(situation, explanation, decisions[index])
        return decisions


@frozen(kw_only=True)
class KeptPolicy(ListeningPolicy):
    """A policy that is taken for one that learns, so that its trajectories are kept; here it learns nothing."""

    def __attrs_post_init__(self) -> None:
        """Do nothing: what a policy declares was looked at when it was made."""

    def learn(self, trajectories: Sequence[Trajectory]) -> Mapping[str, float]:
        """Learn nothing."""
        return {}


@define
class Quiet:
    """Services of a run that nobody observes; it keeps the events."""

    events: list[Event] = field(factory=list)

    def emit(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def epoch_end(self, host: str, evidence: Evidence) -> None:
        """Do nothing."""

    def seed_transition(self, host: str, transition: Transition) -> None:
        """Do nothing."""

    def should_stop(self) -> bool:
        """Return False."""
        return False
