"""Agents of sb3-contrib on the table: what `ppo` is compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
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


class FallingEntropy(BaseCallback):
    """Lets the weight of the entropy fall in a straight line.

    Args:
        last: the share of it that is left in the end.
        steps: of the training.
    """

    def __init__(self, last: float, steps: int) -> None:
        super().__init__()
        self._last, self._steps = last, steps

    def _on_training_start(self) -> None:
        self._first = self.model.ent_coef

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        done = min(1.0, self.num_timesteps / self._steps)
        self.model.ent_coef = self._first * (1.0 - done * (1.0 - self._last))


def train_sb3(
    name: str, rewards: TableRewards, steps: int, seed: int, hosts: int, alike: Mapping[str, Any] | None = None
) -> float:
    """Train an agent for a number of steps; return the return of its most probable actions.

    Steps between two updates, minibatches and passes are as many as those of `ppo` in the proofs.

    Args:
        name: ``MaskablePPO`` or ``RecurrentPPO``.
        rewards: of the table.
        steps: how many.
        seed: of the agent.
        hosts: are stepped at once.
        alike: options of `ppo` that it is given as well, as far as it has the like: learning rates, `gae_lambda`,
            `target_kl`, and a bias to wait; its entropy, which is in nats and not a share of what was possible, begins
            with its own weight, and that falls to the same share. None: Stable-Baselines3's own.
    """
    shared: dict[str, Any] = {"table": rewards.model.table, "terms": rewards.terms, "gamma": rewards.gamma}
    envs, epochs = TableVecEnv(GrowthTableVectorEnv(hosts, **shared)), rewards.model.epochs
    options: dict[str, Any] = {"seed": seed, "gamma": rewards.gamma, "n_steps": epochs, "learning_rate": 1e-3}
    options |= {"ent_coef": 0.01, "batch_size": hosts * epochs // 4, "n_epochs": 6}
    callback = None
    if alike is not None:
        first, last = alike["learning_rate"], alike["final_learning_rate"]
        options |= {"learning_rate": lambda left: last + left * (first - last)}
        options |= {key: alike[key] for key in ("gae_lambda", "target_kl")}
        callback = FallingEntropy(alike["final_entropy_coefficient"] / alike["entropy_coefficient"], steps)
    if name == "MaskablePPO":
        agent: Any = MaskablePPO("MlpPolicy", envs, **options)
    else:
        agent = RecurrentPPO("MlpLstmPolicy", envs, policy_kwargs={"lstm_hidden_size": 64}, **options)
    if alike is not None:
        with torch.no_grad():
            agent.policy.action_net.bias[0] += alike["wait_bias"]
    agent.learn(steps, callback=callback)
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
