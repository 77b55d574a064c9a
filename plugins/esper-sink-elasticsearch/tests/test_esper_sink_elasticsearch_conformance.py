"""sink-elasticsearch against the conformance suite."""

from typing import Any

import pytest

from esper_sink_elasticsearch.config import ElasticsearchConfig
from esper_testing import SinkSuite


class TestElasticsearch(SinkSuite):
    plugin = "esper-sink-elasticsearch"

    @pytest.fixture
    def config(self, faults: Any) -> ElasticsearchConfig:
        return ElasticsearchConfig(url=faults.url)
