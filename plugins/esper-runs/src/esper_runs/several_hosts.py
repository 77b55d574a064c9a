"""What can be said of a run with several hosts: each beside its own twin, and all of them together."""

from collections.abc import Iterator, Mapping
from math import isfinite, sqrt
from statistics import mean, stdev
from typing import Any

from attrs import evolve

from esper_runs.formatting import as_number, duration, loss, paired, percent, points, whole
from esper_runs.result import TWIN, RunEnd, pair_results
from esper_runs.tables import Cell, Column, Table
from esper_runs.verdict import Direction, Judgement, RunVerdict, verdict
from esper_runs.verdict_text import ENDINGS, verdict_in_words

_STYLES = {Direction.BETTER: "good", Direction.WORSE: "bad"}

#: What growing did for hosts of one judgement.
_DID = {
    Judgement.PAID: "paid for {}",
    Judgement.DID_NOT_PAY: "did not pay for {}",
    Judgement.MIXED: "had mixed effects for {}",
    Judgement.NO_CLEAR_DIFFERENCE: "made no clear difference for {}",
    Judgement.NO_DIFFERENCE: "made no difference for {}",
    Judgement.NOTHING_GREW: "cannot be judged for {}, where nothing grew",
    Judgement.DIVERGED: "cannot be judged for {}, which diverged",
    Judgement.NO_COMPARISON: "cannot be judged for {}, which cannot be compared",
}

_COLUMNS = (
    Column(""),
    Column("accuracy", right=True),
    Column("twin", right=True),
    Column("difference", right=True),
    Column("gain in loss", right=True),
    Column("loss", right=True, spare=True),
    Column("parameters", right=True, spare=True),
    Column("training", right=True, spare=True),
)


def are_several(result: Mapping[str, Any]) -> bool:
    """Say whether several hosts grew in a run."""
    return len(pair_results(result)) > 1


def hosts_table(result: Mapping[str, Any]) -> Table:
    """Return a row for each host that grew, beside its twin; the gain is the twin's loss minus the host's, in nats."""
    rows = []
    for name, pair in pair_results(result).items():
        judged, host, twin = verdict(pair), pair["hosts"][name], pair["hosts"].get(TWIN, {})
        difference = pair.get("difference") or {}
        rows.append(
            (
                name,
                percent(host.get("test_accuracy")),
                percent(twin.get("test_accuracy")),
                Cell(points(difference.get("test_accuracy")), _STYLES.get(judged.accuracy.direction, "")),
                Cell(paired(difference.get("test_gain")), _STYLES.get(judged.loss.direction, "")),
                loss(host.get("test_loss")),
                whole(host.get("parameters")),
                duration(host.get("train_seconds")),
            )
        )
    return Table(columns=_COLUMNS, rows=tuple(rows))


def result_in_words(result: Mapping[str, Any], *, each: bool = False) -> Iterator[str]:
    """Yield the verdict on a run in paragraphs: that on its host, or for several hosts what holds for all of them.

    Args:
        result: as in ``result.json``.
        each: of several hosts, yield the verdict on each as well.
    """
    pairs = pair_results(result)
    if len(pairs) < 2:
        yield verdict_in_words(verdict(result))
        return
    judged = {name: evolve(verdict(pair), outcome="") for name, pair in pairs.items()}
    yield " ".join(_together(result, judged))
    if each:
        for name, found in judged.items():
            failure = result["hosts"][name].get("failure")
            yield f"{name}: {f'it has failed: {failure}' if failure else verdict_in_words(found)}"


def _together(result: Mapping[str, Any], judged: Mapping[str, RunVerdict]) -> Iterator[str]:
    yield from (said for end, said in ENDINGS.items() if end == result.get("outcome"))
    yield f"{whole(len(judged))} hosts grew{', each beside its own twin' if result.get('twins') else ''}."
    stopped = [name for name in result.get("stopped") or () if not result["hosts"][name].get("failure")]
    if stopped and result.get("outcome") != RunEnd.STOPPED:
        yield f"The governor stopped {_names(stopped)}."
    if failed := [name for name in judged if result["hosts"][name].get("failure")]:
        yield f"Failed: {_names(failed)}."
    if not result.get("twins"):
        yield "There is no twin to compare with, so this run does not show whether growing paid."
        return
    said = []
    for judgement, words in _DID.items():
        if names := [name for name, found in judged.items() if found.judgement is judgement and name not in failed]:
            said.append(words.format(f"{len(names)} ({_names(names)})"))
    if said:
        yield f"Growing {', '.join(said[:-1])}{' and ' if said[1:] else ''}{said[-1]}."
    yield from _on_average(result)


def _on_average(result: Mapping[str, Any]) -> Iterator[str]:
    """The spread over hosts is what a single run cannot show."""
    gains = [as_number((found or {}).get("test_loss")) for found in (result.get("differences") or {}).values()]
    known = [-gain for gain in gains if gain is not None and isfinite(gain)]
    if len(known) > 1:
        average = {"mean": mean(known), "standard_error": stdev(known) / sqrt(len(known))}
        gain = f"{paired(average)} nats"
        yield f"The mean gain in test loss is {gain}, with the standard error over {len(known)} hosts."


def _names(names: list[str]) -> str:
    return ", ".join(names)
