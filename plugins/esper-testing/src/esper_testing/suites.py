"""The conformance suite to inherit, where a test needs fixtures of its own. One class for each kind of component.

>>> class TestFoo(BlueprintSuite):
...     plugin = "esper-blueprint-foo"

is the whole suite for one plugin: `test_plugin` runs the checks of the plugin as a whole, `test_component` those of
each component of the kind that it offers. What decides which tests there are is an attribute. What the checks look at
are fixtures, to be overridden by a method of the same name, which may use `spec`, the component's descriptor. Tests
of your own that ask for `spec` or `subject` are run for each component.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.evidence import SeedEvidence
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.protocols import DataShape
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import (
    BlueprintSpec,
    ComponentSpec,
    DiagnosticSpec,
    EvaluatorSpec,
    ExecutorSpec,
    GateSpec,
    HostSpec,
    PolicySpec,
    RewardTermSpec,
    SinkSpec,
    TaskSpec,
)
from esper_core.leyline.vital_signs import VitalSigns
from esper_core.plugins.kinds import KINDS
from esper_testing.all_checks import all_checks
from esper_testing.blueprint_subject import BlueprintSubject
from esper_testing.check import Check, CheckLevel, Scope
from esper_testing.conformance import conformance
from esper_testing.evaluator_checks import EvaluatorSubject, healthy_signs
from esper_testing.expectations import Expectations
from esper_testing.gate_subject import GateSubject
from esper_testing.host_subject import HostSubject
from esper_testing.marks import marks, require
from esper_testing.plugin_subject import PluginSubject, find_plugins
from esper_testing.policy_subject import PolicySubject
from esper_testing.situations import CATALOGUE
from esper_testing.subject import Subject, resolved
from esper_testing.task_subject import TaskSubject


class ComponentSuite:
    """What the suites of all kinds have. Inherit from the suite of a kind.

    Attributes:
        kind: the kind of component.
        plugin: entry point, distribution, Python file or folder, as for `find_plugins`.
        component: name of the only component to check; None: every one of the kind that the plugin offers.
        level: the highest level of checks: static, contract, training (or quick, the same), full or perf.
        expected: failures that are expected, each with its reason: by a check's id, or by a component's name and then
            by a check's id; or a TOML file with the same content. They are strict: an unexpected pass fails.
        leave_out: ids of checks that find nothing to judge here, which would be skipped.
        unavailable_too: check also a component that says that it cannot run here; otherwise that skips its tests.
    """

    kind: ClassVar[str]
    plugin: ClassVar[str | Path] = ""
    component: ClassVar[str | None] = None
    level: ClassVar[str] = "full"
    expected: ClassVar[Mapping[str, Any] | Path] = {}
    leave_out: ClassVar[Collection[str]] = ()
    unavailable_too: ClassVar[bool] = False

    @pytest.fixture
    def config(self, spec: ComponentSpec) -> Any:
        """The component's options; default: its options class with its defaults."""
        options = resolved(spec.config)
        return None if options is None else options()

    @pytest.fixture
    def subject(self, spec: ComponentSpec, config: Any) -> Subject[Any]:
        """What the checks look at, made of the other fixtures."""
        kind = next((it for it in KINDS if it.name == self.kind), None) or _kinds(self._plugins())[self.kind]
        return conformance(kind).subject(spec=spec, config=config)

    def test_plugin(self, plugin_subject: PluginSubject, check: Check) -> None:
        """The plugin as a whole passes a check: names, packaging, import."""
        require(check, plugin_subject)

    def test_component(self, subject: Subject[Any], check: Check) -> None:
        """A component passes a check."""
        require(check, subject)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test of every check; run tests of a subclass's own that ask for `spec` for each component."""
        asked = {"plugin_subject", "spec", "check"} & set(metafunc.fixturenames)
        try:
            if asked == {"plugin_subject", "check"}:
                metafunc.parametrize(("plugin_subject", "check"), [*self._plugin_tests()])
            elif asked == {"spec", "check"}:
                metafunc.parametrize(("spec", "check"), [*self._component_tests()])
            elif asked == {"spec"}:
                specs = [spec for spec, _ in self._components()]
                metafunc.parametrize("spec", specs, ids=[spec.name for spec in specs])
        except EsperError as error:
            raise pytest.Collector.CollectError(str(error)) from error

    def _plugins(self) -> tuple[PluginSubject, ...]:
        if not self.plugin:
            what = f"{type(self).__name__} does not say which plugin it checks"
            raise EsperError("E150", what, fix=f'plugin = "esper-{self.kind}-foo"')
        return find_plugins(self.plugin)

    def _components(self) -> list[tuple[ComponentSpec, str | None]]:
        """The components that are checked, each with the plugin API that it was made for."""
        plugins = self._plugins()
        offered = [(spec, it.record.api) for it in plugins for spec in it.specs if spec.kind == self.kind]
        found = [(spec, api) for spec, api in offered if self.component in (None, spec.name)]
        if not found:
            name, names = self.component, [spec.name for spec, _ in offered]
            what = f"{self.plugin} offers no {self.kind}" + (f' called "{name}"' if name else "")
            why = "\n".join(it.record.problem for it in plugins if it.record.problem)
            raise EsperError("E204", what, why=why or None, fix=did_you_mean(name, names) if name else None)
        return found

    def _checks(self, scopes: Collection[str], plugins: Collection[PluginSubject]) -> list[Check]:
        highest = CheckLevel[self.level.upper()]
        checks = all_checks(_kinds(plugins).values())
        return [it for it in checks if it.kind in scopes and it.level <= highest and it.id not in self.leave_out]

    def _expected(self, plugins: Collection[PluginSubject]) -> Expectations:
        expected, known = Expectations.of(self.expected), [check.id for check in all_checks(_kinds(plugins).values())]
        expected.require_known(known, [spec.name for plugin in plugins for spec in plugin.specs])
        Expectations.of(dict.fromkeys(self.leave_out, "it is left out")).require_known(known, ())
        return expected

    def _plugin_tests(self) -> Iterator[Any]:
        plugins = self._plugins()
        expected, checks = self._expected(plugins), self._checks({Scope.PLUGIN}, plugins)
        for plugin in plugins:
            for check in checks:
                identifier = check.id if len(plugins) == 1 else f"{plugin.name}-{check.id}"
                yield pytest.param(plugin, check, id=identifier, marks=marks(check, expected.reason(check.id, None)))

    def _component_tests(self) -> Iterator[Any]:
        plugins = self._plugins()
        expected, checks = self._expected(plugins), self._checks({Scope.COMPONENT, self.kind}, plugins)
        for spec, api in self._components():
            for check in checks:
                if check.excuse(spec, api) is not None:
                    continue
                found = marks(check, expected.reason(check.id, spec.name))
                if spec.unavailable and not self.unavailable_too and check.level > CheckLevel.STATIC:
                    found = [pytest.mark.skip(reason=f"it cannot run here: {spec.unavailable}")]
                yield pytest.param(spec, check, id=f"{spec.name}-{check.id}", marks=found)


