"""A torture of the bus at an address, and what to say about it."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from esper_app_bus.torture.flow import told
from esper_app_bus.torture.run import Plan, Torture, torture
from esper_oona.api import BusServer, BusSpec, Survival, find_bus, open_bus

if TYPE_CHECKING:
    from esper_app.api import PluginSet

#: So many violations are shown of each promise.
_SHOWN = 5


@frozen
class Report:
    """A torture, with what was asked.

    Attributes:
        url: the bus.
        survives: what its messages survive, by its own word.
        own_server: a server was started for it, and killed.
    """

    url: str
    survives: Survival
    own_server: bool
    plan: Plan
    torture: Torture

    def lines(self) -> Iterator[str]:
        """What people read."""
        found, kills = self.torture.findings, self.torture.kills
        killed = ", ".join(f"{count} of {sort}s" for sort, count in kills.items() if count)
        yield f"{self.url}  messages survive: {self.survives.name.lower()}"
        yield f"kills: {killed or 'none'}" + ("" if self.own_server else "; a server was not killed")
        yield f"published: {found.sent}, handled: {found.handled}"
        yield f"duplicates: {found.duplicates}, in flight when something died: {found.in_flight}"
        lease = self.plan.subscription.lease_seconds
        yield f"longest take-over: {found.take_over_seconds:.1f} s, with leases of {lease:g} s"
        yield f"timers of a process that only slept were late by {found.late_seconds:.1f} s in all; that does not count"
        yield from told(found.flow)
        yield f"from publication to handling: p50 {found.p50_seconds:.2f} s, p99 {found.p99_seconds:.2f} s"
        by_promise: dict[str, list[str]] = {}
        for it in found.violations:
            by_promise.setdefault(it.promise, []).append(f"  {it.id}: {it.what}")
        for promise, cases in by_promise.items():
            yield f"BROKEN: {promise}, {len(cases)} times"
            yield from cases[:_SHOWN]
        if not by_promise:
            yield "every promise was kept"

    def as_json(self) -> dict[str, Any]:
        """What programs read; violations in full."""
        return {
            "url": self.url,
            "survives": self.survives.name.lower(),
            "own_server": self.own_server,
            "plan": asdict(self.plan),
            "kills": self.torture.kills,
            **asdict(self.torture.findings),
        }


def torture_report(url: str, plugins: "PluginSet", plan: Plan) -> Report:
    """Torture the bus at an address; a bare scheme is a new bus in a temporary folder, with its own server.

    Raises:
        EsperError: as `open_bus` and `torture`.
    """
    spec = find_bus(url, plugins.registry).spec
    assert isinstance(spec, BusSpec)
    scheme, _, place = url.partition(":")
    # Calls that are tried again while a server is dead are what is tried here.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="esper-") as folder:
        server: BusServer | None = None
        address = url
        if not place and spec.server is not None:
            make = resolve_name(spec.server) if isinstance(spec.server, str) else spec.server
            server = make(Path(folder))
            address = server.url
            server.start()
        elif not place:
            address = f"{scheme}:{folder}/bus"
        try:
            opened = open_bus(address, plugins.registry)
            survives = opened.survives
            opened.close()
            notes = Path(folder) / "notes"
            notes.mkdir()
            found = torture(lambda: open_bus(address, plugins.registry), plan, notes, server)
        finally:
            if server is not None:
                server.kill()
    return Report(url, survives, server is not None, plan, found)
