"""The policy: a trial, a judgement, and then all slots or none."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from esper_core.api import (
    Action,
    ActionMasks,
    Catalogue,
    Decision,
    HostSignals,
    Op,
    PolicyState,
    Round,
    Situation,
    SlotSignals,
    Stage,
)
from esper_learning import by_preference
from esper_policy_compute.account import Account, account
from esper_policy_compute.config import PREFERENCE, ComputeConfig

#: Losses of a twin that are remembered; a price needs those of the last stretch of training.
_REMEMBERED = 256


class ComputePolicy:
    """Decides by the present observation and the losses of the twins so far; deterministic.

    Raises:
        EsperError: E204 if the options name a blueprint that is not in the catalogue.
    """

    def __init__(self, config: ComputeConfig, catalogue: Catalogue) -> None:
        self.config = config
        self.order = by_preference(catalogue, config.preference, PREFERENCE)
        self._twins: dict[str, dict[int, float]] = {}

    def reset(self, begun: Round) -> None:
        """Begin a round, and forget the twins of earlier ones."""
        self._twins = {}

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return one action per host, allowed by its masks, with the reason in words."""
        return [Decision(actions=[self._view(situation).decide()]) for situation in situations]

    def state(self) -> PolicyState:
        """Return the losses of the twins, by host."""
        twins = {host: {str(epoch): loss for epoch, loss in it.items()} for host, it in self._twins.items()}
        return PolicyState(record={"twins": twins})

    def restore(self, state: PolicyState) -> None:
        """Go on with the losses of the twins so far."""
        twins = state.record["twins"]
        self._twins = {host: {int(epoch): float(loss) for epoch, loss in it.items()} for host, it in twins.items()}

    def _view(self, situation: Situation) -> "_View":
        seen = situation.observation
        twin = self._twins.setdefault(situation.host, {})
        if seen.host.twin_validation_loss is not None:
            twin[seen.host.epoch] = seen.host.twin_validation_loss
            for epoch in sorted(twin)[:-_REMEMBERED]:
                del twin[epoch]
        return _View(
            host=seen.host, slots=seen.slots, masks=situation.masks, order=self.order, config=self.config, twin=twin
        )


@frozen(kw_only=True)
class _View:
    """One host before one epoch."""

    host: HostSignals
    slots: tuple[SlotSignals, ...]
    masks: ActionMasks
    order: tuple[str, ...]
    config: ComputeConfig
    twin: Mapping[int, float]

    def decide(self) -> Action:
        """Judge, if there is something to judge; else look after seeds, or try one."""
        if (harmful := [it for it in self._may(Op.CULL) if it.state.harmful]) != []:
            return self._act(Op.CULL, harmful[0], "a gate has called it harmful")
        found = account(self.host, self.slots, self.twin) if self._settled else None
        if found is not None:
            return self._judged(found)
        if ready := self._may(Op.FOSSILIZE):
            return self._keep(ready)
        return self._try() if not self._live and not self._kept else _wait(self._why_wait())

    def _judged(self, found: Account) -> Action:
        if found.gain <= found.price and self.host.progress < self.config.refuse_from:
            return _wait(f"it does not pay yet: {found.in_words()}")
        if found.gain <= found.price:
            on_trial = self._may(Op.CULL)
            said = f"growing does not pay: {found.in_words()}"
            return self._act(Op.CULL, on_trial[-1], said) if on_trial else _wait(said)
        surely = found.gain > found.price * (1.0 + self.config.margin)
        if surely and self.host.progress < self.config.grow_until and (slot := self._free):
            return self._germinate(slot, f"growing pays: {found.in_words()}")
        ready = self._may(Op.FOSSILIZE)
        return self._keep(ready) if ready else _wait(found.in_words())

    def _try(self) -> Action:
        """Begin the trial, if that can still tell something."""
        progress, config = self.host.progress, self.config
        culled = sum(len(slot.state.culled_blueprints) for slot in self.slots)
        if culled >= config.trials:
            return _wait(f"growing was tried and given up: {culled} seeds were culled")
        over = f"{100 * progress:.0f} % of the run is over"
        if progress < config.trial_from or self.host.epoch < 1:
            return _wait(f"{over}, nothing is tried before {100 * config.trial_from:.0f} %")
        if progress >= config.trial_until:
            return _wait(f"{over}, too late for a trial (after {100 * config.trial_until:.0f} %)")
        if self.host.twin_validation_loss is None:
            return _wait("there is no twin of equal epochs, so it could not be seen what growing gains")
        if self.host.compute is None or self.host.compute.training is None:
            return _wait("the host's floating-point operations cannot be counted, so nothing can be weighed")
        slot = self._free
        return _wait("nothing can be germinated") if slot is None else self._germinate(slot, "a trial")

    def _why_wait(self) -> str:
        if self._kept:
            return "what growing pays has been decided, and seeds are a part of the network"
        if not self._settled:
            return "the seeds on trial are not settled yet"
        return "what growing gains cannot be weighed: a figure is missing"

    @property
    def _live(self) -> list[SlotSignals]:
        return [slot for slot in self.slots if slot.state.stage.live]

    @property
    def _kept(self) -> bool:
        return any(slot.state.stage is Stage.FOSSILIZED for slot in self.slots)

    @property
    def _settled(self) -> bool:
        """Every live seed has had alpha 1 for long enough."""
        live = self._live
        return bool(live) and all(slot.state.settled_epochs >= self.config.judge_after for slot in live)

    @property
    def _free(self) -> SlotSignals | None:
        """The deepest free slot, unless the network is large enough."""
        if self.config.blend not in self.masks.blends or self.host.growth_ratio + 1.0 >= self.config.factor:
            return None
        free = [it for it in self._may(Op.GERMINATE) if self.masks.blueprints_for(it.slot) & set(self.order)]
        return max(enumerate(free), key=lambda it: (it[1].state.site.depth, it[0]), default=(0, None))[1]

    def _may(self, op: Op) -> list[SlotSignals]:
        allowed = self.masks.slots_for(op)
        return [slot for slot in self.slots if slot.slot in allowed]

    def _keep(self, ready: Sequence[SlotSignals]) -> Action:
        """Of several seeds the one that the network depends on most."""
        best = max(ready, key=lambda it: it.contribution.mean if it.contribution is not None else float("-inf"))
        return self._act(Op.FOSSILIZE, best, "it has passed its last gate")

    def _germinate(self, slot: SlotSignals, why: str) -> Action:
        fitting = self.masks.blueprints_for(slot.slot)
        untried = [name for name in self.order if name in fitting and name not in slot.state.culled_blueprints]
        name = next(iter(untried), None) or next(name for name in self.order if name in fitting)
        return Action(
            op=Op.GERMINATE,
            slot=slot.slot,
            blueprint=name,
            blend=self.config.blend,
            ramp_epochs=self.config.ramp_epochs,
            reason=why,
        )

    def _act(self, op: Op, slot: SlotSignals, why: str) -> Action:
        return Action(op=op, slot=slot.slot, reason=why)


def _wait(why: str) -> Action:
    return Action(op=Op.WAIT, reason=why)
