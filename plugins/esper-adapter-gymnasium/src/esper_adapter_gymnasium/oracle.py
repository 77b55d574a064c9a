"""The best that is possible on a table, by backward induction over all states: exact, up to rounding.

A state of S slots is S local states and the epoch. Time only goes forward, so one pass from the last epoch to the first
finds the value of every state.
"""

from collections.abc import Callable, Iterator
from itertools import product
from math import prod

import numpy as np
from attrs import fields, frozen

from esper_adapter_gymnasium.model import Flags, GrowthModel, Integers, Measured
from esper_adapter_gymnasium.rewards import TableRewards
from esper_adapter_gymnasium.table import Array

#: Decides for one host: epoch, states, what was measured, masks -> number of the action.
Chooser = Callable[[int, Integers, Measured | None, Flags], int]

#: States of which arrays are made at once: a bound on memory.
_AT_ONCE = 1 << 18


@frozen(eq=False, kw_only=True)
class Oracle:
    """Values of all states, for one table and one reward.

    Attributes:
        rewards: what is maximised.
        values: (E + 1, n), the best return from before each epoch on; a state is numbered as `number` does it.
    """

    rewards: TableRewards
    values: Array

    @property
    def model(self) -> GrowthModel:
        """The surrogate."""
        return self.rewards.model

    @property
    def states(self) -> int:
        """How many pairs of epoch and state there are, those included that no episode comes to."""
        return int(self.values[:-1].size)

    @property
    def best_return(self) -> float:
        """The return of the best schedule."""
        return float(self.values[0, 0])

    def regret(self, achieved: float) -> float:
        """Return how far a return is from the best one."""
        return self.best_return - achieved

    def number(self, local: Integers) -> Integers:
        """Return the numbers, (n,), of states (n, S)."""
        return np.asarray(local @ _places(self.model))

    def best_action(self, epoch: int, local: Integers, before: Measured | None) -> Integers:
        """Return the best action in each state, (n,); of several equal ones the first, so that waiting wins ties."""
        return np.asarray(self.action_values(epoch, local, before).argmax(1))

    def action_values(self, epoch: int, local: Integers, before: Measured | None) -> Array:
        """Return the best return after each action, (n, A); minus infinity where one is not possible."""
        masks = self.model.masks(local, before)
        found = np.full(masks.shape, -np.inf)
        for action in range(masks.shape[1]):
            rows = np.flatnonzero(masks[:, action])
            if len(rows):
                asked = np.full(len(rows), action)
                seen = None if before is None else _rows(before, rows)
                found[rows, action] = self._after(epoch, local[rows], seen, asked)
        # What rounding alone tells apart counts as equal.
        return np.asarray(np.where(masks, np.round(found, 10), found))

    def _after(self, epoch: int, local: Integers, before: Measured | None, action: Integers) -> Array:
        model, rewards = self.model, self.rewards
        after, culled = model.advance(epoch, local, action, before)
        measured = model.measure(epoch, after)
        parts = rewards.total(
            rewards.before(epoch, local, before),
            rewards.asked(epoch, local, before, action, culled, measured.gain),
            rewards.after(epoch, after, measured),
        )
        reward = sum(parts.values(), np.zeros(len(local)))
        return np.asarray(reward + rewards.gamma * self.values[epoch + 1][self.number(after)])


def solve(rewards: TableRewards) -> Oracle:
    """Find the value of every state by backward induction."""
    model = rewards.model
    count = len(model.states) ** model.slots
    values = np.zeros((model.epochs + 1, count), dtype=np.float64)
    for epoch in reversed(range(model.epochs)):
        # What a state after the epoch is worth, whatever led to it.
        worth, gain = np.empty(count), np.empty(count)
        for rows, local in _states(model, epoch + 1):
            measured = model.measure(epoch, local)
            ahead = rewards.gamma * values[epoch + 1, rows]
            worth[rows] = _sum(rewards.after(epoch, local, measured), len(rows)) + ahead
            gain[rows] = measured.gain
        for rows, local in _states(model, epoch):
            values[epoch, rows] = _best(rewards, epoch, local, worth, gain)
    return Oracle(rewards=rewards, values=values)


def _best(rewards: TableRewards, epoch: int, local: Integers, worth: Array, gain: Array) -> Array:
    model = rewards.model
    before = model.measure(epoch - 1, local) if epoch else None
    masks = model.masks(local, before)
    best = np.full(len(local), -np.inf)
    for action in range(masks.shape[1]):
        rows = np.flatnonzero(masks[:, action])
        if not len(rows):
            continue
        asked, seen = np.full(len(rows), action), None if before is None else _rows(before, rows)
        after, culled = model.advance(epoch, local[rows], asked, seen)
        reached = after @ _places(model)
        parts = rewards.asked(epoch, local[rows], seen, asked, culled, gain[reached])
        best[rows] = np.maximum(best[rows], _sum(parts, len(rows)) + worth[reached])
    return best + _sum(rewards.before(epoch, local, before), len(local))


def _states(model: GrowthModel, epoch: int) -> Iterator[tuple[Integers, Integers]]:
    """Yield the states that may be there before an epoch: their numbers, and themselves (n, S)."""
    states = model.states
    # A seed is no older than the host, and waits for its module only in the first epoch.
    possible = [number for number, it in enumerate(states.every) if it.age <= epoch and (it.epochs <= epoch)]
    if epoch != 1:
        possible = [number for number in possible if states.every[number].stage.name != "GERMINATED"]
    here = np.array(possible)
    seeded = states.blueprint[here] > 0
    for holding in product((False, True), repeat=model.slots):
        # More seeds than the table knows of are never germinated.
        if sum(holding) > model.most_seeds:
            continue
        choices = [here[seeded == it] for it in holding]
        shape = [len(it) for it in choices]
        for first in range(0, prod(shape), _AT_ONCE):
            index = np.unravel_index(np.arange(first, min(prod(shape), first + _AT_ONCE)), shape)
            local = np.stack([it[at] for it, at in zip(choices, index, strict=True)], axis=1)
            yield local @ _places(model), local


def _places(model: GrowthModel) -> Integers:
    return len(model.states) ** np.arange(model.slots)


def _rows(measured: Measured, rows: Integers) -> Measured:
    return Measured(**{it.name: getattr(measured, it.name)[rows] for it in fields(Measured)})


def _sum(parts: dict[str, Array], count: int) -> Array:
    return sum(parts.values(), np.zeros(count))


def play(rewards: TableRewards, choose: Chooser) -> tuple[float, list[int], Measured]:
    """Play one episode; return its return, the actions, and what the last epoch came to.

    Args:
        rewards: of the table.
        choose: is given epoch, states (1, S), what was measured and the masks (1, A), and returns the action's number.
    """
    model = rewards.model
    local, before = np.zeros((1, model.slots), dtype=np.int64), None
    achieved, actions = 0.0, []
    for epoch in range(model.epochs):
        action = np.array([choose(epoch, local, before, model.masks(local, before))])
        after, culled = model.advance(epoch, local, action, before)
        measured = model.measure(epoch, after)
        parts = rewards.total(
            rewards.before(epoch, local, before),
            rewards.asked(epoch, local, before, action, culled, measured.gain),
            rewards.after(epoch, after, measured),
        )
        achieved += rewards.gamma**epoch * float(sum(float(np.ravel(it)[0]) for it in parts.values()))
        actions.append(int(action[0]))
        local, before = after, measured
    assert before is not None
    return achieved, actions, before
