"""host-mlp against the conformance suite."""

from esper_testing import HostSuite


class TestMlp(HostSuite):
    plugin = "esper-host-mlp"
    leave_out = {"host-causal"}
