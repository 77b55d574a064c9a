"""What a policy that learned on the table is worth on real networks that it was never trained on.

    python on_digits.py pretrain FOLDER [--steps 102400] [--seed 100]
    esper train digits --policy FOLDER --rounds 100 --hosts 32 --set ...        (printed by `pretrain`)
    python on_digits.py run FILE.jsonl --policy FOLDER [--finetuned FOLDER] [--seeds 11-16] [--hosts WIDTHS ...]
        [--only POLICY ...]
    python on_digits.py report FILE.jsonl

`pretrain` trains `ppo` on the bundled table and saves it as `esper train` saves policies. What fine-tuning has made of
it is in `policy/last`; `best` is what acted in the round with the highest return, which may be one before it had
learned. `run` lets them grow real networks on `digits`, beside the policies that do not learn, on two hosts: that of
the table, and one of five slots. It appends a line for each run, and what is there is not done twice.
`report` prints the table: figures of the test split, and differences from `periodic` and from never growing, paired by
random seed, with 95 % intervals (BCa bootstrap).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from proofs import PPO_OPTIONS, judged_ppo, train_ppo
from recipe import SETTINGS as RECIPE
from result_lines import append, read
from schedules import Schedule, plan_events

from esper_adapter_gymnasium.model import GrowthModel
from esper_adapter_gymnasium.rewards import TableRewards
from esper_adapter_gymnasium.table import GrowthTable
from esper_app.api import begin_replay
from esper_app.configuration.components import RegisteredOptions
from esper_app.configuration.overrides import parse_overrides
from esper_app.configuration.resolve import ResolvedConfig, resolve_config
from esper_app.execution.assembly import assemble
from esper_app.execution.policy_files import describe, save_policy
from esper_core.api import Round
from esper_core.leyline.reports import FinalReport
from esper_core.leyline.specs import TaskSpec
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_rewards_standard.presets import preset
from esper_runs.statistics import paired_result

#: The hosts, by name: that of the table, and one that no policy was trained on.
HOSTS: Mapping[str, tuple[int, ...]] = {"4, 4, 4": (4, 4, 4), "4, 6, 4, 6, 4": (4, 6, 4, 6, 4)}

#: How the networks are trained, and rewarded: as those of the table.
SETTINGS = (*RECIPE, "rewards.preset=simplified", "sinks.names=[]", "checkpoints.every=0", "twin=epochs")

#: Fine-tuning opens the operation once more, half as wide as pretraining, and goes on with smaller steps.
FINE_TUNING = (
    "policy.learning_rate=0.0003",
    "policy.final_learning_rate=0.00005",
    "policy.entropy_coefficient=0.01",
    "policy.entropy_floor=0.15",
)

#: The table's best schedule under the preset `simplified`.
BEST_SCHEDULE: Schedule = ((6, "GERMINATE", 2, "group-norm"), (19, "FOSSILIZE", 2, ""))

#: The same schedule in a host's last slot.
LAST_SLOT = "fixed schedule, last slot"

Row = dict[str, Any]


def blueprints(table: GrowthTable) -> str:
    """Return the setting of a run's catalogue that makes it the table's."""
    return f"policy.blueprints={json.dumps(list(table.blueprints))}"


def resolved(plugins: PluginSet, settings: Sequence[str]) -> ResolvedConfig:
    """Return the configuration of a run on `digits`."""
    spec = plugins.registry.get(TaskSpec.kind, "digits").spec
    assert isinstance(spec, TaskSpec)
    return resolve_config(spec, RegisteredOptions(plugins.registry), overrides=parse_overrides([*SETTINGS, *settings]))


def pretrain(folder: Path, steps: int, seed: int) -> None:
    """Train on the table, and save the policy."""
    table, plugins = GrowthTable.read(), load_plugins()
    rewards = TableRewards(GrowthModel(table.mean()), preset("simplified"))
    policy = train_ppo(rewards, steps, seed)
    options = [f"policy.{name}={json.dumps(value)}" for name, value in PPO_OPTIONS.items()]
    widths = f"host.widths={list(table.widths)}"
    own = ["policy.name=ppo", f"policy.rounds={policy.rounds}", f"policy.seed={seed}", blueprints(table), widths]
    assembly = assemble(resolved(plugins, [*own, *options]).config, plugins)
    results = {"trained on": "GrowthTable-v0", "return of the most probable actions": judged_ppo(policy, rewards)}
    policy.reset(Round(number=policy.rounds, hosts=(), epochs=table.epochs))
    card = describe(assembly, policy.state(), rounds=policy.rounds, results=results)
    print(json.dumps(results))
    print(save_policy(folder, "best", card, policy.state()))
    print(
        f"esper train digits --policy {folder} --rounds 100 --hosts 32 --set seed=1000 --set '{widths}'"
        " --set rewards.preset=simplified --set twin=none " + " ".join(f"--set {it}" for it in (*FINE_TUNING, *RECIPE))
    )


def policies(given: argparse.Namespace, table: GrowthTable, plan: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every policy with its settings."""
    for name, folder in (("ppo, from the table", given.policy), ("ppo, fine-tuned", given.finetuned)):
        if folder is not None:
            yield name, [f'policy.saved="{folder}"', "policy.sample=false", *_of_card(folder)]
    for name in ("heuristic", "periodic", "random"):
        yield name, [f"policy.name={name}", blueprints(table)]
    best = BEST_SCHEDULE[0][-1]
    yield f"periodic, {best}", ["policy.name=periodic", f"policy.blueprint={best}", blueprints(table)]
    yield "fixed schedule", ["policy.name=fixed-schedule", f'policy.run="{plan}"', blueprints(table)]
    yield LAST_SLOT, ["policy.name=fixed-schedule", f'policy.run="{plan / LAST_SLOT}"', blueprints(table)]


