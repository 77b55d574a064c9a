"""Conditions on evidence, and the verdict that combines them. A missing or non-finite figure never passes."""

from collections.abc import Iterable
from math import isfinite
from statistics import NormalDist

from attrs import field, frozen

from esper_core.api import GateLevel, GateResult, PairedDifference

Figure = float | int | bool | str | None

_NORMAL = NormalDist()


@frozen(kw_only=True)
class Check:
    """One condition.

    Attributes:
        ok: whether it holds.
        text: what was found, in words.
        score: 0 to 1; does not decrease as the evidence improves.
        evidence: the figures behind it.
        harmful: it does not hold, and waiting will not help.
        note: whether it is a remark that does not affect the verdict.
    """

    ok: bool
    text: str
    score: float = 0.0
    evidence: dict[str, Figure] = field(factory=dict)
    harmful: bool = False
    note: bool = False


def verdict(level: GateLevel, checks: Iterable[Check]) -> GateResult:
    """Combine checks: all must hold. The score, and the reason if all hold, are those of the weakest; notes follow."""
    checks = list(checks)
    deciding = [check for check in checks if not check.note]
    failed = [check for check in deciding if not check.ok]
    weakest = min(deciding, key=lambda check: check.score)
    notes = [f"note: {check.text}" for check in checks if check.note and not check.ok]
    evidence: dict[str, Figure] = {}
    for check in checks:
        evidence |= check.evidence
    return GateResult(
        gate=level,
        passed=not failed,
        score=weakest.score,
        reason="; ".join(dict.fromkeys([check.text for check in failed or [weakest]] + notes)),
        evidence=evidence,
        harmful=any(check.harmful for check in failed),
    )


def fact(name: str, value: bool | None, *, good: str, bad: str, hopeless: bool = False) -> Check:
    """Require `value` to be True; if `hopeless`, False is harmful."""
    if value is None:
        return _missing(name)
    text = good if value else bad
    return Check(ok=value, text=text, score=float(value), evidence={name: value}, harmful=hopeless and not value)


def no_error(name: str, error: str | None, *, good: str, bad: str) -> Check:
    """Require `error` to be empty; an error is harmful."""
    text = f"{bad}: {error}" if error else good
    return Check(ok=not error, text=text, score=float(not error), evidence={name: error}, harmful=bool(error))


def at_least(name: str, value: float | None, threshold: float) -> Check:
    """Require a finite value of at least `threshold`."""
    if value is None or not isfinite(value):
        return _unusable(name, value)
    if value >= threshold:
        return Check(ok=True, text=f"{name} {value:.4g} >= {threshold:g}", score=1.0, evidence={name: value})
    score = value / threshold if value > 0 else 0.0
    return Check(ok=False, text=f"{name} {value:.4g} < {threshold:g}", score=score, evidence={name: value})


def at_most(name: str, value: float | None, threshold: float) -> Check:
    """Require a finite value of at most `threshold`, which is not negative."""
    if value is None or not isfinite(value):
        return _unusable(name, value)
    if value <= threshold:
        return Check(ok=True, text=f"{name} {value:.4g} <= {threshold:g}", score=1.0, evidence={name: value})
    return Check(ok=False, text=f"{name} {value:.4g} > {threshold:g}", score=threshold / value, evidence={name: value})


def remark(name: str, value: float | None, threshold: float, text: str) -> Check:
    """Note `text` if a finite value is below `threshold`; this does not affect the verdict."""
    low = value is not None and isfinite(value) and value < threshold
    return Check(ok=not low, text=f"{name} is below {threshold:g}: {text}", note=True)


def lower_bound_above(name: str, difference: PairedDifference | None, threshold: float, confidence: float) -> Check:
    """Require the lower confidence bound to exceed `threshold`, in nats."""
    if difference is None or not difference.finite:
        return _unusable_difference(name, difference)
    bound = difference.lower_bound(_NORMAL.inv_cdf(confidence))
    ok = bound > threshold
    relation, limit = ">" if ok else "<=", _limit(threshold, confidence)
    return Check(
        ok=ok,
        text=f"{name} {difference.mean:+.4f} nats, lower bound {bound:+.4f} {relation} {limit}",
        score=_confidence_above(difference, threshold),
        evidence=_figures(name, difference) | {f"{name}_lower_bound_{confidence:g}": bound},
    )


def upper_bound_at_least(
    name: str, difference: PairedDifference | None, threshold: float, confidence: float, *, hopeless: bool = False
) -> Check:
    """Require the upper confidence bound to be at least `threshold`, in nats; if `hopeless`, one below is harmful."""
    if difference is None or not difference.finite:
        return _unusable_difference(name, difference)
    bound = difference.upper_bound(_NORMAL.inv_cdf(confidence))
    ok = bound >= threshold
    relation, limit = ">=" if ok else "<", _limit(threshold, confidence)
    return Check(
        ok=ok,
        text=f"{name} {difference.mean:+.4f} nats, upper bound {bound:+.4f} {relation} {limit}",
        score=1.0 if ok else _confidence_above(difference, threshold),
        evidence=_figures(name, difference) | {f"{name}_upper_bound_{confidence:g}": bound},
        harmful=hopeless and not ok,
    )


def _missing(name: str) -> Check:
    return Check(ok=False, text=f"{name} was not measured", evidence={name: None})


def _unusable(name: str, value: float | None) -> Check:
    if value is None:
        return _missing(name)
    return Check(ok=False, text=f"{name} is not finite ({value})", evidence={name: value})


def _unusable_difference(name: str, difference: PairedDifference | None) -> Check:
    if difference is None:
        return _missing(name)
    found = f"{difference.mean} nats, standard error {difference.standard_error}"
    return Check(ok=False, text=f"{name} is not finite ({found})", evidence=_figures(name, difference))


def _limit(threshold: float, confidence: float) -> str:
    return f"{threshold:g} (confidence {confidence:g})"


def _figures(name: str, difference: PairedDifference) -> dict[str, Figure]:
    return {
        f"{name}_nats": difference.mean,
        f"{name}_standard_error": difference.standard_error,
        f"{name}_samples": difference.count,
    }


def _confidence_above(difference: PairedDifference, threshold: float) -> float:
    """Return the one-sided confidence, 0 to 1, that the true mean exceeds `threshold`."""
    distance = difference.mean - threshold
    if difference.standard_error == 0.0:
        return 0.5 if distance == 0.0 else float(distance > 0.0)
    return _NORMAL.cdf(distance / difference.standard_error)
