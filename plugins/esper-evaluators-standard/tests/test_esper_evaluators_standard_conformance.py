"""evaluators-standard against the conformance suite."""

from esper_testing import EvaluatorSuite


class TestEvaluators(EvaluatorSuite):
    plugin = "esper-evaluators-standard"
