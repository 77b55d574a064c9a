"""Find plugins without importing any: entry points of the group `esper`, files, and modules already at hand."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import KINDS, PLUGINS, Distribution, EntryPoint, Installed, canonical, scan
from esper_core.plugins.records import Origin

if TYPE_CHECKING:
    from pathlib import Path


@frozen(kw_only=True)
class Candidate:
    """A plugin that was found and not yet imported.

    Attributes:
        origin: where it comes from.
        load: imports its module.
        requires: requirements of its distribution, as in its metadata.
        by_path: it was given as a file or module, not found by its entry point.
        is_kind: it adds a kind of components: what its entry point names is a `PluginKind`.
        problem: why it cannot be loaded, if its metadata say so already.
    """

    origin: Origin
    load: Callable[[], ModuleType] = field(eq=False)
    requires: tuple[str, ...] = ()
    by_path: bool = False
    is_kind: bool = False
    problem: EsperError | None = field(default=None, eq=False)

    @property
    def id(self) -> str:
        """The name that no other candidate has: ``distribution:plugin``."""
        return f"{canonical(self.origin.distribution)}:{self.origin.plugin}"

    def answers_to(self, name: str) -> bool:
        """Say whether a user may mean this plugin."""
        return answers_to(self.origin, name)


def answers_to(origin: Origin, name: str) -> bool:
    """Say whether a user may mean this plugin: by entry point, by distribution, or by ``distribution:plugin``."""
    distribution, colon, plugin = name.rpartition(":")
    if colon:
        return plugin == origin.plugin and canonical(distribution) == canonical(origin.distribution)
    return name == origin.plugin or canonical(name) == canonical(origin.distribution)


def installed_plugins(installed: Installed | None = None) -> tuple[Candidate, ...]:
    """Return the installed plugins, those that add kinds included, sorted by distribution and entry point.

    Args:
        installed: what is installed, if the caller has looked already.
    """
    found: list[Candidate] = []
    for distribution in (installed or scan()).offering:
        try:
            plugins = [_from_entry_point(it, it.name) for it in distribution.entry_points(PLUGINS)]
            kinds = [_from_entry_point(it, f"kind-{it.name}", is_kind=True) for it in distribution.entry_points(KINDS)]
            found += [*plugins, *kinds]
        except EsperError as problem:
            found.append(_from_unreadable(distribution, problem))
    return tuple(sorted(found, key=lambda candidate: candidate.id))


def from_file(path: "Path") -> Candidate:
    """Return the plugin in one Python file, named after the file.

    Its module is named after the file as well, so that ``factory="file:attribute"`` works.

    Raises:
        EsperError: E106 if there is no such file, or its name is not a module name or that of another module.
    """
    path = path.absolute()
    if not path.is_file():
        raise EsperError("E106", f'there is no plugin file "{path}"', fix="give the path of a Python file")
    module = path.stem
    if not module.isidentifier():
        fix = "rename it: letters, digits and underscores only"
        raise EsperError("E106", f'"{path.name}" cannot be imported: "{module}" is not a module name', fix=fix)
    taken = sys.modules.get(module)
    if taken is not None and getattr(taken, "__file__", None) != str(path):
        fix = "rename the file"
        raise EsperError("E106", f'"{path}" has the name of a module that is already imported', fix=fix)
    origin = Origin(plugin=module.replace("_", "-"), module=module, file=str(path))
    return Candidate(origin=origin, load=partial(_execute, module, path), by_path=True)


def from_module(module: ModuleType, *, plugin: str | None = None) -> Candidate:
    """Return a module at hand as a plugin: for notebooks and tests."""
    name = plugin or module.__name__.replace("_", "-")
    origin = Origin(plugin=name, module=module.__name__, file=getattr(module, "__file__", None))
    return Candidate(origin=origin, load=lambda: module, by_path=True)


def _from_entry_point(entry_point: EntryPoint, plugin: str, *, is_kind: bool = False) -> Candidate:
    distribution = entry_point.distribution
    name, version, problem = distribution.name, distribution.version, None
    requires: tuple[str, ...] = ()
    try:
        name, version, _, requires = distribution.metadata
    except EsperError as error:
        problem = error
    origin = Origin(
        plugin=plugin,
        distribution=name,
        version=version,
        entry_point=entry_point.value,
        module=entry_point.value.partition(":")[0].strip(),
        editable=distribution.is_editable,
    )
    return Candidate(
        origin=origin,
        load=partial(import_module, origin.module),
        requires=requires,
        is_kind=is_kind,
        problem=problem,
    )


def _from_unreadable(distribution: Distribution, problem: EsperError) -> Candidate:
    """It may have been a plugin: the place of its name is taken by the distribution's."""
    origin = Origin(plugin=distribution.name, distribution=distribution.name, version=distribution.version, module="")
    return Candidate(origin=origin, load=partial(import_module, origin.module), problem=problem)


def _execute(name: str, path: "Path") -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
