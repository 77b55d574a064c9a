import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer

from esper_core.kasmina.groups import (
    HOST_ORIGIN,
    SEED_KEY,
    GradientSize,
    add_seed_group,
    clip_grad_norm_by_origin_,
    gradient_ratio,
    host_groups,
    remove_seed_group,
    seed_group,
    seed_ids,
    set_seed_lr,
)
from esper_core.leyline.errors import EsperError

Build = Callable[[list[dict[str, Any]]], Optimizer]

OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda groups: SGD(groups, lr=0.1, weight_decay=1e-3),
    "sgd-foreach": lambda groups: SGD(groups, lr=0.1, momentum=0.9, foreach=True),
    "sgd-momentum": lambda groups: SGD(groups, lr=0.1, momentum=0.9, dampening=0.1, foreach=False),
    "sgd-nesterov": lambda groups: SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "sgd-fused": lambda groups: SGD(groups, lr=0.1, momentum=0.9, fused=True),
    "adam": lambda groups: Adam(groups, lr=0.01, foreach=False),
    "adam-foreach": lambda groups: Adam(groups, lr=0.01, foreach=True),
    "adam-tensor-lr": lambda groups: Adam(groups, lr=torch.tensor(0.01)),
    "adamw": lambda groups: AdamW(groups, lr=0.01, weight_decay=0.01, foreach=False),
    "adamw-foreach": lambda groups: AdamW(groups, lr=0.01, amsgrad=True, foreach=True),
    "adamw-fused": lambda groups: AdamW(groups, lr=0.01, fused=True),
}

every_optimizer = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


class Toy:
    """A host of two groups in an optimizer, fed with gradients that depend on the step alone."""

    def __init__(self, build: Build) -> None:
        generator = torch.Generator().manual_seed(1)
        self.host = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (4,), (2, 3, 3))]
        self.optimizer = build([{"params": self.host[:2]}, {"params": self.host[2:], "weight_decay": 0.0, "lr": 0.03}])
        self.seeds: dict[str, list[nn.Parameter]] = {}

    def germinate(self, seed_id: str, **options: Any) -> None:
        generator = torch.Generator().manual_seed(2)
        self.seeds[seed_id] = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5,), (2, 2))]
        add_seed_group(self.optimizer, seed_id, self.seeds[seed_id], **{"lr": 0.5} | options)

    def cull(self, seed_id: str) -> None:
        remove_seed_group(self.optimizer, seed_id)
        del self.seeds[seed_id]

    def step(self, number: int, clip: Callable[[Optimizer], object] | None = None) -> None:
        generator = torch.Generator().manual_seed(100 + number)
        for parameter in self.host:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for index, parameter in enumerate(p for group in self.seeds.values() for p in group):
            parameter.grad = torch.full_like(parameter, 1e6 if number % 2 else float("nan") if index else 3.0)
        (clip or (lambda optimizer: clip_grad_norm_by_origin_(optimizer, 1.0)))(self.optimizer)
        self.optimizer.step()

    def snapshot(self) -> tuple[list[Tensor], list[dict[str, Any]], list[dict[str, Any]]]:
        options = [{k: v for k, v in group.items() if k != "params"} for group in host_groups(self.optimizer)]
        states = [dict(self.optimizer.state[p]) for p in self.host if p in self.optimizer.state]
        return copy.deepcopy(([p.detach() for p in self.host], options, states))


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def grown_and_plain(build: Build, clip: Callable[[Optimizer], object] | None = None) -> tuple[Toy, Toy]:
    """Run both for 12 steps: one has seeds coming and going, the other none."""
    grown, plain = Toy(build), Toy(build)
    for number in range(12):
        if number == 2:
            grown.germinate("a")
        if number == 5:
            grown.germinate("b", weight_decay=0.0)
        if number == 8:
            grown.cull("a")
        if number == 9:
            grown.germinate("a")
        grown.step(number, clip)
        plain.step(number, clip)
        if clip is None:
            assert_same(grown.snapshot(), plain.snapshot())
    return grown, plain


