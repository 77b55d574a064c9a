"""What a server of NATS promises, by where it keeps streams and by its settings."""

import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

from esper_core.api import EsperError
from esper_oona.api import Survival

#: What to do for each level.
_NEEDED = {
    Survival.SERVER: "remove the streams OONA… that are in the server's memory, or ask for less with `?survives=`",
    Survival.POWER: "set `sync_interval: always` in the server's section `jetstream`, and name its monitoring address "
    "with `&monitor=http://HOST:8222`, where that is asked",
}


def promised(storage: str, settings: Mapping[str, Any]) -> Survival:
    """Return what published messages survive.

    Streams in memory are gone with the server. A stream in a file is written to the operating system before the server
    answers, and to the disk within ``sync_interval`` (two minutes by default), or before it answers if that is
    ``always``.

    Args:
        storage: of the streams, ``file`` or ``memory``.
        settings: of the server's JetStream, as its monitoring tells them; none if they are not known.
    """
    if storage != "file":
        return Survival.PROCESS
    return Survival.POWER if settings.get("sync_always") is True else Survival.SERVER


def settings(monitor: str | None, server_id: str, seconds: float) -> Mapping[str, Any]:
    """Ask a server's monitoring for the settings of JetStream; none without an address.

    Raises:
        EsperError: E611 if it does not answer, E614 if it is another server's.
    """
    if monitor is None:
        return {}
    try:
        with urllib.request.urlopen(f"{monitor.rstrip('/')}/jsz", timeout=seconds) as answer:
            found = json.load(answer)
    except (OSError, ValueError, HTTPException) as error:
        raise EsperError(
            "E611", "the monitoring of the bus's server does not answer", where=monitor, why=str(error)
        ) from error
    if found.get("server_id") != server_id:
        raise EsperError("E614", "the monitoring address is that of another server", where=monitor)
    config: Mapping[str, Any] = found.get("config", {})
    return config


def require(asked: Survival, given: Survival) -> None:
    """Refuse a server that promises less than is asked for (EsperError E614)."""
    if given < asked:
        what = f"messages are to survive {asked.name.lower()}, the server promises {given.name.lower()}"
        raise EsperError("E614", what, fix=_NEEDED[asked])
