"""Growing by the clock: one seed every few epochs, whatever the figures say."""

from collections.abc import Sequence

from esper_core.api import (
    Action,
    ActionMasks,
    Catalogue,
    Decision,
    EsperError,
    Op,
    Round,
    Situation,
    SlotSignals,
    did_you_mean,
)
from esper_policy_baselines.config import PeriodicConfig


class Periodic:
    """Keeps what has passed its last gate, germinates every few epochs, and leaves the rest to gates and timeouts.

    Args:
        config: its options.
        catalogue: the run's blueprints.

    Raises:
        EsperError: E204 if the options name a blueprint that is not in the catalogue.
    """

    def __init__(self, config: PeriodicConfig, catalogue: Catalogue) -> None:
        self._config = config
        wanted = config.blueprint
        if wanted is not None and wanted not in catalogue.names:
            raise EsperError(
                "E204",
                f'blueprint "{wanted}" is not in the catalogue',
                where="policy.blueprint",
                why=did_you_mean(wanted, catalogue.names),
                fix="name it in policy.blueprints too, or leave policy.blueprint out",
            )
        self._blueprints = catalogue.names if wanted is None else (wanted,)

    def reset(self, begun: Round) -> None:
        """Begin a round; there is nothing to forget."""

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return one action for each host, or as many germinations as are asked for."""
        return [Decision(actions=self._actions(situation)) for situation in situations]

    def _actions(self, situation: Situation) -> list[Action]:
        masks, epoch = situation.masks, situation.observation.host.epoch
        if ready := [slot for slot in masks.slots if slot in masks.fossilize]:
            return [Action(op=Op.FOSSILIZE, slot=ready[0], policy="periodic", reason="it has passed its last gate")]
        since = epoch - self._config.first_epoch
        if since < 0 or since % self._config.every_epochs:
            return [Action(policy="periodic", reason="it is not the time")]
        found = self._germinations(situation.observation.slots, masks)
        return found or [Action(policy="periodic", reason="it is the time, and nothing can be germinated")]

    def _germinations(self, slots: Sequence[SlotSignals], masks: ActionMasks) -> list[Action]:
        """In the first slots that have lost the fewest seeds, the first blueprint that fits each."""
        found: list[Action] = []
        for slot in sorted(slots, key=lambda it: len(it.state.culled_blueprints)):
            fitting = masks.blueprints_for(slot.slot)
            blueprint = next((name for name in self._blueprints if name in fitting), None)
            if blueprint is not None and self._config.blend in masks.blends:
                germination = Action(
                    op=Op.GERMINATE,
                    slot=slot.slot,
                    blueprint=blueprint,
                    blend=self._config.blend,
                    ramp_epochs=self._config.ramp_epochs,
                    policy="periodic",
                    reason=f"every {self._config.every_epochs} epochs",
                )
                found.append(germination)
        return found[: self._config.slots]