@every_optimizer
def test_the_host_is_the_same_with_seeds_and_without(build: Build) -> None:
    grown, plain = grown_and_plain(build)
    assert seed_ids(grown.optimizer) == ("b", "a")
    grown.cull("b")
    grown.cull("a")
    assert_same(grown.optimizer.state_dict(), plain.optimizer.state_dict())


@every_optimizer
def test_clipping_everything_together_would_be_noticed(build: Build) -> None:
    def clip_together(optimizer: Optimizer) -> None:
        clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)

    grown, plain = grown_and_plain(build, clip_together)
    with pytest.raises(AssertionError):
        assert_same(grown.snapshot(), plain.snapshot())


@every_optimizer
def test_the_seed_is_trained_as_if_it_had_the_optimizer_to_itself(build: Build) -> None:
    toy = Toy(build)
    toy.step(1)
    toy.germinate("a", lr=0.2)
    alone = [nn.Parameter(p.detach().clone()) for p in toy.seeds["a"]]
    optimizer = build([{"params": alone, "lr": torch.tensor(0.2) if build is OPTIMIZERS["adam-tensor-lr"] else 0.2}])
    for factor in (1.0, -0.5, 2.0):
        for parameter in (*alone, *toy.seeds["a"]):
            parameter.grad = torch.full_like(parameter, factor)
        toy.optimizer.step()
        optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(alone, toy.seeds["a"], strict=True))
    assert all(p.isfinite().all() for p in alone)


@every_optimizer
def test_a_live_seed_survives_saving_and_loading(build: Build) -> None:
    toy = Toy(build)
    toy.germinate("a")
    toy.step(0)
    toy.germinate("b", weight_decay=0.0)
    toy.cull("a")
    toy.germinate("c", lr=0.25)
    for number in (1, 3, 5):
        toy.step(number)
    file = io.BytesIO()
    torch.save({"optimizer": toy.optimizer.state_dict(), "seeds": seed_ids(toy.optimizer)}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    resumed = Toy(build)
    for seed_id in saved["seeds"]:
        resumed.germinate(seed_id)
    resumed.optimizer.load_state_dict(saved["optimizer"])
    for old, new in zip(everything(toy), everything(resumed), strict=True):
        new.data.copy_(old.data)
    for number in (7, 9):
        toy.step(number)
        resumed.step(number)
    assert seed_ids(resumed.optimizer) == ("b", "c")
    assert_same([p.detach() for p in everything(resumed)], [p.detach() for p in everything(toy)])
    assert_same(resumed.optimizer.state_dict(), toy.optimizer.state_dict())


def everything(toy: Toy) -> list[nn.Parameter]:
    return [p for group in toy.optimizer.param_groups for p in group["params"]]


def adamw() -> Toy:
    return Toy(OPTIMIZERS["adamw"])


def test_removal_takes_the_seeds_state_along_and_nothing_else() -> None:
    toy = adamw()
    toy.germinate("a")
    toy.germinate("b")
    toy.step(1)
    before = toy.snapshot()
    kept = [group for group in toy.optimizer.param_groups if group.get(SEED_KEY) != "a"]
    gone = toy.seeds["a"]
    toy.cull("a")
    assert all(a is b for a, b in zip(toy.optimizer.param_groups, kept, strict=True))
    assert not any(p in toy.optimizer.state for p in gone)
    assert set(toy.optimizer.state) == {*toy.host, *toy.seeds["b"]}
    assert_same(toy.snapshot(), before)


@given(st.lists(st.sampled_from("abcd"), max_size=12))
def test_groups_keep_their_order_whatever_comes_and_goes(toggles: list[str]) -> None:
    toy = adamw()
    hosts = host_groups(toy.optimizer)
    live: list[str] = []
    for seed_id in toggles:
        if seed_id in live:
            toy.cull(seed_id)
            live.remove(seed_id)
        else:
            toy.germinate(seed_id)
            live.append(seed_id)
        assert seed_ids(toy.optimizer) == tuple(live)
        assert all(a is b for a, b in zip(toy.optimizer.param_groups, hosts, strict=False))
        assert [id(g) for g in host_groups(toy.optimizer)] == [id(g) for g in hosts]


def test_options_come_from_the_first_host_group_unless_given() -> None:
    toy = adamw()
    toy.optimizer.param_groups[0]["betas"] = (0.8, 0.95)
    toy.germinate("a", weight_decay=0.25)
    group = seed_group(toy.optimizer, "a")
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.5, (0.8, 0.95), 0.25)
    assert group.keys() == toy.optimizer.param_groups[0].keys() | {SEED_KEY}


