"""The surrogate: what growing does to a network, read off a table instead of trained. Arrays over any number of hosts.

The curve of a network is the bare host's, and what its seeds add to it. With the seeds that contribute from the oldest
to the youngest (of equals, the one in the earlier slot first), T_i the topology of the i oldest and L_T the curve of
topology T in the table,

    loss(e) = L_0(e) + sum over i of ramp(age_i) * (L_{T_i}(e) - L_{T_{i-1}}(e)),

and the same for accuracies, with a ramp of their own. A cull takes the network back to the curve without the seed at
once. The contribution of a seed and its error are those of the table for the topology as it is, times ramp(age).
Nothing is random, and nothing depends on when a seed was germinated but through its age.
"""

from functools import cached_property

import numpy as np
from attrs import Attribute, Factory, field, frozen
from numpy.typing import NDArray

from esper_adapter_gymnasium.lifecycle import LocalStates
from esper_adapter_gymnasium.table import Array, GrowthTable
from esper_core.api import Op, Stage

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: One-sided quantiles of the standard normal distribution.
Z_95, Z_99 = 1.6448536269514722, 2.3263478740408408

#: The defaults of G3 and G5 (`esper-gates-standard`), in nats.
HARM_MARGIN, LEAST_CONTRIBUTION, TWIN_MARGIN = 0.05, 0.01, 0.02

#: How much of the loss that a seed saves in the table is saved at each age, from 0 epochs on; the last one holds for
#: all later ages. Measured by `tools/late_seeds.py`.
RAMP = (0.0, 0.0, 0.08, 0.16, 0.27, 0.38, 0.44, 0.51, 0.57, 0.63, 0.67, 0.7, 0.74, 0.79, 0.84)

#: The same of accuracies, which follow later.
ACCURACY_RAMP = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.04, 0.18, 0.23, 0.28, 0.35, 0.42, 0.51, 0.61, 0.7)


@frozen(eq=False, kw_only=True)
class Measured:
    """What an epoch came to, n hosts with S slots.

    Attributes:
        loss, accuracy, train_loss, train_accuracy: (n,).
        contribution, error: (n, S), in nats; 0 where no seed contributes.
        contributes: (n, S).
        gain: (n,), the bare host's loss minus this one.
        parameters, flops: (n,), what seeds have added.
    """

    loss: Array
    accuracy: Array
    train_loss: Array
    train_accuracy: Array
    contribution: Array
    error: Array
    contributes: Flags
    gain: Array
    parameters: Array
    flops: Array

    @cached_property
    def harmful(self) -> Flags:
        """(n, S), the seed costs more than the margin with 99 % confidence: it is culled before the next epoch."""
        return self.contributes & (self.contribution + Z_99 * self.error < -HARM_MARGIN)

    @property
    def passes_g3(self) -> Flags:
        """(n, S), the seed costs less than the margin with 99 % confidence."""
        return self.contributes & (self.contribution - Z_99 * self.error > -HARM_MARGIN)

    @property
    def passes_g5(self) -> Flags:
        """(n, S), the seed surely contributes, and the network is not behind its twin, whose error is not known."""
        surely = self.contribution - Z_99 * self.error > 0.0
        enough = self.contribution - Z_95 * self.error > LEAST_CONTRIBUTION
        return self.contributes & surely & enough & (self.gain >= -TWIN_MARGIN)[:, None]

    def sign(self) -> Integers:
        """(n, S), the sign of each contribution with 95 % confidence: 1, -1 or 0."""
        above = self.contributes & (self.contribution - Z_95 * self.error > 0.0)
        below = self.contributes & (self.contribution + Z_95 * self.error < 0.0)
        return above.astype(np.int64) - below.astype(np.int64)


