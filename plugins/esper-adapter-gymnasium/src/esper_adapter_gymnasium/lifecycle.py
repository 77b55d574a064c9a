"""The life of a seed as a finite list of states: what a slot may hold between two epochs, and what follows.

Stages and how long they last are those of Esper's lifecycle with its default durations and gates: a seed trains for one
epoch, blends in for as many as its ramp is long and one more (G3 must pass twice), and may be fossilized from the third
epoch of probation on (G5 needs three settled epochs and two passes). After a cull the slot rests for five epochs.
"""

from functools import cached_property

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from esper_core.api import Stage

Integers = NDArray[np.int64]

#: Epochs completed in a stage with which the stage is left by itself, by the default durations.
RAMP_EPOCHS, BLENDING_EPOCHS, FIRST_FOSSIL_EPOCH = 3, 4, 3

#: Epochs after which a seed is culled whose gate has not passed, or that was not fossilized.
BLENDING_TIMEOUT, PROBATION_TIMEOUT = 8, 8

#: What a slot goes through after a cull: stage, and epochs completed in it.
_REST = ((Stage.CULLED, 1), (Stage.EMBARGOED, 1), (Stage.EMBARGOED, 2), (Stage.EMBARGOED, 3), (Stage.RESETTING, 1))


@frozen(kw_only=True)
class LocalState:
    """What one slot holds before an epoch.

    Attributes:
        stage: its stage.
        epochs: completed in that stage; 0 where it is not counted any more.
        blueprint: 0 without a seed, n for the n-th.
        age: epochs since the seed began to train, at most the cap of `LocalStates`.
    """

    stage: Stage
    epochs: int = 0
    blueprint: int = 0
    age: int = 0


