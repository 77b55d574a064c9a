"""How a run ended on the test split: the grown network beside its twin, and in plain words whether growing paid."""

from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any

from esper_runs.formatting import as_number, duration, flops, loss, paired, percent, points, whole
from esper_runs.run_record import TWIN
from esper_runs.tables import table

#: Row title, key, how to write a value, how to write a difference.
_ROWS: tuple[tuple[str, str, Callable[[Any], str], Callable[[Any], str]], ...] = (
    ("test accuracy", "test_accuracy", percent, points),
    ("test loss", "test_loss", loss, lambda value: loss(value, signed=True)),
    ("parameters", "parameters", whole, lambda value: whole(value, signed=True)),
    ("forward pass", "forward_flops", flops, lambda value: flops(value, signed=True)),
    ("training time", "train_seconds", duration, lambda value: duration(value, signed=True)),
    ("epochs", "epochs", whole, lambda _: ""),
)

_ENDINGS = {
    "interrupted": "The run was interrupted.",
    "stopped": "The governor stopped the run.",
}


def comparison(result: Mapping[str, Any]) -> str:
    """Return the table of all hosts, the twin first, with the difference where there is one."""
    hosts: Mapping[str, Mapping[str, Any]] = result["hosts"]
    names = sorted(hosts, key=lambda name: name != TWIN)
    difference = result.get("difference")
    rows = []
    for title, key, write, write_difference in _ROWS:
        cells = [write(hosts[name].get(key)) for name in names]
        rows.append([title, *cells, *([write_difference(difference.get(key))] if difference else [])])
    headers = ["", *names, *(["difference"] if difference else [])]
    return table(headers, rows, right=range(1, len(headers)))


def accuracies(result: Mapping[str, Any]) -> str:
    """Return the accuracies on the test split in a line, with the difference where there is one."""
    hosts = result["hosts"]
    told = ", ".join(f"{name} {percent(hosts[name]['test_accuracy'])}" for name in sorted(hosts))
    difference = result.get("difference")
    return f"test accuracy {told}" + (f" ({points(difference['test_accuracy'])})" if difference else "")


def verdict(result: Mapping[str, Any]) -> str:
    """Say plainly whether the grown network is better on the test split than its twin, and at which price."""
    return " ".join(_sentences(result))


def _sentences(result: Mapping[str, Any]) -> Iterator[str]:
    if ending := _ENDINGS.get(result.get("outcome", "")):
        yield ending
    difference = result.get("difference") or {}
    gain = as_number(difference.get("test_accuracy"))
    if gain is None or not isfinite(gain):
        yield "There is nothing to compare with, so this run does not tell whether growing paid."
        return
    kept = [seed for seed in result["seeds"] if seed["final_stage"] != "CULLED"]
    if not kept:
        yield "No seed was kept." if result["seeds"] else "No seed was ever germinated."
    loss_gain = difference.get("test_gain")
    judged = _judgement(gain, loss_gain)
    yield f"{judged}: {points(gain)} of test accuracy{_samples(result, gain)}{_price(difference)}."
    if loss_gain:
        yield _beside_chance(loss_gain)
    if gain <= 0 and any(_depended_on(seed) for seed in kept):
        yield (
            "Its ablations are positive all the same: the network depends on its seeds, "
            "and has still learned no more than its twin without them."
        )
    yield "This is one run: other seeds of the random numbers give other differences."


def _judgement(gain: float, loss_gain: Mapping[str, Any] | None) -> str:
    """A handful of samples is no judgement: where the losses do not bear the accuracies out, it stays open."""
    if gain == 0 and not (loss_gain and _beyond_chance(loss_gain)):
        return "Growing made no difference"
    if loss_gain and not (_beyond_chance(loss_gain) and (as_number(loss_gain["mean"]) or 0.0) * gain > 0):
        return "Growing made no clear difference"
    return "Growing paid" if gain > 0 else "Growing did not pay"


def _beyond_chance(gain: Mapping[str, Any]) -> bool:
    """Two standard errors are the usual bar; losses on the same samples tell more than counts of right answers."""
    mean, error = as_number(gain["mean"]), as_number(gain["standard_error"])
    return mean is not None and error is not None and abs(mean) > 2 * error


def _samples(result: Mapping[str, Any], gain: float) -> str:
    """How many test samples, or positions in them, the difference is: a point of a small split is a handful."""
    asked = result.get("test_share_of")
    return (
        f" ({whole(round(abs(gain) * asked['count']))} of {whole(asked['count'])} test {asked['unit']})"
        if asked
        else ""
    )


def _price(difference: Mapping[str, Any]) -> str:
    added = difference.get("parameters")
    return "" if added is None else f" for {whole(added, signed=True)} parameters"


def _beside_chance(gain: Mapping[str, Any]) -> str:
    mean, error = as_number(gain["mean"]), as_number(gain["standard_error"])
    if mean is None or error is None or not isfinite(mean):
        return "Its gain in loss on the same samples is no finite number."
    if mean == error == 0:
        return "Network and twin lose the same on every test sample."
    judged = "more than chance" if _beyond_chance(gain) else "which may be chance"
    return f"Its gain in loss on the same samples is {paired(gain)} nats, {judged}."


def _depended_on(seed: Mapping[str, Any]) -> bool:
    ablation = as_number((seed.get("ablation") or {}).get("mean"))
    return ablation is not None and ablation > 0
