"""Whatever is asked of a growth in whatever order, its invariants hold."""

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import GateResult
from esper_core.leyline.stages import TRANSITIONS, Blend, Cause, Stage

SLOTS = ("block0", "block1")


class FickleGate:
    """Gives whatever verdict the test has set last."""

    consecutive_passes = 1

    def __init__(self, level):
        self.level = level
        self.passed, self.harmful = True, False

    def evaluate(self, evidence):
        return GateResult(gate=self.level, passed=self.passed, harmful=self.harmful, reason="fickle")


def machine(make_growth, host_class, levels, incubation):
    class Lifecycle(RuleBasedStateMachine):
        @initialize()
        def begin(self):
            torch.manual_seed(0)
            self.gates = {level: FickleGate(level) for level in levels}
            self.growth = make_growth(
                host_class(),
                gates=self.gates,
                incubation=incubation,
                ramp_epochs=1,
                embargo_epochs=1,
                training_timeout_epochs=2,
                blending_timeout_epochs=1,
                probation_timeout_epochs=2,
            )
            self.keys = list(self.growth.slot_set.model.state_dict())
            self.epoch = 0
            self.seen = []
            self.fossils = set()

        def keep(self, *transitions):
            self.seen += transitions
            for transition in transitions:
                assert (transition.source, transition.target) in TRANSITIONS
                assert all(result.passed for result in transition.gates)

        @rule(slot=st.sampled_from(SLOTS), blueprint=st.sampled_from(["conv", "loud", "norm-first"]))
        def germinate(self, slot, blueprint):
            if self.growth.stage(slot) is Stage.DORMANT:
                self.keep(self.growth.germinate(slot, blueprint, Blend.LINEAR, self.epoch))
            else:
                with pytest.raises(EsperError):
                    self.growth.germinate(slot, blueprint, Blend.LINEAR, self.epoch)

        @rule(slot=st.sampled_from(SLOTS), cause=st.sampled_from(Cause))
        def cull(self, slot, cause):
            if self.growth.stage(slot).live:
                self.keep(self.growth.cull(slot, self.epoch, cause))
            else:
                with pytest.raises(EsperError):
                    self.growth.cull(slot, self.epoch, cause)

        @rule(slot=st.sampled_from(SLOTS))
        def fossilize(self, slot):
            before = self.growth.states(self.epoch)
            may = next(state.may_fossilize for state in before if state.site.id == slot)
            if may:
                self.keep(self.growth.fossilize(slot, self.epoch))
                self.fossils.add(slot)
            else:
                with pytest.raises(EsperError):
                    self.growth.fossilize(slot, self.epoch)
                assert self.growth.states(self.epoch) == before

        @rule(passed=st.booleans(), harmful=st.booleans(), level=st.sampled_from(levels))
        def change_gate(self, level, passed, harmful):
            self.gates[level].passed, self.gates[level].harmful = passed, harmful and not passed

        @rule()
        def one_epoch(self):
            self.keep(*self.growth.tick(self.epoch))
            self.growth.set_alphas(self.epoch, 1.0)
            self.growth.judge(self.growth.evidence(self.epoch), 0.5)
            self.epoch += 1

        @invariant()
        def nothing_leaks(self):
            growth, model = self.growth, self.growth.slot_set.model
            holding = {state.site.id for state in growth.states(self.epoch) if state.stage.holds_module}
            planted = set(growth.slot_set.slots)
            assert planted <= holding
            for slot in SLOTS:
                hooks = model.get_submodule(slot.replace("block", "blocks."))._forward_hooks
                acting = slot in planted and growth.stage(slot) is not Stage.GERMINATED
                assert len(hooks) == (1 if acting else 0)
            groups = growth.slot_set.optimizer.param_groups
            assert len(groups) == 1 + len(planted)
            assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in model.parameters()}
            if not planted:
                assert list(model.state_dict()) == self.keys

        @invariant()
        def a_fossil_stays(self):
            assert all(self.growth.stage(slot) is Stage.FOSSILIZED for slot in self.fossils)
            assert {t.slot for t in self.seen if t.source is Stage.FOSSILIZED} == set()

        @invariant()
        def the_books_balance(self):
            born = sum(t.target is Stage.GERMINATED for t in self.seen)
            ended = sum(t.target in (Stage.CULLED, Stage.FOSSILIZED) for t in self.seen)
            live = sum(life.stage.live for life in self.growth.seeds.values())
            assert len(self.growth.reports) == ended
            assert born == ended + live
            assert sum(len(names) for names in self.growth.culled.values()) == ended - len(self.fossils)

        @invariant()
        def alpha_fits_the_stage(self):
            for state in self.growth.states(self.epoch):
                if state.stage in (Stage.PROBATIONARY, Stage.FOSSILIZED):
                    assert state.alpha == 1.0
                elif state.stage is not Stage.BLENDING:
                    assert state.alpha == 0.0

    return Lifecycle


