"""The frozen table of components, looked up by kind and name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import GateSpec
from esper_core.leyline.stages import GateLevel
from esper_core.plugins.installed import canonical
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.known import distribution_of, install_line, suggest
from esper_core.plugins.records import FAILED_STATES, PluginRecord, Registered, Status


@frozen
class Registry:
    """Components of all active plugins. Iteration goes by kind, inside a kind in the plugins' call order.

    Attributes:
        by_kind: the components of each kind, by the kind's name.
        inactive: the plugins that are not active, to explain why a component is missing.
        kinds: the kinds, the core's and those that plugins add.
    """

    by_kind: Mapping[str, tuple[Registered, ...]]
    inactive: tuple[PluginRecord, ...] = field(default=(), eq=False)
    kinds: tuple[PluginKind, ...] = KINDS

    @classmethod
    def of_components(
        cls,
        components: Iterable[Registered],
        inactive: Iterable[PluginRecord] = (),
        kinds: tuple[PluginKind, ...] = KINDS,
    ) -> "Registry":
        """Sort components into kinds, keeping their order inside each."""
        by_kind: dict[str, list[Registered]] = {kind.name: [] for kind in kinds}
        for registered in components:
            by_kind[registered.spec.kind].append(registered)
        return cls({kind: tuple(found) for kind, found in by_kind.items()}, tuple(inactive), kinds)

    def __iter__(self) -> Iterator[Registered]:
        for found in self.by_kind.values():
            yield from found

    def __len__(self) -> int:
        return sum(len(found) for found in self.by_kind.values())

    def __getitem__(self, kind: str) -> tuple[Registered, ...]:
        """All components of a kind."""
        return self.by_kind[kind]

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of all components of a kind, in order, each once."""
        return tuple(dict.fromkeys(registered.spec.name for registered in self.by_kind[kind]))

    def kind(self, name: str) -> PluginKind:
        """Return a kind by its name."""
        return next(kind for kind in self.kinds if kind.name == name)

    def named(self, kind: str, name: str, *, where: str | None = None) -> tuple[Registered, ...]:
        """Return what a configuration means by a name: one component, or the gates of a set.

        Raises:
            EsperError: as `get`.
        """
        if kind == GateSpec.kind:
            return tuple(self.gate_set(name, where=where).values())
        return (self.get(kind, name, where=where),)

    def get(self, kind: str, name: str, *, where: str | None = None) -> Registered:
        """Look a component up by name, or by ``distribution/name`` where two distributions use the name.

        Args:
            kind: the kind of component.
            name: its name.
            where: where the user wrote the name, for messages.

        Raises:
            EsperError: E204 if it is not known, E111 if it is ambiguous. If the plugin that should offer it was
                wanted and failed, that plugin's own error.
        """
        provider, _, short = name.rpartition("/")
        found = [r for r in self.by_kind[kind] if r.spec.name == short and _is_provider(provider, r)]
        if not found:
            raise self._not_known(kind, provider, short, self.names(kind), where)
        if len(found) > 1:
            raise _ambiguous(f'{kind} "{short}"', short, found, where)
        return found[0]

    def gate_set(self, name: str, *, where: str | None = None) -> dict[GateLevel, Registered]:
        """Return the gates of a set by level; a set is the work of one distribution.

        Raises:
            EsperError: E204 and E111 as in `get`.
        """
        provider, _, short = name.rpartition("/")
        gates = [(r.spec, r) for r in self.by_kind[GateSpec.kind] if isinstance(r.spec, GateSpec)]
        found = {spec.level: r for spec, r in gates if spec.gate_set == short and _is_provider(provider, r)}
        if not found:
            raise self._not_known(GateSpec.kind, provider, short, [spec.gate_set for spec, _ in gates], where)
        providers = {r.origin.provider: r for spec, r in gates if spec.gate_set == short and _is_provider(provider, r)}
        if len(providers) > 1:
            raise _ambiguous(f'gate set "{short}"', short, list(providers.values()), where)
        return found

    def _not_known(self, kind: str, provider: str, name: str, known: Iterable[str], where: str | None) -> EsperError:
        distribution = canonical(provider) or distribution_of(self.kind(kind), name)
        for record in self.inactive:
            if canonical(record.origin.distribution) == distribution:
                return _missing_plugin(kind, name, record, where)
        install = install_line(kind, name)
        written = f"{provider}/{name}" if provider else name
        return EsperError(
            "E204",
            f'{kind} "{written}" is not known',
            where=where,
            why="it is not installed" if install else None,
            fix=suggest(name, known, install),
        )


def _is_provider(provider: str, registered: Registered) -> bool:
    return not provider or canonical(provider) == canonical(registered.origin.provider)


def _ambiguous(title: str, name: str, found: Sequence[Registered], where: str | None) -> EsperError:
    what = f"{title} is offered by {' and by '.join(registered.origin.title for registered in found)}"
    fix = f"write {' or '.join(f'{registered.origin.provider}/{name}' for registered in found)}"
    return EsperError("E111", what, where=where, fix=fix)


def _missing_plugin(kind: str, name: str, record: PluginRecord, where: str | None) -> EsperError:
    if record.status in FAILED_STATES and record.problems:
        return record.problems[0]
    return EsperError(
        "E204",
        f'{kind} "{name}" cannot be used',
        where=where,
        why=f"{record.origin.title} is {record.status}",
        fix=_SELECTING[record.status].format(plugin=record.origin.plugin) if record.status in _SELECTING else None,
    )


_SELECTING = {
    Status.NOT_SELECTED: "select it: --plugins auto,{plugin}; under a lock, leave it out or take one that has it",
    Status.BLOCKED: "leave {plugin} out of --no-plugin, ESPER_NO_PLUGINS or plugins.disable, whichever names it",
}
