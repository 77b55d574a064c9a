"""bus-sqlite against the conformance suite."""

import pytest

from esper_bus_sqlite.bus import SqliteConfig
from esper_oona.testing.bus_suite import BusSuite


class TestSqlite(BusSuite):
    plugin = "esper-bus-sqlite"

    @pytest.fixture
    def config(self, tmp_path):
        return SqliteConfig(url=f"sqlite:{tmp_path}/bus.sqlite")
