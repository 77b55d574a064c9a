"""What happens in a user's own loop: values are refused where they are given, and nothing of the loop is changed."""

import io
import pickle
import re
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.utils import prune, spectral_norm, weight_norm
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

import esper_core
from esper_core.kasmina.config import LifecycleConfig
from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Decision
from esper_core.leyline.stages import Blend, Stage

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


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def grow(net, blueprint="mlp", *, optimizer=None, epochs=12, ramp_epochs=1, **options):
    optimizer = optimizer or torch.optim.SGD(net.parameters(), lr=0.1)
    policy = Always(blueprint) if blueprint else "null"
    settings = {"lifecycle": LifecycleConfig(ramp_epochs=ramp_epochs)}
    options = {"gates": "permissive", "settings": settings, "sample": INPUTS[:4], **options}
    return esper_core.grow(net, sites=["b"], optimizer=optimizer, epochs=epochs, policy=policy, **options)


def train(handle, epochs, *, clip=None, scheduler=None, steps=2, each=lambda: None):
    for _ in range(epochs):
        for x, y in zip(INPUTS.chunk(steps), LABELS.chunk(steps), strict=True):
            handle.optimizer.zero_grad()
            cross_entropy(handle.model(x), y).backward()
            if clip is not None:
                clip(handle.model)
            each()
            handle.optimizer.step()
            if scheduler is not None:
                scheduler.step()
        handle.epoch_end([(INPUTS, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"train_accuracy": 35.0}, "0 to 1"),
        ({"train_accuracy": torch.tensor(-0.1)}, "0 to 1"),
        ({"train_accuracy": "0.3"}, "not a number"),
        ({"train_loss": torch.ones(3)}, "expected a number"),
    ],
)
def test_numbers_that_are_no_shares_and_means_are_refused_where_they_are_given(net, given, why):
    handle = grow(net, None)
    with pytest.raises(EsperError) as caught:
        handle.epoch_end([(INPUTS, LABELS)], cross_entropy, **given)
    assert caught.value.code == "E202"
    assert why in caught.value.why
    assert handle.epoch == 0


def test_tensors_are_the_numbers_that_they_are(net):
    handle = grow(net, None)
    outcome = handle.epoch_end(
        [(INPUTS, LABELS)], cross_entropy, train_loss=torch.tensor(1.5), train_accuracy=torch.tensor([0.25])
    )
    assert (outcome.evidence.train.loss, outcome.evidence.train.accuracy) == (1.5, 0.25)
    assert type(handle.state_dict()["rollout"]) is dict


def test_every_module_is_left_in_the_mode_that_it_was_in():
    torch.manual_seed(0)
    net = Net(lambda layer: nn.Sequential(layer, nn.BatchNorm1d(8)))
    norm = net.b[1].eval()
    before = norm.running_mean.clone()
    handle = grow(net, None)
    train(handle, 2)
    assert not norm.training
    assert torch.equal(norm.running_mean, before)