@frozen(eq=False)
class GrowthModel:
    """The surrogate of one table.

    Args:
        table: of one random seed, or of means.
        ramp: how much of the loss that a seed saves is saved at each age; the last one holds for all later ages.
        accuracy_ramp: the same of accuracies, as long; by default what was measured, or `ramp` if that is another.
        most_seeds: germinating is not possible in a host with this many seeds; by default what the table knows.
    """

    table: GrowthTable
    ramp: tuple[float, ...] = RAMP
    accuracy_ramp: tuple[float, ...] = field(
        default=Factory(lambda self: ACCURACY_RAMP if self.ramp == RAMP else self.ramp, takes_self=True)
    )
    most_seeds: int = field(default=Factory(lambda self: self.table.most_seeds, takes_self=True))

    @accuracy_ramp.validator
    def _as_long(self, _: "Attribute[tuple[float, ...]]", value: tuple[float, ...]) -> None:
        if len(value) != len(self.ramp):
            raise ValueError(f"'accuracy_ramp' has {len(value)} ages, and 'ramp' {len(self.ramp)}")

    @cached_property
    def states(self) -> LocalStates:
        """What a slot may hold."""
        return LocalStates(len(self.table.blueprints), len(self.ramp) - 1)

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return len(self.table.slots)

    @property
    def epochs(self) -> int:
        """Length of an episode."""
        return self.table.epochs

    @cached_property
    def actions(self) -> tuple[tuple[Op, int, int], ...]:
        """All actions in the order of `flat` spaces: operation, slot, blueprint (0 for those that have none)."""
        slots, blueprints = range(self.slots), range(1, len(self.table.blueprints) + 1)
        return (
            (Op.WAIT, 0, 0),
            *((Op.GERMINATE, slot, blueprint) for slot in slots for blueprint in blueprints),
            *((Op.CULL, slot, 0) for slot in slots),
            *((Op.FOSSILIZE, slot, 0) for slot in slots),
        )

    @cached_property
    def _places(self) -> Integers:
        return self.table.choices ** np.arange(self.slots)

    def measure(self, epoch: int, local: Integers) -> Measured:
        """Return what hosts come to in an epoch, whose slots are in these states after it.

        Args:
            epoch: from 0.
            local: (n, S), numbers of `LocalStates`.
        """
        table, states = self.table, self.states
        contributes = states.contributes[local]
        held = np.where(contributes, states.blueprint[local], 0)
        age = states.age[local]
        share, risen = (np.where(contributes, np.asarray(it)[age], 0.0) for it in (self.ramp, self.accuracy_ramp))
        order, chain = self._chain(held, age)

        def curve(values: Array, shares: Array) -> Array:
            read = values[0, :, epoch][chain]  # (n, S + 1)
            weights = np.take_along_axis(shares, order, axis=1)
            return np.asarray(read[:, 0] + (weights * np.diff(read, axis=1)).sum(1))

        topology, loss = chain[:, -1], curve(table.loss, share)
        blueprint, kept = states.blueprint[local], states.holds_module[local]
        every = np.arange(self.slots)
        return Measured(
            loss=loss,
            accuracy=curve(table.accuracy, risen),
            train_loss=curve(table.train_loss, share),
            train_accuracy=curve(table.train_accuracy, risen),
            contribution=share * table.contribution[0, topology, epoch],
            error=share * table.contribution_error[0, topology, epoch],
            contributes=contributes,
            gain=table.loss[0, 0, epoch] - loss,
            parameters=(table.parameters[every, blueprint] * kept).sum(1),
            flops=(table.flops[every, held]).sum(1),
        )

    def _chain(self, held: Integers, age: Integers) -> tuple[Integers, Integers]:
        """Slots from the oldest seed on, (n, S), and topologies with a seed more each time, (n, S + 1)."""
        order = np.argsort(-np.where(held > 0, age, 0), axis=1, kind="stable")
        steps = np.take_along_axis(held * self._places, order, axis=1)
        chain = np.concatenate([np.zeros((len(held), 1), dtype=np.int64), np.cumsum(steps, axis=1)], axis=1)
        return order, chain

    def masks(self, local: Integers, before: Measured | None) -> Flags:
        """Return which actions are possible, (n, A).

        Args:
            local: (n, S), before the epoch.
            before: what the epoch before came to; None in the first one.
        """
        states, count = self.states, len(local)
        seeds = (states.blueprint[local] > 0).sum(1)
        empty = (states.stage[local] == Stage.DORMANT) & (seeds < self.most_seeds)[:, None]
        fossilize = states.may_ask_g5[local] & before.passes_g5 if before is not None else np.zeros_like(empty)
        germinate = np.repeat(empty, len(self.table.blueprints), axis=1)
        return np.concatenate([np.ones((count, 1), dtype=bool), germinate, states.live[local], fossilize], axis=1)

    def unattended(self, local: Integers, before: Measured | None) -> tuple[Integers, Flags]:
        """Return where slots go if nothing is asked of them, (n, S), and which are culled by themselves, (n, S)."""
        states = self.states
        culled = states.times_out[local]
        following = states.following[local]
        if before is not None:
            harmful = before.harmful
            culled = culled | harmful
            waits = states.asks_g3[local] & ~before.passes_g3
            culled = culled | (waits & states.out_of_patience[local])
            following = np.where(waits, states.waiting[local], following)
            following = np.where(harmful, states.culled, following)
        return following, culled

    def advance(
        self, epoch: int, local: Integers, action: Integers, before: Measured | None
    ) -> tuple[Integers, Integers]:
        """Carry actions out and let an epoch pass; return the states after it, (n, S), and automatic culls, (n,).

        Args:
            epoch: the epoch.
            local: (n, S), before it.
            action: (n,), numbers of `actions`; they must be possible.
            before: what the epoch before came to; None in the first one.
        """
        after, culled = self.unattended(local, before)
        rows = np.arange(len(local))
        op, slot, blueprint = (np.array(column)[action] for column in zip(*self.actions, strict=True))
        held = local[rows, slot]
        sprouts = np.array([0, *(self.states.germinated(it + 1, epoch) for it in range(len(self.table.blueprints)))])
        asked = np.select(
            [op == Op.GERMINATE, op == Op.CULL, op == Op.FOSSILIZE],
            [sprouts[blueprint], np.full(len(local), self.states.culled), self.states.fossilized[held]],
            after[rows, slot],
        )
        after[rows, slot] = asked
        culled[rows, slot] &= op == Op.WAIT
        return after, culled.sum(1)
