"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import DiagnosticSpec

ESPER_API = "2.0"


@hookimpl
def esper_diagnostics() -> Iterable[DiagnosticSpec]:
    """Offer the diagnostic."""
    yield DiagnosticSpec(
        name="standard",
        summary="Looks at gradients, weights, activations, classes and the sharpness of the minimum.",
        factory="esper_diagnostics_standard.diagnostic:StandardDiagnostic",
        config="esper_diagnostics_standard.config:StandardConfig",
    )
