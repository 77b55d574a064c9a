"""The growth loop: every policy, every host and the twin run through it."""

from collections.abc import Callable

from attrs import frozen

from esper_core.leyline.protocols import Services
from esper_core.leyline.reports import FinalReport
from esper_core.simic.cohort import Cohort


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
    cohort: Cohort,
    twin: Cohort | None,
    services: Services,
    *,
    epochs: int,
    first: int = 0,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> Outcome:
    """Run one round: every epoch the twin first, then the hosts against it.

    Args:
        cohort: the hosts.
        twin: the control, a cohort of one.
        services: where events go, and who may ask to stop.
        epochs: length of the round.
        first: the epoch to begin with, for a round that was restored.
        after_epoch: called with the number of every epoch that is over.
    """
    interrupted = False
    for epoch in range(first, epochs):
        reference = twin.step(epoch)[0].evidence if twin is not None else None
        cohort.step(epoch, reference)
        after_epoch(epoch)
        if len(cohort.stopped) == len(cohort.reports):
            break
        if services.should_stop():
            interrupted = epoch + 1 < epochs
            break
    return Outcome(
        finals=cohort.finish(),
        twin=twin.finish()[0] if twin is not None else None,
        rewards=tuple(tuple(rewards) for rewards in cohort.rewards),
        interrupted=interrupted,
        stopped=cohort.stopped,
    )
