"""The actor that does nothing: what every other one is measured against."""

from collections.abc import Sequence

from esper_core.leyline.actions import WAIT, Action, ActionMasks
from esper_core.leyline.observation import Observation


class NullActor:
    """Always waits: the policy of the twin, which never grows."""

    def reset(self, hosts: int) -> None:
        """Begin a round; there is nothing to forget."""

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        """Return WAIT for every host."""
        return [WAIT for _ in observations]
