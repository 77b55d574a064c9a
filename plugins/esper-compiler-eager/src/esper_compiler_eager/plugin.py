"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import Capability
from esper_tezzeret.kinds import CompilerSpec

ESPER_API = "2.0"


@hookimpl
def esper_compilers() -> Iterable[CompilerSpec]:
    """Offer one compiler."""
    yield CompilerSpec(
        name="eager",
        summary="No compilation: the seed's tensors, beside the module that its blueprint builds. The control.",
        factory="esper_compiler_eager.compiler:eager",
        # It takes what says that it cannot be exported.
        capabilities=(Capability.NO_EXPORT,),
    )
