"""A preset of rewards as a setting: what it stands for, and what it does not go together with."""

from pathlib import Path

import pytest

from esper_app.api import load_plugins, resolve_run
from esper_app.configuration.components import RegisteredOptions
from esper_app.configuration.config_text import config_toml
from esper_app.configuration.toml import to_toml
from esper_core.leyline.errors import EsperError
from esper_rewards_standard.presets import PRESETS


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


def rewards(plugins, file: Path | None = None, *sets, **settings):
    return resolve_run("digits", plugins, file=file, settings=settings, sets=sets).config.rewards


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_terms_with_their_weights(plugins, name):
    found = rewards(plugins, None, f"rewards.preset={name}")
    assert {term.name: term.weight for term in found.terms} == {it: s["weight"] for it, s in PRESETS[name].items()}
    assert found.preset == name
    assert all(term.options is not None for term in found.terms)


def test_it_is_written_down_by_its_name_and_read_back(plugins, tmp_path):
    resolved = resolve_run("digits", plugins, sets=["rewards.preset=sparse", "rewards.gamma=0.9"])
    file = tmp_path / "config.toml"
    file.write_text(config_toml(resolved))
    assert "terms" not in resolved.config.tree()["rewards"]
    assert resolve_run(None, plugins, file=file).config == resolved.config


def test_the_stronger_layer_decides_between_a_preset_and_terms(plugins, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(to_toml({"rewards": {"terms": [{"name": "rent", "weight": 2.0}]}}, lambda path: ""))
    assert [it.name for it in rewards(plugins, file).terms] == ["rent"]
    assert rewards(plugins, file, "rewards.preset=sparse").preset == "sparse"
    file.write_text('[rewards]\npreset = "sparse"\n')
    found = rewards(plugins, file, 'rewards.terms=[{name = "rent"}]')
    assert (found.preset, [it.name for it in found.terms]) == (None, ["rent"])
    file.write_text('[rewards]\npreset = "sparse"\nterms = [{ name = "rent" }]\n')
    with pytest.raises(EsperError, match="beside a preset") as refused:
        rewards(plugins, file)
    assert refused.value.code == "E202"


def test_an_unknown_preset_is_refused_with_the_nearest(plugins):
    with pytest.raises(EsperError, match='no preset "sparce"') as refused:
        rewards(plugins, None, "rewards.preset=sparce")
    assert (refused.value.code, refused.value.fix) == ("E204", 'did you mean "sparse"?')
    assert refused.value.where == "the command line"


def test_two_distributions_may_offer_one_name(tmp_path):
    other = tmp_path / "other_rewards.py"
    other.write_text(
        "from esper_core.hooks import hookimpl\nfrom esper_core.specs import RewardTermSpec\n"
        'ESPER_API = "2.0"\n@hookimpl\ndef esper_reward_terms():\n'
        '    yield RewardTermSpec(name="rent", summary="Another.", low=-1.0, high=0.0,\n'
        '        factory="esper_rewards_standard.costs:Rent", config="esper_rewards_standard.config:RentConfig",\n'
        '        presets={"sparse": {"weight": 7.0}, "mine": {"weight": 1.0}})\n'
    )
    from esper_app.api import PluginOptions, list_plugins

    options = RegisteredOptions(list_plugins(PluginOptions(plugin_path=(other,))).registry)
    assert [it["name"] for it in options.reward_preset("mine")] == ["other-rewards/rent"]
    with pytest.raises(EsperError, match="is offered by") as refused:
        options.reward_preset("sparse")
    assert refused.value.code == "E111"
    assert [it["name"] for it in options.reward_preset("esper-rewards-standard/sparse")] == ["automatic", "terminal"]
