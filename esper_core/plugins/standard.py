"""What a run or a grown model uses where nothing is named: what the standard distribution brings."""

from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import BlueprintSpec
from esper_core.plugins.installed import canonical, scan
from esper_core.plugins.registry import Registry
from esper_core.plugins.requirements import required_name

#: It has no code: its requirements are the standard plugins.
STANDARD = "esper-standard"


def standard_blueprints(registry: Registry) -> tuple[BlueprintSpec, ...]:
    """Return the blueprints that a catalogue holds where none is named, sorted by name.

    These are the ones that `esper-standard` requires, that learn, and that can run here. Installing any other plugin
    changes no run.

    Raises:
        EsperError: E404 if `esper-standard` is not installed, E107 if its metadata cannot be read.
    """
    standard = scan().find(STANDARD)
    if standard is None:
        raise EsperError(
            "E404",
            "no blueprints are named",
            why=f"{STANDARD}, which says which ones are used then, is not installed",
            fix=f"pip install {STANDARD}, or name blueprints",
        )
    names = {canonical(required_name(it)) for it in standard.metadata.requires if "extra ==" not in it}
    offered = [it.spec for it in registry[BlueprintSpec.kind] if canonical(it.origin.distribution) in names]
    blueprints = [spec for spec in offered if isinstance(spec, BlueprintSpec)]
    return tuple(
        sorted((it for it in blueprints if it.learnable and it.unavailable is None), key=lambda spec: spec.name)
    )
