"""The two policies that know nothing: one never acts, the other acts at random."""

from collections.abc import Sequence
from random import Random

from esper_core.leyline.actions import WAIT, Action, ActionMasks, Op
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.observation import Observation
from esper_core.leyline.streams import derive_seed


class NullActor:
    """Always waits: the policy of the twin, which never grows."""

    def reset(self, hosts: int) -> None:
        """Begin a round; there is nothing to forget."""

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        """Return WAIT for every host."""
        return [WAIT for _ in observations]


class RandomActor:
    """Draws uniformly among the possible operations, then slots, then blueprints, then curves.

    Every host of every round has a stream of its own, derived from the seed: what happens on one host never changes
    what is drawn for another.

    Args:
        seed: of all streams.
        catalogue: the run's blueprints; their order is the order in which they are drawn from.
    """

    def __init__(self, seed: int, catalogue: Catalogue) -> None:
        self._seed = seed
        self._blueprints = catalogue.names
        self._round = 0
        self._streams: list[Random] = []

    def reset(self, hosts: int) -> None:
        """Begin a round: fresh streams for this many hosts, other ones than in the rounds before."""
        self._streams = [Random(derive_seed(self._seed, "random-actor", self._round, host)) for host in range(hosts)]
        self._round += 1

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        """Return one random possible action per host.

        Raises:
            ValueError: if there are not as many hosts as `reset` was told of.
        """
        return [self._draw(stream, mask) for stream, mask in zip(self._streams, masks, strict=True)]

    def _draw(self, stream: Random, masks: ActionMasks) -> Action:
        op = stream.choice(sorted(masks.ops()))
        if op is Op.WAIT:
            return Action(op=op, policy="random", reason="drawn at random")
        allowed = masks.slots_for(op)
        slot = stream.choice([name for name in masks.slots if name in allowed])
        if op is not Op.GERMINATE:
            return Action(op=op, slot=slot, policy="random", reason="drawn at random")
        fitting = masks.blueprints_for(slot)
        blueprint = stream.choice([name for name in self._blueprints if name in fitting])
        blend = stream.choice(masks.blends)
        return Action(op=op, slot=slot, blueprint=blueprint, blend=blend, policy="random", reason="drawn at random")
