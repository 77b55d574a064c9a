"""Everything that masks allow, one by one."""

from esper_core.api import WAIT, Action, ActionMasks, Op


def possible_actions(masks: ActionMasks) -> tuple[Action, ...]:
    """Return every possible action, WAIT first, then by operation, slot, blueprint and blend in their order."""
    germinations = [
        Action(op=Op.GERMINATE, slot=slot, blueprint=blueprint, blend=blend)
        for slot in masks.slots
        for blueprint in masks.blueprints
        if blueprint in masks.blueprints_for(slot)
        for blend in masks.blends
    ]
    others = [Action(op=op, slot=slot) for op in (Op.CULL, Op.FOSSILIZE) for slot in masks.slots]
    return (WAIT, *germinations, *(action for action in others if masks.allows(action)))
