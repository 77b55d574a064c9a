"""host-hf against the conformance suite."""

from esper_core.testing import HostSuite


class TestHf(HostSuite):
    plugin = "esper-host-hf"
