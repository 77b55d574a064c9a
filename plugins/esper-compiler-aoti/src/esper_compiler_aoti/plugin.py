"""What this distribution offers."""

from collections.abc import Iterable

from esper_compiler_aoti.toolchain import missing
from esper_core.hooks import hookimpl
from esper_tezzeret.kinds import CompilerSpec

ESPER_API = "2.0"


@hookimpl
def esper_compilers() -> Iterable[CompilerSpec]:
    """Offer one compiler."""
    yield CompilerSpec(
        name="aoti",
        summary="Machine code of AOTInductor where nothing is learned, else the module that the blueprint builds.",
        factory="esper_compiler_aoti.compiler:aoti",
        machine_code=True,
        unavailable=missing(),
    )
