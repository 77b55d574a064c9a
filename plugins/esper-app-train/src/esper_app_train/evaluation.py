"""What a policy is worth on some random seeds: measured on whole runs, host by host, beside twins."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from attrs import frozen

from esper_core.api import EventKind, Explanation, FinalReport, Op, Stage

if TYPE_CHECKING:
    from esper_app.api import Asked, Replay, Resolved

#: The thirds of a run.
PHASES = ("early", "middle", "late")


@frozen(kw_only=True)
class SeedResult:
    """One host, beside its twin. Accuracies are 0 to 1, losses in nats, both of the test split; None where not known.

    Attributes:
        seed: the random seed.
        accuracy, loss: of the grown network.
        twin_accuracy, twin_loss: of its twin, which has no seeds.
        total_reward: the sum of its rewards.
        parameters: of the grown network.
        germinated, kept, culled: how many seeds there were, were fossilized, and were culled.
        stopped: the governor stopped it, or it failed.
    """

    seed: int
    accuracy: float | None
    loss: float | None
    twin_accuracy: float | None
    twin_loss: float | None
    total_reward: float
    parameters: int
    germinated: int
    kept: int
    culled: int
    stopped: bool


@frozen(kw_only=True)
class Calibration:
    """The values that a policy expected beside the discounted rewards that came.

    Attributes:
        steps: how many pairs there are.
        correlation: of the two; None where one of them never varies.
        bias: mean of value minus return.
        mean_error: mean of the absolute difference.
    """

    steps: int
    correlation: float | None
    bias: float
    mean_error: float


@frozen(kw_only=True)
class Evaluation:
    """A policy on some seeds.

    Attributes:
        policy: what was evaluated, in words.
        seeds: the results, in order.
        actions: how often each operation was chosen where there was a choice, by phase.
        denied: how many actions the governor denied.
        certainty: mean probability of the most probable action where there was a choice; None if it does not say.
        calibration: of its values; None if it has none, or there were no rewards.
    """

    policy: str
    seeds: tuple[SeedResult, ...]
    actions: Mapping[str, Mapping[str, int]]
    denied: int
    certainty: float | None
    calibration: Calibration | None

    @property
    def by_accuracy(self) -> bool:
        """Whether every network and every twin has an accuracy; otherwise losses are compared."""
        return all(None not in (it.accuracy, it.twin_accuracy) for it in self.seeds)


def evaluate(
    title: str, resolved: "Resolved", seeds: Sequence[int], told: Callable[[int, int], None] = lambda done, of: None
) -> Evaluation:
    """Run a policy on some seeds, side by side.

    Args:
        title: the policy, in words.
        resolved: the configuration with the policy.
        seeds: of the hosts.
        told: is told of every epoch that is over, and of how many there are.

    Raises:
        EsperError: whatever keeps a run from beginning.
    """
    # Imported here: help needs no torch.
    from esper_app.api import begin_replay

    replay = begin_replay(resolved.configuration, resolved.plugins, seeds)
    epochs = resolved.configuration.config.epochs
    try:
        while not replay.over:
            replay.step()
            told(replay.place[1], epochs)
        finals, twins = replay.finish()
        return _evaluation(title, replay, seeds, finals, twins)
    finally:
        replay.close()


def _evaluation(
    title: str,
    replay: "Replay",
    seeds: Sequence[int],
    finals: Sequence[FinalReport],
    twins: Sequence[FinalReport],
) -> Evaluation:
    config, rewards = replay.assembly.config, replay.rewards
    beside: Sequence[FinalReport | None] = twins or [None] * len(finals)
    denied = sum(event.kind is EventKind.ACTION_DENIED for event in replay.services.events)
    return Evaluation(
        policy=title,
        seeds=tuple(
            _seed_result(seed, final, twin, sum(rewards[final.host]), config.epochs)
            for seed, final, twin in zip(seeds, finals, beside, strict=True)
        ),
        actions=actions_by_phase(replay.asked, config.epochs),
        denied=denied,
        certainty=certainty([it.explanation for it in replay.asked if it.explanation is not None]),
        calibration=calibration(*value_pairs(replay.asked, rewards, config.rewards.gamma)),
    )


def _seed_result(
    seed: int, final: FinalReport, twin: FinalReport | None, total_reward: float, epochs: int
) -> SeedResult:
    stages = Counter(report.final_stage for report in final.seeds)
    return SeedResult(
        seed=seed,
        accuracy=_finite(final.test.accuracy),
        loss=_finite(final.test.loss),
        twin_accuracy=None if twin is None else _finite(twin.test.accuracy),
        twin_loss=None if twin is None else _finite(twin.test.loss),
        total_reward=total_reward,
        parameters=final.parameters,
        germinated=len(final.seeds),
        kept=stages[Stage.FOSSILIZED],
        culled=stages[Stage.CULLED],
        stopped=final.epochs < epochs or final.failure is not None,
    )


def actions_by_phase(asked: "Sequence[Asked]", epochs: int) -> dict[str, dict[str, int]]:
    """Return how often each operation was chosen, by phase, where more than waiting was possible."""
    counts = {phase: Counter[str]() for phase in PHASES}
    for it in asked:
        if len(it.situation.masks.ops()) > 1:
            phase = PHASES[min(2, 3 * it.situation.observation.host.epoch // epochs)]
            counts[phase].update(action.op.name for action in it.decision.actions or ())
            counts[phase][Op.WAIT.name] += not it.decision.actions
    return {phase: {op.name: count[op.name] for op in Op} for phase, count in counts.items()}


def certainty(explained: Sequence[Explanation]) -> float | None:
    """Return the mean probability of the most probable action where there was a choice; None without any."""
    choices = [it.choices[0].probability for it in explained if len(it.choices) > 1]
    return fmean(choices) if choices else None


def value_pairs(
    asked: "Sequence[Asked]", rewards: Mapping[str, Sequence[float]], gamma: float
) -> tuple[list[float], list[float]]:
    """Return the values that the policy expected, and the discounted rewards that came, step by step."""
    returns = {host: returns_to_go(earned, gamma) for host, earned in rewards.items()}
    values, came = [], []
    for it in asked:
        host, epoch = it.situation.host, it.situation.observation.host.epoch
        if it.explanation is not None and it.explanation.value is not None and epoch < len(returns.get(host, ())):
            values.append(it.explanation.value)
            came.append(returns[host][epoch])
    return values, came


def returns_to_go(rewards: Sequence[float], gamma: float) -> list[float]:
    """Return the discounted sum of the rewards from each step on."""
    found, after = [], 0.0
    for reward in reversed(rewards):
        after = reward + gamma * after
        found.append(after)
    return found[::-1]


def calibration(values: Sequence[float], returns: Sequence[float]) -> Calibration | None:
    """Compare values with returns; None without any."""
    if not values:
        return None
    errors = [value - came for value, came in zip(values, returns, strict=True)]
    return Calibration(
        steps=len(values),
        correlation=correlation(values, returns),
        bias=fmean(errors),
        mean_error=fmean(map(abs, errors)),
    )


def correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Pearson's correlation; None where one of the two does not vary."""
    spread = pstdev(one) * pstdev(other)
    if spread <= 0.0:
        return None
    first, second = fmean(one), fmean(other)
    return fmean((a - first) * (b - second) for a, b in zip(one, other, strict=True)) / spread


