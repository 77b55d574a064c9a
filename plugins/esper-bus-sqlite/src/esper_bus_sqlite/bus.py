"""Opening the bus at an address `sqlite:PATH`."""

from pathlib import Path
from typing import Literal

from attrs import field, frozen, validators

from esper_bus_sqlite.log import MessageLog
from esper_oona.api import Bus, Survival, embedded_address, state_directory, state_path

_OF_THE_STATE = "sqlite:"

#: What each level costs: the setting of `PRAGMA synchronous`. In WAL mode, NORMAL writes every transaction to the
#: operating system, and FULL waits until it is on the disk.
_LEVELS = {"server": (Survival.SERVER, "NORMAL"), "power": (Survival.POWER, "FULL")}


@frozen(kw_only=True)
class SqliteConfig:
    """Options of `sqlite`.

    Attributes:
        url: ``sqlite:PATH``; ``sqlite:`` is ``bus.sqlite`` in the state directory. The file is on a local disk.
        survives: the worst that messages survive once they are published: ``server``, the death of all processes that
            use the file, or ``power``, also a loss of power, which costs a write to the disk for every transaction.
    """

    url: str = field(default="sqlite:", validator=embedded_address("sqlite", "bus.db"))
    survives: Literal["server", "power"] = field(
        default="server", validator=validators.in_(_LEVELS), metadata={"esper_unseen": "durability"}
    )


def sqlite_bus(config: SqliteConfig) -> Bus:
    """Open the bus; its file is made if need be, for its owner only.

    Raises:
        EsperError: E611 if the file cannot be used, E612 if there is no state directory.
    """
    survives, synchronous = _LEVELS[config.survives]
    if config.url == _OF_THE_STATE:
        state_directory()
    return MessageLog(bus_file(config), survives=survives, synchronous=synchronous)


def bus_file(config: SqliteConfig) -> Path:
    """Return the file in which the bus is, or would be; nothing is made."""
    path = config.url.removeprefix("sqlite:")
    return Path(path) if path else state_path() / "bus.sqlite"
