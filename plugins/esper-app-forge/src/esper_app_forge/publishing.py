"""What a forge says on a bus."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from esper_app.api import PluginSet
from esper_leyline_proto.kernels import KernelCatalogUpdate
from esper_messaging.forge_messages import ForgeMessages
from esper_oona.api import find_bus, open_bus
from esper_runs.bus_text import bus_lines
from esper_runs.printing import echo
from esper_urza.api import Manifest

if TYPE_CHECKING:
    from esper_tezzeret.api import Outcome


@contextmanager
def speaking(
    address: str | None, plugins: PluginSet
) -> "Iterator[tuple[Callable[[Manifest], None], Callable[[Outcome], None]]]":
    """Yield what publishes a saved artifact, and what publishes a failed attempt; without an address, neither does.

    At the end it prints what became of the messages.

    Raises:
        EsperError: E204 if no installed plugin has such an address, E201 or E202 if an option of it does not fit, E612,
            E614 and E611 as `ForgeMessages`.
    """
    if address is None:
        yield lambda manifest: None, lambda outcome: None
        return
    find_bus(address, plugins.registry)
    messages = ForgeMessages(lambda: open_bus(address, plugins.registry), address=address)

    def failed(outcome: "Outcome") -> None:
        if (error := outcome.error) is not None:
            why = f"{error.code}: {error.why or error.what}"
            quarantined = outcome.state == "quarantined"
            messages.failed(outcome.order.blueprint, why, attempt=outcome.attempt, quarantined=quarantined)

    try:
        yield lambda it: messages.saved(catalogue_update(it), it.facts, it.inputs.compiler), failed
    finally:
        for line in bus_lines({"bus": messages.close()}):
            echo(line)


def catalogue_update(manifest: Manifest) -> KernelCatalogUpdate:
    """Return what a bus is told of a saved artifact."""
    it = manifest.inputs
    compile_ms, prewarm_ms = (manifest.facts.get(name) for name in ("compile_ms", "prewarm_p50_ms"))
    return KernelCatalogUpdate(
        blueprint=f"{it.distribution}/{it.blueprint}",
        parameters=it.options,
        artifact_ref=it.digest,
        artifact_version=f"{it.version}+{it.code[:12]}",
        checksum=manifest.sha256,
        guard_digest=it.guard_digest,
        compile_ms=None if compile_ms is None else float(compile_ms),
        prewarm_ms=None if prewarm_ms is None else float(prewarm_ms),
        issued_at=datetime.fromtimestamp(manifest.made_at, UTC),
    )