@pytest.mark.parametrize("incubation", ["ste", "probe", "none"])
def test_no_order_of_commands_breaks_a_growth(make_growth, host_class, all_pass, incubation):
    case = machine(make_growth, host_class, list(all_pass), incubation).TestCase
    case.settings = settings(
        max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case().runTest()


def test_every_stage_of_the_table_is_reached(make_growth, host_class, gate_class, all_pass):
    growth = make_growth(host_class(), ramp_epochs=1, embargo_epochs=1)
    growth.germinate("block0", "conv", Blend.LINEAR, 0)
    growth.germinate("block1", "conv", Blend.LINEAR, 0)
    seen = {Stage.DORMANT, Stage.GERMINATED}
    for epoch in range(8):
        if growth.stage("block0") is Stage.PROBATIONARY and epoch > 3:
            growth.fossilize("block0", epoch)
        if epoch == 3:
            growth.cull("block1", epoch)
            seen.add(growth.stage("block1"))
        growth.tick(epoch)
        seen |= {growth.stage("block0"), growth.stage("block1")}
        growth.judge(growth.evidence(epoch), None)
    assert seen == set(Stage)


def test_a_gate_that_needs_two_passes_in_a_row_gets_them(make_growth, host_class, gate_class, all_pass):
    verdicts = iter([True, False, True, True, True])
    picky = gate_class(next(level for level in all_pass if level == "G2"), lambda _: next(verdicts))
    picky.consecutive_passes = 2
    growth = make_growth(host_class(), gates={**all_pass, picky.level: picky}, training_timeout_epochs=9)
    growth.germinate("block0", "conv", Blend.LINEAR, 0)
    stages = []
    for epoch in range(5):
        growth.tick(epoch)
        stages.append(growth.stage("block0"))
        growth.judge(growth.evidence(epoch), None)
    assert stages == [Stage.TRAINING] * 4 + [Stage.BLENDING]


def timed_out(growth, gates, level, *, verdicts, needed=1):
    """The reason of the cull of a seed whose gate of a level gives these verdicts, and whom nobody keeps."""
    given = iter(verdicts)
    gates[level].consecutive_passes = needed
    gates[level].passes = lambda evidence: next(given)
    growth.germinate("block0", "conv", Blend.LINEAR, 0)
    for epoch in range(9):
        for transition in growth.tick(epoch):
            if transition.cause is Cause.TIMEOUT:
                return transition.reason
        growth.judge(growth.evidence(epoch), None)
    raise AssertionError("nothing was culled")


@pytest.mark.parametrize(
    ("level", "verdicts", "needed", "options", "reason"),
    [
        ("G2", [False] * 3, 1, {"training_timeout_epochs": 3}, "TRAINING for 3 epochs: as the test wants it"),
        (
            "G2",
            [True, False, True],
            2,
            {"training_timeout_epochs": 3},
            "TRAINING for 3 epochs: G2 has passed 1 of 2 times in a row (as the test wants it)",
        ),
        (
            "G2",
            [True] * 3,
            1,
            {"training_timeout_epochs": 3, "incubation_epochs": 5},
            "TRAINING for 3 epochs: G2 has passed, and it was to train for longer (as the test wants it)",
        ),
        (
            "G5",
            [True] * 3,
            1,
            {"probation_timeout_epochs": 3, "ramp_epochs": 1},
            "PROBATIONARY for 3 epochs: G5 has passed, and nobody has kept it (as the test wants it)",
        ),
    ],
)
def test_a_timeout_says_what_was_missing(make_growth, host_class, all_pass, level, verdicts, needed, options, reason):
    growth = make_growth(host_class(), gates=all_pass, **options)
    assert timed_out(growth, all_pass, level, verdicts=verdicts, needed=needed) == reason


def test_a_broken_recipe_culls_its_seed_and_says_why(make_growth, host_class, all_pass):
    growth = make_growth(host_class())

    def explode(site):
        raise RuntimeError("no such layer")

    growth.seed_factories["conv"] = type(growth.seed_factories["conv"])(
        entry=growth.seed_factories["conv"].entry, build=explode
    )
    all_pass["G0"].passes = lambda evidence: evidence.source_error is None
    growth.germinate("block0", "conv", Blend.LINEAR, 0)
    (transition,) = growth.tick(0)
    assert transition.target is Stage.CULLED
    assert growth.reports[0].final_stage is Stage.CULLED


def test_a_field_report_sums_a_life_up(make_growth, host_class):
    growth = make_growth(host_class(), ramp_epochs=1)
    growth.judge((), 0.25)
    growth.germinate("block0", "conv", Blend.LINEAR, 1)
    for epoch in (1, 2, 3):
        growth.tick(epoch)
        growth.judge(growth.evidence(epoch), 0.5)
    growth.fossilize("block0", 4, reason="it is used")
    (report,) = growth.reports
    assert (report.germinated_epoch, report.ended_epoch, report.final_stage) == (1, 4, Stage.FOSSILIZED)
    assert report.epochs_by_stage == {"GERMINATED": 0, "TRAINING": 1, "BLENDING": 1, "PROBATIONARY": 1}
    assert (report.accuracy_at_germination, report.accuracy_at_end) == (0.25, 0.5)
    assert report.reason == "it is used"
    assert report.parameters == 8 * 8 * 9 + 3 * 8
