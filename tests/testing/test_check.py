"""Checks as records: what they apply to, and how they are collected."""

import pytest

from esper_core.specs import BlueprintSpec, Capability, GateSpec
from esper_testing import CHECKS, CheckLevel
from esper_testing.check import CheckFailure, check, collect


def spec(*capabilities: Capability) -> BlueprintSpec:
    return BlueprintSpec(name="foo", summary="Foo.", layouts=("NCHW",), factory=dict, capabilities=capabilities)


def test_capabilities_require_and_excuse() -> None:
    @check("a", BlueprintSpec.kind, CheckLevel.CONTRACT, requires={Capability.RANDOM}, exempts={Capability.NO_EXPORT})
    def a(subject: object) -> None:
        """A."""

    assert a.applies_to(spec(Capability.RANDOM))
    assert not a.applies_to(spec())
    assert not a.applies_to(spec(Capability.RANDOM, Capability.NO_EXPORT))


def test_a_check_is_for_one_kind() -> None:
    @check("a", GateSpec.kind, CheckLevel.STATIC)
    def a(subject: object) -> None:
        """A."""

    assert not a.applies_to(spec())


def test_a_check_needs_documentation() -> None:
    with pytest.raises(ValueError, match="docstring"):

        @check("a", BlueprintSpec.kind, CheckLevel.STATIC)
        def a(subject: object) -> None:
            pass


def test_what_a_component_raises_is_told_with_its_place() -> None:
    def broken() -> None:
        raise KeyError("boom")

    @check("a", BlueprintSpec.kind, CheckLevel.STATIC)
    def a(subject: object) -> None:
        """A."""
        broken()

    line = broken.__code__.co_firstlineno + 1
    with pytest.raises(CheckFailure, match=rf"KeyError: 'boom' \(test_check.py, line {line}, in broken\)"):
        a(None)


def test_ids_are_unique_within_a_module_and_in_the_whole_list() -> None:
    @check("a", BlueprintSpec.kind, CheckLevel.STATIC)
    def a(subject: object) -> None:
        """A."""

    with pytest.raises(ValueError, match="unique: a"):
        collect({"one": a, "two": a})
    assert len({check.id for check in CHECKS}) == len(CHECKS)


def test_every_check_is_named_after_its_kind() -> None:
    assert all(item.id.startswith(f"{item.kind}-") for item in CHECKS)
