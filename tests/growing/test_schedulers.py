import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attrs import define, field
from torch import nn
from torch.optim import SGD, AdamW, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import SWALR

from esper_core.kasmina.groups import add_seed_group, host_groups, remove_seed_group, seed_group, seed_ids, set_seed_lr
from esper_core.kasmina.schedules import restarted_cosine
from esper_core.leyline.errors import EsperError
from esper_growing.following.schedulers import KINDS, HostView, follow, peak_lr

STEPS = 24

#: What happens before which step: a seed's germination if it has no group, else its cull.
TOGGLES = {2: "a", 5: "b", 9: "a", 13: "c", 17: "b", 18: "a"}

Build = Callable[[Optimizer], LRScheduler]


def sequential(optimizer: Optimizer) -> LRScheduler:
    parts = [
        lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=4),
        lr_scheduler.StepLR(optimizer, step_size=3),
        lr_scheduler.CosineAnnealingLR(optimizer, T_max=12),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[4, 12])


def chained(optimizer: Optimizer) -> LRScheduler:
    parts = [
        lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=11),
        lr_scheduler.MultiplicativeLR(optimizer, [lambda step: 0.95, lambda step: 0.9]),
        lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(optimizer, gamma=0.99)], optimizer),
    ]
    return lr_scheduler.ChainedScheduler(parts, optimizer)


def chain_of_sequences(optimizer: Optimizer) -> LRScheduler:
    return lr_scheduler.ChainedScheduler([sequential(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.9)], optimizer)


SCHEDULERS: dict[str, Build] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, [lambda step: 0.9**step, lambda step: 1 / (1 + step)]),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, [lambda step: 0.95, lambda step: 0.9]),
    "StepLR": lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, milestones=[4, 14, 15]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, factor=0.1, total_iters=11),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=20),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, gamma=0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, total_iters=20, power=2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=7, eta_min=1e-4),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=2),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, base_lr=[0.01, 0.02], max_lr=[0.1, 0.3], step_size_up=4),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, max_lr=[0.5, 0.2], total_steps=STEPS + 1),
    "OneCycleLR-three-phase": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=0.5, total_steps=STEPS + 1, three_phase=True, cycle_momentum=False, anneal_strategy="linear"
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, min_lr=[1e-3, 2e-3], eps=1e-9),
    "ReduceLROnPlateau-one-minimum": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, cooldown=2, min_lr=1e-3),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
    "ChainedScheduler-of-sequences": chain_of_sequences,
    "SWALR": lambda o: SWALR(o, swa_lr=[0.01, 0.02], anneal_epochs=10),
}

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], Optimizer]] = {
    "sgd": lambda groups: SGD(groups, lr=0.1, momentum=0.9),
    "adamw": lambda groups: AdamW(groups, lr=0.1),
    "adamw-tensor-lr": lambda groups: AdamW(
        [group | {"lr": torch.tensor(group.get("lr", 0.1))} for group in groups], lr=torch.tensor(0.1), foreach=False
    ),
}

every_scheduler = pytest.mark.parametrize("build", SCHEDULERS.values(), ids=SCHEDULERS.keys())
every_optimizer = pytest.mark.parametrize("kind", OPTIMIZERS)


@define
class Run:
    """A training run as its owner would write it, seeds included if it is `growing`."""

    build: Build
    optimizer_kind: str = "sgd"
    growing: bool = True
    followed: bool = True
    step_number: int = 0
    born: dict[str, int] = field(factory=dict)
    optimizer: Optimizer = field(init=False)
    scheduler: LRScheduler = field(init=False)

    def __attrs_post_init__(self) -> None:
        host = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
        groups = [{"params": host[:1]}, {"params": host[1:], "lr": 0.3, "weight_decay": 0.0}]
        self.optimizer = OPTIMIZERS[self.optimizer_kind](groups)
        self.scheduler = self.build(self.optimizer)
        if self.followed:
            follow(self.scheduler, self.optimizer)

    def step(self) -> None:
        if self.growing and self.step_number in TOGGLES:
            self.toggle(TOGGLES[self.step_number])
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        self.optimizer.step()
        self.step_number += 1
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(float(self.step_number % 5 + 1))
        else:
            self.scheduler.step()

    def toggle(self, seed_id: str) -> None:
        if self.born.pop(seed_id, None) is None:
            self.germinate(seed_id, self.step_number)
        else:
            remove_seed_group(self.optimizer, seed_id)

    def germinate(self, seed_id: str, born: int) -> None:
        self.born[seed_id] = born
        add_seed_group(self.optimizer, seed_id, [nn.Parameter(torch.ones(4))], lr=0.7)

    def set_seed_lrs(self) -> None:
        for seed_id in seed_ids(self.optimizer):
            set_seed_lr(self.optimizer, seed_id, self.seed_lr(seed_id))

    def seed_lr(self, seed_id: str) -> float:
        return 0.7 * restarted_cosine(self.step_number, self.born[seed_id], STEPS)

    def schedule(self) -> Any:
        """Everything that the scheduler decides about the host, and its own state."""
        groups = [{k: plain(v) for k, v in g.items() if k != "params"} for g in host_groups(self.optimizer)]
        last = plain(self.scheduler.get_last_lr()) if hasattr(self.scheduler, "_last_lr") else None
        return groups, last, plain(comparable(self.scheduler.state_dict()))

    def host_parameters(self) -> list[list[float]]:
        return [p.tolist() for group in host_groups(self.optimizer) for p in group["params"]]


