"""The gradients of seeds in training: whatever the loop does between backward and step, it does to the host alone."""

import gc
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

import esper_core
from esper_core.api import WAIT, Action, Blend, Decision, EsperError, Op, Stage
from esper_core.kasmina.forward_mode import ForwardMode

INPUTS = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (48,), generator=torch.Generator().manual_seed(1))
BATCHES = [*zip(INPUTS.chunk(4), LABELS.chunk(4), strict=True)]
#: A seed stays in TRAINING.
LONG = {"lifecycle": {"incubation_epochs": 9, "training_timeout_epochs": 9}}


class Always:
    """Germinates wherever it may."""

    def __init__(self, blend=Blend.LINEAR):
        self.blend = blend

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision(actions=[self._one(situation.masks)]) for situation in situations]

    def _one(self, mask):
        free = [slot for slot in mask.slots if "mlp" in mask.blueprints_for(slot)]
        return Action(op=Op.GERMINATE, slot=free[0], blueprint="mlp", blend=self.blend) if free else WAIT


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.c(self.b(torch.relu(self.a(x))))


class Training:
    """A network in a loop of one's own, with a seed in TRAINING or without Esper."""

    def __init__(self, *, grown, rate=0.1, make=torch.optim.SGD, blend=Blend.LINEAR):
        torch.manual_seed(0)
        self.model = Net()
        self.optimizer = make(self.model.parameters(), lr=rate)
        self.handle = None
        if grown:
            self.handle = esper_core.grow(
                self.model,
                sites=["b"],
                optimizer=self.optimizer,
                epochs=9,
                sample=INPUTS[:4],
                policy=Always(blend),
                settings=LONG,
            )

    def epochs(self, count, step):
        for _ in range(count):
            for x, y in BATCHES:
                step(self, x, y)
            if self.handle is not None:
                self.handle.epoch_end([(INPUTS, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)
        return self

    def backward(self, x, y):
        cross_entropy(self.model(x), y).backward()

    @property
    def host(self):
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if "esper" not in name}

    @property
    def seed(self):
        return [p.detach().clone() for p in self.handle.growth.slot_set.seed_parameters("b")]


def clipped(run, x, y):
    run.optimizer.zero_grad()
    run.backward(x, y)
    clip_grad_norm_(run.model.parameters(), 0.02)
    run.optimizer.step()


def clipped_by_groups(run, x, y):
    run.optimizer.zero_grad()
    run.backward(x, y)
    clip_grad_norm_([p for group in run.optimizer.param_groups for p in group["params"]], 0.02)
    run.optimizer.step()


def clipped_by_value(run, x, y):
    run.optimizer.zero_grad()
    run.backward(x, y)
    nn.utils.clip_grad_value_(run.model.parameters(), 0.001)
    run.optimizer.step()


def accumulated(run, x, y):
    half = len(x) // 2
    run.optimizer.zero_grad()
    for part in (slice(None, half), slice(half, None)):
        run.backward(x[part], y[part])
        clip_grad_norm_(run.model.parameters(), 0.05)
    run.optimizer.step()


def in_a_closure(run, x, y):
    def closure():
        run.optimizer.zero_grad()
        run.backward(x, y)
        clip_grad_norm_(run.model.parameters(), 0.02)

    run.optimizer.step(closure)


@pytest.mark.parametrize("step", [clipped, clipped_by_groups, clipped_by_value, accumulated, in_a_closure])
def test_the_host_is_clipped_as_if_there_were_no_seed(step):
    alone, grown = (Training(grown=grown).epochs(4, step) for grown in (False, True))
    assert grown.handle.slots[0].stage is Stage.TRAINING
    assert any(bool(p.any()) for p in grown.seed)
    assert alone.host.keys() == grown.host.keys()
    for name, value in alone.host.items():
        assert torch.equal(value, grown.host[name]), name


def test_a_seed_is_clipped_by_itself_to_the_norm_of_the_hosts_gradients():
    run, moved = Training(grown=True).epochs(1, clipped), []

    def step(run, x, y):
        before = run.seed
        clipped(run, x, y)
        moved.append(sum(float((a - b).square().sum()) for a, b in zip(before, run.seed, strict=True)) ** 0.5)

    run.handle.growth.slot_set.slots["b"].seed.register_full_backward_pre_hook(lambda seed, grad: (grad[0] * 1e3,))
    run.epochs(2, step)
    rate = run.optimizer.param_groups[-1]["lr"]
    assert max(moved) == pytest.approx(0.02 * 0.1, rel=0.3)
    assert rate <= 0.1


def test_what_was_not_clipped_reaches_the_seed_as_it_is():
    def plain(run, x, y):
        run.optimizer.zero_grad()
        run.backward(x, y)
        run.optimizer.step()

    def looked_at(run, x, y):
        run.optimizer.zero_grad()
        run.backward(x, y)
        clip_grad_norm_(run.model.parameters(), 1e6)
        run.optimizer.step()

    one, other = (Training(grown=True).epochs(3, step) for step in (plain, looked_at))
    assert all(torch.equal(a, b) for a, b in zip(one.seed, other.seed, strict=True))


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("of", ["optimizer", "model"])
def test_gradients_of_a_batch_that_was_dropped_reach_no_seed(to_none, of):
    def step(run, x, y, *, drop):
        if drop:
            getattr(run, of).zero_grad(set_to_none=to_none)
            run.backward(x * 7, y)
        getattr(run, of).zero_grad(set_to_none=to_none)
        run.backward(x, y)
        run.optimizer.step()

    one, other = (
        Training(grown=True).epochs(3, lambda run, x, y, drop=drop: step(run, x, y, drop=drop))
        for drop in (False, True)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.seed, other.seed, strict=True))


