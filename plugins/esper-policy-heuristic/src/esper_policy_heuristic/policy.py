"""The policy: the rules, asked for every host."""

from collections.abc import Sequence

from esper_core.api import Catalogue, Decision, Round, Situation
from esper_learning import by_preference
from esper_policy_heuristic.config import PREFERENCE, HeuristicConfig
from esper_policy_heuristic.rules import decide
from esper_policy_heuristic.view import HostView


class Heuristic:
    """Decides by rules on the present observation alone: deterministic, and nothing to save or restore.

    Raises:
        EsperError: E204 if the options name a blueprint that is not in the catalogue.
    """

    def __init__(self, config: HeuristicConfig, catalogue: Catalogue) -> None:
        self.config = config
        self.order = by_preference(catalogue, config.preference, PREFERENCE)

    def reset(self, begun: Round) -> None:
        """Begin a round; there is nothing to forget."""

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return one action per host, or several germinations; allowed by its masks, with the reason in words."""
        return [Decision(actions=decide(self._view(situation))) for situation in situations]

    def _view(self, situation: Situation) -> HostView:
        seen = situation.observation
        return HostView(host=seen.host, slots=seen.slots, masks=situation.masks, order=self.order, config=self.config)
