"""A policy that is larger than a message crosses a bus in parts, and is verified as a whole."""

import hashlib
import json
from datetime import UTC, datetime

import pytest
import safetensors.torch
import torch

from esper_app.api import load_plugins
from esper_bus_redis.server import RedisServer
from esper_leyline_proto.learning import PolicyUpdate, PolicyValidation
from esper_messaging.reading import Reader
from esper_oona.api import LARGEST_BYTES, Publisher, Replays, Signer, keyring, open_bus
from esper_simic.api import PackedPolicy, PolicyStore, UpdateIntake, in_messages, make_update, update_draft


def packed(value, numbers=300_000):
    tensors = safetensors.torch.save({"network/weight": torch.full((numbers,), value)})
    rewards = {"gamma": 0.99, "terms": [{"name": "attribution"}]}
    card = {"policy": "ppo", "catalogue": "c", "observation": "o", "rewards": rewards}
    card["digest"] = hashlib.sha256(tensors).hexdigest()
    return PackedPolicy(card=json.dumps(card).encode(), tensors=tensors)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["sqlite", "redis"])
def test_it_becomes_the_champion_of_another_state_directory(scheme, tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setenv("ESPER_KEYS", f"k:{(b'x' * 32).hex()}")
    monkeypatch.setenv("ESPER_STATE", str(here))
    keys, plugins = keyring(here), load_plugins()
    passed = PolicyValidation(passed=True, validated_at=datetime.now(UTC), trajectories=8, mean_reward=1.0)
    first, second = packed(0.0), packed(1.0)
    root = make_update(first, None, None, keys)
    update = make_update(second, root.version, passed, keys)
    messages = in_messages(update, second)
    assert second.size > 4 * LARGEST_BYTES
    assert len(messages) == 5
    server = None if scheme == "sqlite" else RedisServer(tmp_path)
    if server is not None:
        server.start()
    try:
        bus = open_bus(f"sqlite:{tmp_path}/bus.sqlite" if server is None else server.url, plugins.registry)
        Publisher(bus, Signer(keys)).publish([*map(update_draft, messages)])
        there.mkdir()
        store, told = PolicyStore(there, keys), []
        store.add(root, first, lambda *_: None)
        store.promote(root.version, lambda *_: None)
        intake, replays = UpdateIntake(store, lambda *_: None, told.append, promote=True), Replays(there / "r.sqlite")
        handlers = {PolicyUpdate: lambda record, _: intake.take(record)}
        reader = Reader(bus, "tamiyo", "one", handlers, signer=Signer(keys), replays=replays)
        while reader.poll():
            pass
        assert not bus.dead(10)
        bus.close()
        replays.close()
    finally:
        if server is not None:
            server.kill()
    assert store.champion() == update.version
    assert store.read(update.version)[1] == second
    assert len(told) == 1
    store.close()
