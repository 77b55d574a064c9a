"""The log of esper-bus-sqlite in memory: one queue to understand, and to test."""

from attrs import frozen

from esper_bus_sqlite.log import MessageLog
from esper_core.api import EsperError
from esper_oona.api import Bus, Survival


@frozen(kw_only=True)
class MemoryConfig:
    """Options of `memory`.

    Attributes:
        url: ``memory:``; every bus that is opened is another one.
    """

    url: str = "memory:"


def memory_bus(config: MemoryConfig) -> Bus:
    """Open a new bus that lives as long as this process, and that its threads share.

    Raises:
        EsperError: E202 if the address names anything: one name would be two buses in two processes.
    """
    if config.url != "memory:":
        why = "a bus in memory has no name, and nobody else can reach it"
        raise EsperError("E202", f'no bus is at "{config.url}"', why=why, fix="memory:")
    return MessageLog(":memory:", survives=Survival.NOTHING, synchronous="OFF")
