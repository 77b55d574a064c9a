"""What a policy can ask for, and what comes of it."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

from attrs import field, frozen

from esper_core.leyline.evidence import GateResult
from esper_core.leyline.stages import Blend, Cause, Stage


class Op(IntEnum):
    """The operations of the first action head."""

    WAIT = 0
    GERMINATE = 1
    CULL = 2
    FOSSILIZE = 3


@frozen(kw_only=True)
class Action:
    """One decision of a policy for one host and one epoch.

    Attributes:
        op: the operation.
        slot: its slot (site id); None for WAIT.
        blueprint: catalogue name; GERMINATE only.
        blend: how the seed is blended in; GERMINATE only.
        ramp_epochs: length of its ramp in epochs, 0 for alpha 1 at once; None: the lifecycle's. GERMINATE only.
        policy: name and version of the policy that decided.
        reason: why, in words.
        confidence: 0 to 1, where the policy has one.
        id: unique in the run; the loop fills it in.
    """

    op: Op = Op.WAIT
    slot: str | None = None
    blueprint: str | None = None
    blend: Blend | None = None
    ramp_epochs: int | None = None
    policy: str = ""
    reason: str = ""
    confidence: float | None = None
    id: str = ""


WAIT = Action()


class GovernorMode(StrEnum):
    """The governor's state: ``CONSERVATIVE`` allows nothing that adds structure, ``STOPPED`` ends the host's training.

    The members are in order, the strictest last.
    """

    NORMAL = "normal"
    CONSERVATIVE = "conservative"
    STOPPED = "stopped"


@frozen(kw_only=True)
class Verdict:
    """The governor's answer to an action."""

    action_id: str
    allowed: bool
    reason: str = ""


@frozen(kw_only=True)
class Transition:
    """One change of a seed's stage.

    Attributes:
        slot: site id.
        seed_id: the seed's id, unique in the run.
        blueprint: catalogue name.
        source: stage before.
        target: stage after.
        epoch: host epoch, from 0, before which the change took effect.
        epochs_in_source: how many epochs the seed spent in `source`.
        cause: what made it happen.
        reason: why, in words.
        action_id: the action behind it, if there was one.
        gates: verdicts of the gates in front of it.
    """

    slot: str
    seed_id: str
    blueprint: str
    source: Stage
    target: Stage
    epoch: int
    epochs_in_source: int
    cause: Cause
    reason: str = ""
    action_id: str | None = None
    gates: tuple[GateResult, ...] = ()


@frozen(kw_only=True)
class ActionMasks:
    """What is possible on one host in this epoch; an action outside of it is never executed.

    Each action is possible by itself. Of several in one decision the governor reviews each on what those before it have
    left of the limits: seeds that are too many together are denied, the first ones are not.

    Attributes:
        slots: all slot ids in site order.
        blueprints: all catalogue names in catalogue order.
        germinate: for each slot that may be germinated, the blueprints that fit it.
        cull: slots whose seed may be culled.
        fossilize: slots whose seed has passed its last gate.
        blends: the kinds of blend on offer.
    """

    slots: tuple[str, ...]
    blueprints: tuple[str, ...]
    germinate: Mapping[str, frozenset[str]] = field(factory=dict)
    cull: frozenset[str] = frozenset()
    fossilize: frozenset[str] = frozenset()
    blends: tuple[Blend, ...] = tuple(Blend)

    def ops(self) -> frozenset[Op]:
        """The operations that at least one slot allows. WAIT always is one."""
        return frozenset(op for op in Op if op is Op.WAIT or self.slots_for(op))

    def slots_for(self, op: Op) -> frozenset[str]:
        """The slots on which `op` may act; none for WAIT, which needs no slot."""
        if op is Op.GERMINATE:
            return frozenset(slot for slot, fitting in self.germinate.items() if fitting)
        if op is Op.CULL:
            return self.cull
        if op is Op.FOSSILIZE:
            return self.fossilize
        return frozenset()

    def blueprints_for(self, slot: str) -> frozenset[str]:
        """The blueprints that may be germinated in `slot`."""
        return self.germinate.get(slot, frozenset())

    def allows(self, action: Action) -> bool:
        """Say whether the whole action is possible: its operation, slot, blueprint, blend and ramp together."""
        if action.op is Op.WAIT:
            return True
        if action.slot is None or action.slot not in self.slots_for(action.op):
            return False
        if action.op is not Op.GERMINATE:
            return True
        if action.ramp_epochs is not None and action.ramp_epochs < 0:
            return False
        return action.blueprint in self.blueprints_for(action.slot) and action.blend in self.blends
