"""One network, grown in several processes: it is the one that a single process grows."""

import os
import signal
import warnings
from functools import cache

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

import esper_growing
from esper_core.api import EsperError
from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.learning import Decision
from esper_core.leyline.stages import Blend, Stage
from esper_core.plugins.loader import load_plugins
from esper_distributed import DistributedHandle, grow

BATCH, STEPS, EPOCHS = 48, 20, 11
DATA = torch.randn(BATCH * STEPS + 240, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TARGETS = DATA[:, :1] * DATA[:, 1:2]
TRAIN = BATCH * STEPS


#: Forked processes need not look for plugins again.
installed = cache(load_plugins)


class Net(nn.Module):
    def __init__(self, norm=nn.LayerNorm):
        super().__init__()
        self.a = nn.Sequential(nn.Linear(8, 12), norm(12), nn.ReLU())
        self.b = nn.Sequential(nn.Linear(12, 12), nn.GroupNorm(3, 12), nn.ReLU())
        self.head = nn.Linear(12, 1)

    def forward(self, x):
        return self.head(self.b(self.a(x)))


class Schedule:
    """Germinates in both slots, keeps the first seed as soon as that is possible, and culls the second one."""

    def __init__(self):
        self.epoch = -1

    def reset(self, begun):
        pass

    def decide(self, situations):
        self.epoch += 1
        (situation,) = situations
        return [Decision(actions=[*self._actions(situation.masks)])]

    def _actions(self, masks):
        if self.epoch == 0:
            yield Action(op=Op.GERMINATE, slot="a", blueprint="mlp", blend=Blend.LINEAR)
            return
        if "a" in masks.fossilize:
            yield Action(op=Op.FOSSILIZE, slot="a")
        if self.epoch == 1:
            yield Action(op=Op.GERMINATE, slot="b", blueprint="mlp", blend=Blend.LINEAR)
        elif self.epoch == 5 and "b" in masks.cull:
            yield Action(op=Op.CULL, slot="b")
        elif not masks.fossilize:
            yield WAIT


def made(grower=grow, *, wrap=False, shard=False, policy=None, optimizer=torch.optim.AdamW, **more):
    torch.manual_seed(0)
    net = Net().double()
    if shard:
        for part in (net.a, net.b, net):
            fully_shard(part)
    trained = optimizer(net.parameters(), lr=1e-2)
    handle = grower(
        net,
        sites=["a", "b"],
        optimizer=trained,
        epochs=EPOCHS,
        policy=policy or Schedule(),
        blueprints=["mlp"],
        gates="permissive",
        plugins=installed(),
        settings={
            "lifecycle": {"ramp_epochs": 2, "incubation_epochs": 1},
            "limits": {"max_live_seeds": 2, "max_growth_ratio": 20.0},
        },
        **more,
    )
    return handle, DistributedDataParallel(net) if wrap else handle.model


def share(rank, size, begin, end):
    per = (end - begin) // size
    return slice(begin + rank * per, begin + (rank + 1) * per)


def epoch_of(handle, called, rank=0, size=1, clip=None, steps=3):
    handle.model.train()
    total = 0.0
    for begin in range(0, steps * BATCH, BATCH):
        mine = share(rank, size, begin, begin + BATCH)
        handle.optimizer.zero_grad()
        loss = mse_loss(called(DATA[mine]), TARGETS[mine])
        loss.backward()
        if clip == "handle":
            handle.clip_grad_norm_(0.5)
        elif clip == "torch":
            nn.utils.clip_grad_norm_(handle.model.parameters(), 0.5)
        handle.optimizer.step()
        total += loss.item() / steps
    mine = share(rank, size, TRAIN, len(DATA))
    return handle.epoch_end([(DATA[mine], TARGETS[mine])], mse_loss, train_loss=total)


def trained(rank=0, size=1, grower=grow, clip=None, **options):
    handle, called = made(grower, **options)
    outcomes = [epoch_of(handle, called, rank, size, clip, STEPS) for _ in range(EPOCHS)]
    weights = {name: it.detach().clone() for name, it in handle.model.named_parameters()}
    return (
        [[(it.slot, it.target.name) for it in outcome.transitions] for outcome in outcomes],
        [outcome.evidence.seeds for outcome in outcomes],
        {name: it.numpy() for name, it in weights.items()},
    )


def assert_alike(found, expected):
    changes, evidence, weights = found
    wanted_changes, wanted_evidence, wanted_weights = expected
    assert changes == wanted_changes
    for seeds, wanted in zip(evidence, wanted_evidence, strict=True):
        for seed, other in zip(seeds, wanted, strict=True):
            assert (seed.gradient_ratio is None) == (other.gradient_ratio is None)
            if seed.gradient_ratio is not None:
                assert seed.gradient_ratio == pytest.approx(other.gradient_ratio, rel=1e-4)
            for name in ("probe", "contribution"):
                mine, theirs = getattr(seed, name), getattr(other, name)
                assert (mine is None) == (theirs is None)
                if theirs is not None:
                    assert mine.count == theirs.count
                    assert mine.mean == pytest.approx(theirs.mean, rel=1e-3, abs=1e-7)
                    assert mine.standard_error == pytest.approx(theirs.standard_error, rel=1e-3, abs=1e-7)
    assert weights.keys() == wanted_weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(
            torch.from_numpy(tensor), torch.from_numpy(wanted_weights[name]), rtol=1e-5, atol=1e-9, msg=name
        )


@pytest.fixture(scope="module", autouse=True)
def loaded():
    installed()


@pytest.fixture(scope="module")
def alone():
    torch.set_num_threads(1)
    return cache(lambda clip: trained(grower=esper_growing.grow, clip=clip))


@pytest.mark.slow
def test_the_schedule_goes_through_the_whole_life(alone):
    changes = [change for epoch in alone("torch")[0] for change in epoch]
    for stage in ("GERMINATED", "TRAINING", "BLENDING", "PROBATIONARY", "FOSSILIZED"):
        assert ("a", stage) in changes
    for stage in ("CULLED", "EMBARGOED", "RESETTING"):
        assert ("b", stage) in changes


@pytest.mark.slow
@pytest.mark.parametrize(("size", "clip", "wrap"), [(2, "torch", True), (4, "torch", False)])
def test_several_processes_train_what_one_does(together, alone, size, clip, wrap):
    expected = alone(clip)
    found = together(size, lambda rank: trained(rank, size, clip=clip, wrap=wrap))
    for one in found:
        assert not isinstance(one, BaseException), one
        assert_alike(one, expected)
    first = found[0][2]
    for _, _, weights in found[1:]:
        assert all((weights[name] == first[name]).all() for name in first), "bit for bit the same everywhere"


def test_a_stage_that_differs_in_one_process_is_named_in_all(together):
    def work(rank):
        handle, called = made()
        for epoch in range(3):
            if epoch == 2 and rank == 1:
                handle.growth.cull("a", handle.epoch)
            epoch_of(handle, called, rank, 2)

    for error in together(2, work):
        assert isinstance(error, EsperError), error
        assert error.code == "E651"
        assert "slot a: " in error.why
        assert "CULLED" in error.why
        assert "in rank 1" in error.why
        assert "end of epoch 3" in error.where


class Own(Schedule):
    """A policy that would decide otherwise in each process."""

    def __init__(self, rank):
        super().__init__()
        self.rank = rank

    def decide(self, situations):
        if self.rank:
            raise AssertionError("only the first process is asked")
        return super().decide(situations)


@pytest.mark.slow
def test_the_first_process_decides_and_its_saved_state_takes_all_back(together):
    def work(rank):
        handle, called = made(policy=Own(rank))
        states, after = None, []
        for epoch in range(5):
            epoch_of(handle, called, rank, 2)
            if epoch == 2:
                parts = (handle, handle.model, handle.optimizer)
                states = [torch.load(_saved(part.state_dict()), weights_only=False) for part in parts]
            after.append(handle.slots[0].stage)
        for part, state in zip((handle, handle.model, handle.optimizer), states, strict=True):
            part.load_state_dict(state)
        back = handle.slots[0].stage
        epoch_of(handle, called, rank, 2)
        return after, back, handle.slots[0].stage

    for after, back, again in together(2, work):
        assert after[0] is Stage.GERMINATED or after[0] is Stage.TRAINING
        assert back is after[2]
        assert again is after[3]


def _saved(state):
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def test_a_seed_that_fails_in_one_process_is_culled_in_all(together):
    def work(rank):
        handle, called = made()
        for epoch in range(3):
            if epoch == 2 and rank == 1:
                handle.growth.slot_set.slots["a"].failure = "its forward raised RuntimeError: only here"
            outcome = epoch_of(handle, called, rank, 2)
        return [(it.slot, it.target.name, it.reason) for it in outcome.transitions if it.slot == "a"]

    first, second = together(2, work)
    assert first == second
    assert first[0][1] == "CULLED"
    assert "in rank 1: its forward raised RuntimeError: only here" in first[0][2]


def test_a_process_that_cannot_measure_or_is_gone_ends_the_others(together):
    def work(rank):
        handle, called = made(timeout_seconds=60)
        epoch_of(handle, called, rank, 2)
        try:
            handle.epoch_end([(DATA[:4], TARGETS[: 4 - rank])], mse_loss)
        except EsperError as error:
            told = error
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            handle.epoch_end([(DATA[:4], TARGETS[:4])], mse_loss)
        except EsperError as error:
            return told, error

    (measuring, gone), killed = together(2, work)
    assert killed is None
    assert measuring.code == gone.code == "E652"
    assert "rank 1" in measuring.why
    assert "end of epoch 2" in gone.where


def test_what_is_not_the_same_from_the_beginning_is_named(together):
    def work(rank):
        handle, called = made(seed=rank)
        epoch_of(handle, called, rank, 2)

    for error in together(2, work):
        assert isinstance(error, EsperError), error
        assert error.code == "E651"
        assert "sites, catalogue and seed" in error.why


def test_a_wrapper_that_was_made_around_a_seed_is_refused(together):
    def work(rank):
        handle, called = made()
        epoch_of(handle, called, rank, 2)
        wrapped = DistributedDataParallel(handle.model)
        epoch_of(handle, wrapped, rank, 2)

    for error in together(2, work):
        assert isinstance(error, EsperError), error
        assert error.code == "E653"


def test_gradients_add_up_unreduced(together):
    def work(rank):
        handle, called = made()
        mine = share(rank, 2, 0, BATCH)
        called(DATA[mine])  # begins the epoch
        handle.optimizer.zero_grad()
        with handle.no_sync():
            mse_loss(called(DATA[mine]), TARGETS[mine]).backward()
        unreduced = handle.model.head.weight.grad.clone()
        mse_loss(called(DATA[mine]), TARGETS[mine]).backward()
        return unreduced.numpy(), handle.model.head.weight.grad.numpy()

    (first, sums), (second, others) = together(2, work)
    assert (first != second).any()
    assert (sums == others).all()
    torch.testing.assert_close(torch.from_numpy(sums), torch.from_numpy(first + second))


def test_batch_norm_is_told_of(together):
    def work(rank):
        net = Net(nn.BatchNorm1d).double()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            grow(net, sites=["a"], optimizer=torch.optim.SGD(net.parameters(), lr=0.1), epochs=2)
        return [str(one.message) for one in told]

    first, second = together(2, work)
    assert "a.1 and 0 more normalise over the share of the batch" in first[0]
    assert not second


@pytest.mark.slow
def test_a_sharded_network_grows_seeds_that_are_not(together):
    """FSDP2: the topology changes at the beginning of an epoch, and nowhere else."""

    def trained_for_some(grower, rank, size):
        handle, called = made(grower, shard=size > 1)
        for _ in range(4):
            epoch_of(handle, called, rank, size, "torch" if size > 1 else "handle")
        if size > 1:
            handle.model.reshard()  # the last thing that was done is measuring
        named = {name: getattr(it, "full_tensor", lambda it=it: it)() for name, it in handle.model.named_parameters()}
        sharded = sum(isinstance(it, DTensor) for it in handle.model.parameters())
        return (
            [state.stage for state in handle.slots],
            sharded,
            {name: it.detach().numpy() for name, it in named.items()},
        )

    stages, none, expected = trained_for_some(esper_growing.grow, 0, 1)
    assert stages == [Stage.PROBATIONARY] * 2
    assert not none
    for found, sharded, weights in together(2, lambda rank: trained_for_some(grow, rank, 2)):
        assert found == stages
        assert sharded == len([name for name in weights if not name.startswith("esper.")])
        assert weights.keys() == expected.keys()
        for name, tensor in weights.items():
            torch.testing.assert_close(
                torch.from_numpy(tensor), torch.from_numpy(expected[name]), rtol=1e-5, atol=1e-9, msg=name
            )


def test_one_process_grows_as_ever():
    handle, called = made()
    assert not isinstance(handle, DistributedHandle)
    epoch_of(handle, called)
    assert handle.epoch == 1
