"""`esper_core.grow`: the user's own network, loop and optimizer."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import esper_core
from esper_core.kasmina.config import LifecycleConfig
from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Decision
from esper_core.leyline.stages import Blend, Stage
from esper_growing.measuring.sample_loss import per_sample


class BasicBlock(nn.Module):
    """A residual block as everybody writes it: batch normalisation and in-place ReLUs."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2))
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(self.stem(x))).mean((2, 3)))


class Eager:
    """Germinates wherever it may, and keeps whatever it may."""

    def __init__(self, blueprint):
        self.blueprint = blueprint

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision(actions=[self._decide(situation.masks)]) for situation in situations]

    def _decide(self, mask):
        if mask.fossilize:
            return Action(op=Op.FOSSILIZE, slot=min(mask.fossilize))
        for slot in mask.slots:
            if self.blueprint in mask.blueprints_for(slot):
                return Action(op=Op.GERMINATE, slot=slot, blueprint=self.blueprint, blend=Blend.LINEAR)
        return WAIT


def image_data(count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (count,), generator=generator)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    for image, target in zip(images, targets.tolist(), strict=True):
        image[0, 4 * (target // 2) :, 4 * (target % 2) :][:4, :4] += 1.0
    return TensorDataset(images, targets)


def vector_data(count, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 6, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] * inputs[:, 1] > 0).long())


def train(handle, loader, loss_fn=cross_entropy, scheduler=None):
    handle.model.train()
    right = total = 0
    for inputs, targets in loader:
        outputs = handle.model(inputs)
        handle.optimizer.zero_grad()
        loss_fn(outputs, targets).backward()
        handle.clip_grad_norm_(5.0)
        handle.optimizer.step()
        if scheduler is not None:
            scheduler.step()
        right += int((outputs.argmax(-1) == targets).sum())
        total += len(targets)
    return right / total


def run(handle, data, epochs, loss_fn=cross_entropy, scheduler=None):
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(data(96, 0), batch_size=16, shuffle=True, generator=generator)
    validation = DataLoader(data(80, 1), batch_size=40)
    outcomes = []
    for _ in range(epochs):
        accuracy = train(handle, loader, loss_fn, scheduler)
        outcomes.append(handle.epoch_end(validation, loss_fn, train_accuracy=accuracy, train_loss=1.0))
    return outcomes


QUICK = LifecycleConfig(ramp_epochs=1)
OPEN = {"gates": "permissive", "settings": {"lifecycle": QUICK}}


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return ResNet()


def test_a_resnet_grows_in_the_users_own_loop(resnet):
    optimizer = torch.optim.SGD(resnet.parameters(), lr=0.05, momentum=0.9)
    handle = esper_core.grow(
        resnet, sites=["layer*"], optimizer=optimizer, epochs=10, policy=Eager("conv-light"), **OPEN
    )
    assert handle.model is resnet
    outcomes = run(handle, image_data, 10)
    targets = {t.target for outcome in outcomes for t in outcome.transitions}
    assert {Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY, Stage.FOSSILIZED} <= targets
    fossil = next(seed for outcome in outcomes for seed in outcome.evidence.seeds if seed.stage is Stage.PROBATIONARY)
    assert fossil.contribution.count == 80
    assert fossil.update_ratio > 0


def test_what_has_grown_is_exported_as_a_plain_module(resnet):
    optimizer = torch.optim.SGD(resnet.parameters(), lr=0.05)
    handle = esper_core.grow(
        resnet, sites=["layer1"], optimizer=optimizer, epochs=8, policy=Eager("conv-light"), **OPEN
    )
    run(handle, image_data, 8)
    inputs = image_data(5, 3).tensors[0]
    assert handle.slots[0].stage is Stage.FOSSILIZED
    plain = handle.export()
    assert not hasattr(plain, "esper")
    assert torch.allclose(plain.eval()(inputs), resnet.eval()(inputs), atol=1e-6)


def test_an_mlp_grows_and_its_scheduler_never_notices():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=60)
    handle = esper_core.grow(
        model,
        sites=["1", "3"],
        optimizer=optimizer,
        scheduler=scheduler,
        epochs=10,
        sample=torch.zeros(2, 6),
        policy=Eager("mlp"),
        blueprints=["mlp"],
        **OPEN,
    )
    run(handle, vector_data, 10, scheduler=scheduler)
    alone = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.01)
    expected = torch.optim.lr_scheduler.OneCycleLR(alone, max_lr=0.02, total_steps=60)
    for _ in range(60):
        alone.step()
        expected.step()
    assert scheduler.get_last_lr() == expected.get_last_lr()
    assert {slot.stage for slot in handle.slots} == {Stage.FOSSILIZED}


