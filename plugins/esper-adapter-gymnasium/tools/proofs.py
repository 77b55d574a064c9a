"""Proofs that learning to grow works: against the known optimum of the table.

    python proofs.py table [--seeds 0-9] [--steps 60000] [--preset simplified] [--out FILE.jsonl]
    python proofs.py oracle

Each row of `table` is a share of what there is to gain, (R - R_never) / (R_oracle - R_never): of a trained policy with
its most probable actions, and of a policy without training as it acts.
"""

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import evolve

from esper_adapter_gymnasium.episodes import KnownVectors, play_round
from esper_adapter_gymnasium.model import GrowthModel
from esper_adapter_gymnasium.oracle import Oracle, play, solve
from esper_adapter_gymnasium.records import catalogue
from esper_adapter_gymnasium.rewards import TableRewards
from esper_adapter_gymnasium.table import GrowthTable
from esper_adapter_gymnasium.table_env import GrowthTableEnv, Terms
from esper_core.api import Op
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.policy import PPO
from esper_rewards_standard.presets import PRESETS, preset

#: Hosts in a round of `ppo`; what the others do between two updates is as much.
HOSTS = 32

#: `ppo` on the table: episodes are short and the same, so that larger steps than the defaults are safe.
PPO_OPTIONS: Mapping[str, Any] = {
    "hidden": 64,
    "slot_encoding": 32,
    "learning_rate": 1e-3,
    "update_epochs": 6,
    "target_kl": 0.04,
    "entropy_coefficient": 0.05,
    "final_entropy_coefficient": 0.001,
}


# --------------------------------------------------------------------------------------------------------- on the table


