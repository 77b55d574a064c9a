"""The hub's client does not try again and again where there is no network."""

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

from esper_core.api import EsperError
from esper_public_data import hub, load_splits


class Datasets(SimpleNamespace):
    """Stands for the library `datasets`, whose import takes seconds: notes whether it is told to be offline."""

    def __init__(self) -> None:
        super().__init__(config=SimpleNamespace(HF_HUB_OFFLINE=False), seen=[], damaged="")

    def load_dataset(self, name: str, *, split: str) -> str:
        self.seen.append((constants.HF_HUB_OFFLINE, self.config.HF_HUB_OFFLINE))
        if split == self.damaged:
            raise ValueError("damaged\nas nothing else")
        return f"{split} of {name}"


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "datasets", library := Datasets())
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return library


def refuse(*_: Any, **__: Any) -> None:
    raise OSError("no network")


def test_without_a_network_the_client_is_told_so_for_as_long_as_it_loads(datasets, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert load_splits("mnist", ["train", "test"]) == {"train": "train of mnist", "test": "test of mnist"}
    assert datasets.seen == [(True, True)] * 2
    assert (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == (False, False)


def test_after_an_error_it_is_as_it_was(datasets, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", refuse)
    datasets.damaged = "test"
    with pytest.raises(EsperError) as refused:
        load_splits("mnist", ["train", "test"])
    assert (refused.value.code, refused.value.why) == ("E301", "the download from the hub failed: damaged")
    assert (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == (False, False)


def test_a_hub_that_answers_is_used(datasets, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        load_splits("mnist", ["train"])
    load_splits("mnist", ["train"])  # it is gone now
    assert datasets.seen == [(False, False), (True, True)]


def test_behind_a_proxy_nothing_is_asked(datasets, monkeypatch):
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy:3128"})
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    load_splits("mnist", ["train"])
    assert datasets.seen == [(False, False)]
