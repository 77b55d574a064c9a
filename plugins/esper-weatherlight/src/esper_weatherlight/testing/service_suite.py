"""The conformance suite of services to inherit.

>>> class TestFoo(ServiceSuite):
...     plugin = "esper-service-foo"
...
...     @pytest.fixture
...     def config(self):
...         return FooConfig(port=0)
"""

from esper_testing.suites import ComponentSuite
from esper_weatherlight.kinds import ServiceSpec


class ServiceSuite(ComponentSuite):
    """The suite of services. Override the fixture `config` where the default options name nothing to start."""

    kind = ServiceSpec.kind
