"""Counterfactuals by forking the batch equal those of separate passes, whatever the host looks like."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import chain, combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.gated import GatedSeed
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.protocols import Split
from esper_core.leyline.sites import Site, SiteRequest
from esper_core.nn import BoundedGain
from esper_core.tolaria import fork_points
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.measuring import Setting, measure

SAMPLES, BATCH = 14, 5  # the last batch is smaller


def subsets(slots: Iterable[str]) -> list[Setting]:
    """A setting for every subset of the slots, in which the others are switched off."""
    names = list(slots)
    kept = chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
    return [{name: 0.0 for name in names if name not in present} for present in kept]


class Chain(nn.Module):
    """Convolutional blocks one after the other; every flavour of norm and memory format."""

    def __init__(self, norm: str = "group", *, channels_last: bool = False, inplace: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.blocks = nn.ModuleList(self._block(inputs, norm) for inputs in (1, 4, 4))
        self.relu = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(4, 3)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @staticmethod
    def _block(inputs: int, norm: str) -> nn.Sequential:
        norms = {"group": nn.GroupNorm(2, 4), "batch": nn.BatchNorm2d(4)}
        return nn.Sequential(nn.Conv2d(inputs, 4, 3, padding=1), norms[norm])

    def forward(self, x: Tensor) -> Tensor:
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = self.relu(block(x))
        return self.head(x.mean((2, 3)))


class Wrapped(nn.Module):
    """Returns its activation inside a tuple or a mapping, together with what the rest of the host needs as well."""

    def __init__(self, inputs: int, key: int | str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4, 3, padding=1)
        self.key = key

    def forward(self, x: Tensor) -> object:
        h = self.conv(x)
        per_sample, constant = h.mean((1, 2, 3)), torch.ones(3)
        if isinstance(self.key, str):
            return {"scale": per_sample, self.key: h, "constant": constant}
        return per_sample, h, constant


class Tuples(nn.Module):
    """A chain through `Wrapped` modules, whose own output is a mapping."""

    def __init__(self, key: int | str) -> None:
        super().__init__()
        self.key = key
        self.blocks = nn.ModuleList(Wrapped(inputs, key) for inputs in (1, 4, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for block in self.blocks:
            out = block(x)
            scale, x = (out["scale"], out["h"]) if self.key == "h" else (out[0], out[1])
            x = torch.tanh(x * scale.view(-1, 1, 1, 1))
        return {"logits": self.head(x.mean((2, 3))), "temperature": torch.ones(())}


class Layer(nn.Module):
    """A pre-norm transformer layer: two residual paths around two sites."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.attention = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (part.unsqueeze(1) for part in self.qkv(self.norms[0](x)).chunk(3, dim=-1))
        x = x + self.attention(scaled_dot_product_attention(q, k, v, attn_mask=mask).squeeze(1))
        return x + self.mlp(self.norms[1](x))


