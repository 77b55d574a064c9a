"""A whole plugin under test: what the loader made of it, and what its import does to a fresh process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import ComponentSpec
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.records import PluginRecord
from esper_core.plugins.selection import NONE, Selection, unknown_plugin

#: Seconds after which a process that imports a plugin is given up.
PATIENCE = 120.0

_IMPORT = """
import json, sys, time
from pathlib import Path
import esper_core.hooks, esper_core.specs, esper_core.api
from esper_core.plugins.discovery import from_file
from esper_core.plugins.quarantine import HEAVY
from esper_testing.surroundings import watched

# What libraries such as torch change while they are imported.
LIBRARIES = ("the warning filters", "the root logger", "the running threads")

answer, module, file, *references = sys.argv[1:]
found = {"heavy": [], "changed": []}
if references:
    import numpy, torch
    from pkgutil import resolve_name
    with watched(LIBRARIES) as found["changed"]:
        for reference in references:
            resolve_name(reference)
else:
    before = HEAVY & set(sys.modules)
    began = time.perf_counter()
    with watched() as found["changed"]:
        from_file(Path(file)).load() if file else __import__(module, fromlist=["*"])
    found["seconds"] = time.perf_counter() - began
    found["heavy"] = sorted(HEAVY & set(sys.modules) - before)
    # A single file may be a plugin and its substance in one.
    if file and found["heavy"]:
        found["changed"] = [name for name in found["changed"] if name not in LIBRARIES]
Path(answer).write_text(json.dumps(found))
"""


@frozen(kw_only=True)
class ImportReport:
    """What an import in a fresh process did.

    Attributes:
        error: its traceback if it failed, else "".
        output: what it printed, on either stream.
        changed: names of the surroundings that it changed.
        heavy: heavy libraries that it pulled in.
        seconds: wall time of the import; 0 if nothing was timed.
    """

    error: str = ""
    output: str = ""
    changed: tuple[str, ...] = field(default=(), converter=tuple)
    heavy: tuple[str, ...] = field(default=(), converter=tuple)
    seconds: float = 0.0


@define(kw_only=True, slots=False)
class PluginSubject:
    """What the checks of a plugin as a whole look at.

    Attributes:
        record: what the loader says of it.
        environ: the environment of fresh processes; as it was before the plugin was imported in this one.
        kinds: the kinds of components that are known where it is installed.
    """

    record: PluginRecord
    environ: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    kinds: tuple[PluginKind, ...] = field(default=KINDS, repr=False)

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.record.origin.plugin

    @property
    def specs(self) -> tuple[ComponentSpec, ...]:
        """The descriptors of its components."""
        return tuple(registered.spec for registered in self.record.components)

    @cached_property
    def descriptor_import(self) -> ImportReport:
        """What importing the plugin's module does."""
        return self.import_descriptor()

    def import_descriptor(self) -> ImportReport:
        """Import the plugin's module in a fresh process, once more."""
        return _import(self.record, self.environ)

    @cached_property
    def factory_import(self) -> ImportReport:
        """What importing the modules of its factories and options does, after torch and NumPy."""
        named = [reference for spec in self.specs for reference in (spec.factory, spec.config)]
        references = sorted({reference for reference in named if isinstance(reference, str)})
        return _import(self.record, self.environ, *references) if references else ImportReport()


def find_plugins(target: str | Path) -> tuple[PluginSubject, ...]:
    """Return the plugins that a name or path stands for; more than one where a distribution ships several.

    Args:
        target: an entry point, a distribution, ``distribution:entry-point``, a Python file that is a plugin, or the
            folder of a distribution that is installed.

    Raises:
        EsperError: E150 if no plugin has the name, E106 if there is no such file.
    """
    path, environ = Path(target), dict(os.environ)
    if path.suffix == ".py":
        found = load_plugins(Selection(wanted=(NONE,), paths=(path,)), tolerant=True)
        records = tuple(record for record in found.records if not record.origin.entry_point)
        return tuple(PluginSubject(record=r, environ=environ, kinds=found.registry.kinds) for r in records)
    name = _distribution_in(path) if (path / "pyproject.toml").is_file() else str(target)
    found = load_plugins(tolerant=True)
    if not (records := found.find(name)):
        raise unknown_plugin(name, [record.origin for record in found.records])
    return tuple(PluginSubject(record=r, environ=environ, kinds=found.registry.kinds) for r in records)


def _distribution_in(folder: Path) -> str:
    import tomllib

    file = folder / "pyproject.toml"
    try:
        project: Mapping[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        return str(project["name"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EsperError(
            "E106",
            f'"{folder}" is not the folder of a distribution',
            where=str(file),
            why=f"{type(error).__name__}: {error}",
            fix="give a plugin's name, a Python file, or a folder with a pyproject.toml that names its project",
        ) from error


def _import(record: PluginRecord, environ: Mapping[str, str], *references: str) -> ImportReport:
    origin = record.origin
    file = "" if origin.entry_point else origin.file or ""
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT, str(answer), origin.module, file, *references],
            env={**environ, "PYTHONPATH": os.pathsep.join([*_folder_of(file), *filter(None, sys.path)])},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode or not answer.exists():
            return ImportReport(error=done.stderr.strip() or f"the process ended with {done.returncode}")
        found = json.loads(answer.read_text())
    return ImportReport(output=(done.stdout + done.stderr).strip(), **found)


def _folder_of(file: str) -> list[str]:
    """A one-file plugin names its factories by its own module."""
    return [str(Path(file).parent)] if file else []