@pytest.mark.parametrize("count", [3, 1024])
def test_a_loop_that_divides_gradients_divides_the_seeds_too(count):
    def plain(run, x, y):
        run.optimizer.zero_grad()
        run.backward(x, y)
        run.optimizer.step()

    def divided(run, x, y):
        run.optimizer.zero_grad()
        (cross_entropy(run.model(x), y) * count).backward()
        for p in run.model.parameters():
            if p.grad is not None:
                p.grad /= count
        run.optimizer.step()

    one, other = (Training(grown=True).epochs(3, step) for step in (plain, divided))
    for a, b in zip(one.seed, other.seed, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_that_accumulate_are_the_seeds_too():
    def once(run, x, y):
        run.optimizer.zero_grad()
        run.backward(x, y)
        run.optimizer.step()

    def twice(run, x, y):
        half = len(x) // 2
        run.optimizer.zero_grad()
        for part in (slice(None, half), slice(half, None)):
            (cross_entropy(run.model(x[part]), y[part]) / 2).backward()
        run.optimizer.step()

    one, other = (Training(grown=True).epochs(2, step) for step in (once, twice))
    for a, b in zip(one.seed, other.seed, strict=True):
        torch.testing.assert_close(a, b)


def scaled(scaler, clip=None):
    def step(run, x, y):
        run.optimizer.zero_grad()
        scaler.scale(cross_entropy(run.model(x), y)).backward()
        if clip is not None:
            scaler.unscale_(run.optimizer)
            clip(run)
        scaler.step(run.optimizer)
        scaler.update()

    return step


def new_scaler():
    return torch.amp.GradScaler("cpu", init_scale=1024.0)


@pytest.mark.parametrize("fused", [False, True])
def test_a_seed_is_unscaled_as_the_host_is(fused):
    def plain(run, x, y):
        run.optimizer.zero_grad()
        run.backward(x, y)
        run.optimizer.step()

    def make(parameters, lr):
        return torch.optim.SGD(parameters, lr=lr, fused=fused)

    one = Training(grown=True, make=make).epochs(3, plain)
    other = Training(grown=True, make=make).epochs(3, scaled(new_scaler()))
    for a, b in zip([*one.host.values(), *one.seed], [*other.host.values(), *other.seed], strict=True):
        torch.testing.assert_close(a, b)


def test_a_seed_whose_gradient_overflows_sits_out_alone_and_is_told_of():
    scaler = new_scaler()
    alone = Training(grown=False).epochs(3, scaled(new_scaler(), lambda run: None))
    run = Training(grown=True).epochs(1, scaled(scaler))
    before = run.seed
    run.handle.growth.slot_set.slots["b"].seed.register_full_backward_pre_hook(
        lambda seed, grad: (grad[0] * float("inf"),)
    )
    with pytest.warns(UserWarning, match="the seed in b overflowed at the loss scale in 4 steps"):
        run.epochs(2, scaled(scaler))
    assert all(torch.equal(value, run.host[name]) for name, value in alone.host.items())
    assert all(torch.equal(a, b) for a, b in zip(before, run.seed, strict=True))
    assert scaler.get_scale() == 1024.0


def test_the_handles_own_clipping_is_that_of_each_origin():
    def by_handle(run, x, y):
        run.optimizer.zero_grad()
        run.backward(x, y)
        norms.append(run.handle.clip_grad_norm_(0.02))
        seeds = run.handle.growth.slot_set.seed_parameters("b")
        held = torch.nn.utils.get_total_norm([p.grad for p in seeds if p.grad is not None])
        assert float(held) <= 0.02 * 1.001
        run.optimizer.step()

    norms = []
    alone = Training(grown=False).epochs(3, clipped)
    grown = Training(grown=True).epochs(3, by_handle)
    assert all(torch.equal(value, grown.host[name]) for name, value in alone.host.items())
    assert set(norms[-1]) == {"host", "b-0"}


def test_an_optimizer_that_takes_no_step_is_refused(monkeypatch):
    # A GradScaler may be what leaves steps out, and other tests may have left one in the process.
    monkeypatch.setattr(gc, "get_objects", list)
    run = Training(grown=True)
    with pytest.raises(EsperError, match="took no step") as caught:
        run.epochs(2, lambda run, x, y: run.backward(x, y))
    assert caught.value.code == "E406"


def test_who_closes_gets_the_gradients_back():
    run = Training(grown=True).epochs(1, clipped)
    run.backward(*BATCHES[0])
    seeds = run.handle.growth.slot_set.seed_parameters("b")
    assert all(p.grad is None for p in seeds)
    run.handle.close()
    assert any(p.grad is not None and bool(p.grad.any()) for p in seeds)


class Inside(torch.optim.Optimizer):
    """Wraps an optimizer, as implementations of SAM do: groups of its own, which the other shares."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"rho": 0.1})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=lr)
        self.param_groups = self.base_optimizer.param_groups


def test_the_optimizer_that_takes_the_steps_is_found_in_one_that_shares_its_groups():
    run = Training(grown=True, make=Inside)
    assert run.handle.optimizer is run.optimizer.base_optimizer


@pytest.mark.parametrize(("make", "why"), [(torch.optim.LBFGS, "one group only"), (torch.optim.Muon, "matrices only")])
def test_optimizers_that_cannot_train_a_seed_are_refused(make, why):
    torch.manual_seed(0)
    model = Net()
    matrices = [p for p in model.parameters() if p.ndim == 2]

    def begin():
        optimizer = make(matrices, lr=0.1)
        handle = esper_core.grow(
            model, sites=["b"], optimizer=optimizer, epochs=9, sample=INPUTS[:4], policy=Always(), settings=LONG
        )
        for _ in range(2):
            cross_entropy(model(INPUTS), LABELS).backward()
            handle.optimizer.step()
            handle.epoch_end([(INPUTS, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)

    with pytest.raises(EsperError) as caught:
        begin()
    assert (caught.value.code, why in caught.value.why) == ("E406", True)


def proofs(handle, epochs=1):
    found = []
    for _ in range(epochs):
        cross_entropy(handle.model(INPUTS), LABELS).backward()
        handle.optimizer.step()
        outcome = handle.epoch_end([(INPUTS, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)
        found += [seed.isolated for seed in outcome.evidence.seeds]
    return found


def test_isolation_is_proved_on_the_users_own_data_and_leaves_no_trace():
    run = Training(grown=True)
    run.model.eval()
    run.model.a.train()
    with torch.random.fork_rng():
        before = torch.get_rng_state()
        assert proofs(run.handle, 2) == [None, True]  # in the first epoch it has not begun to train
        assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in (run.model, run.model.a, run.model.b)] == [False, True, False]
    assert run.model.a.weight.grad is not None


def test_a_seed_that_draws_the_hosts_random_numbers_is_found_out():
    run = Training(grown=True).epochs(1, clipped)
    seed = run.handle.growth.slot_set.slots["b"].seed
    inner = seed.forward
    seed.forward = lambda h: inner(h) + 0.0 * torch.rand(())
    assert proofs(run.handle) == [False]


def test_isolation_that_cannot_be_proved_is_not_claimed():
    class Restless(Net):
        count = 0

        def forward(self, x):
            Restless.count += 1
            return super().forward(x) * (1.0 + 0.01 * Restless.count * torch.is_grad_enabled())

    model = Restless()
    handle = esper_core.grow(
        model,
        sites=["b"],
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        epochs=9,
        sample=INPUTS[:4],
        policy=Always(),
        settings=LONG,
    )
    with pytest.warns(UserWarning, match="not known whether seeds in training leave the rest"):
        assert proofs(handle, 2) == [None, None]


def of_single_samples(model, **options):
    """The gradients of every sample, by `torch.func`."""

    def loss(weights, x, y):
        return cross_entropy(torch.func.functional_call(model, weights, (x[None],)), y[None])

    weights = {name: p.detach() for name, p in model.named_parameters()}
    return torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), **options)(weights, INPUTS, LABELS)


@pytest.mark.parametrize("blend", [Blend.LINEAR, Blend.GATED])
@pytest.mark.parametrize(
    ("mode", "alpha", "size"),
    [
        (ForwardMode.STRAIGHT_THROUGH, 0.0, 1.0),  # TRAINING
        (ForwardMode.ISOLATED, 0.4, 1.0),  # BLENDING
        (ForwardMode.OPEN, 0.7, 1e6),
        (ForwardMode.OPEN, 1.0, 1.0),  # PROBATIONARY
        (ForwardMode.FOSSIL, 1.0, 1.0),
    ],
)
def test_gradients_of_single_samples_are_found_with_a_seed_in_the_network(blend, mode, alpha, size):
    run = Training(grown=True, blend=blend).epochs(2, clipped)
    slot = run.handle.growth.slot_set.slots["b"]
    inner = slot.seed.forward
    slot.seed.forward = lambda h: size * inner(h)
    slot.enter(mode)
    slot.set_alpha(alpha)
    rows, parameters = of_single_samples(run.model), dict(run.model.named_parameters())
    whole = torch.autograd.grad(cross_entropy(run.model(INPUTS), LABELS), [*parameters.values()])
    for name, gradient in zip(parameters, whole, strict=True):
        torch.testing.assert_close(rows[name].mean(0), gradient, atol=1e-6, rtol=1e-4)
    assert not slot.failure


def test_a_seed_is_not_blamed_for_what_torch_cannot_transform():
    run = Training(grown=True).epochs(1, clipped)
    slot = run.handle.growth.slot_set.slots["b"]
    inner = slot.seed.forward
    slot.seed.forward = lambda h: torch.nn.functional.dropout(inner(h))
    with pytest.raises(RuntimeError, match="randomness"):
        of_single_samples(run.model)
    assert not slot.failure
    of_single_samples(run.model, randomness="different")


def test_a_network_without_values_is_refused():
    with torch.device("meta"):
        model = Net()
    with pytest.raises(EsperError, match="no values") as caught:
        esper_core.grow(model, sites=["b"], optimizer=torch.optim.SGD(model.parameters(), lr=0.1), epochs=2)
    assert caught.value.code == "E402"


@pytest.fixture(autouse=True)
def _no_warnings_that_are_not_expected():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(isolation|overflowed).*")
        yield
