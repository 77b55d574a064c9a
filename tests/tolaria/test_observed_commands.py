"""Whatever a policy asks for, and whatever comes of it, shows in the features of the next observation."""

from itertools import combinations

import pytest

from esper_core.leyline.actions import WAIT, Action, Op
from esper_core.leyline.observation import LearningCurves
from esper_core.leyline.stages import Blend, Stage
from esper_core.tamiyo.sense import observe
from esper_core.tolaria.host import GrowingHost
from esper_learning.schema import ObservationSchema

GERMINATE = Action(op=Op.GERMINATE, slot="block0", blueprint="tanh", blend=Blend.LINEAR)

COMMANDS = [
    WAIT,
    *(
        Action(op=Op.GERMINATE, slot=slot, blueprint=blueprint, blend=blend, ramp_epochs=ramp)
        for slot in ("block0", "block1")
        for blueprint in ("tanh", "random")
        for blend in Blend
        for ramp in (0, 3)
    ),
]


def features(plan, before, command):
    """The features after `before`, one command an epoch, and then this one."""
    host, schema = GrowingHost(plan), ObservationSchema(plan.catalogue.names)
    evidence, answers, curves = None, [], LearningCurves()
    for action in (*before, command):
        answers = [(action, host.apply(action).verdict)]
        report = host.epoch()
        evidence, curves = report.evidence, curves.after(report.evidence.train, report.evidence.validation)
    assert evidence is not None
    return schema.vector(observe(curves, evidence, report, epochs=plan.epochs, answers=answers))


def test_no_two_commands_for_an_empty_host_look_alike(plan):
    seen = [features(plan, (), command) for command in COMMANDS]

    for (one, first), (other, second) in combinations(zip(COMMANDS, seen, strict=True), 2):
        assert first != second, f"{one} looks like {other}"


@pytest.mark.parametrize("op", [Op.CULL, Op.FOSSILIZE])
def test_what_happens_to_a_seed_on_trial_is_seen(plan, op):
    before = (GERMINATE, WAIT, WAIT, WAIT)
    host = GrowingHost(plan)
    for action in before:
        host.apply(action)
        host.epoch()
    assert host.growth.stage("block0") is Stage.PROBATIONARY
    command = Action(op=op, slot="block0")

    assert features(plan, before, command) != features(plan, before, WAIT)


def test_a_command_that_is_denied_is_seen(plan):
    assert features(plan, (), Action(op=Op.CULL, slot="block1")) != features(plan, (), WAIT)
