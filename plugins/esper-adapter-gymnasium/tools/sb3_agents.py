"""Agents of sb3-contrib on the table: what `ppo` is compared with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3.common.vec_env import VecEnv

from esper_adapter_gymnasium.rewards import TableRewards
from esper_adapter_gymnasium.table_env import GrowthTableEnv, GrowthTableVectorEnv


class TableVecEnv(VecEnv):
    """`GrowthTableVectorEnv` as Stable-Baselines3 has vectors: all hosts are stepped at once.

    Args:
        envs: the hosts.
    """

    def __init__(self, envs: GrowthTableVectorEnv) -> None:
        self.envs = envs
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> Any:
        """Begin an episode; return what is observed, (N, D)."""
        return self.envs.reset()[0]

    def step_async(self, actions: Any) -> None:
        """Take the actions, (N,)."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Let an epoch pass; return observations, rewards, ends and infos."""
        observed, reward, over, _, info = self.envs.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in over]
        if over.all():
            infos = [{"terminal_observation": it, "TimeLimit.truncated": False} for it in info["final_obs"]]
        return observed, reward.astype(np.float32), over, infos

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of each host."""
        return [getattr(self.envs, attr_name) for _ in range(self.num_envs)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: hosts are what they were made as."""
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method that answers for all hosts at once; return each host's part."""
        return list(getattr(self.envs, method_name)(*args, **kwargs))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for each host."""
        return [False] * self.num_envs


def train_sb3(name: str, rewards: TableRewards, steps: int, seed: int, hosts: int = 32) -> float:
    """Train an agent for a number of steps; return the return of its most probable actions.

    Steps between two updates, minibatches and passes are as many as those of `ppo` in the proofs.
    """
    shared: dict[str, Any] = {"table": rewards.model.table, "terms": rewards.terms, "gamma": rewards.gamma}
    envs, epochs = TableVecEnv(GrowthTableVectorEnv(hosts, **shared)), rewards.model.epochs
    options: dict[str, Any] = {"seed": seed, "gamma": rewards.gamma, "n_steps": epochs, "learning_rate": 1e-3}
    options |= {"ent_coef": 0.01, "batch_size": hosts * epochs // 4, "n_epochs": 6}
    if name == "MaskablePPO":
        agent: Any = MaskablePPO("MlpPolicy", envs, **options)
    else:
        agent = RecurrentPPO("MlpLstmPolicy", envs, policy_kwargs={"lstm_hidden_size": 64}, **options)
    agent.learn(steps)
    return judged(agent, GrowthTableEnv(**shared), masked=name == "MaskablePPO", gamma=rewards.gamma)


def judged(agent: Any, env: GrowthTableEnv, *, masked: bool, gamma: float) -> float:
    """Return the return of an agent's most probable actions."""
    observed, _ = env.reset()
    total, over, epoch, state = 0.0, False, 0, None
    while not over:
        more: dict[str, Any] = {"action_masks": env.action_masks()} if masked else _memory(state, epoch)
        action, state = agent.predict(observed, deterministic=True, **more)
        observed, reward, over, _, _ = env.step(int(action))
        total, epoch = total + gamma**epoch * reward, epoch + 1
    return total


def _memory(state: Any, epoch: int) -> dict[str, Any]:
    begins: Sequence[bool] = [epoch == 0]
    return {"state": state, "episode_start": np.array(begins)}
