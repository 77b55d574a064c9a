"""Executing what the governor has allowed."""

from esper_core.kasmina.growth import Growth
from esper_core.leyline.actions import Action, Op, Transition


def execute(growth: Growth, action: Action, epoch: int) -> tuple[Transition, ...]:
    """Do what an action asks for, before `epoch` is trained, and return the transitions that it made.

    Raises:
        EsperError: E403, E404 for an action that is impossible; the governor does not let one through.
    """
    slot, why = action.slot, action.reason
    if action.op is Op.WAIT or slot is None:
        return ()
    if action.op is Op.GERMINATE:
        assert action.blueprint is not None
        assert action.blend is not None
        return (
            growth.germinate(
                slot,
                action.blueprint,
                action.blend,
                epoch,
                ramp_epochs=action.ramp_epochs,
                action_id=action.id,
                reason=why,
            ),
        )
    if action.op is Op.CULL:
        return (growth.cull(slot, epoch, action_id=action.id, reason=why),)
    return (growth.fossilize(slot, epoch, action_id=action.id, reason=why),)
