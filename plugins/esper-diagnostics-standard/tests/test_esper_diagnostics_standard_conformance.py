"""diagnostics-standard against the conformance suite."""

from esper_testing import DiagnosticSuite


class TestDiagnostics(DiagnosticSuite):
    plugin = "esper-diagnostics-standard"
