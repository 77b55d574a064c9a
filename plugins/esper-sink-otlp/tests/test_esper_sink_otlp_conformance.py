"""sink-otlp against the conformance suite."""

from typing import Any

import pytest

from esper_sink_otlp.config import OtlpConfig
from esper_testing import SinkSuite


class TestOtlp(SinkSuite):
    plugin = "esper-sink-otlp"

    @pytest.fixture
    def config(self, collector: Any) -> OtlpConfig:
        return OtlpConfig(endpoint=collector.url)
