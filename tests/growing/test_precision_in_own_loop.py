"""Autocast, loss scaling, accumulation and torch.compile in a loop of one's own."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

import esper_core
from esper_core.api import WAIT, Action, Blend, Decision, Op, Stage

INPUTS = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (48,), generator=torch.Generator().manual_seed(1))
BATCHES = [*zip(INPUTS.chunk(4), LABELS.chunk(4), strict=True)]
#: A seed stays in TRAINING.
LONG = {"lifecycle": {"incubation_epochs": 9, "training_timeout_epochs": 9}}
#: It goes through all of its stages.
SHORT = {"lifecycle": {"ramp_epochs": 1}}


class Always:
    """Germinates where it may, and keeps what it may."""

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision(actions=[self._one(situation.masks)]) for situation in situations]

    def _one(self, mask):
        if mask.fossilize:
            return Action(op=Op.FOSSILIZE, slot=min(mask.fossilize))
        free = [slot for slot in mask.slots if "mlp" in mask.blueprints_for(slot)]
        return Action(op=Op.GERMINATE, slot=free[0], blueprint="mlp", blend=Blend.LINEAR) if free else WAIT


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        return self.c(self.norm(self.b(torch.relu(self.a(x)))))


class Training:
    """A network in a loop of one's own, with a seed or without Esper; its sites are found on the first batch."""

    def __init__(self, *, grown, settings=LONG, around=lambda model: model):
        torch.manual_seed(0)
        self.model = Net()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.handle = None
        if grown:
            self.handle = esper_core.grow(
                self.model,
                sites=["b"],
                optimizer=self.optimizer,
                epochs=9,
                policy=Always(),
                settings=settings,
                gates="permissive",
            )
        self.run = around(self.model)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        self.stages = []

    def epochs(self, count, step):
        for _ in range(count):
            for x, y in BATCHES:
                step(self, x, y)
            if self.handle is not None:
                self.handle.epoch_end([(INPUTS, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)
                self.stages.append(self.handle.slots[0].stage)
        return self

    @property
    def host(self):
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if "esper" not in name}

    @property
    def seed(self):
        return self.handle.growth.slot_set.seed_parameters("b")


def autocast(run, x, y):
    run.optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(run.run(x), y)
    loss.backward()
    run.optimizer.step()


def everything_at_once(run, x, y):
    """Two parts of a batch under autocast, a scaled loss, and one norm for all gradients."""
    run.optimizer.zero_grad()
    half = len(x) // 2
    for part in (slice(None, half), slice(half, None)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = cross_entropy(run.run(x[part]), y[part]) / 2
        run.scaler.scale(loss).backward()
    run.scaler.unscale_(run.optimizer)
    clip_grad_norm_(run.model.parameters(), 0.05)
    run.scaler.step(run.optimizer)
    run.scaler.update()


@pytest.mark.parametrize("step", [autocast, everything_at_once])
def test_a_seed_in_training_leaves_the_host_alone_and_learns_in_float32(step):
    alone, run = Training(grown=False).epochs(3, step), Training(grown=True).epochs(1, step)
    before = [p.detach().clone() for p in run.seed]
    run.epochs(2, step)
    assert run.stages[-1] is Stage.TRAINING
    assert all(torch.equal(value, run.host[name]) for name, value in alone.host.items())
    assert {p.dtype for p in run.seed} == {torch.float32}
    assert not all(torch.equal(a, b) for a, b in zip(before, run.seed, strict=True))


def test_an_infinite_gradient_of_a_seed_reaches_no_weight_and_skips_no_step_of_the_host():
    alone, run = Training(grown=False).epochs(3, everything_at_once), Training(grown=True)
    run.epochs(1, everything_at_once)
    before = [p.detach().clone() for p in run.seed]
    run.seed[0].register_hook(lambda gradient: gradient * float("inf"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it overflowed is told
        run.epochs(2, everything_at_once)
    assert all(torch.equal(value, run.host[name]) for name, value in alone.host.items())
    assert all(torch.equal(a, b) for a, b in zip(before, run.seed, strict=True))
    assert run.scaler.get_scale() == alone.scaler.get_scale() == 1024.0


def test_a_life_under_autocast_ends_in_an_export_that_computes_the_same():
    run = Training(grown=True, settings=SHORT).epochs(6, autocast)
    assert run.stages[-1] is Stage.FOSSILIZED
    assert all(p.dtype is torch.float32 for p in run.model.parameters())
    torch.testing.assert_close(run.handle.export()(INPUTS), run.model.eval()(INPUTS))


def test_one_region_around_the_whole_epoch_and_its_end_is_as_one_for_each_forward():
    """Torch keeps casts of weights to the end of a region; what Esper runs in it must not leave any behind."""

    def one(run, x, y):
        run.optimizer.zero_grad()
        cross_entropy(run.run(x), y).backward()
        run.optimizer.step()
        torch.clear_autocast_cache()  # the loop's own duty: it has changed the weights

    apart, together = Training(grown=True), Training(grown=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        together.epochs(3, one)
    for _ in range(3):
        for x, y in BATCHES:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                one(apart, x, y)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            apart.handle.epoch_end([(INPUTS, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)
    assert all(torch.equal(value, apart.host[name]) for name, value in together.host.items())
    assert all(torch.equal(a, b) for a, b in zip(together.seed, apart.seed, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_compiled_model_grows_through_a_life_as_one_that_is_not_compiled(backend, half):
    def plain(run, x, y):
        run.optimizer.zero_grad()
        cross_entropy(run.run(x), y).backward()
        run.optimizer.step()

    torch.compiler.reset()
    try:
        step = autocast if half else plain
        compiled = Training(
            grown=True, settings=SHORT, around=lambda model: torch.compile(model, backend=backend, recompile_limit=64)
        )
        compiled.epochs(6, step)
        eager = Training(grown=True, settings=SHORT).epochs(6, step)
        assert compiled.stages == eager.stages
        assert {Stage.TRAINING, Stage.FOSSILIZED} <= {*compiled.stages}
        tolerance = {"rtol": 0.05, "atol": 0.05} if half else {}
        torch.testing.assert_close(compiled.host, eager.host, **tolerance)
        torch.testing.assert_close(compiled.run(INPUTS), compiled.model(INPUTS))
    finally:
        torch.compiler.reset()
