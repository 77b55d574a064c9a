"""What a compiler must be: the checks that every compiler passes."""

from esper_testing.conformance import Conformance
from esper_tezzeret.testing.compiler_checks import COMPILER_CHECKS
from esper_tezzeret.testing.compiler_subject import CompilerSubject

#: What components of the kind are checked with.
CONFORMANCE = Conformance(CompilerSubject, COMPILER_CHECKS)
