"""Proofs that learning to grow works: against the known optimum of the table.

    python proofs.py table [--seeds 0-9] [--steps 102400] [--preset simplified] [--agents NAME ...] [--out FILE.jsonl]
    python proofs.py oracle [--preset NAME] [--most-seeds 1]
    python proofs.py errors

`table` trains and judges; each row is a share of what there is to gain, (R - R_never) / (R_oracle - R_never): of a
trained policy with its most probable actions, and of a policy without training as it acts. A row that is in the file
already is not done again. By name there are also rows of `ppo` with one option changed. `oracle` says what the best
schedule does under each preset, and what it is worth in accuracy less rent. `errors` says how far the gain of the best
schedule is the same for each of the table's random seeds.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from attrs import define, evolve, field
from result_lines import append, read

from esper_adapter_gymnasium.episodes import KnownVectors, play_round
from esper_adapter_gymnasium.model import ACCURACY_RAMP, RAMP, GrowthModel
from esper_adapter_gymnasium.oracle import Oracle, play, solve
from esper_adapter_gymnasium.records import catalogue
from esper_adapter_gymnasium.rewards import TableRewards
from esper_adapter_gymnasium.table import GrowthTable
from esper_core.api import Actor
from esper_policy_baselines.config import PeriodicConfig, RandomConfig
from esper_policy_baselines.periodic import Periodic
from esper_policy_baselines.policies import RandomActor
from esper_policy_heuristic.config import HeuristicConfig
from esper_policy_heuristic.policy import Heuristic
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.policy import PPO
from esper_rewards_standard.presets import PRESETS, preset

#: Hosts in a round of `ppo`; what the others do between two updates is as much. With four times fewer a first round has
#: a germination or two of each blueprint in each slot, and one seed that is kept.
HOSTS = 128

#: `ppo` on the table, chosen on the random seeds 100 to 106, which are none of those that are reported.
PPO_OPTIONS: Mapping[str, Any] = {
    "hidden": 64,
    "slot_encoding": 32,
    "wait_bias": 3.0,
    "learning_rate": 1e-3,
    "final_learning_rate": 1e-4,
    "update_epochs": 6,
    "target_kl": 0.04,
    "gae_lambda": 0.98,
    "entropy_coefficient": 0.05,
    "final_entropy_coefficient": 0.001,
    "entropy_floor": 0.3,
}

#: Rows of `ppo` with another value of one option: what it is worth.
CHANGED: Mapping[str, Mapping[str, Any]] = {
    "ppo, no bias to wait": {"wait_bias": 0.0},
    "ppo, constant learning rate": {"final_learning_rate": PPO_OPTIONS["learning_rate"]},
    "ppo, advantages of any spread": {"least_advantage_deviation": 0.0},
    "ppo, values clipped": {"value_clip": 0.2},
    "ppo, less entropy at first": {"entropy_coefficient": 0.02},
    "ppo, no entropy floor": {"entropy_floor": 0.0},
    "ppo, gae_lambda 0.95": {"gae_lambda": 0.95},
}
Row = dict[str, Any]


# ------------------------------------------------------------------------------------------------------------- policies


def train_ppo(rewards: TableRewards, steps: int, seed: int, *, masked: bool = True, **changed: Any) -> PPO:
    """Train `ppo` on the table for a number of steps, through the same interface as in a run; options may change."""
    rounds = max(1, steps // (HOSTS * rewards.model.epochs))
    policy = PPO(PPOConfig(rounds=rounds, seed=seed, **{**PPO_OPTIONS, **changed}), catalogue(rewards.model))
    policy.encoder.schema = KnownVectors(policy.encoder.schema.blueprints)
    for number in range(rounds):
        policy.learn(play_round(policy, rewards, hosts=HOSTS, number=number, masked=masked, name="ppo").trajectories)
    return policy


def judged_ppo(policy: PPO, rewards: TableRewards, *, masked: bool = True) -> float:
    """Return the return of the policy's most probable actions."""
    sampling, policy.config = policy.config, evolve(policy.config, sample=False)
    try:
        return acted(policy, rewards, masked=masked)
    finally:
        policy.config = sampling


