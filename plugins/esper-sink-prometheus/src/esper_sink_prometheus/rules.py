"""The file of rules for Prometheus, made from recorded series, alerts and objectives, each of which is written once."""

import json
from collections.abc import Iterable, Iterator

from esper_alerts.alerts import ALERTS, Alert
from esper_alerts.objectives import objective_alerts, objective_recordings
from esper_alerts.recordings import RECORDINGS, Recording


def rules_file() -> str:
    """Return the file of rules, in YAML, for ``rule_files`` of Prometheus."""
    lines = ["# Made by `esper prometheus rules`.", "groups:"]
    lines += _group("esper-recordings", map(_recording, RECORDINGS))
    lines += _group("esper-objectives", map(_recording, objective_recordings()))
    lines += _group("esper-alerts", map(_alert, ALERTS))
    lines += _group("esper-objective-alerts", map(_alert, objective_alerts()))
    return "\n".join(lines) + "\n"


def _group(name: str, rules: Iterable[list[str]]) -> Iterator[str]:
    yield from (f"  - name: {name}", "    rules:")
    for rule in rules:
        yield f"      - {rule[0]}"
        yield from (f"        {line}" for line in rule[1:])


def _recording(it: Recording) -> list[str]:
    labels = [f"  {key}: {_text(value)}" for key, value in it.labels]
    return [f"record: {it.name}", f"expr: {_text(it.expression)}", *(["labels:", *labels] if labels else [])]


def _alert(it: Alert) -> list[str]:
    return [
        f"alert: {it.name}",
        f"expr: {_text(it.expression)}",
        *([f"for: {it.lasting}"] if it.lasting != "0s" else []),
        "labels:",
        f"  severity: {it.severity}",
        "annotations:",
        f"  summary: {_text(it.summary)}",
        f"  description: {_text(it.advice)}",
    ]


def _text(text: str) -> str:
    """A text of JSON is one of YAML."""
    return json.dumps(text)
