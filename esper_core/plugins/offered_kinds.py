"""Kinds of components that installed distributions add to those of the core, through the entry points `esper.kinds`."""

from collections.abc import Iterable
from types import ModuleType

from esper_core.hooks import hooks_of
from esper_core.leyline.errors import EsperError
from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.records import ROLES, Origin
from esper_core.plugins.verify import specifications

#: What listings and checks call things that are no kinds.
_OTHER_WORDS = frozenset({*ROLES, "plugin", "component"})


def kind_in(module: ModuleType, origin: Origin, known: Iterable[PluginKind]) -> PluginKind:
    """Return the kind that an entry point names.

    Args:
        module: the module that it names.
        origin: the entry point's plugin.
        known: the kinds that are there already.

    Raises:
        EsperError: E103 if the module has nothing of the name, E143 if it is not a kind, its hook is not specified,
            or it takes the name, the hook or the section of another one.
    """
    attribute = origin.entry_point.partition(":")[2].strip()
    kind = getattr(module, attribute, None)
    if kind is None:
        what = f'{origin.title} names "{attribute}", which {origin.module} does not have'
        raise EsperError("E103", what, where=origin.file, fix=f"define it: {attribute} = PluginKind(...)")
    if why := _objection(kind, tuple(known)):
        raise EsperError("E143", f"{origin.title} does not add a kind of component", where=origin.file, why=why)
    assert isinstance(kind, PluginKind)
    return kind


def _objection(kind: object, known: tuple[PluginKind, ...]) -> str | None:
    if not isinstance(kind, PluginKind):
        return f"it names {type(kind).__name__}, not a PluginKind"
    if kind.hook not in hooks_of(kind.specification):
        return f'{kind.specification.__name__} has no hook "{kind.hook}"'
    if kind.hook in {hook for specification in specifications(known) for hook in hooks_of(specification)}:
        return f'there is a hook "{kind.hook}" already'
    if kind.name in {*_OTHER_WORDS, *(other.name for other in known)}:
        return f'there is a kind "{kind.name}" already'
    if kind.section and kind.section.name in {other.section.name for other in known if other.section}:
        return f'the section "{kind.section.name}" belongs to another kind'
    return None