@frozen
class LocalStates:
    """All states of one slot, numbered.

    Args:
        blueprints: how many there are.
        oldest: ages are counted up to here.
    """

    blueprints: int
    oldest: int

    @cached_property
    def every(self) -> tuple[LocalState, ...]:
        """The states in order; the first one is the empty slot."""
        found = [LocalState(stage=Stage.DORMANT), *(LocalState(stage=stage, epochs=epochs) for stage, epochs in _REST)]
        for blueprint in range(1, self.blueprints + 1):
            found += [self._seed(Stage.GERMINATED, 1, blueprint, 0), self._seed(Stage.TRAINING, 1, blueprint, 1)]
            found += [self._seed(Stage.BLENDING, n, blueprint, 1 + n) for n in range(1, BLENDING_TIMEOUT + 1)]
            before = 1 + BLENDING_EPOCHS
            found += [self._seed(Stage.PROBATIONARY, n, blueprint, before + n) for n in range(1, PROBATION_TIMEOUT + 1)]
            first = min(self.oldest, before + FIRST_FOSSIL_EPOCH + 1)
            found += [self._seed(Stage.FOSSILIZED, 0, blueprint, age) for age in range(first, self.oldest + 1)]
        return tuple(found)

    def __len__(self) -> int:
        return len(self.every)

    @cached_property
    def number(self) -> dict[LocalState, int]:
        """The number of each state."""
        return {state: number for number, state in enumerate(self.every)}

    @cached_property
    def stage(self) -> Integers:
        """(n,), the stage of each state."""
        return np.array([state.stage for state in self.every])

    @cached_property
    def epochs(self) -> Integers:
        """(n,), epochs completed in it."""
        return np.array([state.epochs for state in self.every])

    @cached_property
    def blueprint(self) -> Integers:
        """(n,), what the slot holds; 0 without a seed."""
        return np.array([state.blueprint for state in self.every])

    @cached_property
    def age(self) -> Integers:
        """(n,), of the seed; 0 without one."""
        return np.array([state.age for state in self.every])

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """(n,), the slot holds a live seed."""
        return np.array([state.stage.live for state in self.every])

    @cached_property
    def holds_module(self) -> NDArray[np.bool_]:
        """(n,), the seed's parameters are there: it is germinated, and its module has come."""
        return np.array([state.stage.holds_module and state.stage is not Stage.GERMINATED for state in self.every])

    @cached_property
    def contributes(self) -> NDArray[np.bool_]:
        """(n,), the seed changes the network's output."""
        return np.array([state.stage.contributes for state in self.every])

    @cached_property
    def may_ask_g5(self) -> NDArray[np.bool_]:
        """(n,), in probation for so long that G5 may have passed often enough."""
        return np.asarray((self.stage == Stage.PROBATIONARY) & (self.epochs >= FIRST_FOSSIL_EPOCH))

    @cached_property
    def asks_g3(self) -> NDArray[np.bool_]:
        """(n,), G3 decides whether it goes on to probation."""
        return np.asarray((self.stage == Stage.BLENDING) & (self.epochs >= BLENDING_EPOCHS))

    @cached_property
    def waiting(self) -> Integers:
        """(n,), the state after an epoch in which G3 has not let a seed go on: longer in BLENDING, or culled."""
        found = self.following.copy()
        for number in np.flatnonzero(self.asks_g3):
            state = self.every[number]
            found[number] = self.culled if state.epochs == BLENDING_TIMEOUT else number + 1
        return found

    @cached_property
    def culled(self) -> int:
        """The number of the state after an epoch that began with a cull."""
        return self.number[LocalState(stage=Stage.CULLED, epochs=1)]

    def germinated(self, blueprint: int, epoch: int) -> int:
        """Return the number of the state after the epoch in which a blueprint was germinated.

        G1 needs a host that has trained for an epoch, so a seed of epoch 0 waits for one.
        """
        if epoch == 0:
            return self.number[self._seed(Stage.GERMINATED, 1, blueprint, 0)]
        return self.number[self._seed(Stage.TRAINING, 1, blueprint, 1)]

    @cached_property
    def fossilized(self) -> Integers:
        """(n,), the state after an epoch that began with fossilizing the seed; -1 where that is never possible."""
        found = np.full(len(self), -1)
        for number in np.flatnonzero(self.may_ask_g5):
            state = self.every[number]
            found[number] = self.number[self._seed(Stage.FOSSILIZED, 0, state.blueprint, state.age + 1)]
        return found

    @cached_property
    def following(self) -> Integers:
        """(n,), the state after an epoch in which nothing was asked for, no gate failed and nothing did harm."""
        return np.array([self._follows(state) for state in self.every])

    @cached_property
    def times_out(self) -> NDArray[np.bool_]:
        """(n,), the seed is culled by itself if nothing is done about it."""
        return np.asarray((self.stage == Stage.PROBATIONARY) & (self.epochs >= PROBATION_TIMEOUT))

    @cached_property
    def out_of_patience(self) -> NDArray[np.bool_]:
        """(n,), the seed is culled by itself if G3 does not pass now."""
        return np.asarray((self.stage == Stage.BLENDING) & (self.epochs >= BLENDING_TIMEOUT))

    def _follows(self, state: LocalState) -> int:
        number = self.number[state]
        if state.blueprint == 0:
            return 0 if number in (0, len(_REST)) else number + 1
        if state.stage is Stage.FOSSILIZED:
            return number if state.age == self.oldest else number + 1
        if state.stage is Stage.PROBATIONARY and state.epochs == PROBATION_TIMEOUT:
            return self.culled
        if state.stage is Stage.BLENDING and state.epochs >= BLENDING_EPOCHS:
            return self.number[self._seed(Stage.PROBATIONARY, 1, state.blueprint, 2 + BLENDING_EPOCHS)]
        return number + 1

    def _seed(self, stage: Stage, epochs: int, blueprint: int, age: int) -> LocalState:
        return LocalState(stage=stage, epochs=epochs, blueprint=blueprint, age=min(age, self.oldest))
