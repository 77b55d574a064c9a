"""Growing by the clock: one seed every few epochs, or every so many operations, whatever the figures say."""

from collections.abc import Sequence

from esper_core.api import (
    Action,
    ActionMasks,
    Catalogue,
    Decision,
    EsperError,
    HostSignals,
    Op,
    PolicyState,
    Round,
    Situation,
    SlotSignals,
    did_you_mean,
)
from esper_policy_baselines.config import PeriodicConfig


class Periodic:
    """Keeps what has passed its last gate, germinates when it is time, and leaves the rest to gates and timeouts.

    Between two epochs at most one time comes, also where an epoch costs more than the operations between two.

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
        self._times: dict[str, int] = {}

    def reset(self, begun: Round) -> None:
        """Begin a round, with hosts that have spent nothing."""
        self._times = {}

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return one action for each host, or as many germinations as are asked for."""
        return [Decision(actions=self._actions(situation)) for situation in situations]

    def state(self) -> PolicyState:
        """Return how many times have come on each host; nothing where epochs count."""
        return PolicyState(record={"times": dict(self._times)})

    def restore(self, state: PolicyState) -> None:
        """Go on behind the times that have come."""
        self._times = {host: int(times) for host, times in state.record["times"].items()}

    def _actions(self, situation: Situation) -> list[Action]:
        masks, seen = situation.masks, situation.observation
        why_not = self._why_not_now(situation.host, seen.host)
        if ready := [slot for slot in masks.slots if slot in masks.fossilize]:
            return [Action(op=Op.FOSSILIZE, slot=ready[0], policy="periodic", reason="it has passed its last gate")]
        if why_not is not None:
            return [Action(policy="periodic", reason=why_not)]
        found = self._germinations(seen.slots, masks)
        return found or [Action(policy="periodic", reason="it is the time, and nothing can be germinated")]

    def _why_not_now(self, name: str, host: HostSignals) -> str | None:
        """Say why it is not the time to germinate; None if it is."""
        every, config = self._config.every_flops, self._config
        if every is None:
            since = host.epoch - config.first_epoch
            return "it is not the time" if since < 0 or since % config.every_epochs else None
        spent = 0 if host.epoch == 0 else None if host.compute is None else host.compute.total
        if spent is None:
            return "the host's floating-point operations are not counted here, and every_flops needs them"
        first = every if config.first_flops is None else config.first_flops
        times = 0 if spent < first else 1 + int((spent - first) // every)
        before, self._times[name] = self._times.get(name, 0), times
        return None if times > before else "it is not the time"

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
                    reason=self._rhythm,
                )
                found.append(germination)
        return found[: self._config.slots]

    @property
    def _rhythm(self) -> str:
        every = self._config.every_flops
        return f"every {self._config.every_epochs} epochs" if every is None else f"every {every:g} FLOPs"