def acted(actor: Actor, rewards: TableRewards, *, hosts: int = 1, masked: bool = True) -> float:
    """Return the mean return of a policy as it acts."""
    return float(play_round(actor, rewards, hosts=hosts, number=10**6, masked=masked).returns.mean())


def untrained(rewards: TableRewards) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield the policies that do not learn, and how to judge each; `random` is a mean over 200 episodes."""
    known = catalogue(rewards.model)
    yield "random", lambda: acted(RandomActor(RandomConfig(), known), rewards, hosts=200)
    for name in rewards.model.table.blueprints:
        config = PeriodicConfig(blueprint=name)
        yield f"periodic {name}", lambda config=config: acted(Periodic(config, known), rewards)
    yield "heuristic", lambda: acted(Heuristic(HeuristicConfig(), known), rewards)


def replayed(actions: Sequence[int], rewards: TableRewards) -> float:
    """Return the return of a fixed schedule; an action that is not possible is left out."""
    return play(rewards, lambda epoch, _, __, masks: actions[epoch] if masks[0][actions[epoch]] else 0)[0]


def best_actions(oracle: Oracle) -> list[int]:
    """Return what the best schedule does."""
    return play(oracle.rewards, lambda *it: int(oracle.best_action(*it[:3])[0]))[1]


# ------------------------------------------------------------------------------------------------------------- the rows


@define
class Rows:
    """Rows that are done, by policy and seed.

    Attributes:
        out: the file that they are in; None: nowhere.
        setting: what they were done with; rows of another one do not count.
        done: by policy and seed.
    """

    out: Path | None
    setting: Mapping[str, Any]
    done: dict[tuple[str, int], Row] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for row in () if self.out is None else read(self.out):
            if row["setting"] == self.setting:
                self.done[row["policy"], row["seed"]] = row

    def get(self, policy: str, seed: int, do: Callable[[], float]) -> float:
        """Return a policy's return: the one that is known, or what `do` comes to."""
        if (policy, seed) not in self.done:
            began = time.process_time()
            row = {"policy": policy, "seed": seed, "return": do(), "setting": self.setting}
            row["seconds"] = round(time.process_time() - began, 1)
            self.done[policy, seed] = row
            if self.out is not None:
                append(self.out, [row])
            print(f"{policy}, seed {seed}: return {row['return']:.4f}, {row['seconds']} s", flush=True)
        return float(self.done[policy, seed]["return"])


def setting(table: GrowthTable, name: str, steps: int) -> Row:
    """Return what a row depends on besides policy and seed: with another table or ramp it is another row."""
    digest = sha256(b"".join(it.astype(np.float32).tobytes() for it in (table.loss, table.accuracy))).hexdigest()[:16]
    ramps = [list(RAMP), list(ACCURACY_RAMP)]
    return {"preset": name, "steps": steps, "table": digest, "ramps": ramps, "ppo": {"hosts": HOSTS, **PPO_OPTIONS}}


def prove(table: GrowthTable, rows: Rows, name: str, steps: int, seeds: Sequence[int], agents: Sequence[str]) -> None:
    """Do every row, and print them all."""
    rewards = TableRewards(GrowthModel(table.mean()), preset(name))
    rows.get("oracle", 0, lambda: solve(rewards).best_return)
    rows.get("never", 0, lambda: play(rewards, lambda *_: 0)[0])
    for policy, judge in untrained(rewards):
        rows.get(policy, 0, judge)
    for agent in agents:
        for seed in seeds:
            rows.get(agent, seed, partial(trained, agent, rewards, steps, seed))
    if len(table.seeds) > 1:
        first = TableRewards(GrowthModel(table.of_seed(0)), preset(name))
        rows.get("fixed schedule", 0, lambda: replayed(best_actions(solve(first)), rewards))
    print("\n".join(summary(rows)))


def trained(agent: str, rewards: TableRewards, steps: int, seed: int) -> float:
    """Train an agent, and return the return of its most probable actions."""
    if agent.startswith("ppo"):
        masked = agent != MASKS_OFF
        policy = train_ppo(rewards, steps, seed, masked=masked, **CHANGED.get(agent, {}))
        return judged_ppo(policy, rewards, masked=masked)
    # Imported here: only these rows need sb3-contrib.
    from sb3_agents import train_sb3

    name, _, alike = agent.partition(", ")
    return train_sb3(name, rewards, steps, seed, HOSTS, alike=PPO_OPTIONS if alike else None)


