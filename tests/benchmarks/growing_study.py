"""What growing brings, variant by variant, over several seeds: prints a row for each run, then means and deviations.

A variant is made of parts joined by ``+``: the name of a strategy, or a setting of its own such as
``lifecycle.ramp_epochs=6``. `PARTS` lists the names. Every run trains a twin beside the grown network; the twin of a
seed is the same in all variants, so differences are paired.

Each result is written to a file as a line of JSON as soon as it is there; a study that was cut goes on where it was if
it is begun again with the same file.

    python tests/benchmarks/growing_study.py [--task digits] [--seeds 0-2] [--variants ste,probe,none,at-once]
        [--set epochs=40] [--out study.jsonl]
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from esper_app.configuration.components import RegisteredOptions
from esper_app.configuration.overrides import parse_overrides
from esper_app.configuration.resolve import resolve_config
from esper_app.execution.run import execute
from esper_core.leyline.specs import TaskSpec
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet

#: Named parts of variants and the settings that they stand for.
PARTS: Mapping[str, tuple[str, ...]] = {
    "ste": ("lifecycle.incubation=ste",),
    "probe": ("lifecycle.incubation=probe",),
    "none": ("lifecycle.incubation=none",),
    "at-once": ("lifecycle.incubation=none", "lifecycle.ramp_epochs=0"),
    "gated": ("policy.blend=gated",),
    "keep": ("optimizer.seed_schedule=keep",),
    "restart-seed": ("optimizer.seed_schedule=restart-seed",),
    "restart-all": ("optimizer.seed_schedule=restart-all",),
}

#: A study writes nothing of a run but its result.
QUIET = ("sinks.names=[]", "telemetry=off", "checkpoints.every=0")

Row = dict[str, Any]

COLUMNS = ("twin", "grown", "difference", "loss gain", "fossilized", "culled", "time")


def settings_of(variant: str) -> tuple[str, ...]:
    """Return the settings that a variant stands for, ``key=value`` each."""
    settings: list[str] = []
    for part in variant.split("+"):
        if "=" not in part and part not in PARTS:
            raise SystemExit(f'no variant part is called "{part}"; known: {", ".join(PARTS)}, or key=value')
        settings += [part] if "=" in part else PARTS[part]
    return tuple(settings)


def run_once(plugins: PluginSet, task: str, seed: int, settings: Sequence[str]) -> Row:
    """Run one configuration and return what the table shows of it."""
    spec = plugins.registry.get(TaskSpec.kind, task).spec
    assert isinstance(spec, TaskSpec)
    with tempfile.TemporaryDirectory() as runs:
        own = (f"seed={seed}", f'runs="{runs}"')
        overrides = parse_overrides([*QUIET, *settings, *own])
        resolved = resolve_config(spec, RegisteredOptions(plugins.registry), overrides=overrides)
        return summary(execute(resolved, plugins).result)


def summary(result: Mapping[str, Any]) -> Row:
    """Return the figures of a run's result; accuracies 0 to 1, the gain in nats, time relative to the twin's."""
    twin, grown = result["hosts"]["twin"], result["hosts"]["grown"]
    stages = [seed["final_stage"] for seed in result["seeds"]]
    return {
        "outcome": result["outcome"],
        "twin": twin["test_accuracy"],
        "grown": grown["test_accuracy"],
        "difference": result["difference"]["test_accuracy"],
        "loss gain": result["difference"]["test_gain"]["mean"],
        "fossilized": stages.count("FOSSILIZED"),
        "culled": stages.count("CULLED"),
        "seeds": len(stages),
        "time": grown["train_seconds"] / twin["train_seconds"],
        "parameters": grown["parameters"],
        "forward_flops": grown["forward_flops"],
    }


def study(
    task: str, seeds: Iterable[int], variants: Sequence[str], common: Sequence[str], out: Path
) -> Iterator[tuple[Mapping[str, Any], Row]]:
    """Run everything that the file does not hold yet, and yield every run's key and figures.

    Variants take turns within a seed, so that a study that is cut has compared them all on the seeds that it has seen.
    """
    known = {json.dumps(line["run"], sort_keys=True): line["result"] for line in read(out)}
    plugins = load_plugins()
    for seed in seeds:
        for variant in variants:
            key = {"task": task, "seed": seed, "variant": variant, "settings": list(common)}
            row = known.get(json.dumps(key, sort_keys=True))
            if row is None:
                row = run_once(plugins, task, seed, [*common, *settings_of(variant)])
                append(out, {"run": key, "result": row})
            yield key, row


def append(out: Path, line: Mapping[str, Any]) -> None:
    """Write a result behind the others, on a line of its own also behind one that was cut."""
    cut = out.exists() and not out.read_text().endswith("\n") and out.stat().st_size > 0
    with out.open("a") as file:
        file.write("\n" * cut + json.dumps(line) + "\n")


def read(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the results of a file; a last line that was cut is left out."""
    for line in out.read_text().splitlines() if out.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            print(f"left out, since it is not whole: {line[:60]}")


def cells(row: Row) -> list[str]:
    """Return one run's figures as text: accuracies in per cent, their difference in points."""
    accuracies = [f"{100 * row[name]:.2f}" for name in ("twin", "grown")]
    counts = [f"{row[name]:g}" for name in ("fossilized", "culled")]
    return [*accuracies, f"{100 * row['difference']:+.2f}", f"{row['loss gain']:+.4f}", *counts, f"{row['time']:.2f}"]


def summed_up(rows: Sequence[Row]) -> list[str]:
    """Return means over several runs, each with its standard deviation."""
    scales = {"twin": 100, "grown": 100, "difference": 100}
    texts = []
    for name in COLUMNS:
        values = [scales.get(name, 1) * row[name] for row in rows]
        deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
        digits = 4 if name == "loss gain" else 2
        texts.append(f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--seeds", default="0-2", help="a range such as 0-4, or a list such as 0,3,7")
    parser.add_argument("--variants", default="ste,probe,none,at-once", help="separated by commas; see PARTS")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every variant")
    parser.add_argument("--out", type=Path, help="file for the results; a temporary one if none is named")
    arguments = parser.parse_args()
    variants = arguments.variants.split(",")
    for variant in variants:
        settings_of(variant)
    out = arguments.out or Path(tempfile.mkdtemp()) / "study.jsonl"
    print(f"results: {out}\n\n| seed | variant | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 2)}", flush=True)
    rows: dict[str, list[Row]] = {variant: [] for variant in variants}
    for key, row in study(arguments.task, seeds_of(arguments.seeds), variants, arguments.set, out):
        rows[key["variant"]].append(row)
        print(f"| {key['seed']} | {key['variant']} | {' | '.join(cells(row))} |", flush=True)
    for variant, found in rows.items():
        print(f"| mean ± sd of {len(found)} | {variant} | {' | '.join(summed_up(found))} |")


def seeds_of(text: str) -> list[int]:
    """Return the seeds that a text such as ``0-2,7`` names."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


if __name__ == "__main__":
    main()