def train_ppo(rewards: TableRewards, steps: int, seed: int, *, masked: bool = True) -> PPO:
    """Train `ppo` on the table for a number of steps, through the same interface as in a run."""
    rounds = max(1, steps // (HOSTS * rewards.model.epochs))
    policy = PPO(PPOConfig(rounds=rounds, seed=seed, **PPO_OPTIONS), catalogue(rewards.model))
    policy.encoder.schema = KnownVectors(policy.encoder.schema.blueprints)
    for number in range(rounds):
        policy.learn(play_round(policy, rewards, hosts=HOSTS, number=number, masked=masked, name="ppo").trajectories)
    return policy


def judged_ppo(policy: PPO, rewards: TableRewards, *, masked: bool = True) -> float:
    """Return the return of the policy's most probable actions."""
    sampling, policy.config = policy.config, evolve(policy.config, sample=False)
    try:
        return float(play_round(policy, rewards, hosts=1, number=10**6, masked=masked).returns[0])
    finally:
        policy.config = sampling


class Random:
    """Any possible action, each as likely as another."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def choose(self, epoch: int, local: Any, before: Any, masks: Any) -> int:
        """Return an action's number."""
        return int(self.random.choice(np.flatnonzero(masks[0])))


class Periodic:
    """Germinates the first free slot every few epochs with one blueprint, and fossilizes whatever it may."""

    def __init__(self, model: GrowthModel, blueprint: int, period: int = 4) -> None:
        self.model, self.blueprint, self.period = model, blueprint, period

    def choose(self, epoch: int, local: Any, before: Any, masks: Any) -> int:
        """Return an action's number."""
        actions = [(number, *self.model.actions[number]) for number in np.flatnonzero(masks[0])]
        if keep := [number for number, op, _, _ in actions if op is Op.FOSSILIZE]:
            return int(keep[0])
        sprout = [number for number, op, _, it in actions if op is Op.GERMINATE and it == self.blueprint]
        return int(sprout[0]) if sprout and epoch % self.period == 1 else 0


def simple_policies(rewards: TableRewards, seed: int) -> dict[str, float]:
    """Return the returns of policies that do not learn; `random` is a mean over 50 episodes."""
    random = Random(seed)
    model = rewards.model
    found = {"never": play(rewards, lambda *_: 0)[0]}
    found["random"] = float(np.mean([play(rewards, random.choose)[0] for _ in range(50)]))
    for number, name in enumerate(model.table.blueprints, start=1):
        found[f"periodic {name}"] = play(rewards, Periodic(model, number).choose)[0]
    return found


def train_sb3(name: str, table: GrowthTable, terms: Terms, gamma: float, steps: int, seed: int) -> float:
    """Train an agent of sb3-contrib on the environment for a number of steps; return the return of its best actions."""
    from sb3_contrib import MaskablePPO, RecurrentPPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    envs = DummyVecEnv([lambda: GrowthTableEnv(table=table, terms=terms, gamma=gamma)] * 8)
    horizon = table.epochs
    shared = {"seed": seed, "gamma": gamma, "n_steps": 4 * horizon, "learning_rate": 1e-3, "ent_coef": 0.01}
    if name == "MaskablePPO":
        agent: Any = MaskablePPO("MlpPolicy", envs, batch_size=160, n_epochs=6, **shared)
    else:
        agent = RecurrentPPO("MlpLstmPolicy", envs, batch_size=160, n_epochs=6, **shared)
    agent.learn(steps)
    env = GrowthTableEnv(table=table, terms=terms, gamma=gamma)
    observed, _ = env.reset()
    total, over, epoch, state = 0.0, False, 0, None
    while not over:
        if name == "MaskablePPO":
            action, _ = agent.predict(observed, action_masks=env.action_masks(), deterministic=True)
        else:
            start = np.array([epoch == 0])
            action, state = agent.predict(observed, state=state, episode_start=start, deterministic=True)
        observed, reward, over, _, _ = env.step(int(action))
        total, epoch = total + gamma**epoch * reward, epoch + 1
    return total


def prove(table: GrowthTable, terms: Terms, steps: int, seeds: Iterable[int], gamma: float = 1.0) -> "list[Row]":
    """Return a row for each policy and seed, and print it."""
    rewards = TableRewards(GrowthModel(table), terms, gamma)
    oracle = solve(rewards)
    never = simple_policies(rewards, 0)["never"]
    rows: list[Row] = []

    def note(policy: str, seed: int, achieved: float, began: float) -> None:
        share = (achieved - never) / (oracle.best_return - never)
        row = {"policy": policy, "seed": seed, "return": achieved, "share": share, "seconds": time.time() - began}
        print(json.dumps({key: round(it, 4) if isinstance(it, float) else it for key, it in row.items()}), flush=True)
        rows.append(row)

    note("oracle", 0, oracle.best_return, time.time())
    for name, achieved in simple_policies(rewards, 0).items():
        note(name, 0, achieved, time.time())
    for seed in seeds:
        began = time.time()
        note("ppo", seed, judged_ppo(train_ppo(rewards, steps, seed), rewards), began)
        began = time.time()
        unmasked = train_ppo(rewards, steps, seed, masked=False)
        note("ppo, masks off", seed, judged_ppo(unmasked, rewards, masked=False), began)
        for name in ("MaskablePPO", "RecurrentPPO"):
            began = time.time()
            note(name, seed, train_sb3(name, table, terms, gamma, steps, seed), began)
    return rows


Row = dict[str, Any]


def limited(table: GrowthTable, most: int) -> GrowthTable:
    """Return a table that does not know topologies with more seeds."""
    counts = np.array([sum(map(bool, table.topology(number))) for number in range(table.loss.shape[1])])
    return evolve(table, loss=np.where((counts > most)[:, None], np.nan, table.loss))


def oracles(table: GrowthTable) -> None:
    """Print, for every preset, what the best schedule does, and what it is worth in accuracy and rent."""
    for name in PRESETS:
        oracle = solve(TableRewards(GrowthModel(table), preset(name)))
        print(name, json.dumps(described(oracle)), flush=True)


def described(oracle: Oracle) -> dict[str, Any]:
    """Return what the best schedule of a table does."""
    rewards, model = oracle.rewards, oracle.model
    achieved, actions, last = play(rewards, lambda *it: int(oracle.best_action(*it[:3])[0]))
    never, _, bare = play(rewards, lambda *_: 0)
    names = [(epoch, model.actions[it][0].name, *model.actions[it][1:]) for epoch, it in enumerate(actions) if it]
    return {
        "states": oracle.states,
        "never": round(never, 4),
        "oracle": round(achieved, 4),
        "schedule": names,
        "accuracy": [round(float(bare.accuracy[0]), 4), round(float(last.accuracy[0]), 4)],
        "worth": [round(worth(model, bare), 4), round(worth(model, last), 4)],
    }


def worth(model: GrowthModel, last: Any, rent: float = 0.1) -> float:
    """Return accuracy minus rent at the end of an episode, as the term `terminal` has it."""
    growth = float(last.parameters[0]) / model.table.host_parameters
    return float(last.accuracy[0]) - rent * float(np.log2(1.0 + growth))


def main() -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proof", choices=("table", "oracle"))
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--preset", default="simplified")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--most-seeds", type=int, help="germinate no more than this many; by default what is known")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    table = GrowthTable.read(given.table).mean()
    if given.most_seeds is not None:
        table = limited(table, given.most_seeds)
    if given.proof == "oracle":
        oracles(table)
        return
    rows = prove(table, preset(given.preset), given.steps, seeds)
    if given.out is not None:
        given.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
