"""Champion against challenger: what must be there and hold before a policy is published. What is missing fails."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite, nan, sqrt
from statistics import fmean, stdev

from attrs import field, frozen, validators

from esper_leyline_proto.learning import PolicyValidation

#: From a lowest to a highest value; None: there is no limit.
Bounds = tuple[float | None, float | None]

#: The figures of learning that must be there, and between which values.
FIGURES: Mapping[str, Bounds] = {
    "steps": (1.0, None),
    "optimizer steps": (1.0, None),
    "skipped minibatches": (None, 0.0),
    "policy loss": (None, None),
    "value loss": (0.0, None),
    "entropy": (1e-4, None),
    "kl": (None, 0.25),
}

#: What both policies come to on a table, as figures; and how far sums of rewards in another order may be apart.
_REGRETS, _ROUNDING = ("champion's mean regret on the table", "mean regret on the table"), 1e-6

#: How the names of figures begin that say that something went wrong, where they are not 0.
_ANOMALY = "anomaly: "


@frozen(kw_only=True)
class Limits:
    """What a challenger must come to.

    Attributes:
        seeds: on so many random seeds both policies must have finished, at least.
        margin: its mean return may be this much below the champion's, in units of the reward.
        figures: of learning, by name, with their bounds.
    """

    seeds: int = field(default=8, validator=validators.ge(2))
    margin: float = field(default=0.0, validator=validators.ge(0.0))
    figures: Mapping[str, Bounds] = field(factory=lambda: dict(FIGURES))


#: The returns of the champion and of the challenger on the same random seeds, in the same order; None where a host did
#: not finish.
Returns = tuple[Sequence[float | None], Sequence[float | None]]


@frozen(kw_only=True)
class Tabulated:
    """What both policies come to on a table of trainings whose best return is known.

    Attributes:
        champion, challenger: returns of the same episodes, in the same order.
        best: the best return that is possible.
    """

    champion: Sequence[float]
    challenger: Sequence[float]
    best: float

    @property
    def regrets(self) -> tuple[float, float]:
        """How far the mean returns of the champion and of the challenger are from the best one; NaN without any."""
        means = (fmean(it) if it else nan for it in (self.champion, self.challenger))
        one, other = (self.best - it for it in means)
        return one, other


def judge(
    returns: Returns | None,
    figures: Mapping[str, float],
    limits: Limits,
    *,
    changed: bool,
    table: Tabulated | None = None,
) -> PolicyValidation:
    """Return how a challenger did; it fails for every figure that is missing or not finite.

    Args:
        returns: of both policies; None: they were not measured, and then it fails.
        figures: of learning.
        limits: what it must come to.
        changed: whether the challenger is another policy than the champion at all.
        table: what both come to on a table; None: they were not tried on one.
    """
    pairs = [] if returns is None else _finite(returns)
    difference, error = paired(pairs)
    failures = learning_failures(figures, limits, changed=changed)
    if table is not None:
        failures += table_failures(table, limits)
        figures = {**figures, **dict(zip(_REGRETS, table.regrets, strict=True))}
    if returns is not None:
        failures += _return_failures(len(returns[0]), len(pairs), difference, limits)
    elif not failures:
        failures.append("missing figure: neither policy was tried on a random seed")
    earned = [other for _, other in pairs]
    measured = {"mean paired difference": difference, "standard error of the difference": error}
    return PolicyValidation(
        passed=not failures,
        validated_at=datetime.now(UTC),
        trajectories=len(pairs),
        mean_reward=fmean(earned) if earned else nan,
        standard_error=stdev(earned) / sqrt(len(earned)) if len(earned) > 1 else None,
        baseline_reward=fmean(one for one, _ in pairs) if pairs else None,
        metrics={name: value for name, value in {**figures, **measured}.items() if isfinite(value)},
        failures=tuple(failures),
    )


def learning_failures(figures: Mapping[str, float], limits: Limits, *, changed: bool) -> list[str]:
    """Return what is wrong with how a challenger has learned, before it is tried on hosts; see `judge`."""
    unchanged = [] if changed else ["unchanged: learning has changed no number of the policy"]
    return _figure_failures(figures, limits.figures) + unchanged


def table_failures(table: Tabulated, limits: Limits) -> list[str]:
    """Return what is wrong with what a challenger comes to on a table; see `judge`."""
    episodes = len(table.challenger)
    if not episodes or episodes != len(table.champion):
        return [f"missing figure: the table has {len(table.champion)} and {episodes} returns"]
    every = (*table.champion, *table.challenger, table.best)
    if not all(map(isfinite, every)):
        return ["not finite: a return on the table is not"]
    # A return that nothing could have earned was not measured as the best one was.
    if max(every) > table.best + _ROUNDING * max(1.0, abs(table.best)):
        return [f"impossible: a return of {max(every):.4g} on the table, whose best one is {table.best:.4g}"]
    one, other = table.regrets
    # Written so that NaN fails.
    if not other <= one + limits.margin:
        return [f"worse on the table: its mean regret is {other:.4g}, the champion's {one:.4g}, in {episodes} episodes"]
    return []


def _finite(returns: Returns) -> list[tuple[float, float]]:
    return [
        (one, other)
        for one, other in zip(*returns, strict=True)
        if one is not None and other is not None and isfinite(one) and isfinite(other)
    ]


def paired(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the mean of second minus first, and its standard error.

    NaN stands for what there are too few pairs for, and for both if a difference is not finite.
    """
    differences = [other - one for one, other in pairs]
    if not differences or not all(map(isfinite, differences)):
        return nan, nan
    return fmean(differences), stdev(differences) / sqrt(len(differences)) if len(differences) > 1 else nan


def _figure_failures(figures: Mapping[str, float], bounds: Mapping[str, Bounds]) -> list[str]:
    failures = []
    for name, (low, high) in bounds.items():
        value = figures.get(name)
        if value is None:
            failures.append(f"missing figure: learning has given no {name}")
        elif not isfinite(value):
            failures.append(f"not finite: {name} is {value}")
        elif (low is not None and value < low) or (high is not None and value > high):
            failures.append(f"out of bounds: {name} is {value:.4g}, not {_between(low, high)}")
    others = {name: value for name, value in figures.items() if name not in bounds}
    failures += [f"not finite: {name} is {value}" for name, value in others.items() if not isfinite(value)]
    return failures + [name for name, value in others.items() if name.startswith(_ANOMALY) and value]


def _return_failures(asked: int, finished: int, difference: float, limits: Limits) -> list[str]:
    if finished < asked:
        return [f"not finished: both policies have a return on {finished} of {asked} random seeds"]
    if finished < limits.seeds:
        return [f"too few random seeds: {finished}, not {limits.seeds}"]
    # Written so that NaN fails.
    if not difference >= -limits.margin:
        said = f"worse: its mean return is {-difference:.4g} below the champion's on the same {finished} random seeds"
        return [said + (f", more than the margin of {limits.margin:.4g}" if limits.margin else "")]
    return []


def _between(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"{low:g} or more" if low is not None else f"{high:g} or less"
