"""A host of a run, trained by several processes: it is the one that a single process trains."""

import time
from types import MappingProxyType

import pytest
import torch
from attrs import evolve
from torch import nn
from torch.nn.functional import mse_loss

from esper_core.api import EsperError
from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.evidence import GateResult
from esper_core.leyline.layouts import Layout
from esper_core.leyline.protocols import DataShape, HostBuild, Split, Splits, TaskKind
from esper_core.leyline.sites import SiteRequest
from esper_core.leyline.specs import Capability
from esper_core.leyline.stages import Blend, GateLevel
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.data import BatchStream
from esper_core.tolaria.host import GrowingHost, HostPlan
from esper_distributed.ranks import Ranks
from esper_distributed.run_host import DataParallelHost
from esper_distributed.shares import SharedBatches, smallest_batch

#: The last batch of an epoch has 7 samples: shares of different sizes.
SAMPLES, BATCH = 71, 16


class Sums:
    """Predict the square of the sum of six numbers."""

    shape = DataShape(kind=TaskKind.VECTORS, input_shape=(6,), outputs=1)
    random_guess_loss = 40.0
    identity = MappingProxyType({"name": "sums"})

    def augment(self, inputs, generator):
        return inputs + 0.01 * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)

    def losses(self, outputs, targets):
        return mse_loss(outputs[:, 0], targets, reduction="none")

    def correct(self, outputs, targets):
        return ((outputs[:, 0] - targets).abs() < 1).double()


class Net(nn.Module):
    def __init__(self, norm=nn.LayerNorm, dropout=0.0):
        super().__init__()
        self.a = nn.Sequential(nn.Linear(6, 8), norm(8), nn.Tanh(), nn.Dropout(dropout))
        self.b = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.b(self.a(x)))


class Seed(nn.Module):
    """Nothing at birth."""

    def __init__(self, site):
        super().__init__()
        self.inner = nn.Linear(site.width, site.width)
        self.outer = nn.Linear(site.width, site.width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, h):
        return self.outer(torch.relu(self.inner(h)))


class OpenGate:
    consecutive_passes = 1

    def __init__(self, level):
        self.level = level

    def evaluate(self, evidence):
        return GateResult(gate=self.level, passed=True, reason="open")


