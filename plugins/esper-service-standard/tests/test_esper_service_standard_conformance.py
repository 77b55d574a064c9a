"""The standard services against the conformance suite."""

import pytest

from esper_service_standard.config import BusServerConfig, CommandConfig, ForgeConfig, RunServiceConfig
from esper_weatherlight.testing.service_suite import ServiceSuite

pytestmark = pytest.mark.slow


class TestStandard(ServiceSuite):
    plugin = "esper-service-standard"

    @pytest.fixture
    def config(self, spec, tmp_path):
        settings = ("epochs=300", "twin=none", "host.widths=[4, 8]", "checkpoints.every=1", "policy.name=null")
        return {
            "bus-server": BusServerConfig(),
            "command": CommandConfig(command=("sleep", "1000")),
            "forge": ForgeConfig(),
            "run": RunServiceConfig(task="digits", set=settings, runs=str(tmp_path / "runs")),
        }[spec.name]
