"""Where a model of the host `hf` comes from, and what is said of options, directories and data that make no host."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve

from esper_core.api import DataShape, EsperError, TaskKind
from esper_core.specs import Layout
from esper_host_hf.config import HfConfig
from esper_host_hf.host import build


def refusal(options: HfConfig, data: DataShape, code: str = "E402") -> str:
    """Return the message of the error that the options lead to; it says how to go on."""
    with pytest.raises(EsperError) as caught:
        build(options, data)
    assert caught.value.code == code, caught.value
    return str(caught.value)


@pytest.fixture
def saved(tmp_path: Path, make_host: Callable[..., Any]) -> Callable[..., Path]:
    """Save the model of a new host, as its user would."""

    def save(family: Any, **options: Any) -> Path:
        make_host(family, seed=5, **options).module.model.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return save


def test_a_directory_gives_the_model_back(any_family, make_host, saved) -> None:
    path, inputs = saved(any_family), any_family.inputs()
    host = build(HfConfig(path=str(path), pretrained=True), any_family.data)
    original = make_host(any_family, seed=5)
    assert torch.equal(host.module.eval()(inputs), original.module.eval()(inputs))
    assert host.sites == original.sites


def test_without_pretrained_only_the_config_counts(family, make_host, saved) -> None:
    path = saved(family)
    torch.manual_seed(8)
    new = build(HfConfig(path=str(path)), family.data).module.state_dict()
    known, other = (make_host(family, seed=seed).module.state_dict() for seed in (8, 5))
    assert all(torch.equal(new[name], known[name]) for name in known)
    assert any(not torch.equal(new[name], other[name]) for name in other)


def test_settings_replace_what_the_directory_says(families, saved) -> None:
    path = saved(families["llama"])
    host = build(HfConfig(path=str(path), settings={"num_hidden_layers": 3}), families["llama"].data)
    assert len(host.sites) == 3


def test_sizes_that_follow_from_settings_follow(families, saved) -> None:
    path = saved(families["gpt2"])
    host = build(HfConfig(path=str(path), settings={"hidden_size": 24}), families["gpt2"].data)
    assert host.module.model.config.n_embd == 24


def test_the_head_of_another_task_is_made_anew(families, make_host, saved) -> None:
    path = saved(families["vit"])
    data = evolve(families["vit"].data, outputs=7)
    torch.manual_seed(0)
    host = build(HfConfig(path=str(path), pretrained=True), data)
    original = make_host(families["vit"], seed=5).module.state_dict()
    assert host.module(families["vit"].inputs()).shape == (6, 7)
    body = {name: value for name, value in host.module.state_dict().items() if "classifier" not in name}
    assert body
    assert all(torch.equal(value, original[name]) for name, value in body.items())


def test_weights_that_would_stay_random_are_refused(families, saved) -> None:
    path = saved(families["gpt2"])
    message = refusal(HfConfig(path=str(path), pretrained=True, settings={"n_layer": 3}), families["gpt2"].data)
    assert "transformer.h.2" in message
    other_vocabulary = evolve(families["gpt2"].data, outputs=31)
    assert "wte" in refusal(HfConfig(path=str(path), pretrained=True), other_vocabulary)


def test_weights_in_half_precision_train_in_full(families, make_host, tmp_path) -> None:
    family = families["llama"]
    make_host(family, seed=5).module.model.to(torch.bfloat16).save_pretrained(tmp_path)
    host = build(HfConfig(path=str(tmp_path), pretrained=True), family.data)
    assert {p.dtype for p in host.module.parameters()} == {torch.float32}
    expected = make_host(family, seed=5).module.state_dict()
    assert all(torch.equal(value, expected[n].bfloat16().float()) for n, value in host.module.state_dict().items())


def test_a_directory_that_does_not_exist_is_named(families, tmp_path) -> None:
    message = refusal(HfConfig(path=str(tmp_path / "nowhere")), families["gpt2"].data, "E301")
    assert str(tmp_path / "nowhere" / "config.json") in message
    assert "nothing is downloaded" in message


def test_what_looks_like_a_name_on_the_hub_is_a_directory(families) -> None:
    assert "does not exist" in refusal(HfConfig(path="openai-community/gpt2"), families["gpt2"].data, "E301")


def test_a_directory_without_weights_is_named(families, saved) -> None:
    path = saved(families["gpt2"])
    (path / "model.safetensors").unlink()
    message = refusal(HfConfig(path=str(path), pretrained=True), families["gpt2"].data, "E301")
    assert "host.pretrained" in message
    assert build(HfConfig(path=str(path)), families["gpt2"].data).sites


@pytest.mark.parametrize("text", ["{", "[]", '"gpt2"'])
def test_a_damaged_config_is_named(text: str, families, tmp_path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert "config.json" in refusal(HfConfig(path=str(tmp_path)), families["gpt2"].data, "E302")


def test_damaged_weights_are_named(families, saved) -> None:
    path = saved(families["gpt2"])
    (path / "model.safetensors").write_bytes(b"\x00" * 40)
    assert "cannot be read" in refusal(HfConfig(path=str(path), pretrained=True), families["gpt2"].data, "E302")


def test_code_beside_the_weights_is_not_run(families, saved, tmp_path) -> None:
    path = saved(families["gpt2"])
    config = json.loads((path / "config.json").read_text())
    (path / "custom.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    classes = {"AutoConfig": "custom.Config", "AutoModelForCausalLM": "custom.Model"}
    (path / "config.json").write_text(json.dumps(config | {"auto_map": classes}))
    for pretrained in (False, True):
        assert build(HfConfig(path=str(path), pretrained=pretrained), families["gpt2"].data).sites
    (path / "config.json").write_text(json.dumps(config | {"auto_map": classes, "model_type": "custom"}))
    assert "is not run" in refusal(HfConfig(path=str(path)), families["gpt2"].data, "E302")
    assert not (tmp_path / "ran").exists()


def test_no_connection_is_opened(any_family, saved, monkeypatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f"a connection was opened: {args}")

    path = saved(any_family)
    for owner, name in ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
    for options in (HfConfig(path=str(path), pretrained=True), HfConfig(path=str(path)), any_family.options()):
        assert len(build(options, any_family.data).sites) == 2


def test_an_unknown_architecture_gets_the_nearest_one(families) -> None:
    message = refusal(HfConfig(architecture="lama"), families["gpt2"].data, "E202")
    assert "host.architecture" in message
    assert '"llama"' in message


def test_an_unknown_setting_gets_the_nearest_one(families) -> None:
    options = HfConfig(architecture="gpt2", settings={"n_layr": 2})
    message = refusal(options, families["gpt2"].data, "E201")
    assert "host.settings.n_layr" in message
    assert '"n_layer"' in message


@pytest.mark.parametrize("settings", [{"n_embd": 15, "n_head": 2}, {"activation_function": "none"}])
def test_settings_that_make_no_model_are_refused(settings: dict[str, Any], families) -> None:
    with pytest.raises(EsperError) as caught:
        build(families["gpt2"].options(settings=settings), families["gpt2"].data)
    assert caught.value.code in ("E202", "E402")
    assert caught.value.where == "host.settings"


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        ("gpt2", {"vocab_size": 30}, "vocab_size"),
        ("vit", {"image_size": 12}, "image_size"),
        ("vit", {"num_channels": 3}, "num_channels"),
        ("bert", {"id2label": {"0": "no", "1": "yes"}}, "id2label"),
    ],
)
def test_settings_that_contradict_the_data_are_refused(name: str, settings: dict[str, Any], key: str, families) -> None:
    message = refusal(families[name].options(settings=settings), families[name].data)
    assert f"host.settings.{key}" in message
    assert "remove the setting" in message


def test_settings_that_agree_with_the_data_are_welcome(families, make_host) -> None:
    assert make_host(families["gpt2"], settings={"vocab_size": 29}).sites
    assert make_host(families["vit"], settings={"image_size": 8, "num_channels": 1}).sites


@pytest.mark.parametrize(("shape", "patch"), [((1, 9, 8), 4), ((1, 8, 10), 4), ((3, 28, 28), 16)])
def test_images_that_cannot_be_cut_into_patches_are_refused(shape, patch: int, families) -> None:
    data = evolve(families["vit"].data, input_shape=shape)
    message = refusal(families["vit"].options(settings={"patch_size": patch}), data)
    assert f"{shape[1]}x{shape[2]} pixels" in message
    assert "host.settings.patch_size" in message


def test_images_need_not_be_square(families, make_host) -> None:
    data = evolve(families["vit"].data, input_shape=(3, 8, 12))
    host = make_host(families["vit"], data=data)
    assert host.module(torch.randn(2, 3, 8, 12)).shape == (2, 5)


def test_texts_longer_than_the_positions_are_refused(families) -> None:
    data = evolve(families["gpt2"].data, input_shape=(17,))
    message = refusal(families["gpt2"].options(), data)
    assert "positions for 16 tokens" in message
    assert "host.settings.max_position_embeddings to 17" in message
    longer = families["gpt2"].options(settings={"max_position_embeddings": 17})
    assert build(longer, data).module(torch.zeros((1, 17), dtype=torch.int64)).shape == (1, 17, 29)


@pytest.mark.parametrize("length", [1, 2])
def test_short_texts_are_welcome(length: int, families, make_host) -> None:
    data = evolve(families["gpt2"].data, input_shape=(length,))
    host = make_host(families["gpt2"], data=data)
    assert [(site.causal, site.layout) for site in host.sites] == [(True, Layout.BTD)] * 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gpt2", DataShape(kind=TaskKind.IMAGES, input_shape=(1, 8, 8), outputs=5)),
        ("gpt2", DataShape(kind=TaskKind.VECTORS, input_shape=(8,), outputs=5)),
        ("gpt2", DataShape(kind=TaskKind.TOKENS, input_shape=(2, 8), outputs=5)),
        ("vit", DataShape(kind=TaskKind.TOKENS, input_shape=(8,), outputs=5)),
        ("vit", DataShape(kind=TaskKind.IMAGES, input_shape=(8, 8), outputs=5)),
    ],
)
def test_data_that_a_model_has_no_head_for_are_refused(name: str, data: DataShape, families) -> None:
    message = refusal(families[name].options(), data)
    assert str(data.kind) in message


def test_a_network_of_feature_maps_has_no_blocks(families) -> None:
    settings = {"hidden_sizes": [4, 8, 8, 8], "depths": [1, 1, 1, 1]}
    data = evolve(families["vit"].data, input_shape=(3, 32, 32))
    message = refusal(HfConfig(architecture="convnext", settings=settings), data)
    assert "(2, 4, 8, 8)" in message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"architecture": "gpt2", "path": "here"}, "architecture"),
        ({"pretrained": True}, "pretrained"),
        ({"pretrained": True, "architecture": "gpt2"}, "pretrained"),
        ({"pretrained": 1, "path": "here"}, "pretrained"),
        ({"path": 3}, "path"),
        ({"architecture": 3}, "architecture"),
        ({"blocks": ""}, "blocks"),
        ({"attention": "flash"}, "flash"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"'{named}'"):
        HfConfig(**options)
