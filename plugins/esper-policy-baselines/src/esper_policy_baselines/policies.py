"""The policies that use no information: one never acts, the other acts at random."""

from collections.abc import Sequence
from random import Random

from attrs import evolve

from esper_core.api import Action, ActionMasks, Catalogue, Decision, NullActor, Op, Round, Situation, derive_seed
from esper_policy_baselines.config import RandomConfig


def never(config: None, catalogue: Catalogue) -> NullActor:
    """Return the policy that never acts."""
    return NullActor()


class RandomActor:
    """Draws among the possible operations, then slots, then blueprints, then curves.

    Every decision has a random stream of its own, named by round, host and epoch: what happens on one host never
    changes what is drawn for another, and a resumed run draws what the uninterrupted one would have drawn.

    Args:
        config: its options.
        catalogue: the run's blueprints; their order is the order in which they are drawn from.
    """

    def __init__(self, config: RandomConfig, catalogue: Catalogue) -> None:
        self._config = config
        self._blueprints = catalogue.names
        self._round: Round | None = None

    def reset(self, begun: Round) -> None:
        """Begin a round; each draws other numbers than the rounds before."""
        self._round = begun

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return one random possible action per host.

        Raises:
            ValueError: if a host is none of the round's.
        """
        return [Decision(actions=[self._draw(self._stream(it), it.masks)]) for it in situations]

    def _stream(self, situation: Situation) -> Random:
        if self._round is None:
            raise ValueError("a round has not begun")
        host, epoch = self._round.hosts.index(situation.host), situation.observation.host.epoch
        # Rounds are counted from 1 here: runs of earlier versions drew so.
        return Random(derive_seed(self._config.seed, "random-actor", self._round.number + 1, host, epoch))

    def _draw(self, stream: Random, masks: ActionMasks) -> Action:
        op = self._operation(stream, sorted(masks.ops()))
        drawn = Action(op=op, policy="random", reason="drawn at random")
        if op is Op.WAIT:
            return drawn
        allowed = masks.slots_for(op)
        drawn = evolve(drawn, slot=stream.choice([name for name in masks.slots if name in allowed]))
        if op is not Op.GERMINATE or drawn.slot is None:
            return drawn
        fitting = masks.blueprints_for(drawn.slot)
        blueprint = stream.choice([name for name in self._blueprints if name in fitting])
        return evolve(drawn, blueprint=blueprint, blend=stream.choice(masks.blends))

    def _operation(self, stream: Random, possible: Sequence[Op]) -> Op:
        others = [op for op in possible if op is not Op.GERMINATE]
        if self._config.germination is None or len(others) == len(possible):
            return stream.choice(possible)
        return Op.GERMINATE if stream.random() < self._config.germination else stream.choice(others)
