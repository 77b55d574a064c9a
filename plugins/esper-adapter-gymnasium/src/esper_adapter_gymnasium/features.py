"""Observations of many hosts of the table at once: the numbers of `ObservationSchema`, row by row of its table.

A test holds them equal to what the schema makes of the records.
"""

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from esper_adapter_gymnasium.model import Flags, GrowthModel, Integers, Measured
from esper_adapter_gymnasium.records import Records
from esper_adapter_gymnasium.table import Array
from esper_core.api import Op, SlotSignals, Stage
from esper_learning import Feature, ObservationSchema


@define
class History:
    """What hosts have come to so far, (n, E) each, NaN for epochs to come; and the last action of each, (n,)."""

    loss: Array
    accuracy: Array
    train_loss: Array
    train_accuracy: Array
    action: Integers

    @classmethod
    def empty(cls, hosts: int, epochs: int) -> "History":
        """Return the history of hosts that are new."""
        loss, accuracy, train_loss, train_accuracy = (np.full((hosts, epochs), np.nan) for _ in range(4))
        return cls(loss, accuracy, train_loss, train_accuracy, np.zeros(hosts, dtype=np.int64))

    def add(self, epoch: Integers, measured: Measured, action: Integers) -> None:
        """Take in an epoch, (n,) each."""
        rows = np.arange(len(action))
        for name in ("loss", "accuracy", "train_loss", "train_accuracy"):
            getattr(self, name)[rows, epoch] = getattr(measured, name)
        self.action = action


@frozen(eq=False)
class Features:
    """Makes observations of a surrogate's states."""

    model: GrowthModel

    @cached_property
    def schema(self) -> ObservationSchema:
        """The table of features."""
        return ObservationSchema(self.model.table.blueprints)

    @property
    def size(self) -> int:
        """Length of an observation: the host's features, then those of each slot."""
        return len(self.schema.host) + self.model.slots * len(self.schema.slot)

    def observe(
        self, epoch: int, local: Integers, before: Measured | None, possible: Flags, history: History
    ) -> NDArray[np.float32]:
        """Return observations, (n, size), of hosts that are before the same epoch.

        Args:
            epoch: from 0.
            local: (n, S), the states before it.
            before: what the epoch before came to; None in the first one.
            possible: (n, A), the actions that are possible.
            history: of the hosts.
        """
        count = len(local)
        sources = self._host_sources(epoch, local, before, history)
        host = np.stack([_column(row, sources.get(row.source), count) for row in self.schema.host], axis=1)
        slots = self._slots(local, before, possible, history)
        return np.concatenate([host, slots.reshape(count, -1)], axis=1).astype(np.float32)

    def _host_sources(self, epoch: int, local: Integers, before: Measured | None, history: History) -> dict[str, Any]:
        table, states, count = self.model.table, self.model.states, len(local)

        def back(curve: Array, epochs: int) -> Array:
            return curve[:, epoch - epochs] if epoch >= epochs else np.full(count, np.nan)

        best = np.full(count, np.nan) if before is None else np.nanmin(history.loss[:, :epoch], axis=1)
        top = np.full(count, np.nan) if before is None else np.nanmax(history.accuracy[:, :epoch], axis=1)
        since = np.zeros(count) if before is None else epoch - 1 - np.nanargmin(history.loss[:, :epoch], axis=1)
        sources: dict[str, Any] = {
            "host.progress": epoch / self.model.epochs,
            "host.epochs": self.model.epochs,
            "host.random_guess_loss": table.random_guess_loss,
            "host.train_loss": back(history.train_loss, 1),
            "host.validation_loss": back(history.loss, 1),
            "host.validation_loss_fall": back(history.loss, 2) - back(history.loss, 1),
            "host.curves.best_validation_loss": best,
            "host.train_accuracy": back(history.train_accuracy, 1),
            "host.validation_accuracy": back(history.accuracy, 1),
            "host.validation_accuracy_rise": back(history.accuracy, 1) - back(history.accuracy, 2),
            "host.curves.best_validation_accuracy": top,
            "host.curves.epochs_since_best": since,
            "host.twin_gain": np.nan if before is None else before.gain,
            "host.growth_ratio": 0.0 if before is None else before.parameters / table.host_parameters,
            "host.host_parameters": table.host_parameters,
            "host.governor": "normal",
            "live_seeds": states.live[local].sum(1),
            "dormant_slots": (states.stage[local] == Stage.DORMANT).sum(1),
        }
        for epochs in range(1, 6):
            sources[f"host.curves.validation_losses.-{epochs}"] = back(history.loss, epochs)
            sources[f"host.curves.validation_accuracies.-{epochs}"] = back(history.accuracy, epochs)
        return sources

    def _slots(self, local: Integers, before: Measured | None, possible: Flags, history: History) -> Array:
        made = self._static[np.arange(self.model.slots), local]  # (n, S, F)
        count, slots = local.shape
        op, at, _ = (np.array(column)[history.action] for column in zip(*self.model.actions, strict=True))
        asked = (np.arange(slots) == at[:, None]) & (op != Op.WAIT)[:, None]
        sources: dict[str, Array] = {
            "state.may_fossilize": possible[:, -slots:].astype(float),
            "verdict.allowed": np.where(asked, 1.0, np.nan),
        }
        if before is not None:
            sources["contribution.mean"] = np.where(before.contributes, before.contribution, np.nan)
            sources["contribution.standard_error"] = np.where(before.contributes, before.error, np.nan)
            sources["state.harmful"] = before.harmful.astype(float)
        for index, row in enumerate(self.schema.slot):
            if row.source == "command.op":
                made[..., index] = asked & (op == Op[str(row.parameter).upper()])[:, None]
            elif row.source in sources:
                made[..., index] = _column(row, sources[row.source].ravel(), count * slots).reshape(count, slots)
        return made

    @cached_property
    def _static(self) -> Array:
        return _of_states(self.model)


@lru_cache(maxsize=4)
def _of_states(model: GrowthModel) -> Array:
    """(S, n, F), of each slot in each of its local states, as far as it follows from these alone.

    It takes a second, so that rounds of the same model share it.
    """
    records, schema = Records(model), ObservationSchema(model.table.blueprints)
    return np.array(
        [
            [
                [row.value(SlotSignals(state=records.slot_state(slot, number))) for row in schema.slot]
                for number in range(len(model.states))
            ]
            for slot in range(model.slots)
        ]
    )


def _column(row: Feature, values: Any, count: int) -> Array:
    """One feature of `count` records, as `Feature.value` gives it; a value of NaN is missing."""
    if values is None:
        number = np.full(count, np.nan)
    elif row.transform == "is":
        number = np.full(count, float(values == row.parameter))
    else:
        number = _transformed(row, np.broadcast_to(np.asarray(values, dtype=float), (count,)))
    return np.where(np.isfinite(number), np.clip(number, row.low, row.high), row.missing)


def _transformed(row: Feature, values: Array) -> Array:
    if row.transform == "is known":
        return np.isfinite(values).astype(float)
    if row.transform == "symlog":
        return np.asarray(np.sign(values) * np.log1p(np.abs(values)) / np.log1p(float(row.parameter or 0.0)))
    if row.transform == "softsign":
        return np.asarray(values / (np.abs(values) + float(row.parameter or 0.0)))
    return values
