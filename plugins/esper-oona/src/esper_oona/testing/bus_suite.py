"""The conformance suite of buses to inherit.

>>> class TestFoo(BusSuite):
...     plugin = "esper-bus-foo"
...
...     @pytest.fixture
...     def config(self, tmp_path):
...         return FooConfig(url=f"foo:{tmp_path}/bus")
"""

from esper_oona.kinds import BusSpec
from esper_testing.suites import ComponentSuite


class BusSuite(ComponentSuite):
    """The suite of buses. Override the fixture `config`: options of a bus that nobody else uses."""

    kind = BusSpec.kind
