"""What can be said of a run with several hosts: each beside its own twin, and all of them together."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, sqrt
from statistics import mean, stdev
from typing import Any

from attrs import evolve

from esper_runs.formatting import as_number, duration, loss, paired, percent, points, whole
from esper_runs.measures import Direction
from esper_runs.result import CONTROL, TWIN, RunEnd, pair_results
from esper_runs.tables import Cell, Column, Table
from esper_runs.verdict import Judgement, RunVerdict, verdict
from esper_runs.verdict_text import ENDINGS, verdict_in_words

_STYLES = {Direction.BETTER: "good", Direction.WORSE: "bad"}

#: What growing did for hosts of one judgement.
_DID = {
    Judgement.PAID: "paid for {}",
    Judgement.DID_NOT_PAY: "did not pay for {}",
    Judgement.BETTER: "was better for {}",
    Judgement.WORSE: "was worse for {}",
    Judgement.MIXED: "had mixed effects for {}",
    Judgement.NO_CLEAR_DIFFERENCE: "made no clear difference for {}",
    Judgement.NO_DIFFERENCE: "made no difference for {}",
    Judgement.NOTHING_GREW: "cannot be judged for {}, where nothing grew",
    Judgement.DIVERGED: "cannot be judged for {}, which diverged",
    Judgement.NO_COMPARISON: "cannot be judged for {}, which cannot be compared",
}

#: What each host is compared with: where it is in a result, and its own and all differences.
_OTHERS = ((TWIN, "difference", "differences"), (CONTROL, "compute_difference", "compute_differences"))

_SPARE = (
    Column("loss", right=True, spare=True),
    Column("parameters", right=True, spare=True),
    Column("training", right=True, spare=True),
)


def are_several(result: Mapping[str, Any]) -> bool:
    """Say whether several hosts grew in a run."""
    return len(pair_results(result)) > 1


def hosts_table(result: Mapping[str, Any]) -> Table:
    """Return a row for each host that grew, beside what never grew.

    A gain in loss is the loss of what never grew minus the host's, in nats.
    """
    others = [it for it in _OTHERS if result.get(it[2])] or [_OTHERS[0]]
    columns = [Column(""), Column("accuracy", right=True)]
    for name, *_ in others:
        columns += [Column(name, right=True), Column(_difference_from(name, others), right=True)]
        columns.append(Column("gain in loss", right=True))
    rows = []
    for name, pair in pair_results(result).items():
        host = pair["hosts"][name]
        cells: list[Cell | str] = [name, percent(host.get("test_accuracy"))]
        for other, key, _ in others:
            cells += _beside(pair, other, pair.get(key) or {})
        cells += [loss(host.get("test_loss")), whole(host.get("parameters")), duration(host.get("train_seconds"))]
        rows.append(tuple(cells))
    return Table(columns=(*columns, *_SPARE), rows=tuple(rows))


def _difference_from(name: str, others: Sequence[tuple[str, str, str]]) -> str:
    return "difference" if len(others) == 1 and name == TWIN else f"to the {name}"


def _beside(pair: Mapping[str, Any], other: str, difference: Mapping[str, Any]) -> list[Cell | str]:
    judged = verdict(pair)
    if judged.against != other and judged.at_equal_epochs is not None:
        judged = judged.at_equal_epochs
    return [
        percent(pair["hosts"].get(other, {}).get("test_accuracy")),
        Cell(points(difference.get("test_accuracy")), _STYLES.get(judged.accuracy.direction, "")),
        Cell(paired(difference.get("test_gain")), _STYLES.get(judged.loss.direction, "")),
    ]


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
    if not result.get("twins") and not result.get("controls"):
        yield "There is no twin to compare with, so this run does not show whether growing paid."
        return
    whole_ones = {name: found for name, found in judged.items() if name not in failed}
    if result.get("controls"):
        yield from _at_equal("compute", whole_ones)
        whole_ones = {name: found.at_equal_epochs or found for name, found in whole_ones.items()}
    if result.get("twins"):
        yield from _at_equal("epochs", whole_ones)
    for name, _, key in _OTHERS:
        yield from _on_average(name, result.get(key) or {})


def _at_equal(what: str, judged: Mapping[str, RunVerdict]) -> Iterator[str]:
    """Say for how many hosts growing did what, beside networks that had the same of something."""
    said = []
    for judgement, words in _DID.items():
        if names := [name for name, found in judged.items() if found.judgement is judgement]:
            said.append(words.format(f"{len(names)} ({_names(names)})"))
    if said:
        yield f"At equal {what} growing {', '.join(said[:-1])}{' and ' if said[1:] else ''}{said[-1]}."


def _on_average(other: str, differences: Mapping[str, Any]) -> Iterator[str]:
    """The spread over hosts is what a single run cannot show."""
    gains = [as_number((found or {}).get("test_loss")) for found in differences.values()]
    known = [-gain for gain in gains if gain is not None and isfinite(gain)]
    if len(known) > 1:
        average = {"mean": mean(known), "standard_error": stdev(known) / sqrt(len(known))}
        gain = f"{paired(average)} nats"
        over = f"with the standard error over {len(known)} hosts"
        yield f"The mean gain in test loss over the {other} is {gain}, {over}."


def _names(names: list[str]) -> str:
    return ", ".join(names)