def test_a_tensor_learning_rate_stays_one_and_is_not_shared() -> None:
    toy = Toy(OPTIMIZERS["adam-tensor-lr"])
    toy.germinate("a")
    lr = seed_group(toy.optimizer, "a")["lr"]
    set_seed_lr(toy.optimizer, "a", 0.125)
    assert seed_group(toy.optimizer, "a")["lr"] is lr
    assert float(lr) == 0.125
    assert float(toy.optimizer.param_groups[0]["lr"]) == pytest.approx(0.01)


def test_the_learning_rate_of_a_seed_is_set_by_its_id() -> None:
    toy = adamw()
    toy.germinate("a")
    toy.germinate("b")
    set_seed_lr(toy.optimizer, "b", 0.125)
    assert [group["lr"] for group in toy.optimizer.param_groups] == [0.01, 0.03, 0.5, 0.125]


def test_an_optimizer_with_names_gets_names() -> None:
    host, first, second = nn.Linear(2, 2), nn.Linear(2, 3), nn.Linear(2, 3)
    optimizer = AdamW(host.named_parameters(), lr=0.1)
    add_seed_group(optimizer, "a", first.named_parameters(prefix="esper.a"), lr=0.1)
    add_seed_group(optimizer, "b", second.parameters(), lr=0.1)
    add_seed_group(optimizer, "empty", [], lr=0.1)
    names = [group["param_names"] for group in optimizer.param_groups]
    assert names == [["weight", "bias"], ["esper.a.weight", "esper.a.bias"], ["b.0", "b.1"], []]


def test_an_optimizer_without_names_gets_none() -> None:
    toy = adamw()
    add_seed_group(toy.optimizer, "a", nn.Linear(2, 3).named_parameters(), lr=0.1)
    assert "param_names" not in seed_group(toy.optimizer, "a")


@every_optimizer
def test_a_seed_without_parameters_has_a_group_too(build: Build) -> None:
    toy = Toy(build)
    add_seed_group(toy.optimizer, "noop", [], lr=0.1)
    toy.step(1)
    assert seed_group(toy.optimizer, "noop")["params"] == []
    remove_seed_group(toy.optimizer, "noop")
    assert seed_ids(toy.optimizer) == ()


def test_an_optimizer_built_over_live_seeds_hands_them_over() -> None:
    host, seed = nn.Linear(2, 2), nn.Linear(2, 3)
    mixed = [*host.named_parameters(prefix="host"), *seed.named_parameters(prefix="seed")]
    optimizer = SGD([mixed[1], mixed[2], mixed[0], mixed[3]], lr=0.1, momentum=0.9)
    for _, parameter in mixed:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    momentum = optimizer.state[seed.bias]["momentum_buffer"]
    add_seed_group(optimizer, "a", seed.named_parameters(prefix="seed"), lr=0.1)
    left, moved = optimizer.param_groups
    assert [id(p) for p in left["params"]] == [id(host.bias), id(host.weight)]
    assert left["param_names"] == ["host.bias", "host.weight"]
    assert [id(p) for p in moved["params"]] == [id(seed.weight), id(seed.bias)]
    assert optimizer.state[seed.bias]["momentum_buffer"] is momentum


def refusal(action: Callable[[], object]) -> EsperError:
    with pytest.raises(EsperError) as caught:
        action()
    assert caught.value.code == "E406"
    return caught.value


def test_an_absent_seed_is_named_with_those_present() -> None:
    toy = adamw()
    toy.germinate("a")
    for action in (seed_group, remove_seed_group, lambda o, i: set_seed_lr(o, i, 0.1)):
        error = refusal(lambda action=action: action(toy.optimizer, "b"))
        assert '"b"' in error.what
        assert error.why is not None
        assert error.why.endswith("for: a")


