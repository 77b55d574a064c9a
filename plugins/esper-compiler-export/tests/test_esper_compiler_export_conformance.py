"""compiler-export against the conformance suite."""

import pytest

from esper_tezzeret.testing.compiler_suite import CompilerSuite

pytestmark = pytest.mark.slow


class TestExport(CompilerSuite):
    plugin = "esper-compiler-export"