def summary(rows: Rows) -> Iterator[str]:
    """Yield the lines of a table: a row for each policy, with all its seeds."""
    best, never = (float(rows.done[it, 0]["return"]) for it in ("oracle", "never"))
    yield "| policy | seeds | return | share, median | least | mean | at least 0.9 | CPU time |"
    yield "|---|---|---|---|---|---|---|---|"
    for policy in dict.fromkeys(policy for policy, _ in rows.done):
        found = [row for (name, _), row in sorted(rows.done.items()) if name == policy]
        shares = [(float(row["return"]) - never) / (best - never) for row in found]
        yield (
            f"| {policy} | {len(found)} | {fmean(row['return'] for row in found):.3f} | {median(shares):.2f} |"
            f" {min(shares):.2f} | {fmean(shares):.2f} | {sum(it >= 0.9 for it in shares)} |"
            f" {median(row['seconds'] for row in found):.0f} s |"
        )


# ----------------------------------------------------------------------------------------------------- about the oracle


def oracles(model: GrowthModel, names: Sequence[str]) -> None:
    """Print, for every preset, what the best schedule does, what it is worth, and what finding it took."""
    for name in names:
        began = time.process_time()
        oracle = solve(TableRewards(model, preset(name)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        took = {"seconds": round(time.process_time() - began), "gigabytes": round(peak, 2)}
        print(name, json.dumps(described(oracle) | took), flush=True)


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


def errors(table: GrowthTable, name: str) -> None:
    """Print what the best schedule of the mean gains on each random seed, and what one of the others' mean gains."""
    every = range(len(table.seeds))
    each = [TableRewards(GrowthModel(table.of_seed(it)), preset(name)) for it in every]
    for what, chosen in (
        ("all", [best_actions(solve(TableRewards(GrowthModel(table.mean()), preset(name))))] * len(each)),
        ("the others", [best_actions(solve(_without(table, it, name))) for it in every]),
    ):
        gains = np.array([replayed(it, on) - play(on, lambda *_: 0)[0] for it, on in zip(chosen, each, strict=True)])
        error = float(gains.std(ddof=1) / len(gains) ** 0.5)
        print(
            f"best schedule of the mean of {what}: gains {[round(float(it), 3) for it in gains]},"
            f" {gains.mean():.3f} with a standard error of {error:.3f}: {gains.mean() / error:.1f} of them",
            flush=True,
        )


def _without(table: GrowthTable, index: int, name: str) -> TableRewards:
    others = [it for it in range(len(table.seeds)) if it != index]
    return TableRewards(GrowthModel(table.of_seeds(others).mean()), preset(name))


MASKS_OFF = "ppo, masks off"
AGENTS = ("ppo", MASKS_OFF, "MaskablePPO", "MaskablePPO, options of ppo", "RecurrentPPO")


def main() -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proof", choices=("table", "oracle", "errors"))
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--steps", type=int, default=102_400)
    parser.add_argument("--preset", default=None, choices=tuple(PRESETS))
    parser.add_argument("--agents", nargs="*", default=AGENTS, choices=(*AGENTS, *CHANGED))
    parser.add_argument("--most-seeds", type=int, help="of `oracle`: only schedules with so few seeds at a time")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    table, name = GrowthTable.read(given.table), given.preset or "simplified"
    if given.proof == "oracle":
        model = GrowthModel(table.mean())
        if given.most_seeds is not None:
            model = GrowthModel(model.table, most_seeds=given.most_seeds)
        oracles(model, tuple(PRESETS) if given.preset is None else (given.preset,))
    elif given.proof == "errors":
        errors(table, name)
    else:
        rows = Rows(out=given.out, setting=setting(table, name, given.steps))
        prove(table, rows, name, given.steps, range(int(first), int(last or first) + 1), given.agents)


if __name__ == "__main__":
    main()
