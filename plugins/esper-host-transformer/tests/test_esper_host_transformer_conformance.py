"""host-transformer against the conformance suite."""

from esper_core.testing import HostSuite


class TestTransformer(HostSuite):
    plugin = "esper-host-transformer"
