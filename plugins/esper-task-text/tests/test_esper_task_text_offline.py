"""The hub's client does not try again and again where there is no network."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

from esper_task_text import offline
from esper_task_text.offline import offline_unless_reachable


def seen_inside(datasets: Any) -> tuple[bool, bool]:
    with offline_unless_reachable(datasets):
        return constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(offline, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return SimpleNamespace(config=SimpleNamespace(HF_HUB_OFFLINE=False))


def test_without_a_network_the_client_is_told_so_for_as_long_as_it_loads(datasets, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert seen_inside(datasets) == (True, True)
    assert (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == (False, False)
    with pytest.raises(ValueError, match="damaged"), offline_unless_reachable(datasets):
        raise ValueError("damaged")
    assert not constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_used(datasets, monkeypatch):
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        asked.append(seen_inside(datasets))
    assert asked == [(False, False)]
    assert seen_inside(datasets) == (True, True)  # it is gone now


def test_behind_a_proxy_nothing_is_asked(datasets, monkeypatch):
    monkeypatch.setattr(offline, "getproxies", lambda: {"https": "http://proxy:3128"})
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert seen_inside(datasets) == (False, False)
