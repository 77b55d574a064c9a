"""The manifest of a run: everything that would have to be the same for the same result."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import attrs
from attrs import frozen

import esper_core
from esper_app.execution.machine import machine_facts
from esper_app.locks.lock import APPLICATION, LockedPlugin, current_core, locked_in_run
from esper_app.locks.provenance import installed_versions, provenance
from esper_core.leyline.records import plain
from esper_core.plugins.installed import Installed, scan
from esper_core.plugins.records import PluginRecord, Registered, Status
from esper_core.plugins.requirements import CORE

#: Version of the manifest's format.
FORMAT = 1


class Configured(Protocol):
    """What a manifest takes from a configuration."""

    @property
    def seed(self) -> int:
        """Root of all random streams."""
        ...

    def tree(self) -> dict[str, Any]:
        """Return it in the shape of a configuration file."""
        ...


@frozen(kw_only=True)
class RunFacts:
    """What a manifest is made from.

    Attributes:
        name: the run's name.
        directory: the run's directory, None if it has none.
        config: the run's configuration.
        plugins: every plugin that was found, in call order.
        used: the components that the run uses.
        observing: names of the plugins that observe even where nothing of them is used.
        blueprints: the catalogue's names and options, in order.
        data: what tells the task's data apart from any other.
        hosts: those that may grow: name, seed, device and twin of each.
        command: the command line.
    """

    name: str
    directory: str | None
    config: Configured
    plugins: Sequence[PluginRecord]
    used: Sequence[Registered]
    observing: Collection[str] = ()
    blueprints: Sequence[Mapping[str, Any]] = ()
    data: Mapping[str, Any]
    hosts: Sequence[Any] = ()
    command: Sequence[str] = ()


@frozen(kw_only=True)
class CoreEntry(LockedPlugin):
    """The core in a manifest; what it shares with plugins is described there.

    Attributes:
        api: the plugin API that it speaks.
        source: the URL it was installed from, with what its installer says of it; None: from a package index.
    """

    api: str
    source: Mapping[str, Any] | None


@frozen(kw_only=True)
class PluginEntry(LockedPlugin):
    """A plugin in a manifest. Code that was never imported has no digest, for it can have changed nothing.

    Attributes:
        api: the plugin API that it was written for.
        status: what became of it, such as ``active`` or ``not-selected``.
        problem: what is wrong with it, None if nothing is.
        editable: it is installed in editable mode.
        source: the URL it was installed from, with what its installer says of it; None: from a package index.
        hooks: the hooks that it implements.
        used: kind and name of each of its components that the run uses.
    """

    api: str | None
    status: Status
    problem: str | None
    editable: bool
    source: Mapping[str, Any] | None
    hooks: tuple[str, ...]
    used: tuple[Mapping[str, str], ...]


@frozen(kw_only=True)
class Manifest:
    """What is in ``manifest.json``.

    Attributes:
        format: version of the manifest's format.
        name: the run's name.
        directory: the run's directory, None if it has none.
        started: when it began, ISO 8601 in UTC.
        command: the command line.
        seed: root of all random streams.
        config: the complete configuration, in the shape of a configuration file.
        catalogue: the catalogue's names and options, in order.
        core: the core.
        plugins: every plugin that was found, in call order, those that were left out last.
        plugins_digest: SHA-256 over the core and the plugins that took part, in call order.
        packages: versions of the distributions that took part and of everything that they require, by name.
        machine: system, processors, Python, torch and the variables of the environment that decide about bits.
        data: what tells the task's data apart from any other.
        hosts: those that may grow: name, seed, device and twin of each.
    """

    format: int
    name: str
    directory: str | None
    started: str
    command: tuple[str, ...]
    seed: int
    config: Mapping[str, Any]
    catalogue: tuple[Mapping[str, Any], ...]
    core: CoreEntry
    plugins: tuple[PluginEntry, ...]
    plugins_digest: str
    packages: Mapping[str, str]
    machine: Mapping[str, Any]
    data: Mapping[str, Any]
    hosts: tuple[Any, ...] = ()


def build_manifest(facts: RunFacts) -> dict[str, Any]:
    """Return the manifest as plain data (see `Manifest`). Imports torch, for its version and thread counts."""
    installed = scan()
    plugins = tuple(plugin_entry(record, facts.used, facts.observing, installed) for record in facts.plugins)
    core = _core_entry()
    manifest = Manifest(
        format=FORMAT,
        name=facts.name,
        directory=facts.directory,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=tuple(facts.command),
        seed=facts.config.seed,
        config=facts.config.tree(),
        catalogue=tuple(facts.blueprints),
        core=core,
        plugins=plugins,
        plugins_digest=locked_in_run(core, plugins, {entry.id for entry in plugins if entry.used}).digest,
        packages=installed_versions(_took_part(plugins), installed),
        machine=machine_facts(),
        data=facts.data,
        hosts=tuple(facts.hosts),
    )
    data: dict[str, Any] = plain(manifest)
    return data


def plugin_entry(
    record: PluginRecord,
    used: Sequence[Registered],
    observing: Collection[str] = (),
    installed: Installed | None = None,
) -> PluginEntry:
    """Describe one plugin."""
    origin = record.origin
    active = record.status is Status.ACTIVE
    came_from = provenance(origin.distribution, origin.module, origin.file, installed) if active else None
    locked = LockedPlugin.at(
        origin, digest=came_from.digest if came_from else None, observes=active and origin.plugin in observing
    )
    return PluginEntry(
        **attrs.asdict(locked),
        api=record.api,
        status=record.status,
        problem=record.problem,
        editable=origin.editable,
        source=came_from.source if came_from else None,
        hooks=tuple(record.hooks),
        used=_used(record, used),
    )


def _used(record: PluginRecord, used: Sequence[Registered]) -> tuple[dict[str, str], ...]:
    if record.kind is not None:
        is_used = any(it.spec.kind == record.kind.name for it in used)
        return ({"kind": "kind", "name": record.kind.name},) if is_used else ()
    return tuple({"kind": it.spec.kind, "name": it.spec.name} for it in used if it.origin == record.origin)


def _took_part(plugins: Iterable[PluginEntry]) -> Iterator[str]:
    """The distributions whose code took part in the run."""
    yield from (CORE, *APPLICATION)
    yield from (it.distribution for it in plugins if it.used and it.distribution)


def _core_entry() -> CoreEntry:
    source = provenance(CORE, esper_core.__name__).source
    return CoreEntry(**attrs.asdict(current_core()), api=".".join(map(str, esper_core.API)), source=source)
