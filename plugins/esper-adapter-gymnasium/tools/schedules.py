"""Schedules: what is germinated, kept and removed when, whatever the figures say. On the table, and in real runs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from esper_adapter_gymnasium.model import GrowthModel, Measured
from esper_adapter_gymnasium.table import GrowthTable
from esper_core.api import Op

#: What is asked for: before which epoch, the operation, the number of the slot, and the blueprint ("" without one).
Asked = tuple[int, str, int, str]
Schedule = tuple[Asked, ...]


def schedules(count: int, table: GrowthTable) -> list[Schedule]:
    """Return schedules, those made by hand first."""
    made = list(_by_hand())
    random = np.random.default_rng(0)
    while len(made) < count:
        made.append(_drawn(random, table))
    return made[:count]


def _by_hand() -> Iterator[Schedule]:
    """One seed early and late, two and three at once and one after the other, kept and removed."""
    for epoch, slot, name in ((1, 0, "conv-heavy"), (10, 0, "conv-heavy"), (1, 2, "squeeze-excite")):
        yield (_germinate(epoch, slot, name), _keep(epoch, slot))
    yield (_germinate(1, 0, "conv-heavy"), _germinate(2, 2, "conv-heavy"), _keep(1, 0), _keep(2, 2))
    yield (_germinate(1, 1, "depthwise"), _germinate(2, 2, "depthwise"), _keep(1, 1), _keep(2, 2))
    yield (_germinate(11, 1, "depthwise"), _germinate(12, 2, "depthwise"))
    yield tuple(step for slot in range(3) for step in (_germinate(1 + slot, slot, "group-norm"), _keep(1 + slot, slot)))
    yield tuple(step for slot in range(3) for step in (_germinate(1 + 5 * slot, slot, "bottleneck"),))
    yield (_germinate(1, 0, "conv-heavy"), (8, "CULL", 0, ""))
    yield (_germinate(1, 1, "conv-light"), (6, "CULL", 1, ""), _germinate(13, 1, "conv-light"))
    yield (_germinate(16, 0, "depthwise"), _germinate(17, 1, "depthwise"), _germinate(18, 2, "depthwise"))
    yield (_germinate(4, 0, "depthwise"), _germinate(5, 1, "conv-light"), _keep(4, 0), _keep(5, 1))


def _germinate(epoch: int, slot: int, blueprint: str) -> Asked:
    return (epoch, "GERMINATE", slot, blueprint)


def _keep(epoch: int, slot: int) -> Asked:
    """Fossilize as soon as that is possible."""
    return (epoch + 8, "FOSSILIZE", slot, "")


def _drawn(random: np.random.Generator, table: GrowthTable) -> Schedule:
    found: list[Asked] = []
    for slot in random.permutation(len(table.slots))[: random.integers(1, len(table.slots) + 1)]:
        epoch, name = int(random.integers(0, table.epochs - 3)), str(random.choice(table.blueprints))
        found.append(_germinate(epoch, int(slot), name))
        end = random.random()
        if end < 0.6:
            found.append(_keep(epoch, int(slot)))
        elif end < 0.8:
            found.append((epoch + int(random.integers(2, 12)), "CULL", int(slot), ""))
    return tuple(found)


def plan_events(schedule: Schedule, table: GrowthTable) -> Iterator[dict[str, Any]]:
    """Yield the events of a run under a schedule, as far as the policy `fixed-schedule` reads them."""
    for number, (epoch, op, slot, blueprint) in enumerate(sorted(schedule)):
        action = {"op": op, "slot": table.slots[slot], "id": f"plan/{number}"}
        if blueprint:
            action |= {"blueprint": blueprint, "blend": "linear"}
        yield {"kind": "action_decided", "host": "grown", "epoch": epoch, "round": 0, "data": action}


def followed(plan: Sequence[Schedule], model: GrowthModel) -> tuple[Measured, np.ndarray[Any, Any]]:
    """Carry schedules out side by side; return what the last epoch came to, and the actions, (E, n)."""
    local, before = np.zeros((len(plan), model.slots), dtype=np.int64), None
    choosers, done = [follower(schedule, model) for schedule in plan], []
    for epoch in range(model.epochs):
        masks = model.masks(local, before)
        action = np.array([choose(epoch, row) for choose, row in zip(choosers, masks, strict=True)])
        local, _ = model.advance(epoch, local, action, before)
        before = model.measure(epoch, local)
        done.append(action)
    assert before is not None
    return before, np.array(done)


def follower(schedule: Schedule, model: GrowthModel) -> Callable[[int, Any], int]:
    """Return what does what is due as soon as it is possible, one action in an epoch, as `fixed-schedule` does.

    It is given an epoch and the mask of the model's actions, (A,), and returns an action's number.
    """
    names = ("", *model.table.blueprints)
    planned = sorted(schedule)
    waiting = [model.actions.index((Op[op], slot, names.index(name))) for _, op, slot, name in planned]

    def choose(epoch: int, possible: Any) -> int:
        for index, ((due, _, slot, _), action) in enumerate(zip(planned, waiting, strict=True)):
            if action >= 0 and due <= epoch and possible[action]:
                for earlier in range(index + 1):
                    if planned[earlier][2] == slot:
                        waiting[earlier] = -1
                return action
        return 0

    return choose
