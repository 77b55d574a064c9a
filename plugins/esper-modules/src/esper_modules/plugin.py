"""The kinds of events that are told of modules from a store."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_nissa.event_kinds import EventSpec

ESPER_API = "2.0"


@hookimpl
def esper_events() -> Iterable[EventSpec]:
    """Register the kinds of events; in a log they are called ``modules.kernel-ready`` and so on."""
    for name, summary, payload in (
        ("kernel-ready", "A seed has a module from the store.", "KernelReady"),
        ("kernel-fallback", "A seed should have had a module from the store, and has none.", "KernelFallback"),
        ("kernel-unfit", "There can be no artifact for a seed: its blueprint builds it.", "KernelUnfit"),
        ("kernel-answer-dropped", "An answer came that nobody waits for.", "KernelAnswerDropped"),
    ):
        yield EventSpec(name=name, summary=summary, factory=f"esper_modules.events:{payload}")
