"""Evaluates alerts over the present values of metrics, moment by moment, as Prometheus does."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from attrs import define, field, frozen

from esper_alerts.alerts import ALERTS, Alert
from esper_alerts.evaluation import evaluate
from esper_alerts.expressions import Expression, selectors
from esper_alerts.objectives import objective_alerts, objective_recordings
from esper_alerts.promql import UnsupportedExpression, parse, seconds
from esper_alerts.recordings import RECORDINGS, Recording
from esper_alerts.series import Sample
from esper_alerts.storage import Labels, Storage


class AlertState(StrEnum):
    """How far an alert has come; what is none of these is well."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@frozen(kw_only=True)
class AlertChange:
    """An alert that has begun to fire, or that is resolved.

    Attributes:
        alert: which.
        state: firing or resolved.
        labels: those of the series, by name; the alert's own name and severity are not among them.
        value: of the expression, when it had a result last.
        since: seconds since 1970 when its condition began to hold.
        time: seconds since 1970 of the evaluation.
    """

    alert: Alert
    state: AlertState
    labels: Mapping[str, str]
    value: float
    since: float
    time: float


@define
class _Active:
    since: int
    value: float
    firing: bool = False


@frozen(eq=False)
class _Rule:
    """An alert or a recording that is read."""

    expression: Expression
    alert: Alert | None = None
    lasting: int = 0
    recording: Recording | None = None
    active: dict[Labels, _Active] = field(factory=dict)
    recorded: set[Labels] = field(factory=set)


class AlertEngine:
    """Keeps samples, and knows which alerts are pending and firing. It must be shown times in order.

    Args:
        alerts: what is evaluated.
        recordings: the series that are recorded before.

    Raises:
        UnsupportedExpression: an expression holds something that is not evaluated here; it is named.
    """

    def __init__(
        self,
        alerts: Iterable[Alert] = (*ALERTS, *objective_alerts()),
        recordings: Iterable[Recording] = (*RECORDINGS, *objective_recordings()),
    ) -> None:
        alerting = [_Rule(parse(it.expression), alert=it, lasting=round(1000 * seconds(it.lasting))) for it in alerts]
        named = {it.name for rule in alerting for it in selectors(rule.expression)}
        # What no alert looks at is recorded for dashboards alone.
        recordings = [it for it in recordings if it.name in named]
        self._rules = [*(_Rule(parse(it.expression), recording=it) for it in recordings), *alerting]
        self._storage = Storage(_kept(rule.expression for rule in self._rules))
        self._scraped: dict[str, set[Labels]] = {name: set() for name in self._storage.names()}
        self._recorded = {it.name for it in recordings}

    @property
    def names(self) -> set[str]:
        """The names of the series that are looked at, but for those that are recorded here."""
        return {*self._storage.names()} - self._recorded

    def scrape(self, samples: Iterable[Sample], time: float) -> None:
        """Take the present values of all series; one that was there before and is not any more has ended.

        Args:
            samples: the values; series that nobody looks at are left out.
            time: seconds since 1970.
        """
        at, names = round(1000 * time), self.names
        there: dict[str, set[Labels]] = {name: set() for name in names}
        for it in samples:
            if it.name in there:
                labels = _labels(it.labels)
                there[it.name].add(labels)
                self._storage.add(it.name, labels, at, it.value)
        for name in names:
            for labels in self._scraped[name] - there[name]:
                self._storage.end(name, labels, at)
            self._scraped[name] = there[name]

    def evaluate(self, time: float) -> list[AlertChange]:
        """Evaluate everything at a time, in seconds since 1970, and return what has changed.

        Raises:
            MatchingError: an expression has operands that cannot be matched.
        """
        at = round(1000 * time)
        changes: list[AlertChange] = []
        for rule in self._rules:
            found = evaluate(rule.expression, self._storage, at)
            assert not isinstance(found, float), "every expression gives series"
            if rule.recording is not None:
                self._record(rule, rule.recording, found, at)
            elif rule.alert is not None:
                changes += _moved(rule, rule.alert, found, at)
        return changes

    def active(self) -> Iterator[tuple[Alert, Mapping[str, str], AlertState]]:
        """Yield every alert that is pending or firing, with its labels."""
        for rule in self._rules:
            if rule.alert is not None:
                for labels, it in rule.active.items():
                    yield rule.alert, dict(labels), AlertState.FIRING if it.firing else AlertState.PENDING

    def firing(self) -> Iterator[tuple[str, Mapping[str, str], float, float]]:
        """Yield the name, labels, beginning (seconds since 1970) and last value of what fires; see `restore`."""
        for rule in self._rules:
            for labels, it in rule.active.items():
                if rule.alert is not None and it.firing:
                    yield rule.alert.name, dict(labels), it.since / 1000, it.value

    def recorded(self, time: float) -> Iterator[Sample]:
        """Yield what the recordings have come to at a time, in seconds since 1970."""
        for name in sorted(self._recorded):
            for labels, _, value in self._storage.at(name, round(1000 * time)):
                yield Sample(name, labels, value)

    def restore(self, name: str, labels: Mapping[str, str], since: float, value: float) -> None:
        """Let an alert fire that fired before, without saying so; one that is not known any more is left out."""
        for rule in self._rules:
            if rule.alert is not None and rule.alert.name == name:
                rule.active[_labels(labels.items())] = _Active(round(1000 * since), value, firing=True)

    def _record(self, rule: _Rule, recording: Recording, found: Mapping[Labels, float], at: int) -> None:
        now = {_labels((*labels, *recording.labels)): value for labels, value in found.items()}
        for labels, value in now.items():
            self._storage.add(recording.name, labels, at, value)
        for labels in rule.recorded - now.keys():
            self._storage.end(recording.name, labels, at)
        rule.recorded.clear()
        rule.recorded.update(now)


def _kept(expressions: Iterable[Expression]) -> dict[str, int]:
    """How far back each series is looked at, in milliseconds."""
    kept: dict[str, int] = {}
    for expression in expressions:
        for it in selectors(expression):
            kept[it.name] = max(kept.get(it.name, 0), round(1000 * ((it.window or 0.0) + it.offset)))
    return kept


def _labels(pairs: Iterable[tuple[str, str]]) -> Labels:
    """Labels by name; an empty one is none."""
    return tuple(sorted((name, value) for name, value in pairs if value))


def _moved(rule: _Rule, alert: Alert, found: Mapping[Labels, float], at: int) -> Iterator[AlertChange]:
    """Let what has no result any more be well, what has one be pending, and what was pending for long enough fire."""
    for labels in [labels for labels in rule.active if labels not in found]:
        gone = rule.active.pop(labels)
        if gone.firing:
            yield _change(alert, AlertState.RESOLVED, labels, gone, at)
    for labels, value in found.items():
        active = rule.active.setdefault(labels, _Active(at, value))
        active.value = value
        if not active.firing and at - active.since >= rule.lasting:
            active.firing = True
            yield _change(alert, AlertState.FIRING, labels, active, at)


def _change(alert: Alert, state: AlertState, labels: Labels, it: _Active, at: int) -> AlertChange:
    return AlertChange(
        alert=alert, state=state, labels=dict(labels), value=it.value, since=it.since / 1000, time=at / 1000
    )


__all__ = ["AlertChange", "AlertEngine", "AlertState", "UnsupportedExpression"]
