"""The verdict on a run in words. Every screen, page and model card prints this text and no other."""

from collections.abc import Iterator

from esper_runs.formatting import loss, paired, points, whole
from esper_runs.result import TWIN, RunEnd
from esper_runs.verdict import Direction, Judgement, Measure, RunVerdict

#: How a run ended, where it did not end as planned.
ENDINGS = {
    RunEnd.INTERRUPTED: "The run was interrupted.",
    RunEnd.STOPPED: "The governor stopped the run.",
}

_OPENINGS = {
    Judgement.PAID: "Growing paid",
    Judgement.DID_NOT_PAY: "Growing did not pay",
    Judgement.MIXED: "Growing had mixed effects",
    Judgement.NO_CLEAR_DIFFERENCE: "Growing made no clear difference",
    Judgement.NO_DIFFERENCE: "Growing made no difference",
    Judgement.NOTHING_GREW: "There is no growth to judge",
}

#: How a difference compares with chance: said of one measure, and of both where it is the same for both.
_ONE = {
    "more": "which is more than chance",
    "perhaps": "which may be chance",
    "unknown": "whose standard error is not known",
}
_BOTH = {
    "more": "both are more than chance",
    "perhaps": "both may be chance",
    "unknown": "their standard errors are not known",
}

_NOT_SHOWN = "so this run does not show whether growing paid."

#: Where a network depends on its seeds all the same, this says how the two go together.
_NOT_BETTER = {
    Judgement.DID_NOT_PAY: "is not better than its twin",
    Judgement.NO_CLEAR_DIFFERENCE: "is not clearly better than its twin",
}


def verdict_in_words(verdict: RunVerdict) -> str:
    """Return the verdict in a few sentences: how the run ended, the judgement with its figures, and its limits."""
    return " ".join(_sentences(verdict))


def _sentences(verdict: RunVerdict) -> Iterator[str]:
    if ending := ENDINGS.get(verdict.outcome):  # type: ignore[call-overload]
        yield ending
    yield from _rollbacks(verdict)
    if verdict.judgement is Judgement.DIVERGED:
        yield from _diverged(verdict)
        return
    yield from _seeds(verdict)
    if verdict.judgement is Judgement.NO_COMPARISON:
        yield from _no_comparison(verdict)
        return
    yield f"{_OPENINGS[verdict.judgement]}: {_differences(verdict)}."
    yield from _cost(verdict)
    yield from _dependence(verdict)
    yield "This is one run: other random seeds give other differences."


def _rollbacks(verdict: RunVerdict) -> Iterator[str]:
    for host, count in verdict.rollbacks.items():
        who = "The twin" if host == TWIN else "The network" if len(verdict.hosts) == 1 else f'Host "{host}"'
        yield f"{who} was rolled back to an earlier state {'once' if count == 1 else f'{whole(count)} times'}."


def _diverged(verdict: RunVerdict) -> Iterator[str]:
    one = len(verdict.hosts) == 1
    who, whose = ("The grown network", "its") if one else ("All grown networks", "their")
    yield f"{who} diverged: {whose} test loss or accuracy is not a finite number. Growing cannot be judged."
    if TWIN in verdict.diverged:
        yield "The twin diverged as well."


def _no_comparison(verdict: RunVerdict) -> Iterator[str]:
    if TWIN in verdict.diverged:
        yield f"The twin diverged: its test loss or accuracy is not a finite number, {_NOT_SHOWN}"
    elif verdict.not_finite:
        yield f"The difference between the network and its twin is not a finite number, {_NOT_SHOWN}"
    elif not verdict.twin:
        yield f"There is no twin to compare with, {_NOT_SHOWN}"
    elif len(verdict.hosts) > 1:
        yield f"{whole(len(verdict.hosts))} hosts grew, and only one can be compared with the twin, {_NOT_SHOWN}"
    else:
        yield f"The difference between the network and its twin was not measured, {_NOT_SHOWN}"
    if others := [name for name in verdict.diverged if name != TWIN]:
        yield f"Diverged: {', '.join(others)}."


def _seeds(verdict: RunVerdict) -> Iterator[str]:
    if verdict.germinated == 0:
        yield "No seed was germinated."
    elif verdict.germinated is not None and verdict.kept == 0:
        yield "No seed has become part of the network yet." if verdict.live else "No seed was kept."


def _differences(verdict: RunVerdict) -> str:
    found = [
        (words, _chance(measure))
        for words, measure in ((_accuracy(verdict), verdict.accuracy), (_loss(verdict.loss), verdict.loss))
        if words is not None
    ]
    if len(found) == 2 and (chance := found[0][1]) and chance == found[1][1]:
        return f"{found[0][0]} and {found[1][0]}; {_BOTH[chance]}"
    described = [f"{words}, {_ONE[chance]}" if chance else words for words, chance in found]
    return (", and " if found[0][1] else " and ").join(described)


def _accuracy(verdict: RunVerdict) -> str | None:
    measure = verdict.accuracy
    if measure.difference is None:
        return None
    if measure.direction is Direction.EQUAL:
        return "the same test accuracy"
    share = ""
    if verdict.answers is not None:
        share = f" ({whole(abs(verdict.answers))} of {whole(verdict.asked)} test {verdict.unit})"
    return f"{points(measure.difference)} of test accuracy{share}"


def _loss(measure: Measure) -> str | None:
    if measure.difference is None:
        return None
    if measure.direction is Direction.EQUAL:
        return "the same loss on every test sample"
    mean, error = measure.difference, measure.standard_error
    written = loss(mean, signed=True) if error is None else paired({"mean": mean, "standard_error": error})
    return f"a gain in loss of {written} nats"


def _chance(measure: Measure) -> str:
    if measure.direction in (Direction.BETTER, Direction.WORSE):
        return "more"
    if measure.direction is Direction.UNCLEAR:
        return "perhaps" if measure.standard_error is not None else "unknown"
    return ""


def _cost(verdict: RunVerdict) -> Iterator[str]:
    if verdict.parameters is None or not verdict.kept:
        return
    if verdict.parameters == 0:
        yield "The network has as many parameters as its twin."
    else:
        more = "more" if verdict.parameters > 0 else "fewer"
        number = abs(verdict.parameters)
        yield f"The network has {whole(number)} {more} {'parameter' if number == 1 else 'parameters'} than its twin."


def _dependence(verdict: RunVerdict) -> Iterator[str]:
    if verdict.depends_on_seeds and (how := _NOT_BETTER.get(verdict.judgement)):
        yield f"It depends on its seeds (without them its loss is higher), and {how}."
