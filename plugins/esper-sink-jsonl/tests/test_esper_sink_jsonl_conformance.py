"""sink-jsonl against the conformance suite."""

from esper_core.testing import Check, SinkSubject, find_plugins
from esper_core.testing.parametrize import conformance
from esper_sink_jsonl.plugin import esper_telemetry_sinks

(PLUGIN,) = find_plugins("esper-sink-jsonl")
(SPEC,) = esper_telemetry_sinks()


@conformance(PLUGIN)
def test_plugin(check: Check) -> None:
    check(PLUGIN)


@conformance(SPEC)
def test_component(check: Check) -> None:
    check(SinkSubject(spec=SPEC))