def drawn(samples, seed):
    inputs = torch.randn(samples, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Split(inputs=inputs, targets=inputs.sum(1) ** 2)


def build(**options):
    sites = tuple(SiteRequest(path=name, id=name) for name in ("a", "b"))
    return HostBuild(module=Net(**options).double(), sites=sites)


def plan(incubation="ste", **options):
    entry = CatalogueEntry(name="seed", layouts=frozenset({Layout.BD, Layout.BTD}))
    return HostPlan(
        name="grown",
        build=lambda: build(**options),
        task=Sums(),
        splits=Splits(train=drawn(SAMPLES, 0), validation=drawn(40, 1), test=drawn(30, 2)),
        seed_factories={"seed": SeedFactory(entry=entry, build=Seed)},
        gates={level: OpenGate(level) for level in GateLevel},
        lifecycle=LifecycleConfig(incubation=incubation, ramp_epochs=2, embargo_epochs=1),
        limits=GrowthLimits(max_live_seeds=2, max_growth_ratio=20.0),
        optimizer=OptimizerConfig(name="adamw", lr=0.01, clip_norm=1.0),
        epochs=10,
        batch_size=BATCH,
        seed=7,
    )


#: One seed that is fossilized, and one that is culled while it acts.
SCRIPT = {
    1: Action(op=Op.GERMINATE, slot="a", blueprint="seed", blend=Blend.LINEAR),
    2: Action(op=Op.GERMINATE, slot="b", blueprint="seed", blend=Blend.LINEAR),
    5: Action(op=Op.CULL, slot="b"),
    7: Action(op=Op.FOSSILIZE, slot="a"),
}


def live(host, until=10):
    """Return what came of each epoch up to one, and the weights behind it."""
    evidence, changes = [], []
    while host.grower.epoch < until:
        applied = host.apply(SCRIPT.get(host.grower.epoch, WAIT))
        assert applied.verdict.allowed
        report = host.epoch()
        evidence.append(report.evidence)
        changes.append([(it.slot, it.target.name) for it in (*applied.transitions, *report.transitions)])
    return evidence, changes, {name: it.detach().numpy() for name, it in host.model.named_parameters()}


def shared(rank, size, parts=None, timeout=40):
    return DataParallelHost(parts or plan(), rank=rank, size=size, meet=lambda device: Ranks(timeout_seconds=timeout))


@pytest.mark.parametrize(("size", "incubation"), [(2, "ste"), pytest.param(3, "probe", marks=pytest.mark.slow)])
def test_several_processes_train_the_host_of_one(together, size, incubation):
    parts = plan(incubation)
    evidence, changes, weights = live(GrowingHost(parts))
    targets = [target for epoch in changes for _, target in epoch]
    assert {"TRAINING", "BLENDING", "PROBATIONARY", "FOSSILIZED", "CULLED"} <= {*targets}
    found = together(size, lambda rank: live(shared(rank, size, parts)))
    for one in found:
        assert not isinstance(one, BaseException), one
        assert one[0] == found[0][0], "what was measured is the same in all processes"
        assert one[1] == changes
        assert all((it == found[0][2][name]).all() for name, it in one[2].items()), "bit for bit the same"
    assert found[0][2].keys() == weights.keys()
    for name, tensor in found[0][2].items():
        assert tensor == pytest.approx(weights[name], rel=1e-8, abs=1e-10), name
    for ours, theirs in zip(found[0][0], evidence, strict=True):
        assert ours.train.samples == SAMPLES
        assert ours.train.loss == pytest.approx(theirs.train.loss, rel=1e-9)
        assert ours.train.accuracy == pytest.approx(theirs.train.accuracy)
        assert ours.validation.loss == pytest.approx(theirs.validation.loss, rel=1e-8)
        for seed, other in zip(ours.seeds, theirs.seeds, strict=True):
            assert seed.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-6, abs=1e-9)
            assert (seed.slot, seed.stage, seed.isolated) == (other.slot, other.stage, other.isolated)


def test_a_state_of_several_processes_goes_on_in_one(together):
    def work(rank):
        host = shared(rank, 2)
        live(host, 4)
        return host.capture().record, {name: it.numpy() for name, it in host.capture().tensors.items()}

    (record, tensors), (other, _) = together(2, work)
    for one in (record, other):
        one["train_seconds"] = one["measure_seconds"] = 0.0
    assert record == other
    host, alone = GrowingHost(plan()), GrowingHost(plan())
    state = host.capture()
    host.restore(evolve(state, record=record, tensors={name: torch.from_numpy(it) for name, it in tensors.items()}))
    assert live(host)[1] == live(alone)[1][4:]


def test_a_weight_that_differs_in_one_process_is_named_in_all(together):
    def work(rank):
        host = shared(rank, 2)
        live(host, 1)
        if rank == 1:
            with torch.no_grad():
                host.model.head.bias += 1e-9
        live(host, 2)

    for error in together(2, work):
        assert isinstance(error, EsperError), error
        assert error.code == "E655"
        assert error.where == "the beginning of epoch 2"
        assert "head.bias of 12 parameters differ" in error.why


def test_a_seed_that_only_one_process_has_ends_all(together):
    def work(rank):
        host = shared(rank, 2)
        live(host, 1)
        if rank == 1:
            host.apply(SCRIPT[1])
        host.epoch()

    for error in together(2, work):
        assert isinstance(error, EsperError), error
        assert error.code == "E651"
        assert "slot a: DORMANT" in error.why


def test_nobody_waits_for_a_process_whose_host_has_raised(together):
    def work(rank):
        host = shared(rank, 2)
        live(host, 1)
        if rank == 1:
            step, left = host.numerics.step, [3]

            def breaks(optimizer):
                left[0] -= 1
                if not left[0]:
                    raise ValueError("no more")
                step(optimizer)

            host.numerics.step = breaks
        host.epoch()

    lost, raised = together(2, work)
    assert isinstance(raised, ValueError), raised
    assert isinstance(lost, EsperError), lost
    assert lost.code == "E652"
    assert lost.where == "a step of epoch 2"
    assert "imed out" not in lost.why