def test_the_heuristic_decides_where_it_is_told_how_the_host_fares(resnet):
    optimizer = torch.optim.SGD(resnet.parameters(), lr=1e-5)
    handle = esper_core.grow(resnet, sites=["layer*"], optimizer=optimizer, epochs=10, settings={"lifecycle": QUICK})
    outcomes = run(handle, image_data, 4)
    reasons = [a.reason for outcome in outcomes for a in outcome.decision.actions if a.op is Op.GERMINATE]
    assert reasons
    assert all("underfits" in reason for reason in reasons)


def test_without_validation_nothing_is_kept_and_it_says_so_once(resnet):
    optimizer = torch.optim.SGD(resnet.parameters(), lr=0.01)
    handle = esper_core.grow(
        resnet,
        sites=["layer1"],
        optimizer=optimizer,
        epochs=6,
        policy=Eager("conv-light"),
        settings={"lifecycle": QUICK},
    )
    loader = DataLoader(image_data(32, 0), batch_size=16)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(6):
            train(handle, loader)
            handle.epoch_end(train_accuracy=0.5)
    assert sum("no seed will be kept" in str(w.message) for w in caught) == 1
    reached = {t for report in handle.reports for t in report.epochs_by_stage}
    assert reached <= {"GERMINATED", "TRAINING"}


def test_saving_and_resuming_with_live_seeds_goes_on_bit_by_bit():
    def make():
        torch.manual_seed(0)
        model = ResNet()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        return esper_core.grow(
            model,
            sites=["layer*"],
            optimizer=optimizer,
            epochs=8,
            policy=Eager("conv-light"),
            sample=torch.zeros(2, 1, 8, 8),
            **OPEN,
        )

    whole = make()
    run(whole, image_data, 3)
    saved = whole.state_dict(), whole.model.state_dict(), whole.optimizer.state_dict()
    saved = torch.load(_bytes(saved), weights_only=True)
    resumed = make()
    resumed.load_state_dict(saved[0])
    resumed.model.load_state_dict(saved[1])
    resumed.optimizer.load_state_dict(saved[2])
    assert [s.stage for s in resumed.slots] == [s.stage for s in whole.slots]
    for handle in (whole, resumed):
        run(handle, image_data, 3)
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def _bytes(saved):
    import io

    buffer = io.BytesIO()
    torch.save(saved, buffer)
    buffer.seek(0)
    return buffer


def test_mistakes_are_named(resnet):
    optimizer = torch.optim.SGD(resnet.parameters(), lr=0.01)
    for arguments, code in [
        ({}, "E401"),
        ({"sites": ["layer9"]}, "E401"),
        ({"sites": ["layer*"], "policy": "heuristics"}, "E204"),
        ({"sites": ["layer*"], "blueprints": ["conv-lite"]}, "E204"),
        ({"sites": ["layer*"], "policy": {"name": "heuristic", "fit_acuracy": 1}}, "E201"),
        ({"sites": ["layer*"], "policy": {"fit_accuracy": 1}}, "E202"),
        ({"sites": ["layer*"], "policy": 3}, "E202"),
        ({"sites": ["layer*"], "blueprints": {"conv-light": {"widht": 3}}}, "E201"),
        ({"sites": ["layer*"], "blueprints": "conv-light"}, "E202"),
        (
            {
                "sites": ["layer*"],
                "policy": {"name": "heuristic", "blueprints": ["conv-light"]},
                "blueprints": {"depthwise": {}},
            },
            "E201",
        ),
        (
            {
                "sites": ["layer*"],
                "policy": {"name": "heuristic", "blueprints": ["conv-light"]},
                "blueprints": ["conv-light"],
            },
            "E202",
        ),
        ({"sites": ["layer*"], "gates": {"name": "standard", "g2": {}}}, "E201"),
        ({"sites": ["layer*"], "settings": {"limit": {}}}, "E201"),
        ({"sites": ["layer*"], "settings": {"lifecycle": {"ramp_epoch": 1}}}, "E201"),
        ({"sites": ["layer*"], "settings": {"limits": {"max_live_seeds": "2"}}}, "E202"),
        ({"sites": ["layer*"], "settings": {"limits": object()}}, "E202"),
        ({"sites": ["layer*"], "settings": {"optimizer": {"seed_lr_multiplier": -1.0}}}, "E202"),
        ({"sites": ["layer*"], "settings": {"random_guess_loss": 0.0}}, "E202"),
        ({"sites": ["layer*"], "seed": "a"}, "E202"),
        ({"sites": ["layer*"], "seed": -1}, "E202"),
        ({"sites": ["layer*"], "sinks": ["jsnl"]}, "E204"),
        ({"sites": ["layer*"], "sinks": [3]}, "E202"),
        ({"sites": ["layer*"], "sinks": ["jsonl", {"name": "jsonl", "path": "x"}]}, "E202"),
        ({"sites": [3]}, "E202"),
        ({"sites": ["layer*"], "optimizer": 0.1}, "E202"),
        ({"sites": ["layer*"], "epochs": 5.5}, "E202"),
        ({"sites": ["layer*"], "epochs": "5"}, "E202"),
        ({"sites": ["layer*"], "epochs": 0}, "E202"),
        ({"sites": ["layer*"], "epochs": True}, "E202"),
    ]:
        torch.manual_seed(0)
        with pytest.raises(EsperError) as caught:
            esper_core.grow(ResNet(), **{"optimizer": optimizer, "epochs": 3} | arguments)
        assert caught.value.code == code, arguments
    handle = esper_core.grow(resnet, sites=["layer*"], optimizer=optimizer, epochs=3)
    with pytest.raises(EsperError, match="not confirmed yet") as caught:
        handle.epoch_end()
    assert "train handle.model" in caught.value.fix
    assert "a root nn.Sequential is replaced" in caught.value.fix


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="sum"),
        cross_entropy,
        lambda outputs, targets: cross_entropy(outputs, targets),
        lambda outputs, targets: cross_entropy(outputs, targets, reduction="none"),
    ],
)
def test_any_loss_becomes_one_value_per_sample(loss):
    outputs, targets = torch.randn(7, 3), torch.randint(0, 3, (7,))
    expected = cross_entropy(outputs, targets, reduction="none")
    assert torch.allclose(per_sample(loss)(outputs, targets), expected)
    if isinstance(loss, nn.Module):
        assert loss.reduction in ("mean", "sum")


