"""The host `hf` through its descriptor, its options and its factory: the network that it builds, and its sites."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from attrs import evolve
from safetensors.torch import load, save
from torch import Tensor, nn

from esper_core.api import DataShape, EsperError, HostBuild, TaskKind
from esper_core.kasmina.cost import count_flops, forward_flops
from esper_core.kasmina.outputs import replace, select
from esper_core.kasmina.sites import confirm_sites
from esper_core.leyline.structure import structure
from esper_core.specs import Capability, HostSpec, Layout
from esper_host_hf.config import Attention, HfConfig
from esper_host_hf.host import build
from esper_host_hf.plugin import esper_hosts


def refusal(options: HfConfig, data: DataShape, code: str = "E402") -> str:
    """Return the message of the error that the options lead to."""
    with pytest.raises(EsperError) as caught:
        build(options, data)
    assert caught.value.code == code, caught.value
    return str(caught.value)


def fired(host: HostBuild, inputs: Tensor) -> list[tuple[str | None, tuple[int, ...]]]:
    """Run one forward pass; return the sites in the order in which they fired, with the shapes of their activations."""
    seen: list[tuple[str | None, tuple[int, ...]]] = []
    for site in host.sites:
        host.module.get_submodule(site.path).register_forward_hook(
            lambda _m, _i, out, site=site: seen.append((site.id, tuple(select(out, site.output).shape)))
        )
    host.module(inputs)
    return seen


def test_descriptor_resolves_to_the_factory_and_its_options() -> None:
    (spec,) = esper_hosts()
    assert (spec.name, spec.kind, spec.layouts) == ("hf", HostSpec.kind, {Layout.BTD})
    assert spec.factory == f"{build.__module__}:{build.__qualname__}"
    assert spec.config == f"{HfConfig.__module__}:{HfConfig.__qualname__}"


def test_descriptor_and_options_import_neither_torch_nor_transformers() -> None:
    code = """