def test_a_seed_that_fails_in_one_process_is_culled_in_all(together):
    def work(rank):
        host = shared(rank, 2)
        live(host, 2)
        if rank == 1:
            host.growth.slot_set.slots["a"].failure = "it raised RuntimeError: only here"
        return [(it.slot, it.target.name, it.reason) for it in host.epoch().transitions]

    first, second = together(2, work)
    assert first == second
    ((slot, _, reason),) = [it for it in first if it[1] == "CULLED"]
    assert slot == "a"
    assert "in rank 1: it raised RuntimeError: only here" in reason


@pytest.mark.parametrize(
    ("options", "changed", "why"),
    [
        ({"norm": nn.BatchNorm1d}, {}, '"a.1" is a BatchNorm1d'),
        ({}, {"capabilities": frozenset({Capability.FIXED_BATCH})}, "depends on the size of its batch"),
        ({}, {"batch_size": 10}, "the smallest batch of an epoch has 1 samples, and there are 2 processes"),
        ({}, {"modules": lambda slot_set: None}, "come from a store"),
    ],
)
def test_what_cannot_be_trained_in_shares_is_refused_by_name(options, changed, why):
    with pytest.raises(EsperError, match=why) as caught:
        shared(0, 2, evolve(plan(**options), **changed))
    assert caught.value.code == "E654"


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_the_batches_of_one_process_cut_up(size):
    parts = plan()
    arguments = (parts.splits.train, parts.task, BATCH, 3)
    whole = [*BatchStream(*arguments).epoch(4)]
    streams = [SharedBatches(*arguments, rank=rank, size=size) for rank in range(size)]
    with torch.random.fork_rng():
        shares, weights = zip(
            *(zip(*((it, one.weight) for it in one.epoch(4)), strict=True) for one in streams), strict=True
        )
    for batch, cut, weighed in zip(whole, zip(*shares, strict=True), zip(*weights, strict=True), strict=True):
        assert torch.equal(torch.cat([inputs for inputs, _ in cut]), batch[0])
        assert torch.equal(torch.cat([targets for _, targets in cut]), batch[1])
        assert weighed == tuple(len(targets) / len(batch[1]) for _, targets in cut)
        assert max(weighed) - min(weighed) <= 1 / len(batch[1]) + 1e-12
    assert min(len(targets) for _, targets in whole) == smallest_batch(SAMPLES, BATCH) == SAMPLES % BATCH


def test_each_process_drops_other_units_and_the_first_one_those_of_a_single_process():
    parts = plan()
    drawn_by = []
    for rank in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(11)
            batches = SharedBatches(parts.splits.train, parts.task, BATCH, 3, rank=rank, size=3).epoch(0)
            next(batches)
            drawn_by.append(torch.rand(4))
    with torch.random.fork_rng():
        torch.manual_seed(11)
        assert torch.equal(drawn_by[0], torch.rand(4))
    assert not torch.equal(drawn_by[1], drawn_by[2])
    assert not torch.equal(drawn_by[0], drawn_by[1])


def test_the_time_of_each_process_is_known_in_all_without_what_they_wait_for_each_other(together):
    class Slow(Sums):
        def augment(self, inputs, generator):
            time.sleep(0.3)
            return super().augment(inputs, generator)

    def work(rank):
        told = []

        def pace(seconds):
            told.append(seconds)
            return tuple(f"{name} is slow" for name in seconds if seconds[name] > min(seconds.values()) + 1.0)

        parts = evolve(plan(), task=Slow()) if rank else plan()
        host = DataParallelHost(
            parts, rank=rank, size=2, meet=lambda device: Ranks(timeout_seconds=40), name=f"number {rank}", pace=pace
        )
        return told, [host.epoch().notices for _ in range(2)]

    (told, notices), (others, other_notices) = together(2, work)
    assert told == others
    assert notices == other_notices == [("number 1 is slow",)] * 2
    assert [[*seconds] for seconds in told] == [["number 0", "number 1"]] * 2


def test_dropout_keeps_the_processes_alike(together):
    found = together(2, lambda rank: live(shared(rank, 2, plan(dropout=0.3)), 3)[2])
    assert all((it == found[1][name]).all() for name, it in found[0].items())