def stepped(seed_schedule, **options):
    """The rates of the host and of its one seed at every step of an MLP with a scheduler of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    handle = esper_core.grow(
        model,
        optimizer=optimizer,
        epochs=6,
        sites=["1"],
        sample=torch.zeros(2, 1, 8, 8),
        scheduler=scheduler,
        policy=Eager("mlp"),
        gates="permissive",
        settings={"optimizer": {"seed_schedule": seed_schedule, **options}},
    )
    data, seen = image_data(32, 0), []
    for _ in range(5):
        for inputs, targets in DataLoader(data, batch_size=16):
            optimizer.zero_grad()
            cross_entropy(handle.model(inputs), targets).backward()
            optimizer.register_step_pre_hook(lambda o, a, k: seen.append([group["lr"] for group in o.param_groups]))
            optimizer.step()
            optimizer._optimizer_step_pre_hooks.popitem()
        scheduler.step()
        handle.epoch_end(DataLoader(data, batch_size=16), cross_entropy, train_loss=1.0, train_accuracy=0.5)
    return [rates for rates in seen if len(rates) == 2]


def test_a_seed_may_keep_the_hosts_schedule_or_have_its_own():
    kept = stepped("keep", seed_lr_multiplier=3.0)
    assert len(kept) >= 6
    assert all(seed == pytest.approx(3.0 * host) for host, seed in kept)
    assert kept[-1][0] < kept[0][0]
    own = stepped("restart-seed")
    assert [host for host, _ in own] == [host for host, _ in kept]
    assert all(seed > 2 * host for host, seed in own[4:])


@pytest.mark.parametrize("name", ["restart-all", "keeps"])
def test_a_schedule_that_is_the_users_own_business_is_refused(name):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(EsperError, match=name) as caught:
        esper_core.grow(
            model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            epochs=3,
            sites=["0"],
            settings={"optimizer": {"seed_schedule": name}},
        )
    assert caught.value.code == "E202"


@pytest.mark.slow
def test_a_model_that_is_compiled_before_its_first_batch_begins_to_grow_with_it() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = esper_core.grow(model, sites=["0"], optimizer=optimizer, epochs=3)
    compiled = torch.compile(handle.model, backend="eager")
    batch = torch.randn(4, 8)
    torch.testing.assert_close(compiled(batch), handle.model(batch))
    assert [slot.site.path for slot in handle.slots] == ["0"]


def test_what_is_no_state_is_refused_before_anything_is_touched() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = esper_core.grow(model, sites=["0"], optimizer=optimizer, epochs=3, sample=torch.randn(4, 8))
    before = handle.state_dict()
    with pytest.raises(EsperError, match="it has no version, steps_per_epoch, sites") as error:
        handle.load_state_dict({"epoch": 2, "steps": 7})
    assert error.value.code == "E502"
    assert handle.state_dict() == before
