"""What seeds, initialisations and weight decay are worth: short paired trainings, at a rate that decays at the end.

A pair has the same data in the same order, the same host at the beginning, and the same number of steps. On text the
host is a small GPT on bytes, on digits a small CNN or perceptron. Seeds are planted after 30 % of the steps, trained
straight-through for 5 % and blended in over 10 %. Printed is the validation loss of each arm and seed in nats, then
means, and differences from the first arm with their standard deviation over seeds.

    python tests/benchmarks/seed_worth.py births-text [--seeds 0-4] [--steps 1500] [--lr 5e-3] [--arms a,b]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from importlib.metadata import entry_points
from math import sqrt
from pkgutil import resolve_name
from typing import Any

import torch
from attrs import evolve, field, frozen
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from zero_born import zero_born

from esper_core.api import DataShape, SiteRequest, TaskKind
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot import bare_copy
from esper_core.kasmina.slot_set import SlotSet
from esper_core.specs import Capability
from esper_host_cnn.cnn import build as build_cnn
from esper_host_cnn.config import CnnConfig
from esper_host_transformer.config import TransformerConfig
from esper_host_transformer.gpt import build as build_gpt
from esper_task_text.config import TextConfig
from esper_task_text.tasks import text

GROWN_AT, INCUBATED, RAMP, DECAY, WARMUP = 0.3, 0.05, 0.1, 0.2, 50


@frozen(kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        layers: of the host at the beginning, where it is a GPT.
        prepare: changes the host before training.
        decay_all: weight decay for every parameter, norms, biases and gains too; else for matrices alone.
        seeds: what is planted in each slot; all at ``grown_at``, or one after the other, every ``queue`` of the steps.
        zero: seeds with zero output projections in place of a gain of zero.
    """

    layers: int = 2
    prepare: Callable[[nn.Module], None] | None = None
    decay_all: bool = False
    weight_decay: float = 0.01
    seeds: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(factory=dict)
    zero: bool = False
    grown_at: float = GROWN_AT
    queue: float = 0.0
    slots: tuple[str, ...] | None = None


