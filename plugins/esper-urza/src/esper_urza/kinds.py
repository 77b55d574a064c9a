"""The kind of component `store`."""

from collections.abc import Iterable

from attrs import field, frozen

from esper_core.hooks import hookspec
from esper_core.leyline.kinds import PluginKind, Section
from esper_core.leyline.specs import ComponentSpec

ESPER_API = "2.0"


def _schemes(values: Iterable[str]) -> frozenset[str]:
    return frozenset(values)


@frozen(kw_only=True)
class StoreSpec(ComponentSpec):
    """Keeps artifacts that compilers have made. ``factory(config) -> Store``.

    Its options have a field ``url``, the address that `esper_urza.addresses.open_store` was given.

    Attributes:
        schemes: the schemes of the addresses that lead to it, such as ``local``.
    """

    kind = "store"

    schemes: frozenset[str] = field(converter=_schemes)


class StoreHooks:
    """The hook by which plugins offer stores."""

    @hookspec
    def esper_stores(self) -> Iterable[StoreSpec]:
        """Offer stores."""
        raise NotImplementedError


STORE = PluginKind(
    spec=StoreSpec,
    hook="esper_stores",
    specification=StoreHooks,
    family="store",
    protocol="esper_urza.api:Store",
    suite="esper_urza.testing.conformance:CONFORMANCE",
    section=Section.of_one("store"),
    provisional="one distribution offers one so far",
)
