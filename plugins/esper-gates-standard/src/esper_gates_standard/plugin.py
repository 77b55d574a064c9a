"""What this distribution offers."""

from collections.abc import Iterable, Mapping

from esper_core.hooks import hookimpl
from esper_core.specs import GateLevel, GateSpec

ESPER_API = "2.0"

_GATES: Mapping[GateLevel, tuple[str, str]] = {
    GateLevel.G0: ("ModuleGate", "The module is ready and fits its site"),
    GateLevel.G1: ("StartGate", "The host has trained a little and the optimizer has the seed"),
    GateLevel.G2: ("TrialGate", "The seed learns, is not too large, and does no clear harm at a small alpha"),
    GateLevel.G3: ("RampGate", "Alpha has reached 1 and, with confidence, the seed costs less than a margin"),
    GateLevel.G5: ("FossilGate", "The network uses the seed"),
}

#: The sets, with the prefix of their option classes if their thresholds differ from the standard ones.
_SETS: Mapping[str, str] = {"standard": "", "strict": "Strict", "permissive": "Permissive"}


@hookimpl
def esper_gates() -> Iterable[GateSpec]:
    """Offer three sets of five gates."""
    for gate_set, prefix in _SETS.items():
        for level, (gate, summary) in _GATES.items():
            yield GateSpec(
                name=f"{gate_set}-{level.lower()}",
                summary=f"{summary} ({gate_set} set).",
                level=level,
                gate_set=gate_set,
                factory=f"esper_gates_standard.gates:{gate}",
                config=_config(level, prefix),
            )


def _config(level: GateLevel, prefix: str) -> str | None:
    if level is GateLevel.G0:
        return None
    own = prefix if level in (GateLevel.G2, GateLevel.G3, GateLevel.G5) else ""
    return f"esper_gates_standard.config:{own}{level}Config"