class Transformer(nn.Module):
    """Causal; where `padded`, each layer gets a mask that was made of the batch at the very beginning."""

    def __init__(self, *, padded: bool = False) -> None:
        super().__init__()
        self.padded = padded
        self.embedding = nn.Linear(6, 8)
        self.layers = nn.ModuleList(Layer(8) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(6, 6, dtype=torch.bool).tril()
        if self.padded:
            mask = mask & ((x[:, 0, :, 0] > -1.0).view(-1, 1, 1, 6) | torch.eye(6, dtype=torch.bool))
        x = self.embedding(x[:, 0])
        for layer in self.layers:
            x = layer(x, mask=mask)
        return self.head(x.mean(1))


class Bypass(Chain):
    """The first block's input goes around it at the root, so that nothing encloses both."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.blocks[0](x)) + x
        h = self.blocks[2](torch.relu(self.blocks[1](h)))
        return self.head(h.mean((2, 3)))


class Reached(nn.Module):
    """Calls a submodule past its parent, whose own forward runs later: the parent encloses the site in name only."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
        self.outer = nn.Identity()
        self.outer.add_module("inner", nn.Conv2d(4, 4, 3, padding=1))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        x = self.outer(x + torch.tanh(self.outer.inner(x)))
        return self.head(x.mean((2, 3)))


class Centred(Chain):
    """Subtracts the mean over the batch: shapes say nothing, but every sample depends on all others."""

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
            x = x - x.mean(0, keepdim=True)
        return self.head(x.mean((2, 3)))


class SequenceFirst(nn.Module):
    """(T, B, D) inside, so the batch is not the first axis at any site."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0].transpose(0, 1)
        for block in self.blocks:
            x = torch.tanh(block(x))
        return self.head(x.mean(0))


class Opaque(Chain):
    """Its output says nothing about the batch: an object that torch knows nothing of."""

    def forward(self, x: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=super().forward(x))


class Remembered(Chain):
    """Goes by the number of samples that it saw at the beginning."""

    def forward(self, x: Tensor) -> Tensor:
        samples = len(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.reshape(samples, 4, -1).mean(2))


class Particular(Chain):
    """Refuses a batch of less than four samples."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < 4:
            raise ValueError("too few")
        return super().forward(x)


class Seed(nn.Module):
    """A linear map over the width axis, normalised or not, with a gain that is not zero."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.axis = site.layout.width_axis
        self.mix = nn.Linear(site.width, site.width)
        self.gain = BoundedGain(site.width, site.layout)
        nn.init.normal_(self.gain.gain)

    def forward(self, h: Tensor) -> Tensor:
        return self.gain(torch.tanh(self.mix(h.movedim(self.axis, -1))).movedim(-1, self.axis), h)


class Fragile(Seed):
    """Not finite for a batch in which nothing is larger than `limit`; one bad sample spoils the whole."""

    limit = 0.0

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h) + torch.where(h.amax() > self.limit, 0.0, float("nan"))


def logits(outputs: Any) -> Tensor:
    if isinstance(outputs, Tensor):
        return outputs
    return outputs["logits"] if isinstance(outputs, dict) else outputs.logits


class Classes:
    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        return cross_entropy(logits(outputs), targets, reduction="none")

    def correct(self, outputs: Any, targets: Tensor) -> Tensor:
        return (logits(outputs).argmax(-1) == targets).float()


BLOCKS = tuple(f"blocks.{index}" for index in range(3))

#: Host, paths and declared output of its sites, and how many passes all subsets of the seeds take.
HOSTS = {
    "chain": (Chain, BLOCKS, None, 1),
    "channels last": (lambda: Chain(channels_last=True), BLOCKS, None, 1),
    "batch norm": (lambda: Chain("batch"), BLOCKS, None, 1),
    "in-place successor": (lambda: Chain(inplace=True), BLOCKS, None, 1),
    "tuples": (lambda: Tuples(1), BLOCKS, 1, 1),
    "mappings": (lambda: Tuples("h"), BLOCKS, "h", 1),
    "transformer, layers": (Transformer, ("layers.0", "layers.1"), None, 1),
    "transformer, inside": (Transformer, ("layers.0.attention", "layers.0.mlp", "layers.1.mlp"), None, 1),
    "transformer, padded": (lambda: Transformer(padded=True), ("layers.0.mlp", "layers.1"), None, 2),
    "bypass": (Bypass, BLOCKS, None, 2),
    "reached": (Reached, ("blocks.0", "outer.inner", "outer"), None, 4),
    "centred": (Centred, BLOCKS, None, 8),
    "sequence first": (SequenceFirst, BLOCKS, None, 8),
    "opaque": (Opaque, BLOCKS, None, 8),
    "remembered": (Remembered, BLOCKS, None, 8),
    "particular": (Particular, BLOCKS, None, 8),
}


def grown(
    name: str,
    regimes: Sequence[ForwardMode] = (ForwardMode.ISOLATED,) * 3,
    seed_class: Callable[[Site], nn.Module] = Seed,
) -> SlotSet:
    """Return a host with a live seed at every site, alphas 0.7."""
    build, paths, output, _ = HOSTS[name]
    torch.manual_seed(3)
    model = prepare_root(build())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    requests = [SiteRequest(path=path, output=output) for path in paths]
    sites = confirm_sites(model, requests, lambda m: m(data().inputs))
    slot_set = SlotSet(model, sites, torch.optim.SGD(model.parameters(), lr=0.1))
    for site, forward_mode in zip(sites, regimes, strict=False):
        assert not slot_set.plant(site, site.id, seed_class(site), stream=0, random=False, learning_rate=0.1)
        slot = slot_set.attach(site)
        slot.enter(forward_mode)
        slot.set_alpha(0.7)
    return slot_set


def data(samples: int = SAMPLES) -> Split:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(samples, 1, 6, 6, generator=generator)
    return Split(inputs=inputs, targets=torch.randint(0, 3, (samples,), generator=generator))


def separately(slot_set: SlotSet, wanted: Sequence[Setting]) -> tuple[list[Tensor], dict[str, float]]:
    """The reference: one whole pass after the other. Return losses by setting, and update ratios."""
    task, split = Classes(), data()
    sums: dict[str, list[float]] = {}

    def meter(slot: str):
        def hook(module: nn.Module, args: tuple[Tensor], delta: Tensor) -> None:
            h, d = sums.get(slot, [0.0, 0.0])
            sums[slot] = [h + float(args[0].double().square().sum()), d + float(delta.double().square().sum())]

        return hook

    columns: list[list[Tensor]] = [[] for _ in wanted]
    slot_set.model.eval()
    with torch.no_grad(), ExitStack() as stack:
        for name, slot in slot_set.slots.items():
            stack.callback(slot.seed.register_forward_hook(meter(name)).remove)
        for inputs, targets in zip(split.inputs.split(BATCH), split.targets.split(BATCH), strict=True):
            for column, setting in zip(columns, wanted, strict=True):
                with slot_set.override(setting):
                    column.append(task.losses(slot_set.model(inputs), targets))
    return [torch.cat(column) for column in columns], {slot: (d / h) ** 0.5 for slot, (h, d) in sums.items()}


def assert_same(column: "array[float]", expected: Tensor) -> None:
    torch.testing.assert_close(torch.tensor([*column]), expected, rtol=0, atol=1e-6, equal_nan=True)


def assert_equals_separate_passes(slot_set: SlotSet, wanted: Sequence[Setting], forks: ForkMap | None = None) -> int:
    """Compare losses and ratios with the reference. Return the number of passes per batch."""
    measured = measure(slot_set, Classes(), data(), wanted, batch_size=BATCH, forks=forks)
    (as_it_stands, *expected), ratios = separately(slot_set, [{}, *wanted])
    assert_same(measured.metrics.sample_losses, as_it_stands)
    for column, reference in zip(measured.losses, expected, strict=True):
        assert_same(column, reference)
    assert measured.update_ratios == pytest.approx(ratios, rel=1e-4, nan_ok=True)
    return measured.passes


@pytest.mark.parametrize("name", HOSTS)
def test_all_subsets_equal_separate_passes_in_any_host(name):
    slot_set = grown(name)
    passes = assert_equals_separate_passes(slot_set, subsets(slot_set.slots))
    assert passes == HOSTS[name][3]


settings_lists = st.lists(
    st.dictionaries(st.integers(0, 2), st.sampled_from([0.0, 0.1, 0.5, 1.0]), max_size=3), max_size=5
)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from([*HOSTS]),
    regimes=st.lists(st.sampled_from(ForwardMode), min_size=1, max_size=3),
    wanted=settings_lists,
)
def test_any_settings_in_any_regimes_equal_separate_passes(name, regimes, wanted):
    slot_set = grown(name, regimes)
    slots = [*slot_set.slots]
    wanted = [{slots[i]: alpha for i, alpha in setting.items() if i < len(slots)} for setting in wanted]
    passes = assert_equals_separate_passes(slot_set, wanted)
    assert 1 <= passes <= 1 + len(wanted)


def test_leave_one_out_and_probes_of_a_chain_take_one_pass():
    slot_set = grown("chain", [ForwardMode.STRAIGHT_THROUGH, ForwardMode.OPEN, ForwardMode.FOSSIL])
    first, second, third = slot_set.slots
    assert assert_equals_separate_passes(slot_set, [{first: 0.1}, {second: 0.0}, {third: 0.0}]) == 1


@pytest.mark.parametrize("name", ["chain", "channels last", "bypass", "transformer, inside"])
def test_gated_seeds_are_forked_as_others_are(name):
    """A share belongs to a sample, so the rows of another branch do not matter to it."""

    def gated(site: Site) -> GatedSeed:
        seed = GatedSeed(Seed(site), site)
        nn.init.normal_(seed.share.score.weight)
        return seed

    slot_set = grown(name, [ForwardMode.ISOLATED, ForwardMode.FOSSIL, ForwardMode.OPEN], gated)
    assert_equals_separate_passes(slot_set, subsets(slot_set.slots))


@pytest.mark.parametrize("forward_mode", [ForwardMode.STRAIGHT_THROUGH, ForwardMode.PROBE])
def test_a_seed_in_training_does_not_act_as_it_stands(forward_mode):
    """Switching it off gives the network as it stands: no branch of its own, and its seed never runs."""
    slot_set = grown("chain", [forward_mode])
    (slot,) = slot_set.slots
    measured = measure(slot_set, Classes(), data(), [{slot: 0.0}])
    assert measured.losses[0] == measured.metrics.sample_losses
    assert measured.update_ratios == {}


def test_the_guard_of_one_branch_does_not_look_at_the_others():
    """The second seed is not finite only where the first is off, and is then left out of that branch alone."""
    slot_set = grown("chain", [ForwardMode.FOSSIL, ForwardMode.ISOLATED])
    first, second = slot_set.slots.values()
    off = {first.site.id: 0.0}
    largest = {}
    for name, setting in (("on", {}), ("off", off)):
        with torch.no_grad(), slot_set.override(setting):
            handle = second.seed.register_forward_hook(
                lambda m, args, d, name=name: largest.update({name: args[0].amax()})
            )
            slot_set.model.eval()(data().inputs[:BATCH])
            handle.remove()
    slot_set = grown("chain", [ForwardMode.FOSSIL, ForwardMode.ISOLATED], Fragile)
    slot_set.slots[first.site.id].seed.limit = -1e9
    slot_set.slots[second.site.id].seed.limit = float(min(largest.values()))
    assert largest["on"] != largest["off"]
    assert_equals_separate_passes(slot_set, [off, {second.site.id: 0.0}, {second.site.id: 1.0}])


def test_a_forked_pass_does_the_work_of_the_prefix_tree_and_no_more():
    slot_set = grown("chain", [ForwardMode.ISOLATED] * 3)
    wanted = subsets(slot_set.slots)
    forks = ForkMap()
    measure(slot_set, Classes(), data(), wanted, forks=forks)  # finds the fork points
    work = {}
    for name, settings_ in (("plain", []), ("forked", wanted)):
        with FlopCounterMode(display=False) as counter:
            measure(slot_set, Classes(), data(), settings_, forks=forks)
        work[name] = {path: sum(operations.values()) for path, operations in counter.get_flop_counts().items()}
    root = type(slot_set.model).__name__
    for path, times in {"blocks.0": 1, "blocks.1": 2, "blocks.2": 4, "head": 8}.items():
        assert work["forked"][f"{root}.{path}"] == times * work["plain"][f"{root}.{path}"]
    for slot, times in zip(slot_set.slots, (1, 2, 4), strict=True):
        path = f"{root}.esper.{slot}.seed"
        assert work["forked"][path] == times * work["plain"][path]


def test_several_alphas_share_one_update():
    slot_set = grown("chain", [ForwardMode.ISOLATED])
    (slot,) = slot_set.slots
    rows = []
    slot_set.slots[slot].seed.register_forward_hook(lambda module, args, delta: rows.append(len(delta)))
    forks = ForkMap()
    measure(slot_set, Classes(), data(), [{slot: 0.0}], forks=forks)
    rows.clear()
    measure(slot_set, Classes(), data(), [{slot: alpha} for alpha in (0.0, 0.1, 0.5, 1.0)], forks=forks)
    assert sum(rows) == SAMPLES


def test_fork_points_are_found_once():
    slot_set = grown("transformer, inside")
    wanted, forks, passes = [{slot: 0.0} for slot in slot_set.slots], ForkMap(), []
    slot_set.model.register_forward_hook(lambda *_: passes.append(1))
    measure(slot_set, Classes(), data(), wanted, batch_size=SAMPLES, forks=forks)
    assert len(passes) > 1
    passes.clear()
    measured = measure(slot_set, Classes(), data(), wanted, batch_size=SAMPLES, forks=forks)
    assert measured.passes == len(passes) == 1


def test_without_the_trial_a_forked_batch_would_be_wrong(monkeypatch):
    """What the trial guards against: shapes fit, and the numbers are those of other samples."""
    slot_set = grown("centred")
    wanted = [{slot: 0.0} for slot in slot_set.slots]
    assert assert_equals_separate_passes(slot_set, wanted) > 1
    monkeypatch.setattr(fork_points, "_agrees", lambda *_: True)
    assert measure(slot_set, Classes(), data(), wanted, batch_size=BATCH).passes == 1
    with pytest.raises(AssertionError):
        assert_equals_separate_passes(slot_set, wanted)


def test_too_few_samples_to_try_a_fork_on_take_separate_passes():
    slot_set = grown("chain")
    forks = ForkMap()
    measured = measure(slot_set, Classes(), data(2), [{slot: 0.0} for slot in slot_set.slots], forks=forks)
    assert measured.passes == 4
    assert assert_equals_separate_passes(slot_set, [{slot: 0.0} for slot in slot_set.slots], forks) == 1


def test_a_seed_that_does_not_act_yet_changes_nothing():
    slot_set = grown("chain", [ForwardMode.ISOLATED])
    planted = slot_set.sites["blocks_1"]
    slot_set.plant(planted, "later", Seed(planted), stream=0, random=False, learning_rate=0.1)
    measured = measure(slot_set, Classes(), data(), [{"blocks_1": 0.5}])
    assert measured.losses[0] == measured.metrics.sample_losses
    assert set(measured.update_ratios) == {"blocks_0"}


def test_an_override_holds_for_all_settings():
    slot_set = grown("chain")
    first, second, _ = slot_set.slots
    with slot_set.override({first: 0.0}):
        measured = measure(slot_set, Classes(), data(), [{second: 0.0}], batch_size=BATCH)
    (off, both), _ = separately(slot_set, [{first: 0.0}, {first: 0.0, second: 0.0}])
    assert_same(measured.metrics.sample_losses, off)
    assert_same(measured.losses[0], both)