def comparable(state: Any) -> Any:
    """Functions of the schedule are made anew by every build, so they cannot be compared."""
    if isinstance(state, dict):
        return {key: comparable(value) for key, value in state.items() if not callable(value)}
    if isinstance(state, list):
        return [comparable(value) for value in state]
    return state


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@every_scheduler
@every_optimizer
def test_the_hosts_schedule_is_the_same_with_seeds_and_without(build: Build, kind: str) -> None:
    grown, plain_run = Run(build, kind), Run(build, kind, growing=False, followed=False)
    for _ in range(STEPS):
        grown.step()
        plain_run.step()
        grown.set_seed_lrs()
        assert grown.schedule() == plain_run.schedule()
        assert grown.host_parameters() == plain_run.host_parameters()
    assert seed_ids(grown.optimizer) == ("c", "a")


@every_scheduler
@every_optimizer
def test_a_seed_follows_its_own_curve_only(build: Build, kind: str) -> None:
    run = Run(build, kind)
    seen = 0
    for _ in range(STEPS):
        before = {seed_id: plain(seed_group(run.optimizer, seed_id)["lr"]) for seed_id in seed_ids(run.optimizer)}
        run.step()
        groups = {seed_id: seed_group(run.optimizer, seed_id) for seed_id in seed_ids(run.optimizer)}
        for seed_id, group in groups.items():
            assert plain(group["lr"]) == before.get(seed_id, pytest.approx(0.7))
            assert group.keys().isdisjoint({"initial_lr", "max_lr", "min_lr", "swa_lr", "max_momentum"})
        run.set_seed_lrs()
        for seed_id, group in groups.items():
            assert plain(group["lr"]) == pytest.approx(run.seed_lr(seed_id))
            seen += 1
    assert seen > STEPS


@every_scheduler
def test_a_scheduler_left_alone_would_crash_or_touch_the_seeds(build: Build) -> None:
    run = Run(build, followed=False)
    seen = set()
    try:
        for _ in range(STEPS):
            run.step()
            seen |= {seed_group(run.optimizer, seed_id)["lr"] for seed_id in seed_ids(run.optimizer)}
    except (ValueError, RuntimeError, KeyError, IndexError):
        return
    assert seen != {0.7}


@every_scheduler
@every_optimizer
@pytest.mark.parametrize("grow_first", [True, False], ids=["seeds-first", "scheduler-first"])
def test_a_run_with_live_seeds_resumes_identically(build: Build, kind: str, grow_first: bool) -> None:
    run = Run(build, kind)
    for _ in range(11):
        run.step()
        run.set_seed_lrs()
    saved = copy.deepcopy((run.scheduler.state_dict(), run.optimizer.state_dict(), run.born))
    parameters = [p.detach().clone() for group in run.optimizer.param_groups for p in group["params"]]

    resumed = Run(build, kind, step_number=11)
    if not grow_first:
        resumed.scheduler.load_state_dict(copy.deepcopy(saved[0]))
    for seed_id in (group["esper_seed"] for group in saved[1]["param_groups"] if "esper_seed" in group):
        resumed.germinate(seed_id, saved[2][seed_id])
    resumed.optimizer.load_state_dict(saved[1])
    if grow_first:
        resumed.scheduler.load_state_dict(copy.deepcopy(saved[0]))
    for old, new in zip(parameters, (p for g in resumed.optimizer.param_groups for p in g["params"]), strict=True):
        new.data.copy_(old)

    assert seed_ids(resumed.optimizer) == ("b",)
    for _ in range(11, STEPS):
        for each in (run, resumed):
            each.step()
            each.set_seed_lrs()
        assert resumed.schedule() == run.schedule()
        assert plain(resumed.optimizer.state_dict()) == plain(run.optimizer.state_dict())


def test_every_kind_has_been_tried() -> None:
    tried = {
        type(build(SGD([{"params": [nn.Parameter(torch.ones(1))]} for _ in range(2)], lr=0.1, momentum=0.9)))
        for build in SCHEDULERS.values()
    }
    assert tried == set(KINDS)


def pair() -> tuple[Optimizer, LRScheduler]:
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    follow(scheduler, optimizer)
    add_seed_group(optimizer, "a", [nn.Parameter(torch.ones(2))], lr=0.7)
    return optimizer, scheduler


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")  # a copied optimizer is not patched by torch
@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle])
def test_a_copy_is_whole_and_independent(duplicate: Callable[[Any], Any]) -> None:
    optimizer, scheduler = pair()
    twin_optimizer, twin = duplicate((optimizer, scheduler))
    twin_optimizer.step()
    twin.step()
    assert [g["lr"] for g in twin_optimizer.param_groups] == [0.05, 0.7]
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.7]
    assert twin.optimizer == twin_optimizer
    assert twin.optimizer != optimizer


