"""Policies on a small table of trainings, whose best return is known."""

from itertools import pairwise
from math import nan

import pytest
import torch
from attrs import evolve

from esper_adapter_gymnasium.table import GrowthTable
from esper_app.api import load_plugins, load_policy, rebuild_policy, save_policy
from esper_app.configuration.policy_card import FORMAT, PolicyCard
from esper_app_simic.learning import Challenger
from esper_app_simic.service import Settings, Simic
from esper_app_simic.tabular import BUNDLED, OnTable, Table
from esper_core.api import Catalogue, EsperError
from esper_core.assembling.seed_factories import seed_factory
from esper_oona.api import Keyring, open_bus
from esper_simic.api import Limits, PackedPolicy, make_update, table_failures

#: The first two blueprints of the table that comes with esper-adapter-gymnasium.
BLUEPRINTS = ("bottleneck", "conv-heavy")
GOOD = {
    "steps": 32.0,
    "optimizer steps": 16.0,
    "skipped minibatches": 0.0,
    "policy loss": -0.01,
    "value loss": 0.4,
    "entropy": 0.8,
    "kl": 0.01,
}
TERMS = [{"name": "terminal", "weight": 3.0, "options": {"rent": 0.1}}]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "small.npz"
    GrowthTable.read().part(2, 2, 8).write(path)
    return path


def saved(plugins, folder, blueprints=BLUEPRINTS, seed=0, terms=TERMS):
    entries = [seed_factory(plugins.registry, name, {}).entry for name in blueprints]
    card = PolicyCard(
        format=FORMAT,
        policy="ppo",
        options={"hidden": 16, "slot_encoding": 8, "wait_bias": 0.0, "seed": seed},
        task="digits",
        host={"name": "cnn"},
        hosts=1,
        epochs=8,
        rounds=1,
        blueprints=tuple({"name": it.name, "options": dict(it.options)} for it in entries),
        catalogue=Catalogue(tuple(entries)).digest,
        observation=None,
        rewards={"preset": None, "terms": terms, "gamma": 0.99},
        seed=0,
    )
    return save_policy(folder, "best", card, rebuild_policy(card, plugins.registry).state()).with_suffix(".json")


def test_two_policies_are_compared_on_the_same_draws_below_the_best_return(plugins, small, tmp_path):
    one, other = saved(plugins, tmp_path / "one"), saved(plugins, tmp_path / "other", seed=5)
    table = Table(OnTable(table=str(small), episodes=5), plugins)
    same, found = table.compare(one, one), table.compare(one, other)
    assert same.champion == same.challenger == found.champion != found.challenger
    assert len(found.challenger) == 5
    assert max(*found.champion, *found.challenger) <= found.best
    assert len({*found.champion}) > 1, "episodes are drawn"
    assert min(found.regrets) > 0.0
    assert table_failures(same, Limits()) == []


def test_the_best_return_is_that_of_the_reward(plugins, small, tmp_path):
    cheap, dear = ([{**TERMS[0], "options": {"rent": rent}}] for rent in (0.0, 10.0))
    table = Table(OnTable(table=str(small), episodes=1), plugins)
    best = [
        table.compare(card, card).best
        for card in (saved(plugins, tmp_path / name, terms=terms) for name, terms in (("a", cheap), ("b", dear)))
    ]
    assert all(before > after for before, after in pairwise(best))


def test_a_policy_that_has_lost_a_number_fails(plugins, small, tmp_path):
    one = saved(plugins, tmp_path / "one")
    lost = load_policy(one)
    tensors = lost.state.tensors.items()
    nothing = {name: torch.full_like(it, nan) if it.is_floating_point() else it for name, it in tensors}
    path = save_policy(tmp_path / "lost", "best", lost.card, evolve(lost.state, tensors=nothing))
    found = Table(OnTable(table=str(small), episodes=2), plugins).compare(one, path.with_suffix(".json"))
    assert table_failures(found, Limits()) == ["not finite: a return on the table is not"]


def test_a_policy_of_other_blueprints_is_refused(plugins, small, tmp_path):
    other = saved(plugins, tmp_path, blueprints=("conv-light", "depthwise"))
    with pytest.raises(EsperError, match="cannot be tried on the table") as caught:
        Table(OnTable(table=str(small)), plugins).returns(other)
    assert caught.value.code == "E643"
    assert "bottleneck" in str(caught.value)
    with pytest.raises(EsperError, match="conv-heavy"):
        Table(OnTable(table=BUNDLED), plugins).returns(other)


def test_a_table_that_is_not_there_is_named(plugins, tmp_path):
    with pytest.raises(EsperError) as caught:
        Table(OnTable(table=str(tmp_path / "none.npz")), plugins)
    assert caught.value.code == "E502"


def test_simic_asks_the_table_before_any_host_is_trained(plugins, small, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    keys = Keyring({"k": b"x" * 32})
    champion = PackedPolicy.read(saved(plugins, tmp_path / "one").parent, "best.json", "best.safetensors")
    # On its card another seed: it draws other actions, and comes to something else.
    challengers = [
        PackedPolicy.read(saved(plugins, tmp_path / f"c{seed}", seed=seed).parent, "best.json", "best.safetensors")
        for seed in range(1, 5)
    ]
    bus = open_bus(f"sqlite:{tmp_path}/bus.sqlite", plugins.registry)
    settings = Settings(on_table=OnTable(table=str(small), episodes=8))
    simic = Simic(bus, f"sqlite:{tmp_path}/bus.sqlite", tmp_path, keys, plugins, settings, lambda line: None)
    trained = []
    monkeypatch.setattr("esper_app_simic.service.returns_of", lambda card, *_: trained.append(card) or [1.0] * 8)
    try:
        update = make_update(champion, None, None, keys)
        simic.policies.add(update, champion, lambda *_: None)
        regrets = []
        for packed in challengers:
            before = len(trained)
            made = Challenger(packed=packed, figures=GOOD, changed=True, priorities={})
            found = simic._validated(update.version, made)
            one, other = (found.metrics[f"{it}mean regret on the table"] for it in ("champion's ", ""))
            assert found.passed == (other <= one)
            assert (len(trained) - before == 2) == found.passed
            assert found.passed or found.failures[0].startswith("worse on the table")
            regrets.append((one, other))
        assert {other <= one for one, other in regrets} == {True, False}, "some are better, and some are worse"
    finally:
        simic.close()
        bus.close()
