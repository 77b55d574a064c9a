"""sink-console against the conformance suite."""

from esper_core.testing import Check, SinkSubject, find_plugins
from esper_core.testing.parametrize import conformance
from esper_sink_console.plugin import esper_telemetry_sinks

(PLUGIN,) = find_plugins("esper-sink-console")
(SPEC,) = esper_telemetry_sinks()


@conformance(PLUGIN)
def test_plugin(check: Check) -> None:
    check(PLUGIN)


@conformance(SPEC, leave_out={"sink-resumed"})
def test_component(check: Check) -> None:
    check(SinkSubject(spec=SPEC))
