"""The conformance suite: checks that any component can be run against, and what they need."""

from esper_core.testing.blueprint_checks import VALUE_CHECKS
from esper_core.testing.blueprint_subject import BlueprintSubject
from esper_core.testing.blueprint_tools import TOOL_CHECKS
from esper_core.testing.blueprint_training import TRAINING_CHECKS
from esper_core.testing.check import Check, CheckFailure, CheckLevel

#: All checks that there are.
CHECKS: tuple[Check, ...] = (*VALUE_CHECKS, *TRAINING_CHECKS, *TOOL_CHECKS)

__all__ = ["CHECKS", "BlueprintSubject", "Check", "CheckFailure", "CheckLevel"]
