"""host-transformer against the conformance suite."""

from esper_core.testing import Check, HostSubject, find_plugins
from esper_core.testing.parametrize import conformance
from esper_host_transformer.plugin import esper_hosts

(PLUGIN,) = find_plugins("esper-host-transformer")
(SPEC,) = esper_hosts()


@conformance(PLUGIN)
def test_plugin(check: Check) -> None:
    check(PLUGIN)


@conformance(SPEC)
def test_component(check: Check) -> None:
    check(HostSubject(spec=SPEC))