def write_plans(plan: Path, table: GrowthTable, slots: int) -> None:
    """Write the best schedule into a folder: as it is, and in the last slot of a host, where it is in the table's."""
    events = list(plan_events(BEST_SCHEDULE, table))
    last = [it | {"data": it["data"] | {"slot": f"block{slots - 1}"}} for it in events]
    for folder, lines in ((plan, events), (plan / LAST_SLOT, last)):
        folder.mkdir(exist_ok=True)
        (folder / "events.jsonl").write_text("".join(json.dumps(it) + "\n" for it in lines))


def _of_card(folder: Path) -> list[str]:
    from esper_app.api import read_policy_card

    policy = read_policy_card(folder).settings()["policy"]
    named = {name: value for name, value in policy.items() if name not in ("saved", "sample")}
    return [f"policy.{name}={json.dumps(value)}" for name, value in named.items() if value is not None]


def run(given: argparse.Namespace, seeds: Sequence[int]) -> None:
    """Do every run that the file does not hold yet."""
    table, plugins, rows = GrowthTable.read(), load_plugins(), list(read(given.file))
    done = {(row["host"], row["policy"], row["seed"]) for row in rows}
    twins = {(row["host"], row["seed"]): row["twin"] for row in rows}
    with tempfile.TemporaryDirectory() as place:
        plan = Path(place)
        for host, widths in ((it, HOSTS[it]) for it in given.hosts):
            write_plans(plan, table, len(widths))
            for seed in seeds:
                for name, settings in policies(given, table, plan):
                    if name in (given.only or (name,)) and (host, name, seed) not in done:
                        own = [f"host.widths={list(widths)}", *settings]
                        row = grown(plugins, own, seed, twins.get((host, seed)))
                        twins[host, seed] = row["twin"]
                        append(given.file, [row | {"host": host, "policy": name, "seed": seed}])


