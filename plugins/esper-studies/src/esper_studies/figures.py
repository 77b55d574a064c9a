"""The figures of a study's runs, and whether all of them were made by the same code."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from attrs import frozen

from esper_runs.result import GROWN
from esper_runs.run_directory import MANIFEST, RunDirectory
from esper_runs.run_record import read_run_record
from esper_studies.study import StudyRun
from esper_studies.trainers import TRAINER


@frozen(kw_only=True)
class RunFigures:
    """What a run with one host has come to. What is not known is None.

    Attributes:
        loss, accuracy: on the test split; in nats, and 0 to 1.
        validation_loss: after the last epoch, in nats.
        parameters: of the network.
        forward_flops: of one sample's forward pass.
        flops: floating-point operations in all, evaluation and counterfactuals included.
        seconds: wall time of training and measuring.
        epochs: how many were trained.
        germinated, kept: how many seeds there were, and how many of them were fossilized.
    """

    loss: float
    accuracy: float | None
    validation_loss: float | None
    parameters: int
    forward_flops: int | None
    flops: int | None
    seconds: float
    epochs: int
    germinated: int
    kept: int


def figures_of(run: StudyRun, *, whole: bool = False) -> RunFigures | None:
    """Return the figures of a run's grown host; None of a run that has failed.

    Args:
        run: the run.
        whole: operations and time are those of all hosts of the run: a policy that needs a twin is charged for it.

    Raises:
        EsperError: E508 if the run's files are damaged.
        ValueError: if several hosts grew, which is another run for each.
    """
    if run.result is None:
        return None
    hosts: Mapping[str, Any] = run.result["hosts"]
    if GROWN not in hosts:
        raise ValueError(f"{run.name} has no host of the name {GROWN}: {', '.join(hosts)}")
    charged = [*hosts.values()] if whole else [hosts[GROWN]]
    host, seeds = hosts[GROWN], [seed for seed in run.result["seeds"] if seed["host"] == GROWN]
    return RunFigures(
        loss=host["test_loss"],
        accuracy=host["test_accuracy"],
        validation_loss=_validation_loss(run),
        parameters=host["parameters"],
        forward_flops=host["forward_flops"],
        flops=None if None in (spent := [it["compute"]["total"] for it in charged]) else sum(spent),
        seconds=sum(it["train_seconds"] + it["measure_seconds"] for it in charged),
        epochs=host["epochs"],
        germinated=len(seeds),
        kept=sum(seed["final_stage"] == "FOSSILIZED" for seed in seeds),
    )


def mixed_sources(runs: Iterable[StudyRun]) -> list[str]:
    """Return the distributions whose files were not the same in all of these runs, of those that a run used.

    What another trainer has trained has no manifest, and is not looked at.
    """
    digests: dict[str, set[str]] = {}
    for run in runs:
        if run.result is None or TRAINER in run.result:
            continue
        manifest = RunDirectory(run.directory).read_json(MANIFEST)
        for entry in [manifest["core"], *(it for it in manifest["plugins"] if it.get("used"))]:
            digests.setdefault(str(entry["distribution"]), set()).add(str(entry.get("digest")))
    return sorted(name for name, found in digests.items() if len(found) > 1)


def _validation_loss(run: StudyRun) -> float | None:
    if run.result is not None and TRAINER in run.result:
        return _finite(run.result["hosts"][GROWN]["validation_loss"])
    epochs = read_run_record(RunDirectory(run.directory)).epochs.get(GROWN) or ()
    return _finite((epochs[-1].get("validation") or {}).get("loss") if epochs else None)


def _finite(loss: Any) -> float | None:
    return float(loss) if isinstance(loss, int | float) and isfinite(loss) else None
