"""Tables in the guide that are generated from the code."""

from collections.abc import Iterator, Sequence

from reference_components import registered
from reference_markdown import escaped, fields_table, prose, table

from esper_core.leyline.evidence import EpochMetrics, Evidence, GateResult, PairedDifference, SeedEvidence
from esper_core.leyline.specs import GateSpec
from esper_core.leyline.stages import TRANSITIONS
from esper_core.plugins.plugin_set import PluginSet

_RECORDS = (PairedDifference, SeedEvidence, Evidence, EpochMetrics, GateResult)


def concept_parts(plugins: PluginSet, own: Sequence[str]) -> dict[str, str]:
    """Return the tables that ``concepts.md`` includes."""
    return {
        "parts/transitions.md": table(["from", "to", "gates that must pass"], _transitions()),
        "parts/gates.md": table(["set", "level", "what it requires"], _gates(plugins, own)),
        "parts/evidence.md": "\n\n".join(
            f"### `{cls.__name__}`\n\n{prose(cls.__doc__)}\n\n{fields_table(cls)}" for cls in _RECORDS
        ),
    }


def _transitions() -> Iterator[list[str]]:
    for (source, target), gates in TRANSITIONS.items():
        yield [source.name, target.name, ", ".join(gates) or "–"]


def _gates(plugins: PluginSet, own: Sequence[str]) -> Iterator[list[str]]:
    for it in registered(plugins, own, plugins.registry.kind(GateSpec.kind)):
        assert isinstance(it.spec, GateSpec)
        yield [f"`{it.spec.gate_set}`", it.spec.level.value, escaped(it.spec.summary)]