@pytest.mark.parametrize("seed_id", ["a", HOST_ORIGIN])
def test_an_id_that_is_taken_is_refused_and_nothing_happens(seed_id: str) -> None:
    toy = adamw()
    toy.germinate("a")
    refusal(lambda: add_seed_group(toy.optimizer, seed_id, [nn.Parameter(torch.ones(1))], lr=0.1))
    assert len(toy.optimizer.param_groups) == 3


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    error = refusal(lambda: adamw().germinate("a", wieght_decay=0.0))
    assert error.fix == 'did you mean "weight_decay"?'


def test_an_optimizer_that_knows_no_groups_is_refused() -> None:
    optimizer = LBFGS([nn.Parameter(torch.ones(1))])
    assert "LBFGS" in str(refusal(lambda: add_seed_group(optimizer, "a", [nn.Parameter(torch.ones(1))], lr=0.1)))


def test_each_origin_is_clipped_by_its_own_norm() -> None:
    toy = adamw()
    toy.germinate("a")
    toy.germinate("b")
    for parameter in toy.host:
        parameter.grad = torch.full_like(parameter, 2.0)
    for parameter in toy.seeds["a"]:
        parameter.grad = torch.full_like(parameter, 1e-3)
    toy.seeds["b"][0].grad = torch.full((5,), float("inf"))
    norms = clip_grad_norm_by_origin_(toy.optimizer, 1.0)
    assert list(norms) == [HOST_ORIGIN, "a", "b"]
    assert norms[HOST_ORIGIN].item() == pytest.approx(2 * 34**0.5)
    assert norms["a"].item() == pytest.approx(1e-3 * 9**0.5)
    assert norms["b"].isinf()
    assert sum(p.grad.square().sum().item() for p in toy.host if p.grad is not None) == pytest.approx(1.0, rel=1e-4)
    assert all(torch.equal(p.grad, torch.full_like(p, 1e-3)) for p in toy.seeds["a"] if p.grad is not None)


def with_gradient(*gradients: Tensor | None) -> list[nn.Parameter]:
    parameters = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros(4) if gradient is None else torch.zeros_like(gradient))
        parameter.grad = gradient
        parameters.append(parameter)
    return parameters


def ratio_of(host: list[nn.Parameter], seed: list[nn.Parameter]) -> Tensor:
    return gradient_ratio(GradientSize.of(host), GradientSize.of(seed))


def test_the_gradient_ratio_is_the_ratio_of_root_mean_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    host = [torch.randn(size, generator=generator) for size in (7, 11)]
    seed = [torch.randn(size, generator=generator) for size in (3, 2)]
    expected = torch.cat(seed).square().mean().sqrt() / torch.cat(host).square().mean().sqrt()
    ratio = ratio_of(with_gradient(*host, None), with_gradient(None, *seed))
    assert ratio.item() == pytest.approx(expected.item(), rel=1e-6)
    assert not ratio.requires_grad


def test_the_gradient_ratio_holds_in_half_precision() -> None:
    large = torch.full((16,), 3e4, dtype=torch.float16)  # whose norm is beyond float16
    assert ratio_of(with_gradient(large), with_gradient(large / 2)).item() == pytest.approx(0.5)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("host", "seed"),
    [(None, 1.0), (1.0, None), (0.0, 1.0), (NAN, 1.0), (INF, 1.0), (1.0, NAN)],
)
def test_a_ratio_that_cannot_be_measured_is_nan(host: float | None, seed: float | None) -> None:
    def parameters(value: float | None) -> list[nn.Parameter]:
        return with_gradient(None if value is None else torch.full((4,), value))

    assert ratio_of(parameters(host), parameters(seed)).isnan()


def test_a_ratio_without_parameters_is_nan() -> None:
    some = with_gradient(torch.ones(3))
    assert ratio_of(some, []).isnan()
    assert ratio_of([], some).isnan()


def test_an_infinite_seed_gradient_is_seen() -> None:
    assert ratio_of(with_gradient(torch.ones(3)), with_gradient(torch.full((3,), INF))).isinf()
    assert ratio_of(with_gradient(torch.ones(3)), with_gradient(torch.zeros(3))) == 0.0
