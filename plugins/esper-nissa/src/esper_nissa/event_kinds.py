"""Kinds of events that plugins add: each with its namespace in front, and a class that says what it holds."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs
from attrs import field, frozen, validators

from esper_core.hooks import hookspec
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Level
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import ComponentSpec
from esper_core.plugins.records import Origin, Registered
from esper_core.plugins.registry import Registry

ESPER_API = "2.0"


@frozen(kw_only=True)
class EventSpec(ComponentSpec):
    """A kind of event. ``factory(...) -> payload``, an attrs class of plain values: what an event of the kind holds.

    In events the kind is called by its plugin and its name: ``forge.kept``. The plugin's observer hooks return
    instances of the class, one or a list, and each becomes an event.

    Attributes:
        level: from which telemetry level on it is told, normal or debug: a run can do without what plugins tell.
    """

    kind: ClassVar[str] = "event"

    level: Level = field(default=Level.NORMAL, validator=validators.in_((Level.NORMAL, Level.DEBUG)))


class EventHooks:
    """The hook of this kind."""

    @hookspec
    def esper_events(self) -> Iterable[EventSpec]:
        """Register kinds of events.

        >>> @hookimpl
        ... def esper_events():
        ...     yield EventSpec(name="kept", summary="A part was kept.", factory="forge.events:Kept")
        """
        return ()


EVENT = PluginKind(
    spec=EventSpec,
    hook="esper_events",
    specification=EventHooks,
    family="events",
    protocol="esper_nissa.event_kinds:Payload",
)

#: What an event of such a kind holds: an instance of an attrs class.
Payload = Any


def kind_of(registered: Registered) -> str:
    """Return what a registered kind is called in events."""
    return f"{registered.origin.plugin}.{registered.spec.name}"


def registered_events(registry: Registry) -> tuple[Registered, ...]:
    """Return the kinds of events that plugins have registered; none where this kind of component is not loaded."""
    if all(kind.name != EventSpec.kind for kind in registry.kinds):
        return ()
    return registry[EventSpec.kind]


def payload_classes(registry: Registry) -> dict[str, type]:
    """Return what the events of each registered kind hold. A class that cannot be imported is left out."""
    found = {}
    for registered in registered_events(registry):
        try:
            found[kind_of(registered)] = payload_class(registered)
        except EsperError:
            continue
    return found


def payload_class(registered: Registered) -> type:
    """Return the class of a kind's payload. Raises EsperError E530 if it is no attrs class, and as `resolve`."""
    # Imported here, as below: listing plugins imports this module.
    from esper_core.plugins.resolve import resolve

    cls = resolve(registered)
    if not (isinstance(cls, type) and attrs.has(cls)):
        what = f'what "{kind_of(registered)}" holds is no attrs class'
        raise EsperError("E530", what, where=registered.origin.title, fix="make it one: attrs.frozen")
    return cls


def with_kinds(registry: Registry, origin: Origin, told: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a plugin's observer has returned, as plain data, with the kind that its class is registered for.

    Nothing for a plugin that has registered none: what its observers return has no meaning.

    Raises:
        EsperError: E530 for what is no instance of a class that this plugin has registered.
    """
    from esper_core.leyline.records import plain

    own: Mapping[type, str] = {
        payload_class(it): kind_of(it) for it in registered_events(registry) if it.origin.plugin == origin.plugin
    }
    if not own:
        return
    for payload in told if isinstance(told, list | tuple) else (told,):
        if (kind := own.get(type(payload))) is None:
            raise EsperError(
                "E530",
                f"an observer returned {payload!r:.80}, which is no event",
                where=origin.title,
                why=f"its class is none of those that {origin.plugin} has registered: {', '.join(own.values())}",
                fix="register it: the hook esper_events; or return nothing",
            )
        try:
            data = plain(payload)
        except TypeError as error:
            fix = "plain values only: texts, numbers, lists, mappings and attrs classes of them"
            raise EsperError("E530", f'"{kind}" cannot be told', where=origin.title, why=str(error), fix=fix) from error
        yield kind, data
