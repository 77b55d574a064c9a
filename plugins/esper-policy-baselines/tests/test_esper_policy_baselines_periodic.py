"""periodic: in how many slots it germinates."""

from collections.abc import Mapping

import pytest

from esper_core.api import (
    Action,
    ActionMasks,
    Catalogue,
    CatalogueEntry,
    HostSignals,
    Layout,
    LearningCurves,
    Observation,
    Op,
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
