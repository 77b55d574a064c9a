"""Locks: the plugins that a run is bound to, as a file says them, or as they are now."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen, validators

import esper_core
from esper_app.locks.provenance import provenance
from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import to_json
from esper_core.plugins.installed import Installed, canonical, scan
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Origin, Status
from esper_core.plugins.requirements import CORE
from esper_runs.reading import parse_json, read_regular
from esper_runs.run_directory import LAST, MANIFEST, RUNS
from esper_runs.run_list import locate_run

#: Version of the lock's format.
FORMAT = 1

#: What a lock says that it is; a manifest does not.
LOCK = "esper-plugin-lock"

#: The distributions whose code decides what a run does, beside the core: a change of theirs is one of the core's.
APPLICATION = ("esper-app", "esper-runs")

_text = validators.instance_of(str)
_optional_text = validators.optional(_text)


@frozen(kw_only=True)
class LockedPlugin:
    """One plugin of a lock, or the core.

    Attributes:
        plugin: its name: the entry point's, or the file's for a one-file plugin.
        distribution: what ships it; None for a one-file plugin.
        version: of that distribution.
        entry_point: the entry point's value.
        file: the file of a one-file plugin.
        digest: SHA-256 over its code (see `provenance`).
        observes: its observers run even where nothing of it is used: it was asked for by name, or all were.
    """

    plugin: str = field(validator=_text)
    distribution: str | None = field(default=None, validator=_optional_text)
    version: str | None = field(default=None, validator=_optional_text)
    entry_point: str | None = field(default=None, validator=_optional_text)
    file: str | None = field(default=None, validator=_optional_text)
    digest: str | None = field(default=None, validator=_optional_text)
    observes: bool = field(default=False, validator=validators.instance_of(bool))

    @property
    def id(self) -> str:
        """The name that no other plugin of a lock has: ``distribution:plugin``, as candidates have it."""
        return f"{canonical(self.distribution or '')}:{self.plugin}"

    @classmethod
    def at(cls, origin: Origin, *, digest: str | None, observes: bool = False) -> "LockedPlugin":
        """Return the plugin with this origin."""
        return cls(
            plugin=origin.plugin,
            distribution=origin.distribution or None,
            version=origin.version or None,
            entry_point=origin.entry_point or None,
            file=None if origin.distribution else origin.file,
            digest=digest,
            observes=observes,
        )


@frozen(kw_only=True)
class PluginLock:
    """The core and the plugins that a run is bound to.

    Attributes:
        core: the core, as if it were a plugin.
        plugins: the plugins in call order.
        of_run: it is what took part in a run; else what was installed.
    """

    core: LockedPlugin
    plugins: tuple[LockedPlugin, ...]
    of_run: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 over the core and the plugins in call order, but not over where a one-file plugin lies."""
        content = [[getattr(it, name) for name in _SIGNED] for it in (self.core, *self.plugins)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> str:
        """Return the content of a lock file."""
        data = {"kind": LOCK, "format": FORMAT, "core": self.core, "plugins": self.plugins, "digest": self.digest}
        return to_json(data, indent=2) + "\n"


_SIGNED = [key.name for key in attrs.fields(LockedPlugin) if key.name != "file"]


def current_core() -> LockedPlugin:
    """Return the core as it is now."""
    installed = scan()
    parts = (provenance(name, name.replace("-", "_"), installed=installed).digest for name in (CORE, *APPLICATION))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return LockedPlugin(plugin=CORE, distribution=CORE, version=esper_core.__version__, digest=digest)


def current_lock(plugins: PluginSet) -> PluginLock:
    """Return the lock of all active plugins of a set."""
    installed = scan()
    return PluginLock(
        core=current_core(),
        plugins=tuple(
            LockedPlugin.at(
                record.origin,
                digest=digest_of(record.origin, installed),
                observes=plugins.may_observe(record.origin.plugin, frozenset()),
            )
            for record in plugins.records
            if record.status is Status.ACTIVE
        ),
    )


def digest_of(origin: Origin, installed: Installed) -> str:
    """Return the digest of a plugin's code; imports nothing of it."""
    return provenance(origin.distribution, origin.module, origin.file, installed).digest


def locked_in_run(core: LockedPlugin, plugins: Iterable[LockedPlugin], used: Collection[str]) -> PluginLock:
    """Return the lock of those plugins that took part in a run: they are among the `used` ids, or observe anyway."""
    return PluginLock(core=core, plugins=tuple(it for it in plugins if it.id in used or it.observes), of_run=True)


def read_lock(path: Path) -> PluginLock:
    """Read a lock: from a lock file, a run's manifest, a run's directory, or a run by its name under ``runs``.

    Raises:
        EsperError: E171 if it cannot be read, is something else, or was changed since it was written; E172 if its
            format is another one; E505 if a directory is not a run's.
    """
    of_run = locate_run(path).path if _is_run(path) else None
    data = _read_object(path) if of_run is None else _read_object(of_run / MANIFEST, of_run)
    is_lock = data.get("kind") == LOCK
    digest = data.get("digest" if is_lock else "plugins_digest")
    if not isinstance(digest, str) or not isinstance(data.get("plugins"), list):
        raise _unreadable(path, "it is neither a lock nor the manifest of a run")
    if data.get("format") != FORMAT:
        raise EsperError(
            "E172",
            f'"{path}" has format {data.get("format")!r}; this esper reads {FORMAT}',
            fix="pip install -U esper-core, or write a new lock: esper plugins lock",
        )
    try:
        lock = _structured(data, of_run=not is_lock)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _unreadable(path, f"an entry is incomplete: {error}") from error
    if len({it.id for it in lock.plugins}) < len(lock.plugins):
        raise _unreadable(path, "it names a plugin twice")
    if lock.digest != digest:
        raise _unreadable(path, "it was changed after it was written: its content does not have its digest")
    return lock


def _is_run(path: Path) -> bool:
    """Say whether this is a run's directory, or its name alone; a file of the name goes before it."""
    if path.is_dir() or path.name == LAST:
        return True
    return len(path.parts) == 1 and not path.is_file() and (RUNS / path).is_dir()


def _read_object(path: Path, inside: Path | None = None) -> dict[str, Any]:
    try:
        data = parse_json(read_regular(path, inside=inside))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _unreadable(path, f"it is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _unreadable(path, "it is neither a lock nor the manifest of a run")
    return data


def _structured(data: Mapping[str, Any], *, of_run: bool) -> PluginLock:
    core, plugins = _entry(data["core"]), [_entry(entry) for entry in data["plugins"]]
    if not of_run:
        return PluginLock(core=core, plugins=tuple(plugins))
    used = [plugin.id for plugin, entry in zip(plugins, data["plugins"], strict=True) if entry["used"]]
    return locked_in_run(core, plugins, used)


def _entry(entry: Mapping[str, Any]) -> LockedPlugin:
    return LockedPlugin(**{key.name: entry[key.name] for key in attrs.fields(LockedPlugin)})


def _unreadable(path: Path, why: str) -> EsperError:
    fix = "name a lock, a run's manifest or its directory, as it was written; esper plugins lock writes a lock"
    return EsperError("E171", f'"{path}" cannot be used as a lock', why=why, fix=fix)