import sys, esper_host_hf.plugin, esper_host_hf.config
list(esper_host_hf.plugin.esper_hosts())
sys.exit(' '.join({'torch', 'transformers', 'huggingface_hub'} & sys.modules.keys()) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_options_come_from_plain_data() -> None:
    data = {"architecture": "gpt2", "settings": {"n_layer": 3, "attn_pdrop": 0.0}, "attention": "eager"}
    options = structure(HfConfig, data)
    assert options.settings["n_layer"] == 3
    assert options.attention is Attention.EAGER


def test_the_logits_are_what_the_task_asks_for(any_family, make_host) -> None:
    host, data = make_host(any_family), any_family.data
    positions = data.input_shape if any_family.causal else ()
    for size in (1, 6):
        assert host.module(any_family.inputs(size)).shape == (size, *positions, data.outputs)


def test_the_logits_are_those_of_the_model_itself(any_family, make_host) -> None:
    module, inputs = make_host(any_family).module.eval(), any_family.inputs()
    name = "pixel_values" if any_family.data.kind is TaskKind.IMAGES else "input_ids"
    assert torch.allclose(module(inputs), module.model(**{name: inputs}).logits, atol=1e-6)


def test_there_is_a_site_behind_each_block(any_family, make_host) -> None:
    host, inputs = make_host(any_family), any_family.inputs()
    modules = [host.module.get_submodule(site.path) for site in host.sites]
    assert [type(module).__name__ for module in modules] == [any_family.block] * 2
    assert all(site.causal is any_family.causal and site.layout is Layout.BTD for site in host.sites)
    positions = 5 if any_family.data.kind is TaskKind.IMAGES else 8
    assert fired(host, inputs) == [(f"block{index}", (6, positions, 16)) for index in range(2)]


def test_sites_are_confirmed(any_family, make_host) -> None:
    host, inputs = make_host(any_family), any_family.inputs()
    sites = confirm_sites(host.module, host.sites, lambda module: module(inputs))
    assert [(site.id, site.order, site.width) for site in sites] == [("block0", 0, 16), ("block1", 1, 16)]


def test_a_site_says_where_in_the_output_of_a_block_the_activation_is(any_family, make_host) -> None:
    host, outputs = make_host(any_family), []
    for site in host.sites:
        host.module.get_submodule(site.path).register_forward_hook(lambda _m, _i, out: outputs.append(out))
    host.module(any_family.inputs())
    assert [site.output for site in host.sites] == [0 if isinstance(out, tuple) else None for out in outputs]


@pytest.mark.parametrize("attention", list(Attention))
def test_a_site_says_where_its_block_is_told_what_is_padding(attention: Attention, family, make_host) -> None:
    host = make_host(family, attention=attention)
    expected = "attention_mask" if family.data.kind is TaskKind.TOKENS and not family.causal else None
    assert [site.mask for site in host.sites] == [expected, expected]
    confirm_sites(host.module, host.sites, lambda module: module(family.inputs()))


@pytest.mark.parametrize("blocks", ["bert.encoder.layer.*.attention.self", "bert.encoder.layer.*.output"])
def test_a_named_submodule_has_a_mask_if_it_is_given_one(blocks: str, families, make_host) -> None:
    host = make_host(families["bert"], blocks=blocks)
    assert {site.mask for site in host.sites} == {"attention_mask" if "self" in blocks else None}


@pytest.mark.parametrize("name", ["gpt-neo", "mpnet"])
def test_some_blocks_return_a_tuple(name: str, families, make_host) -> None:
    assert [site.output for site in make_host(families[name]).sites] == [0, 0]


def test_what_a_site_puts_out_reaches_the_logits(any_family, make_host) -> None:
    host, inputs, push = make_host(any_family), any_family.inputs(), torch.randn(16)
    module = host.module.eval()
    before = module(inputs)
    for site in host.sites:

        def pushed(_module: nn.Module, _inputs: Any, output: Any, site: Any = site) -> Any:
            return replace(output, site.output, select(output, site.output) + push)

        handle = module.get_submodule(site.path).register_forward_hook(pushed)
        assert not torch.allclose(module(inputs), before)
        handle.remove()
    assert torch.equal(module(inputs), before)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neo"])
def test_a_changed_token_leaves_everything_before_it_unchanged(name: str, families, make_host) -> None:
    module, inputs = make_host(families[name]).module.eval(), families[name].inputs()
    for position in range(inputs.shape[1]):
        changed = inputs.clone()
        changed[:, position] = (changed[:, position] + 1) % 29
        before, after = module(inputs), module(changed)
        assert torch.equal(before[:, :position], after[:, :position])
        assert (before[:, position] != after[:, position]).any(-1).all()


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neo"])
def test_padding_behind_a_text_changes_nothing_in_it(name: str, families, make_host) -> None:
    module, inputs = make_host(families[name]).module.eval(), families[name].inputs()
    padded = inputs.clone()
    padded[:, 5:] = 0
    assert torch.allclose(module(padded)[:, :5], module(inputs[:, :5]), atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_padding_of_a_document_changes_nothing(name: str, families, make_host) -> None:
    module, inputs = make_host(families[name]).module.eval(), families[name].inputs()
    lengths = [2, 3, 4, 5, 7, 8]
    padded = torch.stack([row.where(torch.arange(8) < length, 0) for row, length in zip(inputs, lengths, strict=True)])
    alone = torch.cat([module(row[None, :length]) for row, length in zip(inputs, lengths, strict=True)])
    assert torch.allclose(module(padded), alone, atol=1e-5)
    assert not torch.allclose(module(inputs), alone, atol=1e-4)


def test_a_document_of_nothing_but_padding_has_finite_logits(families, make_host) -> None:
    module = make_host(families["bert"]).module.eval()
    logits = module(torch.zeros((2, 8), dtype=torch.int64))
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["gpt2", "llama", "vit", "bert"])
def test_both_implementations_of_attention_compute_the_same(name: str, families, make_host) -> None:
    family = families[name]
    logits = {}
    for attention in Attention:
        module = make_host(family, attention=attention).module.eval()
        assert module.model.config._attn_implementation == attention.value
        logits[attention] = module(family.inputs())
    assert torch.allclose(logits[Attention.SDPA], logits[Attention.EAGER], atol=1e-5)


def test_attention_is_fused_where_the_model_can(families, make_host) -> None:
    chosen = {name: make_host(families[name]).module.model.config._attn_implementation for name in ("gpt2", "gpt-neo")}
    assert chosen == {"gpt2": "sdpa", "gpt-neo": "eager"}
    options = families["gpt-neo"].options(attention="sdpa")
    assert "scaled_dot_product_attention" in refusal(options, families["gpt-neo"].data)


def test_the_same_seed_gives_the_same_host_and_another_seed_another(any_family, make_host) -> None:
    one, same, other = (make_host(any_family, seed=seed).module.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_finding_sites_leaves_the_random_state_as_the_weights_left_it(family, make_host) -> None:
    states = []
    for blocks in (None, "*.*.*", "*.*.*.*"):
        try:
            make_host(family, blocks=blocks)
        except EsperError:
            continue
        states.append(torch.get_rng_state())
    assert len(states) > 1
    assert all(torch.equal(state, states[0]) for state in states)


def test_building_leaves_training_mode_and_no_hooks(any_family, make_host) -> None:
    module = make_host(any_family).module
    assert all(part.training for part in module.modules())
    assert not any(part._forward_hooks for part in module.modules())


def test_dropout_is_declared(any_family, make_host) -> None:
    assert make_host(any_family).capabilities == ({Capability.RANDOM} if any_family.dropout else set())


def test_dropout_acts_in_training_only_and_can_be_switched_off(families, make_host) -> None:
    off = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    family = families["gpt2"]
    host, inputs = make_host(family), family.inputs()
    assert not torch.equal(host.module(inputs), host.module(inputs))
    assert torch.equal(host.module.eval()(inputs), host.module(inputs))
    plain = make_host(family, settings=off)
    assert plain.capabilities == set()
    assert torch.equal(plain.module(inputs), plain.module(inputs))
    for name in off:
        assert make_host(family, settings=off | {name: 0.5}).capabilities == {Capability.RANDOM}


def test_running_statistics_are_declared(make_host, families) -> None:
    settings = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]}
    data = evolve(families["vit"].data, input_shape=(3, 32, 32))
    options = HfConfig(architecture="resnet", settings=settings, blocks="resnet.encoder.stages")
    host = build(options, data)
    assert host.capabilities == {Capability.BATCH_STATISTICS}
    statistics = [buffer for name, buffer in host.module.named_buffers() if name.endswith("running_mean")]
    assert statistics
    assert not any(buffer.any() for buffer in statistics), "trying the network has left its mark"