def grown(plugins: PluginSet, settings: Sequence[str], seed: int, twin: Row | None = None) -> Row:
    """Grow one network; return its figures and its twin's.

    Args:
        plugins: the loaded plugins.
        settings: of the run.
        seed: of the network and of its batches.
        twin: the twin's figures if they are known: whatever grows, it is the same network. None: it is trained.
    """
    began = time.process_time()
    own = settings if twin is None else [*settings, "twin=none"]
    replay = begin_replay(resolved(plugins, own), plugins, [seed])
    try:
        while not replay.over:
            replay.step()
        (final,), twins = replay.finish()
        reward = sum(replay.rewards[final.host])
    finally:
        replay.close()
    row: Row = {"reward": reward, "seconds": round(time.process_time() - began, 2), "grown": tested(final)}
    return row | {"twin": tested(twins[0]) if twin is None else twin}


def tested(report: FinalReport) -> Row:
    """Return what a network has come to on the test split, and what it took."""
    own = {"accuracy": report.test.accuracy, "loss": report.test.loss, "parameters": report.parameters}
    return own | {"flops": report.compute.total}


# -------------------------------------------------------------------------------------------------------------- report


def worth(figures: Mapping[str, Any], bare: int) -> float:
    """Return accuracy less 0.1 for each doubling of the parameters, as the term `terminal` has it."""
    return float(figures["accuracy"] - 0.1 * np.log2(figures["parameters"] / bare))


def report(out: Path) -> None:
    """Print a table for each host."""
    rows = list(read(out))
    for host in dict.fromkeys(row["host"] for row in rows):
        here = [row for row in rows if row["host"] == host]
        made = {it: {row["seed"]: row for row in here if row["policy"] == it} for it in _names(here)}
        seeds = sorted(set.intersection(*(set(it) for it in made.values())))
        print(f"\nwidths {host}, random seeds {', '.join(map(str, seeds))}\n")
        print("| policy | accuracy | less rent | parameters | training, MFLOP | against never | against periodic |")
        print("|---|---|---|---|---|---|---|")
        bare = {seed: made["periodic"][seed]["twin"] for seed in seeds}
        for name, found in made.items():
            print(_line(name, [found[it]["grown"] for it in seeds], made, bare, seeds))
        print(_line("never", [bare[it] for it in seeds], made, bare, seeds))


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["policy"] for row in rows))


def _line(
    name: str,
    figures: Sequence[Row],
    made: Mapping[str, Mapping[int, Row]],
    bare: Mapping[int, Row],
    seeds: Sequence[int],
) -> str:
    def mean(of: Callable[[Mapping[str, Any]], float]) -> float:
        return fmean(of(it) for it in figures)

    own = [worth(it, bare[seed]["parameters"]) for it, seed in zip(figures, seeds, strict=True)]
    never = [worth(bare[seed], bare[seed]["parameters"]) for seed in seeds]
    clock = [worth(made["periodic"][seed]["grown"], bare[seed]["parameters"]) for seed in seeds]
    against = [_difference(own, other) for other in (never, clock)]
    size, work = mean(lambda it: it["parameters"]), mean(lambda it: it["flops"]) / 1e6
    accuracy = 100 * mean(lambda it: it["accuracy"])
    return (
        f"| {name} | {accuracy:.1f} | {100 * fmean(own):.1f} | {size:.0f} | {work:.0f} | {against[0]} | {against[1]} |"
    )


def _difference(own: Sequence[float], other: Sequence[float]) -> str:
    differences = [100 * (a - b) for a, b in zip(own, other, strict=True)]
    if not any(differences):
        return "0"
    found = paired_result(differences)
    interval = "" if found.low is None or found.high is None else f" ({found.low:+.1f} to {found.high:+.1f})"
    return f"{found.mean:+.1f}{interval}"


def main() -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("pretrain", "run", "report"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--finetuned", type=Path)
    parser.add_argument("--hosts", nargs="*", default=tuple(HOSTS), choices=tuple(HOSTS))
    parser.add_argument("--only", nargs="*", metavar="POLICY", help="by default all policies")
    parser.add_argument("--steps", type=int, default=102_400)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--seeds", default="11-16")
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    if given.command == "pretrain":
        pretrain(given.file, given.steps, given.seed)
    elif given.command == "run":
        run(given, range(int(first), int(last or first) + 1))
    else:
        report(given.file)


if __name__ == "__main__":
    main()
