"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_tezzeret.kinds import CompilerSpec

ESPER_API = "2.0"


@hookimpl
def esper_compilers() -> Iterable[CompilerSpec]:
    """Offer one compiler."""
    yield CompilerSpec(
        name="export",
        summary="Programs of torch.export, one for training and one for evaluation; they run on any machine.",
        factory="esper_compiler_export.compiler:export",
    )
