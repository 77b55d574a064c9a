"""The policy: the rules, asked for every host."""

from collections.abc import Sequence

from esper_core.api import Action, ActionMasks, Catalogue, Observation
from esper_policy_heuristic.config import HeuristicConfig
from esper_policy_heuristic.preference import preference
from esper_policy_heuristic.rules import decide
from esper_policy_heuristic.situation import Situation


class Heuristic:
    """Decides by rules on the present observation alone: deterministic, and nothing to save or restore.

    Raises:
        EsperError: E204 if the options name a blueprint that is not in the catalogue.
    """

    def __init__(self, config: HeuristicConfig, catalogue: Catalogue) -> None:
        self.config = config
        self.order = preference(config, catalogue)

    def reset(self, hosts: int) -> None:
        """Begin a round; there is nothing to forget."""

    def decide(self, observations: Sequence[Observation], masks: Sequence[ActionMasks]) -> Sequence[Action]:
        """Return one action per host, each allowed by its masks, with the reason in words."""
        return [decide(self._situation(*seen)) for seen in zip(observations, masks, strict=True)]

    def _situation(self, observation: Observation, masks: ActionMasks) -> Situation:
        return Situation(
            host=observation.host, slots=observation.slots, masks=masks, order=self.order, config=self.config
        )
