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
        twins: of their twins, in order; of one twin, if it is that of every host.
        rewards: each host's rewards, by epoch; empty without reward terms.
        interrupted: somebody asked the round to stop early.
        stopped: hosts that their governor stopped.
    """

    finals: tuple[FinalReport, ...]
    twins: tuple[FinalReport, ...]
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
    """Run one round, or what is left of one: every epoch the twins first, then the hosts against them.

    Args:
        rollout: the hosts.
        twin: the controls: one for each host, or one for all.
        services: where events go, and who may ask to stop.
        epochs: length of the round; a host that has spent its budget is through before.
        after_epoch: called with the number of every epoch that is over.
    """
    interrupted = False
    while (epoch := rollout.epoch) < epochs and not rollout.over:
        rollout.step([report.evidence for report in twin.step()] if twin is not None else [None])
        after_epoch(epoch)
        if services.should_stop():
            interrupted = epoch + 1 < epochs and not rollout.over
            break
    return Outcome(
        finals=rollout.finish(),
        twins=twin.finish() if twin is not None else (),
        rewards=tuple(tuple(rewards) for rewards in rollout.rewards),
        interrupted=interrupted,
        stopped=rollout.stopped,
    )
