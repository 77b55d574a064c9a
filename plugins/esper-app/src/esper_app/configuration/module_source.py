"""Where seeds come from in a configuration that names a store, or none."""

from collections.abc import Mapping

from attrs import evolve

from esper_app.configuration.layers import Merged
from esper_app.configuration.modules import COMPILER, STORE, ModuleSource, PrefetchConfig
from esper_core.leyline.errors import EsperError

#: Where none is named.
_USUAL_COMPILER = "export"


def with_modules(merged: Merged) -> Merged:
    """Return the configuration with what follows from whether a store is named.

    Raises:
        EsperError: E202 if there is no store for modules that come from one, or a section that nothing uses.
    """
    section = merged.tree.get("modules", {})
    if not isinstance(section, Mapping):
        return merged
    source = section.get("source", ModuleSource.STORE if STORE in merged.tree else ModuleSource.LOCAL)
    tree = {**merged.tree, "modules": {**section, "source": str(source)}}
    if source == ModuleSource.STORE:
        if STORE not in tree:
            fix = "name one: --store local:"
            raise EsperError("E202", "modules come from a store, and none is named", where="modules.source", fix=fix)
        return evolve(merged, tree={COMPILER: {"name": _USUAL_COMPILER}, **tree})
    for name in (STORE, COMPILER):
        if name in tree:
            raise _idle(name, merged.source(name))
    return evolve(merged, tree=tree)


def refuse_idle_prefetch(source: ModuleSource, prefetch: PrefetchConfig) -> None:
    """Refuse settings that nothing would use.

    Raises:
        EsperError: E202.
    """
    if source is ModuleSource.LOCAL and prefetch != PrefetchConfig():
        raise _idle("prefetch", None)


def _idle(section: str, where: str | None) -> EsperError:
    why = "modules do not come from a store (modules.source is local)"
    return EsperError("E202", f'"{section}" is of no use', where=where, why=why, fix="--store local:, or leave it out")
