"""Did growing pay? In words, from the result alone."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from esper_sink_console.wording import number, paired, points


def verdict(result: Mapping[str, Any]) -> str:
    """Say plainly whether the grown network is better on the test split than its twin, and at which price."""
    return " ".join(_sentences(result))


def _sentences(result: Mapping[str, Any]) -> Iterator[str]:
    if ending := _ENDINGS.get(result.get("outcome", "")):
        yield ending
    difference = result.get("difference") or {}
    gain = difference.get("test_accuracy")
    if gain is None or not isfinite(gain):
        yield "Nothing to compare with, so this run does not tell whether growing paid."
        return
    seeds = result.get("seeds", ())
    if not any(seed.get("final_stage") not in ("CULLED", None) for seed in seeds):
        yield "No seed was kept." if seeds else "No seed was ever germinated."
    loss_gain = difference.get("test_gain")
    judged = _judgement(gain, loss_gain)
    yield f"{judged}: {points(gain)} of test accuracy{_samples(result, gain)}{_price(difference)}."
    if loss_gain:
        yield _beside_chance(loss_gain)
    yield "This is one run: other seeds of the random numbers give other differences."


_ENDINGS = {
    "interrupted": "The run was interrupted.",
    "stopped": "The governor stopped the run.",
}


def _judgement(gain: float, loss_gain: Mapping[str, Any] | None) -> str:
    """A handful of samples is no judgement: where the losses do not bear the accuracies out, it stays open."""
    if gain == 0 and not (loss_gain and _beyond_chance(loss_gain)):
        return "Growing made no difference"
    if loss_gain and not (_beyond_chance(loss_gain) and loss_gain["mean"] * gain > 0):
        return "Growing made no clear difference"
    return "Growing paid" if gain > 0 else "Growing did not pay"


def _beyond_chance(gain: Mapping[str, Any]) -> bool:
    """Two standard errors are the usual bar; the losses on the same samples tell more than counts of right answers."""
    return bool(abs(gain["mean"]) > 2 * gain["standard_error"])


def _samples(result: Mapping[str, Any], gain: float) -> str:
    """How many test samples, or positions in them, the difference is: a point of a small split is a handful."""
    asked = result.get("test_share_of")
    if not asked:
        return ""
    return f" ({number(round(abs(gain) * asked['count']))} of {number(asked['count'])} test {asked['unit']})"


def _beside_chance(gain: Mapping[str, Any]) -> str:
    if gain["mean"] == gain["standard_error"] == 0:
        return "Network and twin lose the same on every test sample."
    if not isfinite(gain["mean"]):
        judged = "no finite number"
    else:
        judged = "more than chance" if _beyond_chance(gain) else "which may be chance"
    return f"Its gain in loss on the same samples is {paired(gain)} nats, {judged}."


def _price(difference: Mapping[str, Any]) -> str:
    added = difference.get("parameters")
    return "" if added is None else f" for {number(added, signed=True)} parameters"
