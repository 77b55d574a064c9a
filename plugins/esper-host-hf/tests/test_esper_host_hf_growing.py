"""Seeds in the host `hf`: they live their lives in each family, and touch nothing that is not theirs."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from esper_core.api import Action, Blend, Op, Split, Stage
from esper_core.kasmina.growth import Growth
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.measuring import measure
from esper_core.tolaria.state import capture, restore
from esper_host_hf.config import HfConfig
from esper_host_hf.host import build

SLOTS = ("block0", "block1")


def germinate(growth: Growth, blueprint: str, epoch: int = 0) -> Growth:
    for slot in SLOTS:
        growth.germinate(slot, blueprint, Blend.LINEAR, epoch)
    growth.tick(epoch)
    return growth


def blend(growth: Growth, alpha: float) -> Growth:
    """Take every seed into BLENDING, make its update large, and set its alpha."""
    growth.judge(growth.evidence(1), accuracy=None)
    growth.tick(1)
    for slot in growth.slot_set.slots.values():
        with torch.no_grad():
            for parameter in slot.seed.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        slot.set_alpha(alpha)
    assert {growth.stage(slot) for slot in SLOTS} == {Stage.BLENDING}
    return growth


@pytest.mark.parametrize("blueprint", ["mlp", "layer-norm"])
def test_seeds_in_training_leave_the_host_alone(any_family, blueprint: str, make_host, make_growth, train) -> None:
    inputs, targets = any_family.inputs(), any_family.targets()
    plain, grown = (make_growth(make_host(any_family), inputs) for _ in range(2))
    germinate(grown, blueprint)
    assert {grown.stage(slot) for slot in SLOTS} == {Stage.TRAINING}
    before = [seed_state(grown, slot) for slot in SLOTS]
    # The dropout of the host is on: its random numbers are its own.
    for one, other in zip(train(plain, inputs, targets), train(grown, inputs, targets), strict=True):
        assert torch.equal(one, other)
    for slot, state in zip(SLOTS, before, strict=True):
        learned = seed_state(grown, slot)
        assert any(not torch.equal(learned[name], state[name]) for name in state)


def seed_state(growth: Growth, slot: str) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in growth.slot_set.slots[slot].seed.state_dict().items()}


@pytest.mark.parametrize("blueprint", ["mlp", "layer-norm"])
def test_blended_seeds_change_the_logits_and_go_without_a_trace(
    any_family, blueprint: str, make_host, make_growth
) -> None:
    inputs = any_family.inputs()
    growth = make_growth(make_host(any_family), inputs)
    model = growth.slot_set.model.eval()
    before, keys = model(inputs), list(model.state_dict())
    blend(germinate(growth, blueprint), 0.5)
    model.eval()
    assert not torch.allclose(model(inputs), before, atol=1e-4)
    for slot in SLOTS:
        growth.cull(slot, 2)
    assert torch.equal(model(inputs), before)
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neo"])
@pytest.mark.parametrize("blueprint", ["mlp", "layer-norm", "attention"])
def test_a_grown_language_model_does_not_look_ahead(
    name: str, blueprint: str, families, make_host, make_growth
) -> None:
    inputs = families[name].inputs()
    growth = blend(germinate(make_growth(make_host(families[name]), inputs), blueprint), 0.8)
    model = growth.slot_set.model.eval()
    before = model(inputs)
    for position in range(1, inputs.shape[1]):
        changed = inputs.clone()
        changed[:, position] = (changed[:, position] + 1) % 29
        after = model(changed)
        assert torch.allclose(before[:, :position], after[:, :position], atol=1e-6)
        assert not torch.allclose(before[:, position], after[:, position], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "attention"), [("bert", "sdpa"), ("bert", "eager"), ("mpnet", "eager"), ("distilbert", "sdpa")]
)
@pytest.mark.parametrize("blueprint", ["mlp", "layer-norm", "attention"])
def test_seeds_leave_padding_without_effect(
    name: str, attention: str, blueprint: str, families, make_host, make_growth
) -> None:
    inputs = families[name].inputs()
    growth = blend(germinate(make_growth(make_host(families[name], attention=attention), inputs), blueprint), 0.8)
    model = growth.slot_set.model.eval()
    padded = inputs.clone()
    padded[:, 5:] = 0
    assert torch.allclose(model(padded), model(inputs[:, :5]), atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_counterfactuals_hold_where_some_batches_have_padding(name: str, families, make_plan) -> None:
    host = GrowingHost(make_plan(families[name], epochs=9))
    for slot in SLOTS:
        host.apply(Action(op=Op.GERMINATE, slot=slot, blueprint="attention", blend=Blend.LINEAR))
    for _ in range(3):
        host.epoch()
    assert all(host.growth.stage(slot).contributes for slot in SLOTS)
    whole = host.plan.splits.validation
    inputs = whole.inputs.clone()
    inputs[len(inputs) // 2 :, 5:] = 0  # the first batch has none
    split, task, slot_set = Split(inputs=inputs, targets=whole.targets), host.plan.task, host.growth.slot_set
    measured = measure(slot_set, task, split, [{slot: 0.0} for slot in SLOTS], batch_size=6, forks=host.grower.forks)
    for slot, losses in zip(SLOTS, measured.losses, strict=True):
        with slot_set.override({slot: 0.0}), torch.no_grad():
            without = task.losses(host.model.eval()(inputs), split.targets)
        assert torch.allclose(torch.tensor(losses), without, atol=1e-5)
        assert not torch.allclose(torch.tensor(measured.metrics.sample_losses), without, atol=1e-5)


def script(family: Any, epoch: int) -> list[Action]:
    """One seed that is fossilized, one that is culled, and one that follows it and is live to the end."""
    other = "attention" if family.causal else "layer-norm"
    actions = {
        1: [Action(op=Op.GERMINATE, slot="block1", blueprint="mlp", blend=Blend.LINEAR)],
        2: [Action(op=Op.GERMINATE, slot="block0", blueprint=other, blend=Blend.COSINE)],
        3: [Action(op=Op.CULL, slot="block0")],
        5: [Action(op=Op.FOSSILIZE, slot="block1")],
        7: [Action(op=Op.GERMINATE, slot="block0", blueprint="layer-norm", blend=Blend.SIGMOID)],
    }
    return actions.get(epoch, [])


def live(host: GrowingHost, family: Any, until: int) -> list[Any]:
    reports = []
    while host.grower.epoch < until:
        for action in script(family, host.grower.epoch):
            applied = host.apply(action)
            assert applied.verdict.allowed, applied.verdict.reason
        reports.append(host.epoch())
    return reports


def test_seeds_live_their_lives(family, make_plan) -> None:
    host = GrowingHost(make_plan(family, epochs=9))
    reports = live(host, family, 9)
    seen = {transition.target for report in reports for transition in report.transitions}
    assert {Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY} <= seen
    assert host.growth.stage("block1") is Stage.FOSSILIZED
    assert host.growth.stage("block0") in (Stage.TRAINING, Stage.BLENDING)
    first, last = reports[0].evidence, reports[-1].evidence
    assert last.train.loss < first.train.loss
    assert last.forward_flops > first.forward_flops
    assert last.parameters > last.host_parameters


def test_a_host_with_a_live_seed_goes_on_where_it_was(family, make_plan) -> None:
    plan = make_plan(family, epochs=6)
    host = GrowingHost(plan)
    live(host, family, 3)
    state = capture(host)
    other = GrowingHost(plan)
    restore(other, state)
    for one in (host, other):
        live(one, family, 5)
    expected, found = capture(host).tensors, capture(other).tensors
    assert expected.keys() == found.keys()
    assert any("esper" in name for name in expected)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_counterfactuals_are_what_a_host_without_the_seed_gives(any_family, make_plan) -> None:
    host = GrowingHost(make_plan(any_family, epochs=9))
    live(host, any_family, 4)
    split, task, slot_set = host.plan.splits.validation, host.plan.task, host.growth.slot_set
    assert host.growth.stage("block1").contributes
    measured = measure(slot_set, task, split, [{"block1": 0.0}])
    with slot_set.override({"block1": 0.0}), torch.no_grad():
        without = task.losses(host.model.eval()(split.inputs), split.targets)
    assert torch.allclose(torch.tensor(measured.losses[0]), without, atol=1e-5)
    assert not torch.allclose(torch.tensor(measured.metrics.sample_losses), without, atol=1e-5)


def test_the_model_inside_is_saved_without_seeds(any_family, make_plan, tmp_path) -> None:
    host = GrowingHost(make_plan(any_family))
    live(host, any_family, 3)
    assert host.growth.slot_set.slots
    for slot in [*host.growth.slot_set.slots]:
        host.growth.cull(slot, 3)
    host.model.model.save_pretrained(tmp_path)
    again = build(HfConfig(path=str(tmp_path), pretrained=True), any_family.data).module.eval()
    inputs = any_family.inputs()
    assert torch.equal(again(inputs), host.model.eval()(inputs))


def test_a_copy_with_a_live_seed_is_independent(any_family, make_host, make_growth) -> None:
    inputs = any_family.inputs()
    growth = blend(germinate(make_growth(make_host(any_family), inputs), "mlp"), 0.5)
    model = growth.slot_set.model.eval()
    before = model(inputs)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.esper.parameters():
            parameter.zero_()
    assert not torch.allclose(twin(inputs), before, atol=1e-4)
    assert torch.equal(model(inputs), before)


@pytest.mark.slow
def test_compiled_hosts_notice_seeds(family, make_host, make_growth: Callable[..., Growth]) -> None:
    inputs = family.inputs()
    growth = make_growth(make_host(family), inputs)
    model = growth.slot_set.model.eval()
    compiled = torch.compile(model, backend="aot_eager")
    assert torch.allclose(compiled(inputs), model(inputs), atol=1e-5)
    blend(germinate(growth, "mlp"), 0.5)
    model.eval()
    assert torch.allclose(compiled(inputs), model(inputs), atol=1e-5)
