"""What is known of a plugin: where it comes from, what became of it, what it offers."""

from enum import StrEnum
from typing import NamedTuple

from attrs import frozen

from esper_core.hooks import ObserverSpecs, ResolutionSpecs, hooks_of
from esper_core.leyline.errors import EsperError
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import ComponentSpec


class Status(StrEnum):
    """What became of a plugin.

    Attributes:
        ACTIVE: loaded; its components can be used.
        BLOCKED: switched off by name; never imported.
        NOT_SELECTED: left out by the selection; never imported.
        INCOMPATIBLE: its requirements or its API version do not fit.
        BROKEN: it failed while it was imported, verified or asked for its components.
        DUPLICATE: another distribution provides the same plugin name; never imported.
    """

    ACTIVE = "active"
    BLOCKED = "blocked"
    NOT_SELECTED = "not-selected"
    INCOMPATIBLE = "incompatible"
    BROKEN = "broken"
    DUPLICATE = "duplicate"


#: The states of a plugin that was wanted and could not be had.
FAILED_STATES = frozenset({Status.INCOMPATIBLE, Status.BROKEN, Status.DUPLICATE})


@frozen(kw_only=True)
class Origin:
    """Where a plugin comes from.

    Attributes:
        plugin: its name: the entry point's, or the file's for a one-file plugin.
        distribution: what ships it, as named in its metadata; empty for a one-file plugin.
        version: of that distribution; empty for a one-file plugin.
        entry_point: the entry point's value (``package.plugin``, for a kind ``package.module:KIND``); empty for a
            one-file plugin.
        module: the module that holds the hooks.
        file: the module's file, once it is known.
        editable: the distribution is installed in editable mode.
    """

    plugin: str
    distribution: str = ""
    version: str = ""
    entry_point: str = ""
    module: str
    file: str | None = None
    editable: bool = False

    @property
    def provider(self) -> str:
        """What stands in front of the slash in ``provider/component``: the distribution, or the one-file plugin."""
        return self.distribution or self.plugin

    @property
    def title(self) -> str:
        """The plugin with its distribution and version, for messages."""
        shipped = f"{self.distribution} {self.version}" if self.distribution else self.file or "in process"
        return f'plugin "{self.plugin}" ({shipped})'


class Registered(NamedTuple):
    """A component with the plugin that it comes from."""

    spec: ComponentSpec
    origin: Origin

    @property
    def id(self) -> str:
        """The name that is unique within the component's kind: ``provider/name``."""
        return f"{self.origin.provider}/{self.spec.name}"

    @property
    def title(self) -> str:
        """Kind, name and plugin, for messages."""
        return f'{self.spec.kind} "{self.spec.name}" of {self.origin.title}'


@frozen(kw_only=True)
class PluginRecord:
    """One plugin and what became of it.

    Attributes:
        status: what became of it.
        origin: where it comes from.
        hooks: names of the hooks that it implements.
        components: what it offers; empty unless it is active.
        problems: what is wrong with it, the gravest first. An active plugin has warnings only.
        load_ms: wall time for importing, verifying and asking it; None if it was never imported.
        api: the plugin API version that it declares, None if none is known.
        kind: the kind of components that it adds, None if it adds none.
    """

    status: Status
    origin: Origin
    hooks: tuple[str, ...] = ()
    components: tuple[Registered, ...] = ()
    problems: tuple[EsperError, ...] = ()
    load_ms: float | None = None
    api: str | None = None
    kind: PluginKind | None = None

    @property
    def problem(self) -> str | None:
        """All problems as text, None if there is none."""
        if not self.problems:
            return None
        return "\n".join(map(as_warning if self.status is Status.ACTIVE else str, self.problems))

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it offers: kinds of components, and what `ROLES` says of the rest."""
        offered = {registered.spec.kind: None for registered in self.components}
        if self.kind is not None:
            offered["kind"] = None
        if self.status is Status.ACTIVE:
            offered |= {role: None for hook in self.hooks if (role := ROLE_BY_HOOK.get(hook))}
        return tuple(offered)


def as_warning(error: EsperError) -> str:
    """Return an error's text where it stops nobody."""
    return f"warning{str(error).removeprefix('error')}"


#: What a plugin is by implementing a hook that registers no component.
ROLE_BY_HOOK = {
    hook: role
    for role, specification in (("adapter", ResolutionSpecs), ("observer", ObserverSpecs))
    for hook in hooks_of(specification)
}

#: What a plugin may offer besides components.
ROLES = ("kind", *sorted(set(ROLE_BY_HOOK.values())))
