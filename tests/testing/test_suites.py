"""The conformance suite to inherit: which tests it makes, what it looks at, and how it fails."""

import pytest
from attrs import fields

from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.kinds import KINDS
from esper_core.specs import RewardTermSpec
from esper_testing import CHECKS
from esper_testing.check import Scope
from esper_testing.suites import ComponentSuite

pytest_plugins = ["pytester"]

#: A reward term that is right only with room for two, and whose descriptor leaves room for one.
TERM = """
from attrs import frozen

from esper_core.hooks import hookimpl
from esper_core.specs import RewardTermSpec

ESPER_API = "2.0"


@frozen(kw_only=True)
class Options:
    value: float = 2.0


class Steady:
    def __init__(self, config):
        self.config = config

    def value(self, step):
        return self.config.value


@hookimpl
def esper_reward_terms():
    yield RewardTermSpec(name="steady", summary="Steady.", factory=Steady, config=Options, low=0.0, high=1.0)
"""

#: What a descriptor has to say, or may say, beyond name, summary and factory.
FIELDS = {
    "layouts": '{"NCHW"}',
    "level": "GateLevel.G5",
    "gate_set": '"some"',
    "low": "0.0",
    "high": "1.0",
    "potential_based": "True",
    "host": '"some"',
}


def offering(kind: PluginKind) -> str:
    """A hook that offers one component of a kind, of which nothing but the descriptor is real."""
    said = ", ".join(f"{it.name}={FIELDS[it.name]}" for it in fields(kind.spec) if it.name in FIELDS)
    spec = f'{kind.spec.__name__}(name="some", summary="For tests.", factory=object, {said})'
    return f"\n@hookimpl\ndef {kind.hook}():\n    yield {spec}\n"


EVERY_KIND = """
from esper_core.hooks import hookimpl
from esper_core.specs import *

ESPER_API = "2.0"
""" + "".join(map(offering, KINDS))

SUITE_BY_KIND = {suite.kind: suite.__name__ for suite in ComponentSuite.__subclasses__()}

HEAD = """
from pathlib import Path
import pytest
from esper_testing import *

PLUGIN = Path(__file__).with_name("some_plugin.py")
"""


class Inner:
    """Runs a test file that inherits from a suite, beside a plugin file, in this process."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def run(self, suite: str, body: str, *arguments: str, plugin: str = TERM) -> pytest.RunResult:
        (self.pytester.path / "some_plugin.py").write_text(plugin)
        lines = ["plugin = PLUGIN", *body.strip().splitlines()]
        inherited = f"class TestSome({suite}):\n" + "".join(f"    {line}\n" for line in lines)
        (self.pytester.path / "test_some.py").write_text(HEAD + inherited)
        return self.pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rA", *arguments)


@pytest.fixture
def inner(pytester: pytest.Pytester) -> Inner:
    return Inner(pytester)


def test_there_is_a_suite_for_every_kind() -> None:
    with_suite = [kind for kind in KINDS if kind.suite]
    assert set(SUITE_BY_KIND) == {kind.name for kind in with_suite}
    assert {kind.name for kind in KINDS if not kind.provisional} <= set(SUITE_BY_KIND)
    # By this rule a new plugin's tests find it.
    assert {it.name: f"{it.spec.__name__.removesuffix('Spec')}Suite" for it in with_suite} == SUITE_BY_KIND


@pytest.mark.parametrize("kind", SUITE_BY_KIND)
def test_the_tests_are_those_of_the_one_list(inner: Inner, kind: str) -> None:
    found = inner.run(SUITE_BY_KIND[kind], "level = 'perf'", "--collect-only", "-q", plugin=EVERY_KIND).outlines
    ids = {line.partition("::")[2] for line in found if "::" in line}
    of_plugin = {f"TestSome::test_plugin[{check.id}]" for check in CHECKS if check.kind is Scope.PLUGIN}
    of_component = {
        f"TestSome::test_component[some-{check.id}]"
        for check in CHECKS
        if check.kind in (kind, Scope.COMPONENT) and not check.requires
    }
    assert ids == of_plugin | of_component
    assert any(check.kind is kind for check in CHECKS)


def test_a_wrong_component_fails_with_cause_and_fix(inner: Inner) -> None:
    done = inner.run("RewardTermSuite", "", "-k", "reward")
    done.assert_outcomes(passed=3, failed=1, deselected=done.parseoutcomes()["deselected"])
    done.stdout.fnmatch_lines(
        [
            "*its value is 2.0, outside of 0.0 to 1.0*",
            "*likely cause: *",
            "*fix: *",
            "FAILED test_some.py::TestSome::test_component[[]steady-reward-term-bounded]*",
        ]
    )


@pytest.mark.slow
def test_a_wrong_plugin_fails(inner: Inner) -> None:
    plugin = f"import sys\nsys.path.append('elsewhere')\nimport os\nos.environ['SOME'] = 'thing'\n{TERM}"
    done = inner.run("RewardTermSuite", "", "-k", "test_plugin", plugin=plugin)
    done.stdout.fnmatch_lines(["FAILED test_some.py::TestSome::test_plugin[[]plugin-import-pure]*"])
    assert done.parseoutcomes()["failed"] == 1


def test_options_can_be_given(inner: Inner) -> None:
    body = """
@pytest.fixture
def config(self, spec):
    return spec.config(value=0.5)
