"""host-cnn against the conformance suite."""

from esper_testing import HostSuite


class TestCnn(HostSuite):
    plugin = "esper-host-cnn"
    leave_out = {"host-causal"}
