"""What a run's result says of its bus, in words."""

from collections.abc import Mapping
from typing import Any


def bus_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what became of a run's messages, a line for each thing to know; none for a run without a bus."""
    bus = result.get("bus")
    if not bus:
        return []
    sent = sum(bus["sent"].values())
    lines = [f"bus: {sent:,} messages sent to {bus['name']}{_in_words(bus['sent'])}"]
    if bus["state"] == "degraded":
        lines.append("bus: degraded, it did not answer at the end of the run")
    if bus["outages"]:
        times = "once" if bus["outages"] == 1 else f"{bus['outages']} times"
        lines.append(f"bus: it stopped answering {times}")
    if bus["kept"] is None:
        lines.append("bus: what is kept for it cannot be read; look at outbox.sqlite in the state directory")
    if bus["kept"]:
        lines.append(
            f"bus: {bus['kept']:,} messages are kept in the outbox; `esper bus send` or the next run sends them"
        )
    if dropped := sum(bus["dropped"].values()):
        lines.append(
            f"bus: {dropped:,} messages were dropped{_in_words(bus['dropped'])}; the last error: {bus['last_error']}"
        )
    return lines


def _in_words(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{name} {count:,}' for name, count in counts.items())})" if counts else ""
