"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import Capability, DiagnosticSpec

ESPER_API = "2.0"


@hookimpl
def esper_diagnostics() -> Iterable[DiagnosticSpec]:
    """Offer the diagnostics."""
    yield DiagnosticSpec(
        name="standard",
        summary="Looks at gradients, weights, activations, classes and the sharpness of the minimum.",
        factory="esper_diagnostics_standard.diagnostic:StandardDiagnostic",
        config="esper_diagnostics_standard.config:StandardConfig",
    )
    yield DiagnosticSpec(
        name="memory",
        summary="Measures what the host's device and process hold.",
        factory="esper_diagnostics_standard.memory:MemoryDiagnostic",
        config="esper_diagnostics_standard.memory:MemoryConfig",
        capabilities={Capability.MEASURES_MACHINE},
    )
