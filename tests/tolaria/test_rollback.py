"""A host that must not be trained as it stands goes back to its last good state, and on from there on another path."""

from math import inf, isfinite, nan

import pytest
import torch
from attrs import evolve

from esper_core.leyline.actions import WAIT, Action, GovernorMode, Op
from esper_core.leyline.evidence import Evidence, GateResult, SeedEvidence
from esper_core.leyline.reports import HostReport, Rollback
from esper_core.leyline.stages import Blend, Cause, GateLevel, Stage
from esper_core.leyline.vital_signs import VitalSigns, Vote
from esper_core.tolaria.config import OptimizerConfig, OptimizerName
from esper_core.tolaria.governor import GovernorRules
from esper_core.tolaria.host import GrowingHost, HostPlan
from esper_core.tolaria.state import capture, model_tensors, restore

NORMAL, CONSERVATIVE, STOPPED = GovernorMode


class Votes:
    """Votes by the epoch, normal where nothing is said."""

    def __init__(self, modes: dict[int, GovernorMode]) -> None:
        self.modes = modes
        self.watched: list[int] = []

    def evaluate(self, signs: VitalSigns) -> Vote:
        epoch = signs.evidence.epoch
        if signs.watched:
            self.watched.append(epoch)
        mode = self.modes.get(epoch, NORMAL)
        return Vote() if mode is NORMAL else Vote(mode=mode, reason=f"as told in {epoch}")


class ShutGate:
    """Keeps a seed in BLENDING."""

    consecutive_passes = 1

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return GateResult(gate=GateLevel.G3, passed=False, reason="shut")


def germinate(slot: str, blueprint: str = "random") -> Action:
    return Action(op=Op.GERMINATE, slot=slot, blueprint=blueprint, blend=Blend.LINEAR, id=f"{slot}/{blueprint}")


def voted(plan: HostPlan, modes: dict[int, GovernorMode], **rules: int) -> GrowingHost:
    return GrowingHost(evolve(plan, evaluators={"told": Votes(modes)}, governor=GovernorRules(**rules)))


def trained(host: GrowingHost, epochs: int, actions: dict[int, Action] | None = None) -> list[HostReport]:
    reports = []
    for _ in range(epochs):
        host.apply((actions or {}).get(host.grower.epoch, WAIT))
        reports.append(host.epoch())
    return reports


def losses(reports: list[HostReport]) -> list[float]:
    return [report.evidence.train.loss for report in reports]


def same_weights(host: GrowingHost, weights: dict[str, torch.Tensor]) -> bool:
    now = host.model.state_dict()
    return now.keys() == weights.keys() and all(torch.equal(now[name], weights[name]) for name in now)


def test_a_lost_host_is_as_it_was_and_the_epochs_go_on(plan):
    host = voted(plan, {3: STOPPED})
    trained(host, 3)
    good, optimizer = {n: t.clone() for n, t in host.model.state_dict().items()}, capture(host).tensors
    spent = host.grower.compute.total
    (report,) = trained(host, 1)
    assert report.rollback == Rollback(attempt=1, from_epoch=3, to_epoch=2, reason="as told in 3")
    assert (report.epoch, report.governor, host.attempt) == (4, CONSERVATIVE, 1)
    assert same_weights(host, good)
    now = capture(host).tensors
    assert all(torch.equal(now[name], optimizer[name]) for name in optimizer)
    assert host.grower.compute.total > spent, "what the lost epoch has cost stays counted"
    assert report.evidence.epoch == 3, "what was measured is of the network that has been given up"
    assert host.report() == report, "asking again gives the same"
    assert trained(host, 1)[0].rollback is None
    assert host.finish().rollbacks == (report.rollback,)


def test_what_comes_after_is_another_path(plan):
    host, undisturbed = voted(plan, {3: STOPPED}), voted(plan, {})
    assert losses(trained(host, 4)) == losses(trained(undisturbed, 4))
    again = GrowingHost(plan)
    # Even from the same weights, in the same epoch.
    other = {**capture(host).record, "attempt": 0}
    again.restore(evolve(capture(host), record=other))
    assert losses(trained(host, 1)) != losses(trained(again, 1))


