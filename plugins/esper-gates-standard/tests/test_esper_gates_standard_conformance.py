"""gates-standard against the conformance suite."""

from pathlib import Path

from esper_testing import GateSuite


class TestGates(GateSuite):
    plugin = "esper-gates-standard"
    expected = Path(__file__).parents[1] / "esper-expect.toml"
