"""The manifest of a run: everything that would have to be the same for the same result."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

import esper_core
from esper_core.leyline.records import plain
from esper_core.plugins.records import PluginRecord, Registered, Status
from esper_core.runtime.config import RunConfig
from esper_core.runtime.machine import machine_facts
from esper_core.runtime.provenance import installed_versions, provenance

#: Version of the manifest's format.
FORMAT = 1

_CORE = "esper-core"


@frozen(kw_only=True)
class RunFacts:
    """What a manifest is made from.

    Attributes:
        name: the run's name.
        directory: the run's directory, None if it has none.
        config: the run's configuration.
        plugins: every plugin that was found, in call order.
        used: the components that the run uses.
        blueprints: the catalogue's names and options, in order.
        data: what tells the task's data apart from any other.
        command: the command line.
    """

    name: str
    directory: str | None
    config: RunConfig
    plugins: Sequence[PluginRecord]
    used: Sequence[Registered]
    blueprints: Sequence[Mapping[str, Any]] = ()
    data: Mapping[str, Any]
    command: Sequence[str] = ()


def build_manifest(facts: RunFacts) -> dict[str, Any]:
    """Return the manifest as plain data. Imports torch, for its version and thread counts."""
    plugins = [plugin_entry(record, facts.used) for record in facts.plugins]
    distributions = [_CORE, *(entry["distribution"] for entry in plugins if entry["used"] and entry["distribution"])]
    return {
        "format": FORMAT,
        "name": facts.name,
        "directory": facts.directory,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(facts.command),
        "seed": facts.config.seed,
        "config": facts.config.tree(),
        "catalogue": plain(list(facts.blueprints)),
        "core": _core_entry(),
        "plugins": plugins,
        "plugins_digest": plugins_digest(plugins),
        "packages": installed_versions(distributions),
        "machine": machine_facts(),
        "data": plain(dict(facts.data)),
    }


def plugin_entry(record: PluginRecord, used: Iterable[Registered]) -> dict[str, Any]:
    """Describe one plugin; code that was never imported has no digest, for it can have changed nothing."""
    origin = record.origin
    active = record.status is Status.ACTIVE
    came_from = provenance(origin.distribution, origin.module, origin.file) if active else None
    return {
        "plugin": origin.plugin,
        "distribution": origin.distribution or None,
        "version": origin.version or None,
        "entry_point": origin.entry_point or None,
        "file": None if origin.distribution else origin.file,
        "api": record.api,
        "status": record.status.value,
        "problem": record.problem,
        "editable": origin.editable,
        "source": came_from.source if came_from else None,
        "digest": came_from.digest if came_from else None,
        "hooks": list(record.hooks),
        "used": [{"kind": r.spec.kind.value, "name": r.spec.name} for r in used if r.origin == origin],
    }


def plugins_digest(plugins: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over the plugins that a run used, in call order: names, versions, code and what was used of each."""
    keys = ("plugin", "distribution", "version", "digest", "used")
    content = [[entry[key] for key in keys] for entry in plugins if entry["used"]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _core_entry() -> dict[str, Any]:
    came_from = provenance(_CORE, esper_core.__name__)
    return {
        "distribution": _CORE,
        "version": esper_core.__version__,
        "api": ".".join(map(str, esper_core.API)),
        "source": came_from.source,
        "digest": came_from.digest,
    }
