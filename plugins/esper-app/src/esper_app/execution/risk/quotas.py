"""How many commands a policy may give."""

from collections.abc import Sequence

from esper_app.configuration.config import GovernorConfig
from esper_core.leyline.actions import Action, Op


def germinations_left(rules: GovernorConfig, germinated: Sequence[int], epoch: int) -> int | None:
    """Return how many germinations there may be before an epoch; None: as many as anybody likes.

    Args:
        rules: with the quota.
        germinated: the epochs, from 0, before which there have been some, one entry for each.
        epoch: from 0.
    """
    if rules.germinations is None:
        return None
    return max(0, rules.germinations - len(within(rules, germinated, epoch)))


def within(rules: GovernorConfig, germinated: Sequence[int], epoch: int) -> list[int]:
    """Return the germinations that count before an epoch."""
    return [it for it in germinated if epoch - it < rules.window_epochs]


def refilled_epoch(rules: GovernorConfig, germinated: Sequence[int], epoch: int) -> int:
    """Return the epoch, from 0, before which one that is used up allows the next germination."""
    return min(within(rules, germinated, epoch), default=epoch) + rules.window_epochs


def objection(rules: GovernorConfig, action: Action, *, germinated: Sequence[int], epoch: int, given: int) -> str:
    """Say which quota is used up; "" if the action is within all of them. Nothing keeps a policy from a cull.

    Args:
        rules: with the quotas.
        action: what is asked for.
        germinated, epoch: as for `germinations_left`.
        given: commands in this epoch so far that were no culls.
    """
    if action.op in (Op.WAIT, Op.CULL):
        return ""
    if rules.commands_per_epoch is not None and given >= rules.commands_per_epoch:
        return f"the quota of {rules.commands_per_epoch} commands in an epoch is used up"
    if action.op is Op.GERMINATE and germinations_left(rules, germinated, epoch) == 0:
        return f"{quota(rules)} is used up; it is refilled before epoch {refilled_epoch(rules, germinated, epoch) + 1}"
    return ""


def quota(rules: GovernorConfig) -> str:
    """Return in words how many germinations there may be."""
    return f"the quota of germinations ({rules.germinations} in {rules.window_epochs} epochs)"
