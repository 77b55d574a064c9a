"""The example in each hook's documentation is a sound implementation of that hook, and does something."""

import doctest
from types import ModuleType, SimpleNamespace

import pytest

from esper_core import api, hooks, specs
from esper_core.leyline.actions import Transition
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.stages import Cause, Stage
from esper_core.plugins.calling import Implementation
from esper_core.plugins.collect import collect
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.records import Origin
from esper_core.plugins.verify import find_hooks, hook_arguments, new_manager, verify

ORIGIN = Origin(plugin="example", module="example")
METRICS = EpochMetrics(loss=1.0, accuracy=0.5, samples=10)
CULLED = Transition(
    slot="a",
    seed_id="a-0",
    blueprint="noop",
    source=Stage.TRAINING,
    target=Stage.CULLED,
    epoch=3,
    epochs_in_source=2,
    cause=Cause.TIMEOUT,
    reason="it did not learn",
)


def documentation(hook):
    return next(vars(it)[hook] for it in hooks.SPECIFICATIONS if hook in vars(it)).__doc__


@pytest.fixture
def example():
    """A module that holds what the example of a hook defines."""

    def run(hook):
        namespace = {**vars(specs), **vars(api), "hookimpl": hooks.hookimpl}
        test = doctest.DocTestParser().get_doctest(documentation(hook), namespace, hook, None, 0)
        test.globs["__name__"] = "example"
        assert test.examples, f"the documentation of {hook} has no example"
        runner = doctest.DocTestRunner(verbose=False)
        assert not runner.run(test, clear_globs=False).failed
        module = ModuleType("example")
        vars(module)[hook] = test.globs[hook]
        return module

    return run


@pytest.mark.parametrize("hook", hook_arguments())
def test_it_is_a_sound_implementation(hook, example):
    found = find_hooks(example(hook), new_manager())
    assert list(found.implementations) == [hook]
    assert not verify(found, ORIGIN)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_registration_gives_a_descriptor(kind, example):
    (registered,) = collect(kind, Implementation(kind.hook, vars(example(kind.hook))[kind.hook], (), ORIGIN))
    assert type(registered.spec) is kind.spec


def test_every_registration_hook_is_that_of_a_kind():
    assert {kind.hook for kind in KINDS} == set(hooks.hooks_of(hooks.RegistrationSpecs))


@pytest.mark.parametrize(
    ("hook", "arguments", "says"),
    [
        ("esper_run_start", [{"seed": 3, "machine": {"system": "Linux"}}], "seed 3 on Linux\n"),
        (
            "esper_epoch_end",
            ["grown", Evidence(host="grown", epoch=2, train=METRICS, validation=METRICS)],
            "grown: epoch 2, validation accuracy 0.500\n",
        ),
        ("esper_seed_transition", [CULLED], "a-0 is gone: it did not learn\n"),
        ("esper_run_finish", [{"task": "digits", "outcome": "completed"}], "digits: completed\n"),
    ],
)
def test_observers_tell_what_they_saw(hook, arguments, says, example, capsys):
    vars(example(hook))[hook](*arguments)
    assert capsys.readouterr().out == says


def test_the_adapter_knows_its_own_model_alone(example):
    adapt = example("esper_adapt_host").esper_adapt_host
    mine = type("MyNet", (), {"blocks": [None, None]})()
    assert [site.path for site in adapt(mine)] == ["blocks.0", "blocks.1"]
    assert adapt(SimpleNamespace(blocks=[])) is None