def test_forward_passes_are_counted_as_they_are(any_family, make_host) -> None:
    host, inputs = make_host(any_family), any_family.inputs(1)
    counted = forward_flops(host.module, inputs[0])
    assert counted == count_flops(host.module.eval(), inputs) > 0


@pytest.mark.parametrize("attention", list(Attention))
def test_forward_passes_are_counted_with_each_implementation(family, attention: Attention, make_host) -> None:
    module, inputs = make_host(family, attention=attention).module, family.inputs(1)
    assert forward_flops(module, inputs[0]) == count_flops(module.eval(), inputs)


def test_builds_on_the_meta_device(any_family, make_host) -> None:
    real = make_host(any_family)
    with torch.device("meta"):
        host = make_host(any_family)
    assert {parameter.device.type for parameter in host.module.parameters()} == {"meta"}
    assert host.sites == real.sites
    sizes = [sum(p.numel() for p in build.module.parameters()) for build in (host, real)]
    assert sizes[0] == sizes[1]


def test_copies_and_pickles_are_independent(any_family, make_host) -> None:
    module, inputs = make_host(any_family).module.eval(), any_family.inputs()
    before = module(inputs)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(inputs), before)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(1.0)
        assert torch.equal(module(inputs), before)


def test_the_state_goes_through_a_file(any_family, make_host) -> None:
    module, inputs = make_host(any_family).module.eval(), any_family.inputs()
    other = make_host(any_family, seed=1).module.eval()
    other.load_state_dict(load(save(module.state_dict())))
    assert torch.equal(other(inputs), module(inputs))


def test_tied_weights_are_saved_once_and_stay_tied(families, make_host) -> None:
    module = make_host(families["gpt2"]).module
    state = {name: torch.randn_like(value) for name, value in module.state_dict().items()}
    assert "model.transformer.wte.weight" in state
    assert "model.lm_head.weight" not in state
    module.load_state_dict(state)
    assert module.model.lm_head.weight is module.model.transformer.wte.weight
    assert torch.equal(module.model.lm_head.weight, state["model.transformer.wte.weight"])
    untied = make_host(families["llama"]).module.state_dict()
    assert {"model.lm_head.weight", "model.model.embed_tokens.weight"} <= untied.keys()


@pytest.mark.parametrize(
    ("blocks", "paths"),
    [
        ("transformer.h", ["transformer.h.0", "transformer.h.1"]),
        ("transformer.h.*", ["transformer.h.0", "transformer.h.1"]),
        ("transformer.h.1", ["transformer.h.1"]),
        ("*.h.*.mlp", ["transformer.h.0.mlp", "transformer.h.1.mlp"]),
        ("transformer.h.0.*", [f"transformer.h.0.{part}" for part in ("ln_1", "attn", "ln_2", "mlp")]),
    ],
)
def test_blocks_name_submodules_in_the_order_in_which_they_run(
    blocks: str, paths: Sequence[str], families, make_host
) -> None:
    host, inputs = make_host(families["gpt2"], blocks=blocks), families["gpt2"].inputs()
    assert [site.path for site in host.sites] == [f"model.{path}" for path in paths]
    assert [site.id for site in host.sites] == [path.replace(".", "_") for path in paths]
    assert all(site.causal for site in host.sites)
    confirmed = confirm_sites(host.module, host.sites, lambda module: module(inputs))
    assert [site.path for site in confirmed] == [site.path for site in host.sites]
    assert {site.layout for site in confirmed} == {Layout.BTD}


