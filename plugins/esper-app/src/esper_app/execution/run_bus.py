"""The seam between a run and the bus that its configuration names."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from uuid import uuid4

from esper_app.configuration.components import build_components
from esper_app.configuration.config import RunConfig
from esper_app.execution.run_hosts import run_hosts
from esper_core.leyline.events import Event
from esper_core.leyline.learning import Trajectory
from esper_core.leyline.optional import optional_part
from esper_core.leyline.protocols import Sink
from esper_core.leyline.reports import FinalReport, HostReport
from esper_core.plugins.plugin_set import PluginSet
from esper_core.simic.loop import Outcome
from esper_core.simic.rollout import Rollout
from esper_runs.result import control_of

#: The section of a configuration, the entry of a manifest, and the name of the sink that a run with a bus has.
BUS = "bus"


class RunBus(Protocol):
    """What a run says on its bus. Nothing of it waits for the bus, and nothing raises once the run has begun."""

    @property
    def sink(self) -> Sink:
        """One of the run's sinks; it is opened with the manifest, which holds what `bus_entry` returns."""
        ...

    def hear(self, event: Event) -> None:
        """Take an event, whatever the run's telemetry level."""
        ...

    def host_reports(self, reports: Sequence[HostReport], round: int = 0) -> None:
        """Take how hosts stand before their first epoch, or after one."""
        ...

    def round_over(
        self, round: int, finals: Sequence[FinalReport], trajectories: Sequence[Trajectory], schema: str | None
    ) -> None:
        """Take what there is to learn from a round that ran to its end."""
        ...

    def close(self) -> dict[str, Any]:
        """Send what is left within a few seconds, and return what became of all messages."""
        ...


def run_bus(config: RunConfig, plugins: PluginSet) -> RunBus | None:
    """Return what puts a run on its bus; None for a run without one.

    Raises:
        EsperError: E190 if what that needs is not installed, E612 and E614 as `esper_oona.api.open_bus`, and what keeps
            the bus from being built; a bus that does not answer is no error.
    """
    if (section := config.section(BUS)) is None:
        return None
    kind = plugins.registry.kind(BUS)
    spec: Any = plugins.registry.get(BUS, section.name).spec
    spec.require_shared()

    def opened() -> Any:
        return build_components(kind, config, plugins.registry)[section.name]

    module = "esper_messaging.run_messages"
    part = optional_part(module, "a run cannot use a bus", where="bus.name", otherwise="run without --bus")
    bus: RunBus = part.RunMessages(
        opened, name=section.name, address=str(section.options.get("url", section.name)), device=_device_of(config)
    )
    return bus


def bus_entry(config: RunConfig) -> dict[str, Any]:
    """Return what the manifest of a run that begins says of it for its bus: an id that no other run has."""
    return {} if config.section(BUS) is None else {BUS: {"run_id": uuid4().hex}}


def host_reports(bus: RunBus | None, rollouts: Iterable[Rollout], round: int = 0) -> None:
    """Tell the bus, if there is one, how all hosts stand."""
    if bus is not None:
        for rollout in rollouts:
            bus.host_reports(rollout.reports, round)


def round_over(bus: RunBus | None, rollout: Rollout, outcome: Outcome, round: int = 0) -> None:
    """Tell the bus, if there is one, what there is to learn from a round, if it ran to its end."""
    if bus is not None and not outcome.interrupted:
        bus.round_over(round, outcome.finals, rollout.trajectories(), _schema(rollout))


def _schema(rollout: Rollout) -> str | None:
    state = rollout.policy_state()
    found = None if state is None else state.record.get("schema_hash")
    return found if isinstance(found, str) else None


def _device_of(config: RunConfig) -> Callable[[str], str]:
    named = [(host, (host.name, host.twin, control_of(host.name))) for host in run_hosts(config)]
    devices = {name: host.device for host, names in named for name in names}
    return lambda name: devices.get(name) or config.device
