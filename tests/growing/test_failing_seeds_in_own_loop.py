"""A seed that fails in a loop of the user's own is culled in that epoch; the loop sees nothing of it."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import esper_core
from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.learning import Decision
from esper_core.leyline.stages import Blend, Cause, Stage

INPUTS = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (48,), generator=torch.Generator().manual_seed(1))


class Always:
    """Germinates wherever it may, and keeps whatever it may."""

    def __init__(self, blueprint="mlp"):
        self.blueprint = blueprint

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision(actions=[self._one(situation.masks)]) for situation in situations]

    def _one(self, mask):
        if mask.fossilize:
            return Action(op=Op.FOSSILIZE, slot=min(mask.fossilize))
        for slot in mask.slots:
            if self.blueprint in mask.blueprints_for(slot):
                return Action(op=Op.GERMINATE, slot=slot, blueprint=self.blueprint, blend=Blend.LINEAR)
        return WAIT


class Net(nn.Module):
    def __init__(self, wrap=lambda layer: layer):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), wrap(nn.Linear(8, 8)), nn.Linear(8, 3)

    def forward(self, x):
        return self.c(self.b(torch.relu(self.a(x))))


class _Fails:
    """Let the seed's module raise where `when` says so."""

    def __init__(self, error):
        self.error, self.when = error, lambda h: False

    def into(self, handle):
        for slot in handle.growth.slot_set.slots.values():
            slot.seed.register_forward_pre_hook(self._raise)

    def _raise(self, module, args):
        if self.when(args[0]):
            raise self.error


def epochs(handle, fails, count, *, begin=0):
    optimizer, outcomes = handle.optimizer, []
    for _ in range(begin, count):
        handle.model.train()
        for inputs, labels in zip(INPUTS.split(20), LABELS.split(20), strict=True):  # the last batch has 8
            optimizer.zero_grad()
            loss = cross_entropy(handle.model(inputs), labels)
            loss.backward()
            optimizer.step()
        outcomes.append(handle.epoch_end([(INPUTS, LABELS)], cross_entropy, train_accuracy=0.5))
    return outcomes


@pytest.fixture
def grown():
    def make(epochs):
        torch.manual_seed(0)
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        return esper_core.grow(
            net, optimizer=optimizer, epochs=epochs, sites=["a"], policy=Always(), blueprints=["mlp"], sample=INPUTS[:4]
        )

    return make


@pytest.mark.parametrize("error", [RuntimeError("too late"), SystemExit(0)])
@pytest.mark.parametrize("where", ["the smaller last batch", "validation"])
@pytest.mark.parametrize("last", [False, True], ids=["in the middle", "in the last epoch"])
def test_it_is_culled_with_its_reason_and_training_goes_on(grown, error, where, last):
    fails = _Fails(error)
    handle = grown(3 if last else 5)
    with handle:
        epochs(handle, fails, 2)
        fails.into(handle)
        assert handle.slots[0].stage.holds_module
        fails.when = lambda h: len(h) == (8 if where == "the smaller last batch" else len(INPUTS))
        (outcome,) = epochs(handle, fails, 1)
        (culled,) = [change for change in outcome.transitions if change.target is Stage.CULLED]
        assert culled.cause is Cause.SAFETY
        assert type(error).__name__ in culled.reason
        assert handle.reports[0].final_stage is Stage.CULLED
        assert not [*handle.model.esper.parameters()]
        if not last:
            assert epochs(handle, fails, 1)[0].evidence.validation.loss < 2.0


def test_a_failure_in_the_middle_of_an_epoch_is_saved_with_it(grown):
    fails = _Fails(RuntimeError("too late"))
    handle, other = grown(5), grown(5)
    epochs(handle, fails, 2)
    fails.into(handle)
    fails.when = lambda h: True
    handle.model.train()
    cross_entropy(handle.model(INPUTS[:8]), LABELS[:8]).backward()
    handle.optimizer.step()
    other.load_state_dict(handle.state_dict())
    other.model.load_state_dict(handle.model.state_dict())
    other.optimizer.load_state_dict(handle.optimizer.state_dict())
    told = [one.epoch_end([(INPUTS, LABELS)], cross_entropy, train_accuracy=0.5).transitions for one in (handle, other)]
    assert told[0] == told[1]
    assert told[0][0].target is Stage.CULLED
    assert "too late" in told[0][0].reason
