"""Every check catches the component that it was written against, and lets a right one pass.

The mutants stand in the files ``mutants_*.py`` beside this one, those of blueprints and of whole plugins in tests of
their own.
"""

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from esper_core.plugins.kinds import KINDS
from esper_core.specs import BlueprintSpec, SinkSpec
from esper_testing import CHECKS, Check, CheckFailure, NotApplicable
from esper_testing.check import Scope
from esper_testing.component_uses import USE_CHECKS
from esper_testing.surroundings import watched

ELSEWHERE = {BlueprintSpec.kind, Scope.PLUGIN}


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"esper_test_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # known by name, for pickling
    spec.loader.exec_module(module)
    return module


MODULES = [load(path) for path in sorted(Path(__file__).parent.glob("mutants_*.py"))]
MUTANTS: dict[str, list[Any]] = {}
for module in MODULES:
    for id, mutants in module.MUTANTS.items():
        MUTANTS.setdefault(id, []).extend(mutants)
RIGHT = [subject for module in MODULES for subject in module.RIGHT]


def test_every_check_has_a_mutant() -> None:
    assert set(MUTANTS) == {check.id for check in CHECKS if check.kind not in ELSEWHERE}


def test_what_every_component_must_do_in_use_has_a_mutant_of_every_kind() -> None:
    kinds = {kind.name for kind in KINDS if kind.suite} - {BlueprintSpec.kind}
    for check in USE_CHECKS:
        caught = {subject.spec.kind for subject, _ in MUTANTS[check.id]}
        # Sinks keep what they are handed until it is written; a check of their own looks at that.
        excused = {SinkSpec.kind} if check.id == "component-memory" else set()
        assert caught == kinds - excused, check.id


@pytest.mark.parametrize(
    ("check", "subject", "message"),
    [
        pytest.param(check, *mutant, id=f"{check.id}-{number}", marks=[pytest.mark.slow] if check.slow else [])
        for check in CHECKS
        for number, mutant in enumerate(MUTANTS.get(check.id, ()))
    ],
)
def test_the_check_catches_its_mutant(check: Check, subject: Any, message: str) -> None:
    assert check.applies_to(subject.spec)
    with watched(), pytest.raises(CheckFailure, match=message) as failure:
        check(subject)
    assert failure.value.cause
    assert failure.value.fix


@pytest.mark.parametrize(
    ("check", "subject"),
    [
        pytest.param(check, subject, id=f"{check.id}-{number}", marks=[pytest.mark.slow] if check.slow else [])
        for check in CHECKS
        for number, subject in enumerate(RIGHT)
        if check.applies_to(subject.spec)
    ],
)
def test_a_right_component_passes(check: Check, subject: Any) -> None:
    with suppress(NotApplicable):
        check(subject)