"""
    assert "failed" not in inner.run("RewardTermSuite", body, "-k", "component").parseoutcomes()


@pytest.mark.parametrize(
    ("suite", "plugin", "fixture", "value"),
    [
        ("BlueprintSuite", "esper-blueprint-conv-light", "sites", "['one']"),
        ("HostSuite", "esper-host-cnn", "data", "'data'"),
        ("GateSuite", "esper-gates-standard", "good", "'good'"),
        ("PolicySuite", "esper-policy-heuristic", "catalogue", "'some'"),
    ],
)
def test_what_a_check_looks_at_can_be_given(inner: Inner, suite: str, plugin: str, fixture: str, value: str) -> None:
    body = f"""
plugin = {plugin!r}
@pytest.fixture
def {fixture}(self):
    return {value}
def test_own(self, subject):
    assert list(subject.{fixture}) == list({value})
"""
    done = inner.run(suite, body, "-k", "own")
    outcomes = done.parseoutcomes()
    assert outcomes["passed"] >= 1
    assert "failed" not in outcomes


@pytest.mark.parametrize(
    ("suite", "plugin", "attribute", "value"),
    [
        ("BlueprintSuite", "esper-blueprint-conv-light", "rms_limit", 0.25),
        ("BlueprintSuite", "esper-blueprint-conv-light", "device", "meta"),
        ("GateSuite", "esper-gates-standard", "false_pass_limit", 0.5),
        ("TaskSuite", "esper-task-vision", "overlap_limit", 0.5),
    ],
)
def test_limits_reach_the_subject(inner: Inner, suite: str, plugin: str, attribute: str, value: object) -> None:
    body = f"""
plugin = {plugin!r}
{attribute} = {value!r}
def test_own(self, subject):
    assert subject.{attribute} == {value!r}
"""
    outcomes = inner.run(suite, body, "-k", "own").parseoutcomes()
    assert outcomes["passed"] >= 1
    assert "failed" not in outcomes


REASON = "expected = {'steady': {'reward-term-bounded': 'it is in points'}}"
RIGHT = TERM.replace("value: float = 2.0", "value: float = 0.5")


@pytest.mark.parametrize(("plugin", "outcome"), [(TERM, "xfailed"), (RIGHT, "failed")], ids=["fails", "passes"])
def test_expected_failures_are_strict(inner: Inner, plugin: str, outcome: str) -> None:
    done = inner.run("RewardTermSuite", REASON, "-k", "reward-term-bounded", plugin=plugin)
    assert done.parseoutcomes()[outcome] == 1
    done.stdout.fnmatch_lines(["*it is in points*"])


def test_expected_failures_can_stand_in_a_file(inner: Inner) -> None:
    (inner.pytester.path / "expect.toml").write_text('reward-term-bounded = "it is in points"')
    done = inner.run("RewardTermSuite", "expected = PLUGIN.with_name('expect.toml')", "-k", "reward-term-bounded")
    assert done.parseoutcomes()["xfailed"] == 1


def test_a_broken_fixture_is_no_expected_failure(inner: Inner) -> None:
    body = f"""
{REASON}
@pytest.fixture
def config(self):
    raise RuntimeError("no options")
"""
    assert inner.run("RewardTermSuite", body, "-k", "reward-term-bounded").parseoutcomes()["errors"] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("plugin = ''", "TestSome does not say which plugin it checks"),
        ("plugin = 'esper-blueprint-foo-bar'", "esper-blueprint-foo-bar*"),
        ("component = 'stedy'", '*offers no reward-term called "stedy"*'),
        ("plugin = 'esper-sink-jsonl'", "*esper-sink-jsonl offers no reward-term*"),
        ("expected = {'reward-term-bonded': 'why'}", '*no check is called "reward-term-bonded"*'),
        ("expected = {'stedy': {'reward-term-bounded': 'why'}}", '*no component is called "stedy"*'),
        ("expected = {'reward-term-bounded': ''}", '*the value of "reward-term-bounded" is not valid*'),
        ("leave_out = {'reward-term-bonded'}", '*no check is called "reward-term-bonded"*'),
    ],
)
def test_mistakes_are_named_when_tests_are_collected(inner: Inner, body: str, message: str) -> None:
    done = inner.run("RewardTermSuite", body, "-k", "reward")
    assert done.parseoutcomes() == {"errors": 1}
    done.stdout.fnmatch_lines([f"*{message}*"])


def test_checks_can_be_left_out(inner: Inner) -> None:
    done = inner.run("RewardTermSuite", "leave_out = {'reward-term-bounded'}", "-k", "reward")
    done.assert_outcomes(passed=3, deselected=done.parseoutcomes()["deselected"])


def test_a_level_can_be_chosen(inner: Inner) -> None:
    done = inner.run("RewardTermSuite", "level = 'static'\ntest_plugin = None", "--collect-only", "-q")
    static = {check.id for check in CHECKS if check.kind in (RewardTermSpec.kind, Scope.COMPONENT) and check.level == 1}
    assert {line.partition("[steady-")[2].rstrip("]") for line in done.outlines if "[" in line} == static


def test_what_cannot_run_here_is_skipped_with_its_reason(inner: Inner) -> None:
    plugin = TERM.replace("low=0.0", "unavailable='no steady hand', low=0.0")
    done = inner.run("RewardTermSuite", "", "-k", "reward-term-bounded", plugin=plugin)
    assert done.parseoutcomes()["skipped"] == 1
    done.stdout.fnmatch_lines(["*it cannot run here: no steady hand*"])
    done = inner.run("RewardTermSuite", "unavailable_too = True", "-k", "reward-term-bounded", plugin=plugin)
    assert done.parseoutcomes()["failed"] == 1


def test_a_suite_itself_is_no_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("from esper_testing import BlueprintSuite")
    assert pytester.runpytest_inprocess("-p", "no:cacheprovider").ret is pytest.ExitCode.NO_TESTS_COLLECTED
