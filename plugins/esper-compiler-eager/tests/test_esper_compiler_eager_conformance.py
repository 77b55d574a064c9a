"""compiler-eager against the conformance suite."""

import pytest

from esper_tezzeret.testing.compiler_suite import CompilerSuite

pytestmark = pytest.mark.slow


class TestEager(CompilerSuite):
    plugin = "esper-compiler-eager"
