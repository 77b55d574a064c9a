"""Models of transformers that somebody else has made: what their sites are, and that they grow."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from esper_core import grow
from esper_core.api import HostBuild, Layout
from esper_core.plugins.loader import load_plugins
from esper_host_hf.plugin import esper_adapt_host


def test_a_model_has_the_sites_of_its_host(any_family, make_host) -> None:
    host = make_host(any_family)
    found = esper_adapt_host(host.module.model)
    assert [f"model.{site.path}" for site in found] == [site.path for site in host.sites]
    for name in ("id", "output", "layout", "causal"):
        assert [getattr(site, name) for site in found] == [getattr(site, name) for site in host.sites]


def test_the_plugin_is_asked_about_a_model(families, make_host) -> None:
    model = make_host(families["gpt2"]).module.model
    sites, origin = load_plugins(tolerant=True).adapt_host(model)
    assert origin.plugin == "host-hf"
    assert [site.path for site in sites] == ["transformer.h.0", "transformer.h.1"]


def test_a_model_that_is_to_grow_is_recognised(families, make_host) -> None:
    model, inputs = make_host(families["llama"]).module.model, families["llama"].inputs()
    optimizer = torch.optim.AdamW(model.parameters())
    plugins = load_plugins(tolerant=True)
    handle = grow(model, optimizer=optimizer, epochs=3, sample={"input_ids": inputs}, plugins=plugins)
    assert [(site.path, site.causal) for site in handle.growth.sites] == [
        ("model.layers.0", True),
        ("model.layers.1", True),
    ]


def test_a_model_without_a_head_has_sites(families) -> None:
    model = AutoModel.from_config(AutoConfig.for_model("bert", **families["bert"].settings))
    assert [site.path for site in esper_adapt_host(model)] == ["encoder.layer.0", "encoder.layer.1"]


@pytest.mark.parametrize("name", ["bert", "mpnet", "distilbert", "gpt2", "llama"])
def test_a_models_sites_have_its_masks(name: str, families, make_host) -> None:
    """Whether its user will pad, nobody knows: decoders are told, too."""
    assert {site.mask for site in esper_adapt_host(make_host(families[name]).module.model)} == {"attention_mask"}


def test_a_model_that_takes_no_mask_has_sites_without_one() -> None:
    config = AutoConfig.for_model("fnet", num_hidden_layers=2, hidden_size=16, intermediate_size=32, vocab_size=29)
    assert [site.mask for site in esper_adapt_host(AutoModel.from_config(config))] == [None, None]


def test_a_model_is_left_as_it_is(any_family, make_host) -> None:
    model = make_host(any_family).module.model
    model.get_submodule(next(name for name, _ in model.named_children())).eval()
    flags = [part.training for part in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    esper_adapt_host(model)
    assert [part.training for part in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_of_encoder_and_decoder_it_is_the_decoder() -> None:
    config = AutoConfig.for_model(
        "t5", d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=29, decoder_start_token_id=0
    )
    sites = esper_adapt_host(AutoModelForSeq2SeqLM.from_config(config))
    assert [(site.path, site.output, site.causal) for site in sites] == [
        ("decoder.block.0", 0, True),
        ("decoder.block.1", 0, True),
    ]


def test_a_decoder_in_half_precision_is_causal(families) -> None:
    config = AutoConfig.for_model("llama", vocab_size=29, **families["llama"].settings)
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    assert [site.causal for site in esper_adapt_host(model)] == [True, True]


@pytest.mark.parametrize("architecture", ["wav2vec2", "resnet", "albert"])
def test_a_model_without_such_blocks_is_somebody_elses(architecture: str) -> None:
    settings = {
        "wav2vec2": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
        "resnet": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
        "albert": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "embedding_size": 8},
    }
    model = AutoModel.from_config(AutoConfig.for_model(architecture, **settings[architecture]))
    assert esper_adapt_host(model) is None


@pytest.mark.parametrize(
    "model", [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)), nn.TransformerEncoderLayer(4, 2, 8)]
)
def test_other_networks_are_somebody_elses(model: nn.Module) -> None:
    assert esper_adapt_host(model) is None


def test_other_networks_cost_nothing() -> None:
    code = """
import sys
from esper_host_hf.plugin import esper_adapt_host
class PreTrainedModel: pass
class Mine(PreTrainedModel): pass
assert esper_adapt_host(Mine()) is None
sys.exit(' '.join({'torch', 'transformers'} & sys.modules.keys()) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["gpt2", "gpt-neo"])
def test_a_model_of_ones_own_grows(name: str, families, make_host, make_growth, train) -> None:
    family = families[name]
    model, inputs, targets = make_host(family).module.model.eval(), family.inputs(), family.targets()
    sites = esper_adapt_host(model)
    assert {site.layout for site in sites} == {Layout.BTD}
    growth = make_growth(HostBuild(module=model, sites=sites), inputs)
    before = model(inputs).logits
    growth.germinate("block1", "mlp", "linear", 0)
    growth.tick(0)
    assert torch.equal(model(inputs).logits, before)
    train(growth, inputs, targets, call=lambda tokens: model(tokens).logits)
    assert any(parameter.any() for parameter in growth.slot_set.slots["block1"].seed.parameters())
    growth.cull("block1", 1)
    assert not any(name.startswith("esper") for name in model.state_dict())
