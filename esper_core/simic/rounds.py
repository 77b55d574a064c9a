"""Rounds: fresh hosts under one policy, which learns between two of them."""

from collections.abc import Callable
from functools import partial

from attrs import frozen

from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.protocols import Services
from esper_core.leyline.records import plain
from esper_core.leyline.streams import derive_seed
from esper_core.simic.loop import Outcome, run_round
from esper_core.simic.rollout import Rollout
from esper_core.tamiyo.policy import Policy


@frozen(kw_only=True)
class StagedRound:
    """A round that is ready to run, or to go on.

    Attributes:
        number: from 0.
        rollout: its hosts.
        twin: the controls: one for each host, or one for all.
        epochs: its length.
    """

    number: int
    rollout: Rollout
    twin: Rollout | None
    epochs: int


def round_seed(seed: int, number: int) -> int:
    """Return the seed of a round's hosts: the run's own for the first round, so that a run of one round is as ever."""
    return derive_seed(seed, "round", number) if number else seed


def run_rounds(
    make_round: Callable[[int], StagedRound],
    policy: Policy,
    services: Services,
    *,
    rounds: int | None = None,
    begun: StagedRound | None = None,
    after_epoch: Callable[[StagedRound, int], None] = lambda staged, epoch: None,
    after_round: Callable[[StagedRound, Outcome], None] = lambda staged, outcome: None,
) -> list[Outcome]:
    """Run rounds one after the other, and let the policy learn after each that was not interrupted.

    Args:
        make_round: makes the round with this number ready, with fresh hosts under the policy.
        policy: decides in all of them.
        services: where events go, and who may ask to stop.
        rounds: how many there are in all; None: as many as the policy wants.
        begun: a round that was restored: it goes on, and those before it are over.
        after_epoch: called with the round and the number of every epoch that is over, before the policy learns.
        after_round: called with every round that ran to its end, before the policy learns from it.

    Returns:
        The outcomes of the rounds that ran here, in order; the last one may have been interrupted.
    """
    outcomes: list[Outcome] = []
    for number in range(begun.number if begun is not None else 0, policy.rounds if rounds is None else rounds):
        staged = begun if begun is not None and begun.number == number else make_round(number)
        outcome = run_round(
            staged.rollout,
            staged.twin,
            services,
            epochs=staged.epochs,
            after_epoch=partial(after_epoch, staged),
        )
        outcomes.append(outcome)
        if outcome.interrupted:
            break
        after_round(staged, outcome)
        figures = policy.learn(staged.rollout.trajectories())
        hosts = [report.host for report in staged.rollout.reports]
        data = {"figures": figures, "rewards": dict(zip(hosts, outcome.rewards, strict=True))}
        services.emit(Event(kind=EventKind.ROUND_FINISHED, round=number, data=plain(data)))
        if services.should_stop():
            break
    return outcomes