def test_only_a_good_state_is_gone_back_to(plan):
    host = voted(plan, {2: CONSERVATIVE, 3: CONSERVATIVE, 4: STOPPED})
    trained(host, 2)
    good = {name: tensor.clone() for name, tensor in host.model.state_dict().items()}
    *_, report = trained(host, 3)
    assert (report.rollback.from_epoch, report.rollback.to_epoch) == (4, 1)
    assert same_weights(host, good)


def test_a_governor_that_recovers_vouches_for_no_state_yet(plan):
    host = voted(plan, {2: CONSERVATIVE, 4: STOPPED}, recovery_epochs=2)
    assert trained(host, 5)[-1].rollback.to_epoch == 1


def test_a_second_rollback_goes_back_to_the_same_state_untouched(plan):
    host = voted(plan, {3: STOPPED, 4: STOPPED})
    trained(host, 3)
    good, before = {n: t.clone() for n, t in host.model.state_dict().items()}, capture(host).tensors
    reports = trained(host, 2)
    assert [it.rollback.attempt for it in reports] == [1, 2]
    assert [it.rollback.to_epoch for it in reports] == [2, 2]
    assert same_weights(host, good)
    now = capture(host).tensors
    assert all(torch.equal(now[name], before[name]) for name in before)


def test_the_number_of_rollbacks_is_bounded(plan):
    host = voted(plan, dict.fromkeys(range(2, 9), STOPPED), max_rollbacks=2)
    reports = trained(host, 7)
    assert [it.governor for it in reports] == [NORMAL] * 2 + [CONSERVATIVE] * 2 + [STOPPED] * 3
    assert reports[4].governor_reason == "as told in 4"
    assert [it.epoch for it in reports] == [1, 2, 3, 4, 5, 5, 5]


@pytest.mark.parametrize(("modes", "rules"), [({0: STOPPED}, {}), ({3: STOPPED}, {"max_rollbacks": 0})])
def test_without_a_good_state_or_the_right_to_go_back_a_host_is_stopped(plan, modes, rules):
    host = voted(plan, modes, **rules)
    report = trained(host, 4)[-1]
    assert (report.governor, report.rollback) == (STOPPED, None)
    assert host.snapshot is None or "max_rollbacks" not in rules


class Spoiled:
    """A task whose losses are not finite while it is told so."""

    def __init__(self, task) -> None:
        self.task, self.factor = task, 1.0

    def losses(self, outputs, targets):
        return self.task.losses(outputs, targets) * self.factor

    def __getattr__(self, name):
        return getattr(self.task, name)


@pytest.mark.parametrize("factor", [nan, inf])
def test_a_loss_that_is_not_finite_ruins_nothing(plan, factor):
    task = Spoiled(plan.task)
    host = GrowingHost(evolve(plan, task=task))
    trained(host, 2)
    task.factor = factor
    (report,) = trained(host, 1)
    assert not isfinite(report.evidence.train.loss)
    assert "the training loss is" in report.rollback.reason
    task.factor = 1.0
    reports = trained(host, 6)
    assert all(map(isfinite, losses(reports)))
    assert reports[-1].governor is NORMAL


@pytest.mark.parametrize("name", [OptimizerName.SGD, OptimizerName.ADAM])
def test_an_optimizer_whose_state_is_not_finite_is_noticed(variant, name):
    host = GrowingHost(variant(optimizer=OptimizerConfig(name=name, lr=0.01)))
    trained(host, 2)
    key = "momentum_buffer" if name is OptimizerName.SGD else "exp_avg_sq"
    # A parameter whose second moments are infinite is never changed again: no loss shows that.
    parameter = host.model.head.bias
    host.optimizer.state[parameter][key].fill_(inf)
    (report,) = trained(host, 1)
    assert report.rollback is not None
    assert all(torch.isfinite(state[key]).all() for state in host.optimizer.state.values())


