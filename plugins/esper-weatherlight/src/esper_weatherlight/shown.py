"""How services are, for people: the same words and figures wherever they are shown."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_runs.tables import Column, Table

#: What is said where there is no supervisor.
NOTHING = "no services are supervised; begin with: esper up"


@frozen(kw_only=True)
class MachineView:
    """What a supervisor says, in words.

    Attributes:
        headline: how everything is.
        services: a row for each service.
        emergencies: how many signals there were, and the newest, a line each; none without any.
    """

    headline: str
    services: Table
    emergencies: tuple[str, ...]


def machine_view(found: Mapping[str, Any]) -> MachineView:
    """Return what a supervisor answers under ``/status`` in words.

    Raises:
        EsperError: E642 if it is no such answer.
    """
    try:
        heard = found["emergencies"]
        last = {it["service"]: it for it in heard["newest"] if it.get("service")}
        up, health, bus = _duration(found["up_seconds"]), found["health"], found["bus"]
        headline = f"{found['mode']} for {up}, {health}; bus: {bus}"
        rows = tuple(_row(it, last.get(it["name"])) for it in found["services"])
        lines = tuple(f"{it['at'][:19]}  {it['level']:<12}  {_about(it)}{it['reason']}" for it in heard["newest"])
        count = heard["count"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        fix = "look at it with the Esper that it was started with"
        raise EsperError("E642", "what the supervisor answers is no status", why=why, fix=fix) from error
    columns = (
        Column("SERVICE"),
        Column("STATE"),
        Column("FOR", right=True, spare=True),
        Column("RESTARTS", right=True, spare=True),
        Column("HEALTH"),
        Column("LAST EMERGENCY", spare=True),
        Column("", prose=True),
    )
    return MachineView(
        headline=headline,
        services=Table(columns=columns, rows=rows),
        emergencies=(f"emergencies: {count}", *lines) if count else (),
    )


def _row(it: Mapping[str, Any], signal: Mapping[str, Any] | None) -> tuple[str, ...]:
    emergency = "-" if signal is None else f"{signal['level']} {_clock(signal['at'])}"
    why = str(it["reason"] or it["summary"])
    figures = (_duration(it["for_seconds"]), str(int(it["restarts"])), str(it["health"]))
    return (str(it["name"]), str(it["state"]), *figures, emergency, why)


def _clock(at: str) -> str:
    return datetime.fromisoformat(at).strftime("%H:%M:%S")


def _about(signal: Mapping[str, Any]) -> str:
    return f"{signal['run']}: " if signal["run"] else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
