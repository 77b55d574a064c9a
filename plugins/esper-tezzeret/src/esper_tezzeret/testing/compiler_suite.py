"""The conformance suite of compilers to inherit.

>>> class TestFoo(CompilerSuite):
...     plugin = "esper-compiler-foo"
"""

from esper_testing.suites import ComponentSuite
from esper_tezzeret.kinds import CompilerSpec


class CompilerSuite(ComponentSuite):
    """The suite of compilers. They compile small seeds of their own: convolutions, and linear layers with dropout."""

    kind = CompilerSpec.kind