def red_flags(found: Evaluation) -> list[str]:
    """Return what is suspicious about a policy, in sentences; none if nothing is."""
    flags = [
        f"in {100 * share:.0f} % of all choices it takes {op}"
        for op, share in _shares(found).items()
        if share > MOST_OF_ONE
    ]
    germinated, kept = (sum(getattr(it, name) for it in found.seeds) for name in ("germinated", "kept"))
    if not germinated:
        flags.append("it never germinates a seed")
    elif kept < LEAST_KEPT * germinated:
        flags.append(f"of {germinated} seeds {kept} were kept")
    if (stopped := sum(it.stopped for it in found.seeds)) > 0:
        flags.append(f"{stopped} of {len(found.seeds)} hosts were stopped before the end")
    if found.denied:
        flags.append(f"the governor denied {found.denied} of its actions")
    judged = found.calibration
    if judged is not None and judged.correlation is not None and judged.correlation < LEAST_CORRELATION:
        flags.append(f"its values say little about what comes (correlation {judged.correlation:.2f})")
    return flags


#: An operation that is chosen more often than this where there is a choice is a red flag ...
MOST_OF_ONE = 0.9

#: ... and so is a smaller share of seeds that are kept, and a smaller correlation of values with returns.
LEAST_KEPT, LEAST_CORRELATION = 0.1, 0.5


def _shares(found: Evaluation) -> dict[str, float]:
    totals = Counter[str]()
    for counts in found.actions.values():
        totals.update(counts)
    number = sum(totals.values())
    return {op: count / number for op, count in totals.items()} if number else {}


def paired_scores(one: Evaluation, other: Evaluation | None = None) -> list[float]:
    """Return by how much one policy is better than another, or than the twins, seed by seed.

    That is test accuracy, or the fall of the test loss where there is no accuracy; seeds without figures are left out.
    """
    accuracies = one.by_accuracy and (other is None or other.by_accuracy)
    found = []
    for index, it in enumerate(one.seeds):
        against = other.seeds[index] if other is not None else None
        if accuracies:
            pair = it.accuracy, it.twin_accuracy if against is None else against.accuracy
        else:
            pair = it.twin_loss if against is None else against.loss, it.loss
        if pair[0] is not None and pair[1] is not None:
            found.append(pair[0] - pair[1])
    return found


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
