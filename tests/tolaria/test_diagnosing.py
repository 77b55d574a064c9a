"""Diagnostics see a growing network after each epoch, and the run is the same as without them."""

import pytest
import torch
from attrs import evolve, frozen

from esper_core.leyline.actions import Action, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_core.leyline.stages import Blend
from esper_core.simic.recording import Recorder
from esper_core.tolaria.governor import GovernorRules
from esper_core.tolaria.host import GrowingHost


@frozen
class Seen:
    epoch: int
    training: bool
    slots: list
    noise: float
    batch: float


class Looks:
    """Keeps what it was shown."""

    def __init__(self):
        self.views = []

    def examine(self, view):
        self.views.append(view)
        torch.nn.functional.dropout(view.model(view.inputs), 0.5)
        slots = [slot.stage.name for slot in view.slots]
        return Seen(view.epoch, view.model.training, slots, torch.rand(()).item(), view.inputs.sum().item())


class Raises:
    def examine(self, view):
        raise ValueError("no idea")


def grown(plan, **diagnostics):
    """Train for three epochs with a seed; return the host and its reports."""
    host = GrowingHost(evolve(plan, diagnostics=diagnostics))
    reports = []
    for epoch in range(3):
        if epoch == 1:
            host.apply(Action(op=Op.GERMINATE, slot="block0", blueprint="random", blend=Blend.LINEAR))
        reports.append(host.epoch())
        assert host.report().findings == reports[-1].findings
    return host, reports


def test_they_see_the_network_after_each_epoch_in_evaluation_mode(plan):
    host, reports = grown(plan, looks=Looks())
    found = [report.findings[0].data for report in reports]
    assert [(it["epoch"], it["training"]) for it in found] == [(0, False), (1, False), (2, False)]
    assert [it["slots"][0] for it in found] == ["DORMANT", "TRAINING", "BLENDING"]
    assert len({it["batch"] for it in found}) == 1
    assert len({it["noise"] for it in found}) == 3
    (view, *_) = plan_views(host)
    assert view.inputs.shape[0] == plan.batch_size
    assert (view.host, view.model) == ("grown", host.model)


def plan_views(host):
    return host.plan.diagnostics["looks"].views


def test_the_training_is_bit_for_bit_that_without_them(plan):
    bare, _ = grown(plan)
    looked_at, _ = grown(plan, looks=Looks(), raises=Raises())
    one, other = bare.capture(), looked_at.capture()
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


def test_what_one_draws_depends_on_its_name_and_the_epoch_alone(plan):
    _, alone = grown(plan, looks=Looks())
    _, beside = grown(plan, raises=Raises(), looks=Looks())
    assert [it.findings[-1] for it in alone] == [it.findings[-1] for it in beside]
    _, other = grown(plan, other=Looks())
    assert other[0].findings[0].data["noise"] != alone[0].findings[0].data["noise"]


def test_one_that_fails_is_a_finding_and_the_others_are_asked(plan):
    class Odd:
        def examine(self, view):
            return {"rank": 3}

    _, reports = grown(plan, raises=Raises(), odd=Odd(), looks=Looks())
    errors = [finding.error for finding in reports[0].findings]
    assert errors == ["ValueError: no idea", "it returned {'rank': 3}, which is not an instance of an attrs class", ""]


@pytest.mark.parametrize("change", ["weights", "gradients", "frozen"])
def test_one_that_changes_the_network_fails_the_host(plan, change):
    class Meddles:
        def examine(self, view):
            parameter = next(view.model.parameters())
            if change == "weights":
                parameter.mul_(1.0)
            elif change == "gradients":
                parameter.grad = None
            else:
                parameter.requires_grad_(False)
            return Seen(0, False, [], 0.0, 0.0)

    host = GrowingHost(evolve(plan, diagnostics={"meddles": Meddles()}))
    with pytest.raises(EsperError, match='diagnostic "meddles" has changed the network') as caught:
        host.epoch()
    assert caught.value.code == "E530"


def test_findings_and_failures_are_events(plan):
    class Around:
        events = []

        def emit(self, event):
            self.events.append(event)

        def epoch_end(self, host, evidence):
            pass

    _, (report, *_) = grown(plan, looks=Looks(), raises=Raises())
    Recorder("grown", Around()).trained(0, report)
    (found,) = [event for event in Around.events if event.kind is EventKind.DIAGNOSED]
    assert found.data["diagnostic"] == "looks"
    assert found.data["finding"]["epoch"] == 0
    (failed,) = [event for event in Around.events if event.kind is EventKind.PLUGIN_FAILED]
    assert failed.data == {"plugin": "raises", "place": "diagnostic", "error": "ValueError: no idea"}


def test_a_stopped_host_is_not_looked_into_again(plan):
    host, _ = grown(evolve(plan, governor=GovernorRules(max_rollbacks=0)), looks=Looks())
    with torch.no_grad():
        host.model.head.bias.fill_(torch.nan)
    assert host.epoch().governor == "stopped"
    assert host.epoch().findings == ()