def _kinds(plugins: Collection[PluginSubject]) -> dict[str, PluginKind]:
    return {kind.name: kind for plugin in plugins for kind in plugin.kinds}


class HostSuite(ComponentSuite):
    """The suite of hosts."""

    kind = HostSpec.kind

    @pytest.fixture
    def data(self, spec: HostSpec) -> DataShape:
        """What the host is built for; default: as the layouts of its sites suggest."""
        return HostSubject(spec=spec, config=None).data

    @pytest.fixture
    def subject(self, spec: HostSpec, config: Any, data: DataShape) -> HostSubject:
        """The host, with its options and data."""
        return HostSubject(spec=spec, config=config, data=data)


class BlueprintSuite(ComponentSuite):
    """The suite of blueprints.

    Attributes:
        rms_limit, device: as in `BlueprintSubject`.
    """

    kind = BlueprintSpec.kind
    rms_limit: ClassVar[float] = 2.0
    device: ClassVar[str] = "cpu"

    @pytest.fixture
    def sites(self, spec: BlueprintSpec) -> tuple[Site, ...]:
        """Where seeds are built; default: two places of every layout that the blueprint fits."""
        return BlueprintSubject(spec=spec, config=None).sites

    @pytest.fixture
    def subject(self, spec: BlueprintSpec, config: Any, sites: Any) -> BlueprintSubject:
        """The blueprint, with its options and sites."""
        return BlueprintSubject(spec=spec, config=config, sites=sites, rms_limit=self.rms_limit, device=self.device)


class GateSuite(ComponentSuite):
    """The suite of gates.

    Attributes:
        false_pass_limit: as in `GateSubject`.
    """

    kind = GateSpec.kind
    false_pass_limit: ClassVar[float] = 0.1

    @pytest.fixture
    def good(self, spec: GateSpec) -> SeedEvidence:
        """Evidence on which the gate passes; default: as good as it gets."""
        return GateSubject(spec=spec, config=None).good

    @pytest.fixture
    def subject(self, spec: GateSpec, config: Any, good: SeedEvidence) -> GateSubject:
        """The gate, with its options and evidence on which it passes."""
        return GateSubject(spec=spec, config=config, good=good, false_pass_limit=self.false_pass_limit)


class EvaluatorSuite(ComponentSuite):
    """The suite of evaluators."""

    kind = EvaluatorSpec.kind

    @pytest.fixture
    def healthy(self) -> VitalSigns:
        """Vital signs to which the evaluator does not object; default: those of a host that learns as it should."""
        return healthy_signs()

    @pytest.fixture
    def subject(self, spec: Any, config: Any, healthy: VitalSigns) -> EvaluatorSubject:
        """The evaluator, with its options and healthy vital signs."""
        return EvaluatorSubject(spec=spec, config=config, healthy=healthy)


class RewardTermSuite(ComponentSuite):
    """The suite of reward terms."""

    kind = RewardTermSpec.kind


class PolicySuite(ComponentSuite):
    """The suite of policies."""

    kind = PolicySpec.kind

    @pytest.fixture
    def catalogue(self) -> Catalogue:
        """The blueprints that the policy may germinate; default: some of every layout."""
        return CATALOGUE

    @pytest.fixture
    def subject(self, spec: Any, config: Any, catalogue: Catalogue) -> PolicySubject:
        """The policy, with its options and catalogue."""
        return PolicySubject(spec=spec, config=config, catalogue=catalogue)


class ExecutorSuite(ComponentSuite):
    """The suite of executors. They are tried with hosts of a few numbers, which can be pickled."""

    kind = ExecutorSpec.kind


class DiagnosticSuite(ComponentSuite):
    """The suite of diagnostics. They look into small networks of images and of tokens."""

    kind = DiagnosticSpec.kind


class SinkSuite(ComponentSuite):
    """The suite of sinks. Their options must leave the place to write to the run."""

    kind = SinkSpec.kind


class TaskSuite(ComponentSuite):
    """The suite of tasks. Where data are downloaded, give options that lead to a few local samples.

    Attributes:
        overlap_limit: as in `TaskSubject`.
    """

    kind = TaskSpec.kind
    overlap_limit: ClassVar[float] = 0.01

    @pytest.fixture
    def subject(self, spec: Any, config: Any) -> TaskSubject:
        """The task, with its options."""
        return TaskSubject(spec=spec, config=config, overlap_limit=self.overlap_limit)