def test_a_followed_scheduler_saves_primitives_only() -> None:
    _, scheduler = pair()
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == scheduler.state_dict()


def test_the_view_passes_for_the_optimizer() -> None:
    optimizer, scheduler = pair()
    view = scheduler.optimizer
    assert type(view) is HostView
    assert isinstance(view, SGD)
    assert view.__class__.__name__ == "SGD"
    assert view in [optimizer]
    assert optimizer in {view}
    assert view.defaults is optimizer.defaults
    assert [g["lr"] for g in view.param_groups] == [0.1]
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = view.no_such_thing  # type: ignore[attr-defined]


def test_following_twice_does_nothing() -> None:
    optimizer, scheduler = pair()
    view = scheduler.optimizer
    follow(scheduler, optimizer)
    assert scheduler.optimizer is view


def test_followed_schedulers_can_be_chained_later() -> None:
    optimizer, scheduler = pair()
    chain = lr_scheduler.ChainedScheduler([scheduler], optimizer)
    follow(chain, optimizer)
    optimizer.step()
    chain.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.05, 0.7]
    assert chain.get_last_lr() == [0.05]


def test_a_subclass_of_a_known_kind_is_followed() -> None:
    class Halving(lr_scheduler.ExponentialLR):
        pass

    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    scheduler = Halving(optimizer, gamma=0.5)
    follow(scheduler, optimizer)
    assert type(scheduler.optimizer) is HostView


def test_a_wrapper_that_shares_the_groups_is_the_same_optimizer() -> None:
    class Wrapper(Optimizer):
        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer = optimizer

        @property
        def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
            return self.optimizer.param_groups

    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    follow(scheduler, Wrapper(optimizer))
    assert scheduler.optimizer == optimizer


class Homemade(LRScheduler):
    def get_lr(self) -> list[Any]:
        return [0.5 * lr for lr in self.base_lrs]


def refusal(scheduler: Any, optimizer: Optimizer) -> EsperError:
    with pytest.raises(EsperError) as caught:
        follow(scheduler, optimizer)
    assert caught.value.code == "E405"
    return caught.value


def test_an_unknown_scheduler_is_refused_by_name_with_a_way_out() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    error = refusal(Homemade(optimizer), optimizer)
    assert "Homemade" in error.what
    assert error.why
    assert error.fix is not None
    assert "LambdaLR" in error.fix
    assert "scheduler=None" in error.fix


def test_something_that_is_no_scheduler_is_refused() -> None:
    assert "str" in refusal("cosine", SGD([nn.Parameter(torch.ones(2))], lr=0.1)).what


def test_an_unknown_part_is_refused_and_nothing_has_changed() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    known = lr_scheduler.StepLR(optimizer, 1)
    chain = lr_scheduler.ChainedScheduler([known, Homemade(optimizer)], optimizer)
    assert "Homemade" in refusal(chain, optimizer).what
    assert known.optimizer is optimizer
    assert chain.optimizer is optimizer


def test_the_scheduler_of_another_optimizer_is_refused() -> None:
    one, other = (SGD([nn.Parameter(torch.ones(2))], lr=0.1) for _ in range(2))
    assert "another optimizer" in str(refusal(lr_scheduler.StepLR(other, 1), one))


@pytest.mark.parametrize("name", ["StepLR", "ReduceLROnPlateau-one-minimum"])
def test_a_scheduler_built_over_live_seeds_is_refused(name: str) -> None:
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    add_seed_group(optimizer, "a", [nn.Parameter(torch.ones(2))], lr=0.7)
    error = refusal(SCHEDULERS[name](optimizer), optimizer)
    assert "2 entries" in str(error)
    assert "1 parameter groups" in str(error)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("StepLR", 0.1),
        ("SequentialLR", 0.1),
        ("OneCycleLR", 0.5),
        ("CyclicLR", 0.1),
        ("ReduceLROnPlateau", 0.1),
        ("ConstantLR", 0.1),
    ],
)
def test_a_seed_begins_with_the_hosts_highest_learning_rate(name: str, peak: float) -> None:
    run = Run(SCHEDULERS[name], growing=False)
    assert peak_lr(run.optimizer, run.scheduler) == pytest.approx(peak)


def test_the_peak_of_a_cycle_inside_of_another_scheduler_counts() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    cycle = lr_scheduler.CyclicLR(optimizer, base_lr=0.01, max_lr=0.4)
    assert peak_lr(optimizer, lr_scheduler.ChainedScheduler([cycle], optimizer)) == 0.4


def test_without_a_scheduler_the_present_learning_rate_counts() -> None:
    optimizer = AdamW([nn.Parameter(torch.ones(2))], lr=torch.tensor(0.25), foreach=False)
    assert peak_lr(optimizer) == 0.25