def test_a_loop_may_divide_gradients_by_itself(net):
    settings = {"lifecycle": LifecycleConfig(incubation_epochs=9, training_timeout_epochs=9)}
    handle = grow(net, settings=settings)

    def unscaled(model):
        for p in model.parameters():
            if p.grad is not None:
                p.grad.div_(1024.0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(handle, 4, clip=unscaled)


@pytest.mark.parametrize(
    "make", [lambda o: LambdaLR(o, lambda step: 1 / (step + 1)), lambda o: OneCycleLR(o, 0.5, total_steps=40)]
)
@pytest.mark.parametrize("late", [False, True])
def test_a_scheduler_that_nobody_names_goes_on(net, make, late):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = None if late else make(optimizer)
    handle = grow(net, optimizer=optimizer)
    scheduler = scheduler or make(optimizer)
    train(handle, 4, scheduler=scheduler)
    assert handle.slots[0].stage is not Stage.DORMANT
    reference = torch.optim.SGD(Net().parameters(), lr=0.1)
    alone = make(reference)
    for _ in range(8):
        reference.step()
        alone.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(reference.param_groups[0]["lr"])


def test_a_catalogue_that_fits_no_site_is_refused(net):
    with pytest.raises(EsperError, match="fits any site") as caught:
        grow(net, None, blueprints=["conv-light", "attention"])
    assert caught.value.code == "E404"
    assert "conv-light is for NCHW; attention is for BTD; site b is BD of width 8" in caught.value.why
    with pytest.raises(EsperError, match="fits any site") as caught:
        grow(Net(), None, blueprints=["noop"])
    assert caught.value.why.startswith("none of them learns; site b")
    assert grow(Net(), None, blueprints=["conv-light", "mlp"]).slots[0].stage is Stage.DORMANT


class Wrapped(torch.optim.Optimizer):
    """Wraps an optimizer as accelerate does: no hooks of its own, and the other's groups."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups


def test_the_optimizer_inside_of_a_wrapper_is_taken(net):
    inner = torch.optim.SGD(net.parameters(), lr=0.1)
    handle = grow(net, optimizer=Wrapped(Wrapped(inner)))
    assert handle.optimizer is inner
    with pytest.raises(EsperError, match="no step hooks"):
        grow(Net(), optimizer=Wrapped(None))


def test_a_model_can_be_pickled_before_its_first_batch(net):
    handle = grow(net, sample=None)
    copy = pickle.loads(pickle.dumps(handle.model))
    torch.save(handle.model, io.BytesIO())
    copy(INPUTS)
    assert not handle.begun
    train(handle, 1)
    assert handle.begun


@pytest.mark.parametrize(
    "wrap", [weight_norm, spectral_norm, lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5)]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_layer_whose_weight_is_computed_is_exported_with_its_seed_beside_it(wrap):
    torch.manual_seed(0)
    net, inputs = Net(wrap), INPUTS[:, None]  # a seed of rank two is for sequences
    labels = (INPUTS[:, 0] * INPUTS[:, 1] > 0).long()

    def loss(outputs, targets):
        return cross_entropy(outputs[:, 0], targets, reduction="none")

    handle = grow(net, "lora", optimizer=torch.optim.Adam(net.parameters(), lr=0.02), epochs=14, sample=inputs)
    for _ in range(14):
        for x, y in zip(inputs.chunk(3), labels.chunk(3), strict=True):
            handle.optimizer.zero_grad()
            loss(net(x), y).mean().backward()
            handle.optimizer.step()
        handle.epoch_end([(inputs, labels)], loss, train_loss=1.0, train_accuracy=0.3)
    assert handle.slots[0].stage is Stage.FOSSILIZED
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(handle.export(live="remove").eval()(inputs), net(inputs))


def test_alpha_rises_with_every_step_of_the_ramp(net):
    handle, alphas = grow(net, ramp_epochs=3), []

    def look():
        if handle.slots[0].stage is Stage.BLENDING:
            alphas.append(round(float(handle.growth.slot_set.slots["b"].alpha), 4))

    train(handle, 7, each=look)
    assert alphas[:6] == [round(step / 6, 4) for step in range(1, 7)]


def test_a_state_in_the_middle_of_an_epoch_holds_what_was_seen_of_gradients(net):
    handle = grow(net)
    train(handle, 2)
    cross_entropy(handle.model(INPUTS), LABELS).backward()
    handle.optimizer.step()
    seen = handle._session.host.grower.gradients.read()
    other = grow(Net(), sample=None)
    other.load_state_dict(handle.state_dict())
    assert seen == other._session.host.grower.gradients.read() != {}


def test_a_regression_grows_by_its_loss():
    torch.manual_seed(0)
    net = Net()
    targets = torch.randn(48, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    handle = esper_core.grow(net, sites=["b"], optimizer=optimizer, epochs=20, sample=INPUTS[:4])
    for _ in range(4):
        loss = mse_loss(handle.model(INPUTS), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        handle.epoch_end([(INPUTS, targets)], mse_loss, train_loss=loss.detach())
    assert handle.slots[0].stage is not Stage.DORMANT


def test_a_policy_that_lacks_something_says_so_once(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    handle = esper_core.grow(net, sites=["b"], optimizer=optimizer, epochs=20, sample=INPUTS[:4])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(4):
            handle.epoch_end([(INPUTS, LABELS)], cross_entropy)
    assert [str(one.message)[:59] for one in told] == ["the policy waits: not known: the training accuracy, the tra"]


def test_a_broken_sample_is_named_and_forgiven(net):
    handle = grow(net, None)
    broken = INPUTS.clone()
    broken[5, 2] = float("nan")
    with pytest.warns(UserWarning, match=r"1 of 48 samples: 5"):
        handle.epoch_end([(broken, LABELS)], cross_entropy)
    handle.epoch_end([(INPUTS, LABELS)], cross_entropy)
    with pytest.warns(UserWarning, match="normal again"):
        handle.epoch_end([(INPUTS, LABELS)], cross_entropy)
    assert handle.governor.value == "normal"


@pytest.mark.parametrize(
    ("named", "of"),
    [
        ("inputs", lambda x: x),
        ("inputs[0]", lambda x: (x, torch.ones_like(x))),
        ("inputs['x']", lambda x: {"other": torch.ones_like(x), "x": x}),
    ],
)
def test_a_tensor_that_is_not_finite_is_named(named, of):
    class Several(Net):
        def forward(self, x, other=None):
            return super().forward(x)

    model = Several()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = esper_core.grow(model, sites=["b"], optimizer=optimizer, epochs=9, sample=INPUTS[:4])
    broken = INPUTS.clone()
    broken[40] = float("inf")
    with pytest.warns(UserWarning, match=re.escape(f"validation data are not finite in {named}: give")):
        handle.epoch_end([(of(INPUTS), LABELS), (of(broken), LABELS)], cross_entropy)


def test_what_a_model_makes_finite_is_no_fault(net):
    class Imputing(Net):
        def forward(self, x):
            return super().forward(x.nan_to_num(0.0))

    model = Imputing()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = esper_core.grow(model, sites=["b"], optimizer=optimizer, epochs=9, sample=INPUTS[:4])
    missing = INPUTS.clone()
    missing[3, 2] = float("nan")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*finite")
        handle.epoch_end([(missing, LABELS)], cross_entropy, train_loss=1.0, train_accuracy=0.3)
    assert handle.governor.value == "normal"


@pytest.mark.parametrize("wrong", [LABELS[:5], LABELS[None]])
def test_as_many_targets_as_inputs_are_asked_for(net, wrong):
    with pytest.raises(EsperError, match="nothing can be measured on") as caught:
        grow(net, None).epoch_end([(INPUTS, wrong)], cross_entropy)
    assert caught.value.code == "E302"
    assert "48 inputs" in caught.value.why


def test_a_model_of_one_batch_size_is_measured_in_that(net):
    class Fixed(Net):
        def forward(self, x):
            assert len(x) == 12
            return super().forward(x)

    handle = esper_core.grow(
        Fixed(),
        sites=["b"],
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        epochs=4,
        sample=INPUTS[:12],
        policy="null",
    )
    batches = [*zip(INPUTS.split(12), LABELS.split(12), strict=True)]
    assert handle.epoch_end(batches, cross_entropy).evidence.validation.samples == 48
    with pytest.raises(EsperError, match="nothing can be measured on") as caught:
        handle.epoch_end([*batches, (INPUTS[:5], LABELS[:5])], cross_entropy)
    assert "drop_last" in caught.value.fix


def test_what_was_found_out_is_shown(net):
    handle = grow(net, None, sample=None)
    assert "not confirmed yet" in repr(handle)
    train(handle, 1)
    shown = repr(handle)
    assert "site b: BD, width 8, float32" in shown
    assert "loss: the mean over each sample" in shown
    assert "accuracy: the largest output along axis 1" in shown


def test_a_float64_network_grows():
    torch.manual_seed(0)
    net = Net().double()
    handle = grow(net, sample=INPUTS[:4].double())
    for _ in range(4):
        handle.optimizer.zero_grad()
        cross_entropy(net(INPUTS.double()), LABELS).backward()
        handle.optimizer.step()
        handle.epoch_end([(INPUTS.double(), LABELS)], cross_entropy, train_accuracy=0.3)
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert handle.slots[0].stage not in (Stage.DORMANT, Stage.GERMINATED)


def test_several_processes_are_refused(net, monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(EsperError, match="2 processes") as caught:
        grow(net)
    assert caught.value.code == "E402"


@pytest.mark.slow
def test_a_model_that_is_compiled_in_place_begins_to_grow_with_its_first_batch(net):
    handle = grow(net, sample=None)
    net.compile(backend="eager")
    train(handle, 3)
    assert handle.slots[0].stage not in (Stage.DORMANT, Stage.GERMINATED)
    with torch.no_grad():
        torch.testing.assert_close(net(INPUTS), net._call_impl(INPUTS))
