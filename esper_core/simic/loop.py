"""The growth loop: every policy, every host and the twin run through it."""

from collections.abc import Callable

from attrs import frozen

from esper_core.leyline.protocols import Services
from esper_core.leyline.reports import FinalReport
from esper_core.simic.rollout import Rollout


@frozen(kw_only=True)
class Outcome:
    """What a round leaves behind.

    Attributes:
        finals: each host's final report, in order.
        twin: the twin's.
        rewards: each host's rewards, by epoch; empty without reward terms.
        interrupted: somebody asked the round to stop early.
        stopped: hosts that their governor stopped.
    """

    finals: tuple[FinalReport, ...]
    twin: FinalReport | None
    rewards: tuple[tuple[float, ...], ...]
    interrupted: bool
    stopped: tuple[str, ...]


def run_round(
    rollout: Rollout,
    twin: Rollout | None,
    services: Services,
    *,
    epochs: int,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> Outcome:
    """Run one round, or what is left of one: every epoch the twin first, then the hosts against it.

    Args:
        rollout: the hosts.
        twin: the control, a rollout of one.
        services: where events go, and who may ask to stop.
        epochs: length of the round.
        after_epoch: called with the number of every epoch that is over.
    """
    interrupted = False
    while (epoch := rollout.epoch) < epochs:
        reference = twin.step()[0].evidence if twin is not None else None
        rollout.step(reference)
        after_epoch(epoch)
        if len(rollout.stopped) == len(rollout.reports):
            break
        if services.should_stop():
            interrupted = epoch + 1 < epochs
            break
    return Outcome(
        finals=rollout.finish(),
        twin=twin.finish()[0] if twin is not None else None,
        rewards=tuple(tuple(rewards) for rewards in rollout.rewards),
        interrupted=interrupted,
        stopped=rollout.stopped,
    )