def test_without_rollbacks_it_is_stopped_for_that(variant):
    optimizer = OptimizerConfig(name=OptimizerName.ADAM, lr=0.01)
    host = GrowingHost(variant(optimizer=optimizer, governor=GovernorRules(max_rollbacks=0)))
    trained(host, 2)
    host.optimizer.state[host.model.head.bias]["exp_avg_sq"].fill_(inf)
    (report,) = trained(host, 1)
    assert (report.governor, isfinite(report.evidence.validation.loss)) == (STOPPED, True)
    assert "not finite" in report.governor_reason


def test_a_seed_that_was_germinated_meanwhile_is_not_tried_again(plan):
    host = voted(plan, {3: STOPPED})
    *_, report = trained(host, 4, {3: germinate("block1")})
    (cull,) = [it for it in report.transitions if it.target is Stage.CULLED]
    assert (cull.slot, cull.cause, cull.epoch) == ("block1", Cause.SAFETY, 3)
    (ended,) = report.seed_reports
    assert (ended.seed_id, ended.final_stage, ended.germinated_epoch) == ("block1-0", Stage.CULLED, 3)
    assert host.growth.stage("block1") is Stage.CULLED
    reports = trained(host, 5)
    assert host.growth.stage("block1") is Stage.DORMANT
    assert reports[-1].governor is NORMAL
    masks = host.grower.masks()
    assert masks.blueprints_for("block1") == {"tanh"}
    assert masks.blueprints_for("block0") == {"tanh", "random"}
    verdict = host.apply(germinate("block1")).verdict
    assert not verdict.allowed
    assert "random is not germinated at block1 again" in verdict.reason
    (made,) = host.apply(germinate("block1", "tanh")).transitions
    assert made.seed_id == "block1-1", "no id is given twice"


def test_a_seed_that_was_blended_in_meanwhile_is_not_either(plan):
    plan = evolve(plan, lifecycle=evolve(plan.lifecycle, incubation_epochs=2))
    host = voted(plan, {3: STOPPED})
    trained(host, 3, {1: germinate("block1")})
    assert host.growth.stage("block1") is Stage.TRAINING
    (report,) = trained(host, 1)
    assert [(it.source, it.target) for it in report.transitions] == [
        (Stage.TRAINING, Stage.BLENDING),
        (Stage.BLENDING, Stage.CULLED),
    ]
    assert host.growth.slot_set.slots == {}
    assert {group.get("esper_seed") for group in host.optimizer.param_groups} == {None}


def test_for_a_seed_that_stays_the_lost_epochs_do_not_count(plan):
    gates = {**plan.gates, GateLevel.G3: ShutGate()}
    plan = evolve(plan, gates=gates, lifecycle=evolve(plan.lifecycle, ramp_epochs=6))
    host, undisturbed = voted(plan, {4: CONSERVATIVE, 5: STOPPED}), voted(plan, {})
    actions = {1: germinate("block1", "tanh")}
    for one in (host, undisturbed):
        trained(one, 4, actions)
    kept = host.growth.states(4)[1]
    assert 0.0 < kept.alpha < 1.0
    trained(host, 2)
    now = host.growth.states(6)[1]
    assert (now.stage, now.alpha, now.epochs_in_stage) == (kept.stage, kept.alpha, kept.epochs_in_stage)
    trained(host, 2)
    trained(undisturbed, 2)
    assert host.growth.states(8)[1].alpha == undisturbed.growth.states(6)[1].alpha
    assert host.growth.seeds["block1"].germinated_epoch == 1


def test_a_fossil_ended_when_it_ended(plan):
    host = voted(plan, {7: STOPPED})
    actions = {1: germinate("block1"), 5: Action(op=Op.FOSSILIZE, slot="block1", id="f")}
    trained(host, 8, actions)
    (fossil,) = host.finish().seeds
    assert (fossil.final_stage, fossil.ended_epoch) == (Stage.FOSSILIZED, 5)


