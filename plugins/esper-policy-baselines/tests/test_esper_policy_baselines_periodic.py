"""periodic: when it germinates, and in how many slots."""

from collections.abc import Mapping, Sequence

import pytest

from esper_core.api import (
    Action,
    ActionMasks,
    Catalogue,
    CatalogueEntry,
    Compute,
    HostSignals,
    Layout,
    LearningCurves,
    Observation,
    Op,
    Round,
    Site,
    Situation,
    SlotSignals,
    SlotState,
    Stage,
)
from esper_policy_baselines.config import PeriodicConfig
from esper_policy_baselines.periodic import Periodic

CATALOGUE = Catalogue((CatalogueEntry(name="conv-light", layouts=frozenset({Layout.NCHW})),))


def decided(culled: Mapping[str, int], epoch: int = 2, **options: int) -> list[Action]:
    """What it does with dormant slots that have lost so many seeds."""
    sites = {name: Site(id=name, path=name, layout=Layout.NCHW, width=4, sample_shape=(4, 2, 2)) for name in culled}
    slots = [
        SlotSignals(
            state=SlotState(site=sites[name], stage=Stage.DORMANT, culled_blueprints=("conv-light",) * lost),
            evidence=None,
        )
        for name, lost in culled.items()
    ]
    masks = ActionMasks(
        slots=tuple(culled), blueprints=CATALOGUE.names, germinate=dict.fromkeys(culled, frozenset({"conv-light"}))
    )
    signals = HostSignals(epoch=epoch, epochs=20, curves=LearningCurves())
    seen = Observation(host=signals, slots=slots)
    (decision,) = Periodic(PeriodicConfig(**options), CATALOGUE).decide(
        [Situation(host="h", observation=seen, masks=masks)]
    )
    assert all(masks.allows(action) for action in decision.actions)
    return [*decision.actions]


@pytest.mark.parametrize(("slots", "expected"), [(1, ["b"]), (2, ["b", "c"]), (9, ["b", "c", "a"])])
def test_germinates_in_as_many_slots_as_asked_for(slots: int, expected: list[str]) -> None:
    assert [action.slot for action in decided({"a": 2, "b": 0, "c": 1}, slots=slots)] == expected


def test_waits_between_its_times_whatever_the_number() -> None:
    (action,) = decided({"a": 0, "b": 0}, epoch=3, slots=2)
    assert action.op is Op.WAIT


def timed(spent: Sequence[float | None], **options: float) -> list[int]:
    """The epochs before which a seed is germinated, where a host has spent so much by then."""
    policy = Periodic(PeriodicConfig(**options), CATALOGUE)
    policy.reset(Round(hosts=("h",), epochs=len(spent)))
    return [epoch for epoch, so_far in enumerate(spent) if asked(policy, epoch, so_far).op is Op.GERMINATE]


def asked(policy: Periodic, epoch: int, spent: float | None) -> Action:
    site = Site(id="a", path="a", layout=Layout.NCHW, width=4, sample_shape=(4, 2, 2))
    masks = ActionMasks(slots=("a",), blueprints=CATALOGUE.names, germinate={"a": frozenset({"conv-light"})})
    # Evaluation and the like count, as they do in a run's budget.
    compute = None if spent is None or epoch == 0 else Compute(training=int(spent * 0.75), evaluation=int(spent * 0.25))
    signals = HostSignals(epoch=epoch, epochs=20, compute=compute)
    seen = Observation(host=signals, slots=[SlotSignals(state=SlotState(site=site, stage=Stage.DORMANT))])
    (decision,) = policy.decide([Situation(host="h", observation=seen, masks=masks)])
    return decision.actions[0]


def test_operations_are_a_clock_of_their_own() -> None:
    steps = [100 * epoch for epoch in range(12)]
    assert timed(steps, every_flops=300) == [3, 6, 9]
    assert timed(steps, every_flops=300, first_flops=100) == [1, 4, 7, 10]
    assert timed(steps, every_flops=250, first_flops=0) == [0, 3, 5, 8, 10]
    assert timed([4 * it for it in steps], every_flops=300) == [*range(1, 12)]


def test_a_host_whose_epochs_cost_twice_as_much_grows_in_half_as_many() -> None:
    small, large = ([cost * epoch for epoch in range(13)] for cost in (100, 200))
    assert [it / 2 for it in timed(small, every_flops=400)] == timed(large, every_flops=400)[:3]


def test_what_cannot_be_counted_is_said_and_nothing_germinates() -> None:
    policy = Periodic(PeriodicConfig(every_flops=300), CATALOGUE)
    assert "not counted" in asked(policy, 3, None).reason
    assert timed([None] * 9, every_flops=300) == []


def test_it_goes_on_behind_the_times_that_have_come() -> None:
    policy, other = (Periodic(PeriodicConfig(every_flops=300), CATALOGUE) for _ in range(2))
    assert asked(policy, 3, 300).op is Op.GERMINATE
    other.restore(policy.state())
    for it in (policy, other):
        assert asked(it, 4, 400).op is Op.WAIT
        assert asked(it, 6, 600).op is Op.GERMINATE
    other.reset(Round(hosts=("h",), epochs=9))
    assert asked(other, 3, 300).op is Op.GERMINATE


@pytest.mark.parametrize("options", [{"first_flops": 1e9}, {"every_flops": 0.0}, {"every_flops": float("inf")}])
def test_a_clock_that_cannot_run_is_refused(options: Mapping[str, float]) -> None:
    with pytest.raises(ValueError, match="_flops"):
        PeriodicConfig(**options)