def test_an_encoder_is_not_causal_in_front_of_its_first_attention(families, make_host) -> None:
    host = make_host(families["bert"], blocks="bert.encoder.layer.0.attention.self.*")
    assert host.sites
    assert not any(site.causal for site in host.sites)


def test_blocks_that_name_nothing_are_refused(families) -> None:
    message = refusal(families["gpt2"].options(blocks="transformer.layers.*"), families["gpt2"].data, "E401")
    assert "host.blocks" in message
    assert "transformer.h" in message


def test_blocks_that_never_run_are_refused_when_they_are_confirmed(families, make_host) -> None:
    family = families["llama"]
    host = make_host(family, blocks="model.layers")
    with pytest.raises(EsperError, match="never fires"):
        confirm_sites(host.module, [evolve(host.sites[0], path="model.model.layers")], lambda m: m(family.inputs()))


def test_activations_whose_first_axis_is_no_batch_are_refused(families) -> None:
    options = HfConfig(
        architecture="xlnet",
        settings={"n_layer": 2, "d_model": 16, "n_head": 2, "d_inner": 32, "mem_len": 0},
        blocks="transformer.layer.*",
    )
    assert "(8, 2, 16)" in refusal(options, families["gpt2"].data, "E401")


def test_blocks_that_run_several_times_are_no_list_of_blocks(families) -> None:
    options = evolve(families["bert"].options(settings={"embedding_size": 16}), architecture="albert")
    message = refusal(options, families["bert"].data)
    assert "runs 2 times" in message
    assert "host.blocks" in message


def test_the_experts_inside_of_a_block_are_not_taken_for_blocks(families) -> None:
    settings = dict(families["llama"].settings) | {"num_local_experts": 12, "num_experts_per_tok": 2}
    host = build(HfConfig(architecture="mixtral", settings=settings), families["llama"].data)
    assert [site.path for site in host.sites] == ["model.model.layers.0", "model.model.layers.1"]
    # Which experts run depends on values, which the meta device does not have.
    inputs = families["llama"].inputs(1)
    assert forward_flops(host.module, inputs[0]) == count_flops(host.module.eval(), inputs) > 0


def test_a_decoder_can_classify(families, make_host) -> None:
    settings = {"architectures": ["GPT2ForSequenceClassification"], "pad_token_id": 0, "vocab_size": 29}
    host = make_host(families["gpt2"], settings=settings, data=families["bert"].data)
    assert type(host.module.model).__name__ == "GPT2ForSequenceClassification"
    assert [(site.causal, site.mask) for site in host.sites] == [(True, "attention_mask")] * 2
    inputs = families["bert"].inputs()
    assert host.module(inputs).shape == (6, 5)
    padded = torch.cat([inputs[:, :5], torch.zeros_like(inputs[:, 5:])], dim=1)
    module = host.module.eval()
    assert torch.allclose(module(padded), module(inputs[:, :5]), atol=1e-6)


def test_an_encoder_that_is_told_to_be_a_decoder_predicts(families, make_host) -> None:
    settings = {"is_decoder": True, "vocab_size": 29}
    host = make_host(families["bert"], settings=settings, data=families["gpt2"].data)
    assert type(host.module.model).__name__ == "BertLMHeadModel"
    assert [site.causal for site in host.sites] == [True, True]


def test_a_model_that_sees_the_next_token_does_not_predict_it(families) -> None:
    options = families["bert"].options(settings={"architectures": ["BertLMHeadModel"], "vocab_size": 29})
    assert "must not see it" in refusal(options, families["gpt2"].data)


def test_only_named_it_is_a_small_gpt2(families) -> None:
    host = build(HfConfig(), families["gpt2"].data)
    assert type(host.module.model).__name__ == "GPT2LMHeadModel"
    assert len(host.sites) == 2
    assert sum(parameter.numel() for parameter in host.module.parameters()) < 200_000
    wider = build(HfConfig(settings={"n_embd": 32}), families["gpt2"].data)
    assert wider.module.model.config.n_embd == 32


def test_no_token_of_the_data_is_special_in_a_new_language_model(families, make_host) -> None:
    settings = {"ffn_dim": 32, "word_embed_proj_dim": 16, "hidden_size": 16, "num_attention_heads": 2}
    settings |= {"num_hidden_layers": 2, "max_position_embeddings": 16}
    host = build(HfConfig(architecture="opt", settings=settings), families["gpt2"].data)
    inputs = torch.ones((2, 8), dtype=torch.int64)  # 1 is padding to OPT
    host.module(inputs).sum().backward()
    assert host.module.model.get_input_embeddings().weight.grad[1].any()


@pytest.mark.slow
def test_compiles(family, make_host) -> None:
    module, inputs = make_host(family).module.eval(), family.inputs()
    compiled = torch.compile(module, backend="aot_eager")
    assert torch.allclose(compiled(inputs), module(inputs), atol=1e-5)
