"""The kind of component `compiler`."""

from collections.abc import Iterable

from attrs import field, frozen, validators

from esper_core.hooks import hookspec
from esper_core.leyline.kinds import PluginKind, Section
from esper_core.leyline.specs import ComponentSpec

ESPER_API = "2.0"


@frozen(kw_only=True)
class CompilerSpec(ComponentSpec):
    """Makes artifacts of seeds. ``factory(config) -> Compiler``.

    Attributes:
        trains: what it makes can be trained; otherwise it is for evaluation alone.
        machine_code: what it makes runs only on a CPU with the features of the one that compiled.
    """

    kind = "compiler"

    trains: bool = field(default=True, validator=validators.instance_of(bool))
    machine_code: bool = field(default=False, validator=validators.instance_of(bool))


class CompilerHooks:
    """The hook by which plugins offer compilers."""

    @hookspec
    def esper_compilers(self) -> Iterable[CompilerSpec]:
        """Offer compilers."""
        raise NotImplementedError


COMPILER = PluginKind(
    spec=CompilerSpec,
    hook="esper_compilers",
    specification=CompilerHooks,
    family="compiler",
    protocol="esper_tezzeret.api:Compiler",
    suite="esper_tezzeret.testing.conformance:CONFORMANCE",
    section=Section.of_one("compiler"),
    provisional="it has been tried with seeds of runs alone",
)
