"""What a server of Redis promises, by its settings."""

from collections.abc import Mapping

from esper_core.api import EsperError
from esper_oona.api import Survival

#: What to set for each level.
NEEDED = {
    Survival.SERVER: "appendonly yes, and appendfsync no or always",
    Survival.POWER: "appendonly yes and appendfsync always",
}


def promised(settings: Mapping[str, str]) -> Survival:
    """Return what published messages survive.

    The server writes to its append-only file before it answers, and so survives its own death, except with
    ``appendfsync everysec``: while a flush is under way, a write may wait for up to two seconds, after the answer.
    Without an append-only file there are snapshots at best, which lose all since the last one.
    """
    if settings.get("appendonly") != "yes":
        return Survival.PROCESS
    by_flush = {"always": Survival.POWER, "no": Survival.SERVER}
    return by_flush.get(settings.get("appendfsync", ""), Survival.PROCESS)


def require(asked: Survival, given: Survival) -> None:
    """Refuse a server that promises less than is asked for (EsperError E614)."""
    if given < asked:
        what = f"messages are to survive {asked.name.lower()}, the server promises {given.name.lower()}"
        raise EsperError("E614", what, fix=f"set {NEEDED[asked]} on the server, or ask for less with `?survives=`")
