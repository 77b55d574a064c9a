"""The two policies that know nothing: one never acts, the other acts at random."""

from collections.abc import Sequence
from random import Random

from attrs import evolve

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

    Every decision has a random stream of its own, named by round, host and epoch: what happens on one host never
    changes what is drawn for another, and a resumed run draws what the uninterrupted one would have drawn.

    Args:
        seed: of all streams.
        catalogue: the run's blueprints; their order is the order in which they are drawn from.
    """

    def __init__(self, seed: int, catalogue: Catalogue) -> None:
        self._seed = seed
        self._blueprints = catalogue.names
        self._round = 0
        self._hosts = 0

    def reset(self, hosts: int) -> None:
        """Begin a round with this many hosts; it draws other numbers than the rounds before."""
        self._round += 1
        self._hosts = hosts

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        """Return one random possible action per host.

        Raises:
            ValueError: if there are not as many hosts as `reset` was told of.
        """
        asked = zip(range(self._hosts), observations, masks, strict=True)
        return [self._draw(self._stream(host, observation.host.epoch), mask) for host, observation, mask in asked]

    def _stream(self, host: int, epoch: int) -> Random:
        return Random(derive_seed(self._seed, "random-actor", self._round, host, epoch))

    def _draw(self, stream: Random, masks: ActionMasks) -> Action:
        op = stream.choice(sorted(masks.ops()))
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
