"""sink-wandb against the conformance suite, in Weights & Biases and in trackio."""

import pytest

from esper_sink_wandb.config import WandbConfig
from esper_testing import SinkSuite

pytestmark = pytest.mark.slow


class TestWandb(SinkSuite):
    plugin = "esper-sink-wandb"


class TestTrackio(SinkSuite):
    plugin = "esper-sink-wandb"

    @pytest.fixture
    def config(self) -> WandbConfig:
        return WandbConfig(module="trackio")
