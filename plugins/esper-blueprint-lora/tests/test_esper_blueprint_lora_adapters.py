"""Named adapters on one network, beside PEFT's: the same numbers, files that both read, and ranks under a budget."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from esper_blueprint_lora.adapters import LoraAdapters, RankBudget, ranks_by_energy, weight_energy
from esper_core.api import EsperError

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
TARGETS = ["conv", "layers.*"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, padding=1)
        self.layers = nn.ModuleList([nn.Linear(6, 12), nn.Linear(12, 5)])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1](torch.tanh(self.layers[0](torch.relu(self.conv(x)).mean((2, 3)))))


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def images(seed: int = 1) -> Tensor:
    return torch.randn(8, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


def train(model: nn.Module, parameters: list[nn.Parameter], steps: int = 8, seed: int = 2) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    x, target = images(seed), torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()
        optimizer.step()


def with_two(steps: int = 8) -> LoraAdapters:
    """A network with two adapters that have learned different things."""
    adapters = LoraAdapters(net())
    for name, seed in (("a", 2), ("b", 3)):
        torch.manual_seed(seed)
        adapters.add(name, TARGETS, rank=2)
        adapters.activate(name)
        train(adapters.model, [*adapters.parameters(name)], steps, seed)
    return adapters


def theirs() -> PeftModel:
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["conv", "layers.0", "layers.1"], lora_dropout=0.0)
    model = get_peft_model(net(), config, adapter_name="one")
    model.add_adapter("three", config)
    return model


def test_two_adapters_train_switch_and_merge_like_pefts() -> None:
    reference, adapters = theirs(), LoraAdapters(net())
    for name in ("one", "three"):
        reference.set_adapter(name)
        adapters.add(name, TARGETS, rank=2, alpha=4)
        for path, update in adapters.updates(name).items():
            layer = reference.base_model.model.get_submodule(path)
            with torch.no_grad():
                update.down.copy_(layer.lora_A[name].weight)
        adapters.activate(name)
        train(reference, [p for p in reference.parameters() if p.requires_grad], seed=len(name))
        train(adapters.model, [p for p in adapters.model.parameters() if p.requires_grad], seed=len(name))
    outputs = {}
    for name in ("one", "three"):
        reference.set_adapter(name)
        adapters.activate(name)
        outputs[name] = adapters.model(images())
        torch.testing.assert_close(outputs[name], reference(images()), **TOLERANCE)
    assert not torch.allclose(outputs["one"], outputs["three"], atol=1e-3)
    with reference.disable_adapter():
        adapters.activate()
        torch.testing.assert_close(adapters.model(images()), reference(images()), **TOLERANCE)
    reference.merge_adapter(["one", "three"])
    adapters.merge("one", "three")
    torch.testing.assert_close(adapters.model(images()), reference(images()), **TOLERANCE)


def test_peft_reads_what_is_saved_and_what_peft_saves_is_loaded(tmp_path: Path) -> None:
    adapters = with_two()
    adapters.activate("a")
    before = adapters.model(images())
    adapters.save("a", tmp_path / "ours")
    reference = PeftModel.from_pretrained(net(), str(tmp_path / "ours")).eval()
    torch.testing.assert_close(reference(images()), before, **TOLERANCE)
    reference.save_pretrained(str(tmp_path / "theirs"))
    adapters.load("again", tmp_path / "theirs")
    adapters.activate("again")
    torch.testing.assert_close(adapters.model(images()), before, **TOLERANCE)


def test_the_networks_own_weights_and_outputs_come_back() -> None:
    plain, adapters = net(), with_two()
    assert adapters.names == ("a", "b")
    state = {name: it for name, it in adapters.model.state_dict().items() if "lora_adapters" not in name}
    assert all(torch.equal(it, plain.state_dict()[name]) for name, it in state.items())
    both = (adapters.activate("a", "b"), adapters.model(images()))[1]
    adapters.merge("a", "b")
    assert (adapters.active, adapters.merged) == ((), ("a", "b"))
    torch.testing.assert_close(adapters.model(images()), both, **TOLERANCE)
    adapters.unmerge()
    assert torch.equal(adapters.model(images()), plain(images()))
    adapters.drop("a")
    adapters.activate("b")
    assert adapters.names == ("b",)
    adapters.close()
    assert torch.equal(adapters.model(images()), plain(images()))
    assert {*adapters.model.state_dict()} == {*plain.state_dict()}
    assert all(it.requires_grad for it in adapters.model.parameters())
    assert not any(module._forward_hooks for module in adapters.model.modules())


def test_an_export_is_a_plain_network_whatever_is_active() -> None:
    adapters = with_two()
    adapters.activate("a")
    expected = adapters.model(images())
    adapters.activate("b")
    plain = adapters.export("a")
    assert {*plain.state_dict()} == {*net().state_dict()}
    assert not any(module._forward_hooks for module in plain.modules())
    torch.testing.assert_close(plain(images()), expected, **TOLERANCE)
    adapters.merge("b")
    torch.testing.assert_close(adapters.export("a")(images()), expected, **TOLERANCE)


def test_only_what_is_active_is_trained() -> None:
    adapters = with_two()
    adapters.activate("a")
    assert [it.requires_grad for name in "ab" for it in adapters.parameters(name)] == [True] * 6 + [False] * 6
    before = {name: it.clone() for name, it in adapters.matrices("b").items()}
    train(adapters.model, [it for it in adapters.model.parameters() if it.requires_grad])
    assert all(torch.equal(it, before[name]) for name, it in adapters.matrices("b").items())


def _merged_twice(it: LoraAdapters) -> None:
    it.merge("a")
    it.merge("b")


def _dropped_merged(it: LoraAdapters) -> None:
    it.merge("a")
    it.drop("a")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda it: it.add("a", TARGETS), "no adapter can have the name"),
        (lambda it: it.add("x.y", TARGETS), "no adapter can have the name"),
        (lambda it: it.add("c", ["layers.7"]), 'no layer to adapt is called "layers.7"'),
        (lambda it: it.add("c", ["conv"], rank=0), "would change nothing"),
        (lambda it: it.add("c", ["conv"], ranks={"layers.0": 2}), "is no target"),
        (lambda it: it.add("c", ["conv"], dropout=1.0), "is no dropout"),
        (lambda it: it.activate("c"), 'there is no adapter "c"'),
        (_merged_twice, "is merged already"),
        (_dropped_merged, "is in the weights"),
        (lambda it: LoraAdapters(it.model), "holds adapters already"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(wrong: Callable[[LoraAdapters], object], says: str) -> None:
    with pytest.raises(EsperError, match=says) as error:
        wrong(with_two(steps=1))
    assert error.value.code == "E647"


def test_a_shared_weight_is_not_changed_behind_the_other_layers_back() -> None:
    model = net()
    model.tied = nn.Linear(6, 12)
    model.tied.weight = model.layers[0].weight
    adapters = LoraAdapters(model)
    adapters.add("a", ["layers.0"])
    adapters.activate("a")
    with pytest.raises(EsperError, match="nothing can be merged") as error:
        adapters.merge("a")
    assert error.value.code == "E647"
    assert torch.equal(model.layers[0].weight, net().layers[0].weight)


def test_a_layer_whose_path_is_the_end_of_another_ones_is_loaded_alone(tmp_path: Path) -> None:
    with_two(steps=1).save("a", tmp_path)
    model = net()
    model.block = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3, groups=2)})
    adapters = LoraAdapters(model)
    adapters.load("a", tmp_path)
    assert adapters.ranks("a") == {"conv": 2, "layers.0": 2, "layers.1": 2}


def test_patterns_of_a_configuration_are_read_as_peft_reads_them(tmp_path: Path) -> None:
    with_two(steps=1).save("a", tmp_path)
    told(tmp_path, lora_alpha=2, alpha_pattern={r"layers\.\d+": 6, "onv": 8})
    adapters = LoraAdapters(net())
    adapters.load("a", tmp_path)
    assert {path: it.scale for path, it in adapters.updates("a").items()} == {
        "conv": 1.0,
        "layers.0": 3.0,
        "layers.1": 3.0,
    }


def test_the_same_name_twice_counts_once() -> None:
    adapters = with_two()
    adapters.activate("a")
    once = adapters.model(images())
    adapters.activate("a", "a")
    assert torch.equal(adapters.model(images()), once)
    torch.testing.assert_close(adapters.export("a", "a")(images()), once, **TOLERANCE)
    adapters.merge("a", "a")
    torch.testing.assert_close(adapters.model(images()), once, **TOLERANCE)


def test_an_adapter_that_was_half_written_over_another_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters, replace = with_two(steps=1), Path.replace
    adapters.save("a", tmp_path)

    def killed(path: Path, target: Path) -> Path:
        if target.name == "adapter_config.json":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        adapters.save("b", tmp_path)
    with pytest.raises(EsperError) as error:
        adapters.load("c", tmp_path)
    assert error.value.code == "E648"


def told(folder: Path, **changes: object) -> None:
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"lora_dropout": "much"},
        {"lora_dropout": 1.0},
        {"alpha_pattern": ["conv"]},
        {"alpha_pattern": {"(": 4}},
    ],
)
def test_a_configuration_that_is_not_understood_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    adapters = with_two(steps=1)
    adapters.save("a", tmp_path)
    told(tmp_path, **changes)
    with pytest.raises(EsperError) as error:
        adapters.load("c", tmp_path)
    assert error.value.code == "E648"
    assert adapters.names == ("a", "b")


@pytest.mark.parametrize("wrong", ["missing", "damaged", "other"])
def test_files_that_are_not_understood_are_refused(tmp_path: Path, wrong: str) -> None:
    adapters, other = with_two(steps=1), LoraAdapters(nn.Sequential(nn.Linear(3, 4)))
    adapters.save("a", tmp_path)
    if wrong == "missing":
        (tmp_path / "adapter_model.safetensors").unlink()
    elif wrong == "damaged":
        (tmp_path / "adapter_model.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(EsperError) as error:
        (other if wrong == "other" else adapters).load("c", tmp_path)
    assert error.value.code == "E648"
    assert adapters.names == ("a", "b")


def budgeted(parameters: int, **options: float) -> tuple[LoraAdapters, RankBudget, torch.optim.Optimizer]:
    adapters = LoraAdapters(net())
    torch.manual_seed(5)
    adapters.add("a", TARGETS, rank=3)
    adapters.activate("a")
    optimizer = torch.optim.AdamW(adapters.parameters("a"), lr=1e-2)
    return adapters, RankBudget(adapters, "a", parameters, **options), optimizer


def step(adapters: LoraAdapters, budget: RankBudget, optimizer: torch.optim.Optimizer, seed: int) -> None:
    optimizer.zero_grad()
    target = torch.randn(8, 5, generator=torch.Generator().manual_seed(7)) * 3
    nn.functional.mse_loss(adapters.model(images(seed)), target).backward()
    budget.observe()
    optimizer.step()


def size(adapters: LoraAdapters) -> int:
    return sum(it.numel() for it in adapters.parameters("a"))


def test_ranks_really_move_within_the_budget_and_training_goes_on() -> None:
    adapters, budget, optimizer = budgeted(177, exchange=0.3, grace=3)  # 3 * (24 + 18 + 17)
    assert size(adapters) == 177
    history = [adapters.ranks("a")]
    for _ in range(6):
        for seed in range(4):
            step(adapters, budget, optimizer, seed)
        changed = budget.reallocate(optimizer)
        now = adapters.ranks("a")
        for path, rank in now.items():
            assert rank == history[-1][path] - changed.removed.get(path, 0) + changed.added.get(path, 0)
        assert not {*changed.removed} & {*changed.added}
        history.append(now)
        assert size(adapters) <= 177
    assert any(one != history[0] for one in history)
    assert any(later[path] > one[path] for one, later in pairwise(history) for path in one)
    assert any(later[path] < one[path] for one, later in pairwise(history) for path in one)
    for parameter in adapters.parameters("a"):
        assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape
    assert len(optimizer.state) == len(optimizer.param_groups[0]["params"]) == 6


def test_growing_changes_no_output_and_a_budget_that_is_too_large_is_shrunk_to() -> None:
    adapters, budget, optimizer = budgeted(400, exchange=0.0)
    for seed in range(3):
        step(adapters, budget, optimizer, seed)
    before = adapters.model(images())
    grown = budget.reallocate(optimizer)
    assert grown.added
    assert not grown.removed
    torch.testing.assert_close(adapters.model(images()), before, **TOLERANCE)
    adapters, budget, optimizer = budgeted(80, exchange=0.0)
    for seed in range(3):
        step(adapters, budget, optimizer, seed)
    assert sum(budget.reallocate(optimizer).removed.values()) > 0
    assert size(adapters) <= 80
    assert min(adapters.ranks("a").values()) == 1


def test_an_importance_is_the_first_order_effect_of_taking_a_component_away() -> None:
    adapters, budget, optimizer = budgeted(177)
    for seed in range(3):
        step(adapters, budget, optimizer, seed)
    fresh = RankBudget(adapters, "a", 177)
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(adapters.model(images()), torch.zeros(8, 5))
    loss.backward()
    fresh.observe()
    update, index, share = adapters.updates("a")["layers.1"], 1, 1e-3
    with torch.no_grad():
        update.up[:, index] *= 1 - share
        less = nn.functional.mse_loss(adapters.model(images()), torch.zeros(8, 5))
    expected = abs(less.item() - loss.item()) / share
    assert float(fresh.importance["layers.1"][index]) == pytest.approx(expected, rel=0.05, abs=1e-4)


def test_a_budget_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(EsperError, match="no budget") as error:
        budgeted(58)
    assert error.value.code == "E649"
    _, budget, _ = budgeted(177)
    with pytest.raises(EsperError, match="does not train"):
        budget.reallocate(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))


def test_energy_is_that_of_the_mean_gradient_and_leaves_no_trace() -> None:
    model = net().requires_grad_(False)
    paths = ["conv", "layers.0", "layers.1"]
    batches = [lambda seed=seed: model(images(seed)).square().mean().backward() for seed in (0, 1)]
    found = weight_energy(model, batches, paths)
    reference = net()
    (sum(reference(images(seed)).square().mean() for seed in (0, 1)) / 2).backward()
    for path in paths:
        assert found[path] == pytest.approx(float(reference.get_submodule(path).weight.grad.square().sum()), rel=1e-4)
    assert not any(it.requires_grad or it.grad is not None for it in model.parameters())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), st.integers(0, 400))
def test_places_by_energy_stay_within_the_budget_and_waste_nothing(energies: list[float], parameters: int) -> None:
    model, costs = net(), {"conv": 18 + 6, "layers.0": 18, "layers.1": 17}
    energy = dict(zip(costs, energies, strict=True))
    ranks = ranks_by_energy(model, energy, parameters)
    spent = sum(costs[path] * rank for path, rank in ranks.items())
    assert spent <= parameters
    widths = {"conv": 6, "layers.0": 6, "layers.1": 5}
    open_ = [costs[path] for path in costs if energy[path] > 0 and ranks[path] < widths[path]]
    assert not open_ or parameters - spent < min(open_)
