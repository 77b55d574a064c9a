"""The log of esper-bus-sqlite in memory: one queue to understand, and to test."""

from attrs import field, frozen, validators

from esper_bus_sqlite.log import MessageLog
from esper_oona.api import Bus, Survival


@frozen(kw_only=True)
class MemoryConfig:
    """Options of `memory`.

    Attributes:
        url: ``memory:``; every bus that is opened is another one.
    """

    url: str = field(default="memory:", validator=validators.matches_re("memory:"))


def memory_bus(config: MemoryConfig) -> Bus:
    """Open a new bus that lives as long as this process, and that its threads share."""
    return MessageLog(":memory:", survives=Survival.NOTHING, synchronous="OFF")