@cache
def text_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return inputs and targets of training and validation."""
    task = text(TextConfig(context=64, train_sequences=16_000, validation_sequences=384))
    splits = task.load()
    return splits.train.inputs, splits.train.targets, splits.validation.inputs, splits.validation.targets


@cache
def digit_data(flat: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images, labels = images.flatten(1) if flat else images, torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, held_out = order[:1078], order[1078:]
    return images[train], labels[train], images[held_out], labels[held_out]


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(64, 16), nn.ReLU())
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))


def host_of(study: str, arm: Arm) -> tuple[nn.Module, list[SiteRequest], tuple[Tensor, Tensor, Tensor, Tensor], int]:
    """Return a fresh host, its sites, its data, and the size of a batch."""
    if study.endswith("text"):
        config = TransformerConfig(layers=arm.layers, heads=2, width=32)
        built = build_gpt(config, DataShape(kind=TaskKind.TOKENS, input_shape=(64,), outputs=257))
        return built.module, list(built.sites), text_data(), 8
    if study.endswith("images"):
        shape = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 8, 8), outputs=10)
        built = build_cnn(CnnConfig(widths=(4, 8)), shape)
        return built.module, list(built.sites), digit_data(False), 64
    return Perceptron(), [SiteRequest(path="hidden")], digit_data(True), 64


def optimizer_of(model: nn.Module, arm: Arm, lr: float) -> torch.optim.Optimizer:
    parameters = [*model.parameters()]
    groups = (
        [{"params": parameters}]
        if arm.decay_all
        else [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    )
    return torch.optim.AdamW(groups, lr=lr, weight_decay=arm.weight_decay)


@cache
def blueprint(name: str) -> Any:
    found = {}
    for point in entry_points(group="esper"):
        if point.name.startswith("blueprint-"):
            found |= {spec.name: spec for spec in point.load().esper_blueprints()}
    return found[name]


def plant(slot_set: SlotSet, slot: str, name: str, arm: Arm, lr: float, run: int) -> None:
    """Plant one seed, straight-through."""
    spec, site = blueprint(name), slot_set.sites[slot]
    config = resolve_name(spec.config)(**arm.options.get(name, {})) if spec.config else None
    shown = [bare_copy(slot_set.model.get_submodule(site.path))] * (Capability.SITE_MODULE in spec.capabilities)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + run)
        seed = resolve_name(spec.factory)(site, config, *shown)
    if arm.zero:
        seed = zero_born(name, seed, site) or seed
    random = Capability.RANDOM in spec.capabilities
    if problem := slot_set.plant(site, f"{slot}-0", seed, 1000 + run, random=random, learning_rate=lr):
        raise SystemExit(problem)
    slot_set.attach(site).enter(ForwardMode.STRAIGHT_THROUGH)


def train(study: str, arm: Arm, run: int, steps: int, lr: float) -> tuple[float, float]:
    """Train one arm; return validation loss and accuracy."""
    torch.manual_seed(run)
    model, requests, (inputs, targets, held, held_targets), batch = host_of(study, arm)
    if arm.prepare is not None:
        arm.prepare(model)
    model = prepare_root(model)
    sites = confirm_sites(model, requests, lambda m: m(inputs[:2]))
    optimizer = optimizer_of(model, arm, lr)
    slot_set = SlotSet(model, sites, optimizer)
    order = torch.Generator().manual_seed(run)
    names = [site.id for site in sites if arm.slots is None or site.id in arm.slots]
    births = {}
    for number, slot in enumerate(names[::-1] if arm.queue else names):
        births[slot] = int((arm.grown_at + number * arm.queue) * steps)
    mode = ForwardMode.OPEN if study.endswith("text") else ForwardMode.ISOLATED
    for step in range(steps):
        for slot, born in births.items():
            since = (step - born) / steps
            if arm.seeds and step == born:
                for name in arm.seeds:
                    plant(slot_set, slot, name, arm, lr, run)
            elif arm.seeds and since >= INCUBATED:
                held_slot = slot_set.slots[slot]
                if held_slot.forward_mode is ForwardMode.STRAIGHT_THROUGH:
                    held_slot.enter(mode)
                held_slot.set_alpha(min(1.0, (since - INCUBATED) / RAMP))
                if since >= INCUBATED + RAMP and held_slot.forward_mode is not ForwardMode.FOSSIL:
                    held_slot.enter(ForwardMode.FOSSIL)
        rate = lr * min(1.0, (step + 1) / WARMUP, (steps - step) / (DECAY * steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = torch.randint(len(inputs), (batch,), generator=order)
        loss = F.cross_entropy(model(inputs[rows]).flatten(0, -2), targets[rows].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(part) for part in held.split(64)]).flatten(0, -2)
        right = (outputs.argmax(-1) == held_targets.flatten()).float().mean().item()
        return F.cross_entropy(outputs, held_targets.flatten(), ignore_index=-100).item(), right


def drawn(model: nn.Module, kind: str, *, scaled: bool, bias: bool = False) -> None:
    """Draw the linear layers of a GPT again: ``torch``, ``normal`` (its variance), ``xavier`` (1 / sqrt(fan in))."""
    layers = sum(name.endswith("mlp") for name, _ in model.named_modules())
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        if kind == "torch":
            module.reset_parameters()
        else:
            std = 1 / sqrt(module.in_features * (3 if kind == "normal" else 1))
            nn.init.normal_(module.weight, std=std)
        if not bias:
            nn.init.zeros_(module.bias)
        if scaled and name.endswith("project_out"):
            with torch.no_grad():
                module.weight.mul_(1 / sqrt(2 * layers))


def gpt2(model: nn.Module) -> None:
    layers = sum(name.endswith("mlp") for name, _ in model.named_modules())
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02 / (sqrt(2 * layers) if name.endswith("project_out") else 1))
            nn.init.zeros_(module.bias)


PLAIN = Arm(prepare=partial(drawn, kind="torch", scaled=False, bias=True))
STUDIES: Mapping[str, Mapping[str, Arm]] = {
    "init-text": {
        "gpt2": Arm(prepare=gpt2),
        "torch": PLAIN,
        "torch, scaled": Arm(prepare=partial(drawn, kind="torch", scaled=True)),
        "normal": Arm(prepare=partial(drawn, kind="normal", scaled=False)),
        "normal, scaled": Arm(prepare=partial(drawn, kind="normal", scaled=True)),
        "xavier, scaled": Arm(prepare=partial(drawn, kind="xavier", scaled=True)),
    },
    "decay-text": {
        "all": evolve(PLAIN, decay_all=True),
        "matrices": PLAIN,
        "all, 0.1": evolve(PLAIN, decay_all=True, weight_decay=0.1),
        "matrices, 0.1": evolve(PLAIN, weight_decay=0.1),
    },
    "decay-images": {"all": Arm(decay_all=True), "matrices": Arm()},
    "births-text": {
        f"{name}{', zero projection' if zero else ''}": evolve(PLAIN, layers=1, seeds=(name,), zero=zero)
        for name in ("attention", "mlp")
        for zero in (False, True)
    },
    "births-images": {
        f"{name}{', zero projection' if zero else ''}": Arm(seeds=(name,), zero=zero)
        for name in ("conv-light", "conv-heavy", "depthwise", "bottleneck")
        for zero in (False, True)
    },
    "births-vectors": {"mlp": Arm(seeds=("mlp",)), "mlp, zero projection": Arm(seeds=("mlp",), zero=True)},
    "blocks-text": {
        "static, 1 layer": evolve(PLAIN, layers=1),
        "static, 2 layers": PLAIN,
        "mlp": evolve(PLAIN, layers=1, seeds=("mlp",)),
        "block": evolve(PLAIN, layers=1, seeds=("block",)),
        "block, limit 2": evolve(PLAIN, layers=1, seeds=("block",), options={"block": {"limit": 2.0}}),
        "block, no limit": evolve(PLAIN, layers=1, seeds=("block",), options={"block": {"limit": 1e6}}),
        "copy": evolve(PLAIN, layers=1, seeds=("copy",)),
    },
    "blocks-images": {
        "host": Arm(),
        "conv-heavy": Arm(seeds=("conv-heavy",)),
        "residual-block": Arm(seeds=("residual-block",)),
        "residual-block, limit 2": Arm(seeds=("residual-block",), options={"residual-block": {"limit": 2.0}}),
    },
    "slots-text": {
        "queue": evolve(PLAIN, seeds=("block",), queue=0.15, grown_at=0.2),
        "at once": evolve(PLAIN, seeds=("block",), grown_at=0.2),
    },
    "slots-images": {
        "queue": Arm(seeds=("conv-light",), queue=0.15, grown_at=0.2),
        "at once": Arm(seeds=("conv-light",), grown_at=0.2),
    },
}


def row(name: str, losses: Iterable[float], accuracies: Iterable[float], first: list[float]) -> str:
    losses, accuracies = [*losses], [*accuracies]
    against = [a - b for a, b in zip(losses, first, strict=False)]
    spread = statistics.stdev(against) if len(against) > 1 else 0.0
    better = sum(difference < 0 for difference in against)
    cells = [
        name,
        f"{statistics.mean(losses):.4f}",
        f"{100 * statistics.mean(accuracies):.2f} %",
        f"{statistics.mean(against):+.4f} ± {spread:.4f}",
        f"{better}/{len(against)}",
        " ".join(f"{loss:.4f}" for loss in losses),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--arms", help="names of arms, the first one is what others are compared with")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arms = STUDIES[arguments.study]
    names = arguments.arms.split(";") if arguments.arms else [*arms]
    print(f"{arguments.study}, {arguments.steps} steps at {arguments.lr:g}, {arguments.seeds} seeds")
    print("| arm | loss | accuracy | minus the first arm | better | losses |\n|---|---|---|---|---|---|")
    first: list[float] = []
    for name in names:
        began = time.perf_counter()
        found = [
            train(arguments.study, arms[name], run, arguments.steps, arguments.lr) for run in range(arguments.seeds)
        ]
        first = first or [loss for loss, _ in found]
        print(row(name, [loss for loss, _ in found], [right for _, right in found], first), flush=True)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
