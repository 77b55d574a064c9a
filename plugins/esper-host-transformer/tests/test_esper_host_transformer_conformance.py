"""host-transformer against the conformance suite."""

from esper_testing import HostSuite


class TestTransformer(HostSuite):
    plugin = "esper-host-transformer"
