"""The card beside a saved policy, as it was written and as somebody has changed it."""

import json

import pytest

from esper_app.configuration.policy_card import read_card
from esper_core.api import EsperError

TERMS = [
    {"name": "rent", "weight": 1.0, "options": {"price": 0.5}},
    {"name": "gain", "weight": 2.0, "options": {}},
]
CARD = {
    "format": 1,
    "policy": "ppo",
    "options": {"hidden": 32},
    "task": "digits",
    "host": {"name": "cnn"},
    "hosts": 2,
    "epochs": 10,
    "rounds": 3,
    "blueprints": [{"name": "conv-light", "options": {"kernel": 3}}, {"name": "lora", "options": {}}],
    "catalogue": "0" * 64,
    "observation": None,
    "rewards": {"preset": None, "terms": TERMS, "gamma": 0.9},
    "seed": 1,
}


def card(folder, **changes):
    path = folder / "best.json"
    path.write_text(json.dumps(CARD | changes))
    return path


def test_what_it_stands_for(tmp_path):
    read = read_card(card(tmp_path))
    named = {"name": "ppo", "blueprints": ["conv-light", "lora"], "hidden": 32}
    assert read.settings() == {"policy": named, "blueprints": {"conv-light": {"kernel": 3}}}
    terms = [{"name": "rent", "weight": 1.0, "price": 0.5}, {"name": "gain", "weight": 2.0}]
    assert read.reward_settings() == {"rewards.preset": None, "rewards.terms": terms, "rewards.gamma": 0.9}


def test_a_preset_stands_for_its_terms(tmp_path):
    read = read_card(card(tmp_path, rewards={"preset": "sparse", "terms": TERMS, "gamma": 0.9}))
    assert read.reward_settings() == {"rewards.preset": "sparse", "rewards.gamma": 0.9}


@pytest.mark.parametrize(
    "changes",
    [
        {"rewards": {"terms": ["1e+308"], "gamma": 0.9}},
        {"rewards": {"terms": [{"name": "rent", "options": {}}], "gamma": 0.9}},
        {"rewards": {"terms": [{"name": "rent", "weight": 1.0, "options": "../etc/passwd"}], "gamma": 0.9}},
        {"rewards": {"terms": 3, "gamma": 0.9}},
        {"rewards": {"terms": []}},
        {"rewards": []},
        {"blueprints": [{"name": "conv-light", "options": "kernel"}]},
        {"blueprints": [{}]},
        {"options": 3},
        {"task": "\ud800"},
        {"host": {"name": "cnn", "\ud800": 1}},
        {"format": 2},
    ],
)
def test_what_is_not_a_card_is_refused(tmp_path, changes):
    with pytest.raises(EsperError) as refused:
        read_card(card(tmp_path, **changes))
    assert refused.value.code == "E517"
