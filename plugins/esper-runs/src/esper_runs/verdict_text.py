"""The verdict on a run in words. Every screen, page and model card prints this text and no other."""

from collections.abc import Iterator

from esper_runs.formatting import flops, loss, paired, points, whole
from esper_runs.measures import Direction, Measure
from esper_runs.result import CONTROL, TWIN, RunEnd
from esper_runs.verdict import Judgement, RunVerdict

#: How a run ended, where it did not end as planned.
ENDINGS = {
    RunEnd.INTERRUPTED: "The run was interrupted.",
    RunEnd.STOPPED: "The governor stopped the run.",
}

#: The two networks that never grew: what they are called, and what a comparison with them says.
_NAMES = {CONTROL: "control", TWIN: "twin"}

_OPENINGS = {
    CONTROL: {
        Judgement.PAID: "Growing paid at equal compute",
        Judgement.DID_NOT_PAY: "Growing did not pay at equal compute",
        Judgement.MIXED: "Growing had mixed effects at equal compute",
        Judgement.NO_CLEAR_DIFFERENCE: "Growing made no clear difference at equal compute",
        Judgement.NO_DIFFERENCE: "Growing made no difference at equal compute",
        Judgement.NOTHING_GREW: "There is no growth to judge",
    },
    TWIN: {
        Judgement.BETTER: "At equal epochs the grown network is better",
        Judgement.WORSE: "At equal epochs the grown network is worse",
        Judgement.MIXED: "At equal epochs growing had mixed effects",
        Judgement.NO_CLEAR_DIFFERENCE: "At equal epochs growing made no clear difference",
        Judgement.NO_DIFFERENCE: "At equal epochs growing made no difference",
        Judgement.NOTHING_GREW: "There is no growth to judge",
    },
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
    Judgement.DID_NOT_PAY: "is not better than its {}",
    Judgement.WORSE: "is not better than its {}",
    Judgement.NO_CLEAR_DIFFERENCE: "is not clearly better than its {}",
}

#: What a comparison at equal epochs alone leaves open.
_AT_EQUAL_COMPUTE = (
    "The network had more compute than its twin; whether growing paid at equal compute was not measured (twin = both)."
)


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
    yield from _compared(verdict)
    if (beside := verdict.at_equal_epochs) is not None and verdict.judgement is not Judgement.NOTHING_GREW:
        yield from _compared(beside, alone=False)
    judged = [it for it in (verdict, verdict.at_equal_epochs) if it and it.judgement is not Judgement.NO_COMPARISON]
    if not judged:
        return
    yield from _cost(judged[0])
    yield from _dependence(judged[0])
    if judged[0].against == TWIN and judged[0].kept and verdict.at_equal_epochs is None:
        yield _AT_EQUAL_COMPUTE
    yield "This is one run: other random seeds give other differences."


def _compared(verdict: RunVerdict, *, alone: bool = True) -> Iterator[str]:
    """What the comparison with one network says, and what that network had."""
    if verdict.judgement is Judgement.NO_COMPARISON:
        yield from _no_comparison(verdict)
        return
    yield f"{_OPENINGS[verdict.against][verdict.judgement]}: {_differences(verdict)}."
    if alone and verdict.against == CONTROL and verdict.spent is not None:
        spent = f"{flops(verdict.spent)}, {flops(verdict.trained)} of it to train the network and its seeds"
        control = f"{flops(verdict.control_spent)}, {flops(verdict.control_trained)} of it for training"
        epochs = f"{whole(verdict.control_epochs)} epochs"
        yield f"Growing took {spent}; the control, which never grew, took {control}, in {epochs}."


def _rollbacks(verdict: RunVerdict) -> Iterator[str]:
    for host, count in verdict.rollbacks.items():
        who = (
            f"The {_NAMES[host]}" if host in _NAMES else "The network" if len(verdict.hosts) == 1 else f'Host "{host}"'
        )
        yield f"{who} was rolled back to an earlier state {'once' if count == 1 else f'{whole(count)} times'}."


def _diverged(verdict: RunVerdict) -> Iterator[str]:
    one = len(verdict.hosts) == 1
    who, whose = ("The grown network", "its") if one else ("All grown networks", "their")
    yield f"{who} diverged: {whose} test loss or accuracy is not a finite number. Growing cannot be judged."
    others = {*verdict.diverged, *(verdict.at_equal_epochs.diverged if verdict.at_equal_epochs else ())}
    for host in (it for it in _NAMES if it in others):
        yield f"The {_NAMES[host]} diverged as well."


def _no_comparison(verdict: RunVerdict) -> Iterator[str]:
    name = _NAMES[verdict.against]
    if verdict.against in verdict.diverged:
        yield f"The {name} diverged: its test loss or accuracy is not a finite number, {_NOT_SHOWN}"
    elif verdict.not_finite:
        yield f"The difference between the network and its {name} is not a finite number, {_NOT_SHOWN}"
    elif not verdict.twin:
        yield f"There is no {name} to compare with, {_NOT_SHOWN}"
    elif len(verdict.hosts) > 1:
        yield f"{whole(len(verdict.hosts))} hosts grew, and only one can be compared with the {name}, {_NOT_SHOWN}"
    else:
        yield f"The difference between the network and its {name} was not measured, {_NOT_SHOWN}"
    if others := [host for host in verdict.diverged if host != verdict.against]:
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
        yield f"The network has as many parameters as its {_NAMES[verdict.against]}."
    else:
        more = "more" if verdict.parameters > 0 else "fewer"
        number = abs(verdict.parameters)
        what, name = "parameter" if number == 1 else "parameters", _NAMES[verdict.against]
        yield f"The network has {whole(number)} {more} {what} than its {name}."


def _dependence(verdict: RunVerdict) -> Iterator[str]:
    if verdict.depends_on_seeds and (how := _NOT_BETTER.get(verdict.judgement)):
        than = how.format(_NAMES[verdict.against])
        yield f"It depends on its seeds (without them its loss is higher), and {than}."
