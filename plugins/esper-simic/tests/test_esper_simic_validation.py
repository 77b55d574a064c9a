"""Champion against challenger: what is missing, not finite or worse fails, and says so."""

from math import inf, nan

import pytest
from attrs import evolve

from esper_simic.api import FIGURES, Limits, Tabulated, judge

GOOD = {
    "steps": 32.0,
    "optimizer steps": 16.0,
    "skipped minibatches": 0.0,
    "policy loss": -0.01,
    "value loss": 0.4,
    "entropy": 0.8,
    "kl": 0.01,
}
LIMITS = Limits(seeds=4)
CHAMPION, BETTER = [1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.0, 4.5]


def judged(returns=(CHAMPION, BETTER), figures=GOOD, limits=LIMITS, changed=True):
    return judge(returns, figures, limits, changed=changed)


def test_a_better_policy_passes_and_the_record_says_by_how_much():
    found = judged()
    assert (found.passed, found.failures, found.trajectories) == (True, (), 4)
    assert (found.mean_reward, found.baseline_reward) == (2.875, 2.5)
    assert found.metrics["mean paired difference"] == 0.375
    assert found.metrics["standard error of the difference"] == pytest.approx(0.125)
    assert found.metrics["kl"] == 0.01


def test_no_metrics_at_all_fail():
    found = judged(figures={})
    assert len(found.failures) == len(FIGURES)
    assert not found.passed
    assert not judge(None, {}, LIMITS, changed=True).passed


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_must_be_there_and_finite(name):
    missing = judged(figures={key: value for key, value in GOOD.items() if key != name})
    assert missing.failures == (f"missing figure: learning has given no {name}",)
    for value in (nan, inf, -inf):
        found = judged(figures=GOOD | {name: value})
        assert not found.passed
        assert found.failures[0].startswith(f"not finite: {name}")
        assert name not in found.metrics


@pytest.mark.parametrize(
    ("name", "value"),
    [("kl", 0.3), ("entropy", 0.0), ("skipped minibatches", 1.0), ("optimizer steps", 0.0), ("value loss", -1.0)],
)
def test_figures_beyond_their_bounds_fail(name, value):
    (failure,) = judged(figures=GOOD | {name: value}).failures
    assert failure.startswith(f"out of bounds: {name}")


def test_other_figures_must_be_finite_too_and_anomalies_fail():
    assert judged(figures=GOOD | {"replayed kl": nan}).failures == ("not finite: replayed kl is nan",)
    assert judged(figures=GOOD | {"anomaly: ratio explosion": 1.0}).failures == ("anomaly: ratio explosion",)
    assert judged(figures=GOOD | {"anomaly: ratio explosion": 0.0}).passed


def test_a_worse_policy_fails_and_within_the_margin_it_passes():
    (failure,) = judged((BETTER, CHAMPION)).failures
    assert failure.startswith("worse: its mean return is 0.375 below")
    assert judged((BETTER, CHAMPION), limits=evolve(LIMITS, margin=0.4)).passed
    assert not judged((BETTER, CHAMPION), limits=evolve(LIMITS, margin=0.3)).passed
    assert judged((CHAMPION, CHAMPION)).passed


@pytest.mark.parametrize("missing", [None, nan, inf])
@pytest.mark.parametrize("whose", [0, 1])
def test_a_return_that_is_missing_fails(missing, whose):
    returns = [[*CHAMPION], [*BETTER]]
    returns[whose][2] = missing
    (failure,) = judged(tuple(returns)).failures
    assert failure.startswith("not finished: both policies have a return on 3 of 4")


def test_too_few_seeds_none_at_all_and_none_measured_fail():
    assert judged((CHAMPION[:3], BETTER[:3])).failures == ("too few random seeds: 3, not 4",)
    assert judged(([], [])).failures == ("too few random seeds: 0, not 4",)
    (failure,) = judged(None).failures
    assert failure.startswith("missing figure: neither policy was tried")


def test_a_policy_that_has_not_changed_fails():
    (failure,) = judged(changed=False).failures
    assert failure.startswith("unchanged")


def test_limits_without_meaning_are_refused():
    for wrong in ({"seeds": 1}, {"margin": -0.1}):
        with pytest.raises(ValueError, match="must be"):
            Limits(**wrong)


class TestOnATable:
    def tried(self, champion, challenger, best=2.0, margin=0.0):
        table = Tabulated(champion=champion, challenger=challenger, best=best)
        return judge((CHAMPION, BETTER), GOOD, Limits(seeds=4, margin=margin), changed=True, table=table)

    def test_regrets_are_figures_and_a_smaller_one_passes(self):
        found = self.tried([1.0, 1.5], [1.5, 2.0])
        assert found.passed
        assert found.metrics["champion's mean regret on the table"] == 0.75
        assert found.metrics["mean regret on the table"] == 0.25

    def test_a_larger_one_fails_beyond_the_margin(self):
        (failure,) = self.tried([1.5], [1.0]).failures
        assert failure == "worse on the table: its mean regret is 1, the champion's 0.5, in 1 episodes"
        assert self.tried([1.5], [1.0], margin=0.5).passed

    @pytest.mark.parametrize(
        ("champion", "challenger", "best", "words"),
        [
            ([], [], 2.0, "missing figure"),
            ([1.0], [1.0, 1.0], 2.0, "missing figure"),
            ([nan], [1.0], 2.0, "not finite"),
            ([1.0], [nan], 2.0, "not finite"),
            ([1.0], [1.0], nan, "not finite"),
            ([1.0], [2.1], 2.0, "impossible"),
        ],
    )
    def test_what_is_missing_not_finite_or_impossible_fails(self, champion, challenger, best, words):
        found = self.tried(champion, challenger, best)
        assert not found.passed
        assert found.failures[0].startswith(words)

    def test_a_table_alone_is_not_enough(self):
        table = Tabulated(champion=[1.0], challenger=[1.5], best=2.0)
        assert not judge(None, GOOD, LIMITS, changed=True, table=table).passed
