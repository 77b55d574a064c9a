"""The conformance suite of stores to inherit.

>>> class TestFoo(StoreSuite):
...     plugin = "esper-store-foo"
...
...     @pytest.fixture
...     def config(self, tmp_path):
...         return FooConfig(url=f"foo:{tmp_path}/store", max_bytes=40_000)
"""

from esper_testing.suites import ComponentSuite
from esper_urza.kinds import StoreSpec


class StoreSuite(ComponentSuite):
    """The suite of stores. Override the fixture `config`: options of a store that nobody else uses.

    It has room for at least 10 and at most 40 artifacts of 1,000 bytes.
    """

    kind = StoreSpec.kind
