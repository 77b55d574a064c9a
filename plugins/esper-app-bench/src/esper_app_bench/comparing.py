"""What ``esper compare`` measures: arms made of settings, paired by random seed, and the tables of them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from attrs import frozen

from esper_app.api import ConfigOptions, is_saved_policy
from esper_runs.formatting import MISSING, flops, loss, percent, whole
from esper_runs.result import CONTROL, TWIN
from esper_runs.statistics import PairedResult, holm, paired_result
from esper_runs.tables import Cell, Column, Table
from esper_runs.verdict import Judgement, verdict
from esper_studies import RunFigures, RunRequest, StudyRun, figures_of

#: Parts of an arm are joined by this, in front of a name or a key.
_JOINT = re.compile(r"\+(?=[A-Za-z./~])")

EXPLAINED = (
    "A gain is a difference of test losses in nats, above 0 where the arm is better; intervals are BCa bootstraps over "
    "random seeds, p is the exact sign-flip test's, corrected for the number of arms (Holm). At equal compute: against "
    "the control, which never grew and has as many FLOPs as the run has spent. Runs that failed count as the constant "
    "answer."
)


def arm_request(task: str, arm: str, common: ConfigOptions, seed: int) -> RunRequest:
    """Return the request of an arm's run.

    Args:
        task: the task's name.
        arm: parts joined by ``+``: a setting ``KEY=VALUE``, the name of a policy, or the path of a saved one.
        common: settings of all arms; those of the arm go before them.
        seed: the random seed.
    """
    sets = [f"seed={seed}"]
    for part in parts_of(arm):
        if re.match(r"[\w.]+=", part):
            sets.append(part)
        else:
            sets.append(f'policy.{"saved" if is_saved_policy(part) else "name"}="{part}"')
    return RunRequest(task=task, options=common).with_sets(*sets)


def parts_of(arm: str) -> list[str]:
    """Return the parts of an arm."""
    return _JOINT.split(arm)


@frozen(kw_only=True)
class ComparedRun:
    """A run of a comparison.

    Attributes:
        arm, seed: which one it is.
        run: the run.
        figures: what it has come to; None if it has failed.
        loss, accuracy: on the test split, in nats, and 0 to 1; of a run that failed those of the constant answer.
    """

    arm: str
    seed: int
    run: StudyRun
    figures: RunFigures | None
    loss: float
    accuracy: float | None

    @property
    def judgement(self) -> str:
        """What the run itself says about growing."""
        return "failed" if self.run.result is None else str(verdict(self.run.result).judgement)

    def gain(self) -> float | None:
        """Return the gain at equal compute in nats; None without a control, or if the run has failed.

        Where nothing was germinated the twin is as good as a control.
        """
        result = self.run.result or {}
        found = result.get("compute_difference") or (None if result.get("seeds") else result.get("difference"))
        return found["test_gain"]["mean"] if found and found["test_gain"] else None

    def accuracy_of(self, host: str) -> float | None:
        """Return the test accuracy of the twin or the control, 0 to 1; None if there is none."""
        found: float | None = ((self.run.result or {}).get("hosts") or {}).get(host, {}).get("test_accuracy")
        return found


@frozen(kw_only=True)
class ArmResult:
    """An arm over all random seeds.

    Attributes:
        arm: its name.
        runs: by random seed.
        gain: at equal compute; None where a run has no control.
        to_first: the first arm's loss minus this one's; None of the first one.
        p: of `to_first`, corrected for the number of arms.
    """

    arm: str
    runs: tuple[ComparedRun, ...]
    gain: PairedResult | None
    to_first: PairedResult | None
    p: float | None = None

    @property
    def clear(self) -> bool:
        """Whether it is clearly better or worse than the first arm."""
        return self.to_first is not None and self.to_first.clear and self.p is not None and self.p <= 0.05


def compared_run(arm: str, seed: int, run: StudyRun, constant: Callable[[], tuple[float, float | None]]) -> ComparedRun:
    """Return a run with its figures; `constant` gives loss and accuracy of the constant answer where it has failed."""
    figures = figures_of(run)
    loss_, accuracy = constant() if figures is None else (figures.loss, figures.accuracy)
    return ComparedRun(arm=arm, seed=seed, run=run, figures=figures, loss=loss_, accuracy=accuracy)


def arm_results(runs: Sequence[ComparedRun]) -> tuple[ArmResult, ...]:
    """Return the arms in their order, each paired with the first one.

    Raises:
        EsperError: E190 if scipy is not installed.
    """
    by_arm: dict[str, list[ComparedRun]] = {}
    for run in runs:
        by_arm.setdefault(run.arm, []).append(run)
    first: Mapping[int, ComparedRun] = {run.seed: run for run in next(iter(by_arm.values()), [])}
    found = []
    for number, (arm, own) in enumerate(by_arm.items()):
        gains = [run.gain() for run in own]
        known = [gain for gain in gains if gain is not None]
        differences = [first[run.seed].loss - run.loss for run in own if run.seed in first]
        found.append(
            ArmResult(
                arm=arm,
                runs=tuple(own),
                gain=paired_result(known) if known and len(known) == len(gains) else None,
                to_first=paired_result(differences) if number and differences else None,
            )
        )
    corrected = iter(holm([it.to_first.p or 0.0 for it in found if it.to_first is not None]))
    return tuple(_corrected(it, corrected) for it in found)


def _corrected(it: ArmResult, corrected: Iterator[float]) -> ArmResult:
    p = None if it.to_first is None else next(corrected)
    return ArmResult(arm=it.arm, runs=it.runs, gain=it.gain, to_first=it.to_first, p=p)


def run_table(runs: Sequence[ComparedRun]) -> Table:
    """Return every run: the network beside its twin and its control."""
    hosts = [host for host in (TWIN, CONTROL) if any(run.accuracy_of(host) is not None for run in runs)]
    titles = (*hosts, "grown", "loss, nats", "gain at equal compute", "seeds kept", "parameters", "FLOPs")
    columns = (Column("seed", right=True), Column("arm"), *(Column(it, right=True) for it in titles), Column("growing"))
    rows: list[tuple[Cell | str, ...]] = []
    for run in sorted(runs, key=lambda it: it.seed):
        figures: Any = run.figures
        rows.append(
            (
                str(run.seed),
                run.arm,
                *(_or_missing(run.accuracy_of(host), percent) for host in hosts),
                _or_missing(run.accuracy, percent),
                loss(run.loss),
                _or_missing(run.gain(), lambda it: loss(it, signed=True)),
                f"{figures.kept} of {figures.germinated}" if figures else MISSING,
                whole(figures.parameters) if figures else MISSING,
                flops(figures.flops) if figures else MISSING,
                Cell(run.judgement, "bad" if figures is None else "good" if run.judgement == Judgement.PAID else ""),
            )
        )
    return Table(columns=columns, rows=tuple(rows))


def arm_results_table(results: Sequence[ArmResult]) -> Table:
    """Return the arms: their own figures, what they gain at equal compute, and how they differ from the first one."""
    first = results[0].arm if results else ""
    own = ("runs", "accuracy", "loss, nats", "gain at equal compute", "paid on")
    titles = (*own, f"gain to {first}", "interval", "p")
    columns = (Column("arm"), *(Column(title, right=True) for title in titles))
    rows = []
    for it in results:
        failed = sum(run.figures is None for run in it.runs)
        paid = sum(run.judgement == Judgement.PAID for run in it.runs)
        other = it.to_first
        shown = MISSING if other is None else loss(other.mean, signed=True)
        rows.append(
            (
                it.arm,
                f"{len(it.runs)}" + f", {failed} failed" * bool(failed),
                _spread([run.accuracy for run in it.runs], percent),
                _spread([run.loss for run in it.runs], loss),
                MISSING if it.gain is None else f"{loss(it.gain.mean, signed=True)} ({_interval(it.gain)})",
                MISSING if it.gain is None else f"{paid} of {len(it.runs)}",
                Cell(shown, "" if other is None or not it.clear else "good" if other.mean > 0 else "bad"),
                MISSING if other is None else _interval(other),
                MISSING if it.p is None else f"{it.p:.3f}",
            )
        )
    return Table(columns=columns, rows=tuple(rows))


def said(results: Sequence[ArmResult]) -> Iterator[str]:
    """Yield how each arm differs from the first one, in a sentence."""
    for it in results[1:]:
        if it.to_first is None:
            continue
        pairs, first = it.to_first.pairs, results[0].arm
        if it.clear:
            word = "better" if it.to_first.mean > 0 else "worse"
            gain = loss(it.to_first.mean, signed=True)
            yield f"{it.arm} is {word} than {first}: {gain} nats, {_interval(it.to_first)}."
        elif pairs < 6:
            seeds = "1 random seed" if pairs == 1 else f"{pairs} random seeds"
            yield f"{it.arm} and {first}: {seeds} cannot show a difference; the test needs at least six."
        else:
            yield f"{it.arm} and {first}: no difference is shown; {_interval(it.to_first)} nats."


def _spread(values: Sequence[float | None], write: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return MISSING
    return write(fmean(known)) + (f" ± {write(stdev(known))}" if len(known) > 1 else "")


def _interval(result: PairedResult) -> str:
    if result.low is None or result.high is None:
        return MISSING
    return f"{loss(result.low, signed=True)} to {loss(result.high, signed=True)}"


def _or_missing(value: float | None, write: Callable[[float], str]) -> str:
    return MISSING if value is None else write(value)
