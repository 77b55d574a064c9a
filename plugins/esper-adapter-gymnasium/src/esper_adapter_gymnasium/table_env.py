"""``esper/GrowthTable-v0``: growing a network, read off a table. Its optimum is known."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from esper_adapter_gymnasium.features import Features, History
from esper_adapter_gymnasium.model import Flags, GrowthModel, Integers, Measured
from esper_adapter_gymnasium.oracle import Oracle, solve
from esper_adapter_gymnasium.rewards import DEFAULT_TERMS, TableRewards
from esper_adapter_gymnasium.spaces import ActionCoder, action_space
from esper_adapter_gymnasium.table import GrowthTable

Terms = Sequence[Mapping[str, Any]]


@cache
def bundled_model() -> GrowthModel:
    """Return the surrogate of the table that comes with the distribution, of means over its random seeds."""
    return GrowthModel(GrowthTable.read().mean())


def model_of(table: GrowthTable | str | None) -> GrowthModel:
    """Return the surrogate of a table, of a file with one, or of the one that comes with the distribution.

    Raises:
        EsperError: E502 if there is no such table.
    """
    if table is None:
        return bundled_model()
    read = GrowthTable.read(Path(table)) if isinstance(table, str) else table
    return GrowthModel(read.mean())


class GrowthTableVectorEnv(VectorEnv[Any, Any, Any]):
    """Many hosts of the table in step. They begin and end together, and begin again in the step that ends them.

    Observations are (N, D) of float32, rewards (N,) of float64. ``infos`` has ``action_mask``, (N, M) of bool,
    ``reward_terms``, by name, (N,) each, ``invalid_action``, (N,) of bool, and ``invalid_actions``, (N,), how many
    there were in the episode; and after an episode ``final_obs`` and ``final_info``, as gymnasium has them.

    Args:
        num_envs: N.
        table: a `GrowthTable`, or a file with one; None: the one that comes with the distribution. Of several random
            seeds the mean is taken.
        terms: of the reward, in the shape of a run's ``rewards.terms``.
        gamma: the discount, which potential-based terms need to know.
        actions: ``flat`` or ``factored``; an action that is not possible is a WAIT, and counted.

    Raises:
        EsperError: E204, E201 for an unknown action space, term or option, E502 if there is no such table.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
    epoch: int
    local: Integers
    measured: Measured | None
    history: History
    possible: Flags
    invalid: Integers

    def __init__(
        self,
        num_envs: int = 1,
        *,
        table: GrowthTable | str | None = None,
        terms: Terms = DEFAULT_TERMS,
        gamma: float = 1.0,
        actions: str = "flat",
    ) -> None:
        self.num_envs = num_envs
        self.model = model_of(table)
        self.rewards = TableRewards(self.model, terms, gamma)
        self.features = Features(self.model)
        self.coder = ActionCoder(
            action_space(actions), self.model.actions, self.model.slots, len(self.model.table.blueprints)
        )
        self.single_action_space = self.coder.space
        self.single_observation_space = gym.spaces.Box(-1.0, 1.0, (self.features.size,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._begin()

    def oracle(self) -> Oracle:
        """Return the exact values of all states; see `oracle`."""
        return solve(self.rewards)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode. Nothing is random, so the seed only goes to ``np_random``."""
        if seed is not None:
            self._np_random, self._np_random_seed = gym.utils.seeding.np_random(seed)
        self._begin()
        return self._observed(), self._info()

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Carry an action out for every host, and let an epoch pass."""
        model, epoch, before = self.model, self.epoch, self.measured
        numbers = np.array([self.coder.number(given) for given in actions])
        invalid = ~self.possible[np.arange(self.num_envs), numbers]
        numbers = np.where(invalid, 0, numbers)
        self.invalid += invalid
        after, culled = model.advance(epoch, self.local, numbers, before)
        measured = model.measure(epoch, after)
        parts = self.rewards.total(
            self.rewards.before(epoch, self.local, before),
            self.rewards.asked(epoch, self.local, before, numbers, culled, measured.gain),
            self.rewards.after(epoch, after, measured),
        )
        parts = {name: np.broadcast_to(values, (self.num_envs,)).astype(float) for name, values in parts.items()}
        self.history.add(np.full(self.num_envs, epoch), measured, numbers)
        self.local, self.measured, self.epoch = after, measured, epoch + 1
        self.possible = model.masks(after, measured)
        over = self.epoch >= model.epochs
        observed, reward = self._observed(), sum(parts.values(), np.zeros(self.num_envs))
        told = {"reward_terms": parts, "invalid_action": invalid, **self._info()}
        if over:
            final = {"final_obs": observed, "final_info": told}
            self._begin()
            observed = self._observed()
            told = {**told, **self._info(), **final, "_final_obs": np.ones(self.num_envs, dtype=bool)}
            told["_final_info"] = told["_final_obs"]
        ended = np.full(self.num_envs, over)
        return observed, reward, ended, np.zeros(self.num_envs, dtype=bool), told

    def action_masks(self) -> NDArray[np.bool_]:
        """Return what is possible now, (N, M)."""
        return np.stack([self.coder.mask(row) for row in self.possible])

    def _begin(self) -> None:
        self.epoch = 0
        self.local = np.zeros((self.num_envs, self.model.slots), dtype=np.int64)
        self.measured = None
        self.history = History.empty(self.num_envs, self.model.epochs)
        self.possible = self.model.masks(self.local, None)
        self.invalid = np.zeros(self.num_envs, dtype=np.int64)

    def _observed(self) -> NDArray[np.float32]:
        return self.features.observe(self.epoch, self.local, self.measured, self.possible, self.history)

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.action_masks(), "invalid_actions": self.invalid.copy()}


class GrowthTableEnv(gym.Env[Any, Any]):
    """One host of the table. Arguments, observations and infos are those of `GrowthTableVectorEnv`, without the axis N.

    An episode is one training of the network: how many epochs are left is in the observation, so its end is
    ``terminated``, and nothing is ever ``truncated``.
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        *,
        table: GrowthTable | str | None = None,
        terms: Terms = DEFAULT_TERMS,
        gamma: float = 1.0,
        actions: str = "flat",
    ) -> None:
        self._vector = GrowthTableVectorEnv(1, table=table, terms=terms, gamma=gamma, actions=actions)
        self.action_space = self._vector.single_action_space
        self.observation_space = self._vector.single_observation_space

    @property
    def vector(self) -> GrowthTableVectorEnv:
        """The vector environment of one host behind it."""
        return self._vector

    def oracle(self) -> Oracle:
        """Return the exact values of all states: the best return, and the regret of any other."""
        return self._vector.oracle()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode. Nothing is random, so the seed only goes to ``np_random``."""
        super().reset(seed=seed)
        observed, info = self._vector.reset()
        return observed[0], _first(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Carry an action out, and let an epoch pass."""
        observed, reward, ended, _, info = self._vector.step([action])
        over = bool(ended[0])
        shown, told = (info["final_obs"], info["final_info"]) if over else (observed, info)
        return shown[0], float(reward[0]), over, False, _first(told)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return what is possible now, (M,)."""
        return np.asarray(self._vector.action_masks()[0])


def _first(info: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "action_mask": info["action_mask"][0],
        "invalid_actions": int(info["invalid_actions"][0]),
    }
    if "reward_terms" in info:
        found["reward_terms"] = {name: float(values[0]) for name, values in info["reward_terms"].items()}
        found["invalid_action"] = bool(info["invalid_action"][0])
    return found
