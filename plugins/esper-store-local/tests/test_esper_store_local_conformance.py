"""store-local against the conformance suite."""

from contextlib import closing

import pytest

from esper_app.api import list_plugins
from esper_store_local.store import LocalConfig
from esper_testing.check import NotApplicable
from esper_urza.testing.store_subject import StoreSubject, kept
from esper_urza.testing.store_suite import StoreSuite


class TestLocal(StoreSuite):
    plugin = "esper-store-local"

    @pytest.fixture
    def config(self, tmp_path):
        return LocalConfig(url=f"local:{tmp_path}/store", max_bytes=20_000)


class TestSharedLocal(StoreSuite):
    plugin = "esper-store-local"

    @pytest.fixture
    def config(self, tmp_path):
        return LocalConfig(url=f"local:{tmp_path}/store", max_bytes=20_000, journal="delete")


def test_the_checks_leave_the_store_of_the_default_options_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    subject = StoreSubject(spec=list_plugins().registry.get("store", "local").spec)
    with closing(subject.build()) as store:
        store.put("0" * 64, kept("mine"))
    with pytest.raises(NotApplicable), subject.opened():
        raise AssertionError
    with closing(subject.build()) as store:
        assert [it.digest for it in store.entries()] == ["0" * 64]
