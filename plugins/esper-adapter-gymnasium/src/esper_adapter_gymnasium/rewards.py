"""Rewards of the table: what the terms of `esper-rewards-standard` give, for many hosts at once.

A term is a sum of a part that depends on what was before an epoch, one on what was asked for, and one on what came
after: with the gain over the twin the third of these is known before the action. That is what makes exact planning
quick. A test holds every term equal to the plugin's own on a `Step`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen

from esper_adapter_gymnasium.model import Flags, GrowthModel, Integers, Measured
from esper_adapter_gymnasium.table import Array
from esper_core.api import EsperError, Op, Stage, did_you_mean

#: Options of each term and their defaults, as `esper-rewards-standard` has them.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "stage-potential": {"patience_epochs": 5, "lingering": 0.5},
    "attribution": {},
    "rent": {"of": "flops"},
    "intervention": {"germinate": 0.02, "cull": 0.005, "fossilize": 0.01},
    "automatic": {"cull": 0.2, "stop": 1.0},
    "germination": {},
    "fossilization": {"base": 0.5, "full_credit": 0.1},
    "cull": {},
    "early-cull": {"least_epochs": 5},
    "warning": {"harmful": 0.1, "waiting": 0.05},
    "terminal": {"rent": 0.1},
    "loss-gain": {},
    "loss-terminal": {},
}

#: How far a seed has come, and how far the stage behind it is.
_POTENTIALS: Mapping[Stage, tuple[float, float]] = {
    Stage.GERMINATED: (1 / 6, 2 / 6),
    Stage.TRAINING: (2 / 6, 3.5 / 6),
    Stage.BLENDING: (3.5 / 6, 5.5 / 6),
    Stage.PROBATIONARY: (5.5 / 6, 1.0),
    Stage.FOSSILIZED: (1.0, 1.0),
}

#: Rewarded without options: worth in the end, and a potential on the way there (the preset `simplified`).
DEFAULT_TERMS: Sequence[Mapping[str, Any]] = (
    {"name": "stage-potential", "weight": 1.0},
    {"name": "intervention", "weight": 0.5},
    {"name": "automatic", "weight": 1.0},
    {"name": "terminal", "weight": 3.0},
)

#: The parts of a reward by term, each (n,).
Parts = dict[str, Array]


@frozen(eq=False)
class TableRewards:
    """The reward of an epoch.

    Args:
        model: the surrogate.
        terms: as in a run's ``rewards.terms``: tables with ``name``, ``weight`` and the term's options.
        gamma: the discount, 0 to 1.

    Raises:
        EsperError: E204 for a term that the table has no equivalent of, E201 for an unknown option.
    """

    model: GrowthModel
    terms: Sequence[Mapping[str, Any]] = DEFAULT_TERMS
    gamma: float = 1.0
    _weights: dict[str, float] = field(init=False, factory=dict)
    _options: dict[str, dict[str, Any]] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for term in self.terms:
            name = term["name"]
            if name not in OPTIONS:
                raise EsperError("E204", f'the table has no reward term "{name}"', why=did_you_mean(name, OPTIONS))
            given = {key: value for key, value in term.items() if key not in ("name", "weight")}
            if unknown := [key for key in given if key not in OPTIONS[name]]:
                why = did_you_mean(unknown[0], OPTIONS[name])
                raise EsperError("E201", f'the reward term "{name}" has no option "{unknown[0]}"', why=why)
            self._weights[name] = float(term.get("weight", 1.0))
            self._options[name] = {**OPTIONS[name], **given}

    def before(self, epoch: int, local: Integers, measured: Measured | None) -> Parts:
        """Return what follows from the states before an epoch, (n,) each; `measured` is None in the first one."""
        parts: Parts = {"stage-potential": -self._potential(local)}
        if measured is not None:
            parts["loss-gain"] = -measured.gain / self.model.table.random_guess_loss
        return self._weighted(parts)

    def asked(
        self, epoch: int, local: Integers, measured: Measured | None, action: Integers, culled: Integers, gain: Array
    ) -> Parts:
        """Return what follows from actions, (n,) each.

        Args:
            epoch: from 0.
            local: (n, S), states before it.
            measured: of the epoch before; None in the first one.
            action: (n,), numbers of the model's actions.
            culled: (n,), seeds that are culled by themselves.
            gain: (n,), over the twin after the epoch.
        """
        rows, count = np.arange(len(local)), len(local)
        op, slot, _ = (np.array(column)[action] for column in zip(*self.model.actions, strict=True))
        states, held = self.model.states, local[rows, slot]
        nothing = np.zeros(count)
        sign = np.zeros((count, self.model.slots), dtype=np.int64) if measured is None else measured.sign()
        contribution = nothing if measured is None else measured.contribution[rows, slot]
        prices = {Op.WAIT: 0.0} | {op: self._option("intervention", op.name.lower(), 0.0) for op in Op if op != Op.WAIT}
        early = (op == Op.CULL) & (states.age[held] < self._option("early-cull", "least_epochs", 0))
        return self._weighted(
            {
                "intervention": np.clip(-np.array([prices[it] for it in Op])[op], -1.0, 0.0),
                "automatic": np.clip(-self._option("automatic", "cull", 0.0) * culled, -2.0, 0.0),
                "germination": (op == Op.GERMINATE) * -min(1.0, epoch / self.model.epochs),
                "fossilization": np.where(op == Op.FOSSILIZE, self._kept(contribution, gain), 0.0),
                "cull": np.where(op == Op.CULL, -np.maximum(sign[rows, slot], 0), 0.0),
                "early-cull": -early.astype(float),
                "warning": self._warning(local, measured, sign, op, slot),
            }
        )

    def after(self, epoch: int, local: Integers, measured: Measured) -> Parts:
        """Return what follows from an epoch and the states after it, (n,) each."""
        table, scale = self.model.table, self.model.table.random_guess_loss
        last = epoch + 1 >= self.model.epochs
        growth = measured.parameters / table.host_parameters
        compute = measured.flops / table.host_flops
        rent = compute if self._option("rent", "of", "flops") == "flops" else growth
        parts: Parts = {
            "stage-potential": np.zeros(len(local)) if last else self.gamma * self._potential(local),
            "attribution": self._attribution(local, measured),
            "rent": np.clip(-np.log1p(rent), -4.0, 0.0),
            "loss-gain": measured.gain / scale if epoch else np.zeros(len(local)),
        }
        if last:
            twin = table.loss[0, 0, epoch]
            worth = measured.accuracy - self._option("terminal", "rent", 0.0) * np.log2(1.0 + growth)
            parts["terminal"] = np.clip(worth, -1.0, 1.0)
            target = twin if twin < scale else 0.0
            parts["loss-terminal"] = np.clip((scale - measured.loss) / (scale - target), -1.0, 2.0)
        return self._weighted(parts)

    def total(self, *parts: Parts) -> Parts:
        """Return the terms of whole rewards: the sums of parts by term, in the order of `terms`."""
        return {name: sum((it[name] for it in parts if name in it), np.zeros(())) for name in self._weights}

    def _weighted(self, parts: Parts) -> Parts:
        return {name: self._weights[name] * values for name, values in parts.items() if name in self._weights}

    def _option(self, term: str, option: str, without: Any) -> Any:
        return self._options[term][option] if term in self._options else without

    def _potential(self, local: Integers) -> Array:
        return np.asarray(self._potentials()[local].mean(1))

    def _potentials(self) -> Array:
        """(n,), of each local state."""
        patience, lingering = (self._option("stage-potential", it, 1) for it in ("patience_epochs", "lingering"))
        found = []
        for state in self.model.states.every:
            base, following = _POTENTIALS.get(state.stage, (0.0, 0.0))
            found.append(base + lingering * min(state.epochs, patience) / patience * (following - base))
        return np.array(found)

    def _attribution(self, local: Integers, measured: Measured) -> Array:
        """No more than the gain; of fossils the ablation is not known, and counts as infinite."""
        fossil = (self.model.states.stage[local] == Stage.FOSSILIZED).any(1)
        dependence = np.where(fossil, np.inf, measured.contribution.sum(1))
        credit = np.minimum(measured.gain, dependence) / self.model.table.random_guess_loss
        return np.where(measured.contributes.any(1), np.clip(credit, -1.0, 1.0), 0.0)

    def _kept(self, contribution: Array, gain: Array) -> Array:
        base, full = (self._option("fossilization", it, 1.0) for it in ("base", "full_credit"))
        earned = np.minimum(gain, contribution) / self.model.table.random_guess_loss
        return np.asarray(np.where(earned <= 0.0, -base, base + (1.0 - base) * np.minimum(1.0, earned / full)))

    def _warning(
        self, local: Integers, measured: Measured | None, sign: Integers, op: Integers, slot: Integers
    ) -> Array:
        if measured is None:
            return np.zeros(len(local))
        states = self.model.states
        lasted = 1.0 + states.epochs[local]
        harmful: Flags = (states.stage[local] == Stage.BLENDING) & (sign < 0)
        waiting: Flags = states.may_ask_g5[local] & measured.passes_g5
        price = self._option("warning", "harmful", 0.0) * harmful * lasted
        price = price + self._option("warning", "waiting", 0.0) * (waiting & ~harmful) * lasted
        acted = (np.arange(self.model.slots) == slot[:, None]) & (op != Op.WAIT)[:, None]
        return np.asarray(np.clip(-np.where(acted, 0.0, price).sum(1), -1.0, 0.0))
