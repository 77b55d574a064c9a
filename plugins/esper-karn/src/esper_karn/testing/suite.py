"""The conformance suite of dossiers to inherit.

>>> class TestFoo(DossierSuite):
...     plugin = "esper-blueprint-foo"
"""

from esper_karn.kinds import DossierSpec
from esper_testing.suites import ComponentSuite


class DossierSuite(ComponentSuite):
    """The suite of dossiers. The blueprints that they speak of have to be installed."""

    kind = DossierSpec.kind