def test_what_is_saved_goes_on_bit_for_bit_through_a_rollback(plan):
    modes = {3: CONSERVATIVE, 5: STOPPED, 7: STOPPED}
    actions = {1: germinate("block0", "tanh"), 2: germinate("block1")}
    whole = trained(voted(plan, modes), 9, actions)
    for epoch in range(1, 9):
        host, other = voted(plan, modes), voted(plan, modes)
        trained(host, epoch, actions)
        restore(other, state := capture(host))
        assert capture(other).record == state.record
        rest = trained(other, 9 - epoch, actions)
        assert losses(rest) == losses(whole[epoch:])
        assert [it.rollback for it in rest] == [it.rollback for it in whole[epoch:]]


def test_a_good_state_is_not_saved_twice(plan):
    host = voted(plan, {3: CONSERVATIVE})
    trained(host, 3)
    once = capture(host)
    assert len(once.tensors) == len({*model_tensors(once)}) + sum(n.startswith("optimizer/") for n in once.tensors)
    trained(host, 1)
    assert len(capture(host).tensors) == 2 * len(once.tensors)


def test_a_host_that_is_lost_in_its_last_epoch_ends_as_it_was(plan):
    host, shorter = voted(plan, {8: STOPPED}), voted(plan, {})
    trained(host, 9)
    trained(shorter, 8)
    one, other = host.finish(), shorter.finish()
    assert (one.epochs, other.epochs) == (9, 8)
    assert one.test.loss == other.test.loss


def test_the_governor_keeps_its_memory(plan):
    host = voted(plan, {2: CONSERVATIVE, 3: STOPPED})
    trained(host, 4)
    memory = host.grower.governor.memory
    assert memory.objections == {"told": 2}
    assert memory.best_loss == min(memory.best_loss, *memory.recent_losses)
    assert "attempt 1: as told in 3" in host.grower.governor.reason


def test_a_host_is_watched_after_a_change_and_after_a_rollback(plan):
    host = voted(plan, {6: STOPPED}, watch_epochs=2)
    trained(host, 9, {1: germinate("block0"), 4: Action(op=Op.CULL, slot="block0", id="c")})
    # Germinated in 1, blended in from 2 on, probationary from 3 on, culled in 4; rolled back at the end of 6.
    assert host.plan.evaluators["told"].watched == [1, 2, 3, 4, 5, 7, 8]


@pytest.mark.parametrize("rules", [{"watch_epochs": 0}, {"max_rollbacks": 0}])
def test_a_host_is_not_watched_without_a_window_or_where_nothing_can_be_undone(plan, rules):
    host = voted(plan, {}, **rules)
    trained(host, 3, {1: germinate("block0")})
    assert host.plan.evaluators["told"].watched == []


def test_the_first_attempt_has_the_streams_that_it_always_had(plan):
    host, other = GrowingHost(plan), GrowingHost(evolve(plan))
    other.begin_attempt(0)
    assert losses(trained(host, 2)) == losses(trained(other, 2))


def test_evidence_pairs_with_the_twins_of_the_same_epoch(plan):
    host, twin = voted(plan, {3: STOPPED}), GrowingHost(evolve(plan, name="twin"))
    pairs: list[tuple[Evidence, Evidence]] = []
    for _ in range(7):
        reference = twin.epoch().evidence
        host.apply(germinate("block0") if host.grower.epoch == 1 else WAIT)
        pairs.append((host.epoch(reference).evidence, reference))
    assert all(ours.epoch == theirs.epoch for ours, theirs in pairs)
    gains = [ours.seeds[0].host_gain.mean for ours, _ in pairs if ours.seeds and ours.seeds[0].host_gain]
    expected = [theirs.validation.loss - ours.validation.loss for ours, theirs in pairs if ours.seeds]
    assert gains == pytest.approx(expected[-len(gains) :], abs=1e-6)
    assert gains
