"""The actor that does nothing: what every other one is measured against."""

from collections.abc import Sequence

from esper_core.leyline.learning import Decision, Round, Situation


class NullActor:
    """Always waits: the policy of the twin, which never grows."""

    def reset(self, begun: Round) -> None:
        """Begin a round; there is nothing to forget."""

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Ask for nothing on any host."""
        return [Decision() for _ in situations]
