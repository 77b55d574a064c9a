"""The tables of the documentation: what alerts and objectives there are."""

from esper_alerts.alerts import ALERTS
from esper_alerts.objectives import OBJECTIVES

#: What stands for a label of the series that an alert is about.
_RUN = ("{{ $labels.run }}/{{ $labels.host }}: ", "{{ $labels.run }}: ")


def alerts_table() -> str:
    """Return the table of all alerts in Markdown: what, when, and what to do."""
    rows = [f"| `{it.name}` | {it.severity} | {_what(it.summary)} | {it.when} | {it.advice} |" for it in ALERTS]
    return "\n".join(["| alert | severity | what | when | what to do |", "|---|---|---|---|---|", *rows])


def objectives_table() -> str:
    """Return the table of all objectives in Markdown."""
    rows = [f"| `{it.name}` | {100 * it.target:g} % | {it.meaning} |" for it in OBJECTIVES]
    return "\n".join(["| objective | target | of what |", "|---|---|---|", *rows])


def _what(summary: str) -> str:
    for before in _RUN:
        summary = summary.removeprefix(before)
    return summary.replace("{{ $labels.", "`").replace(" }}", "`")
