"""Find plugins without importing any: entry points of the group `esper`, files, and modules already at hand."""

import re
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.records import Origin

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

#: The entry-point group of plugins.
GROUP = "esper"

#: A distribution whose metadata are damaged.
_UNNAMED = "(unnamed)"


@frozen(kw_only=True)
class Candidate:
    """A plugin that was found and not yet imported.

    Attributes:
        origin: where it comes from.
        load: imports its module.
        requires: requirements of its distribution, as in its metadata.
        by_path: it was given as a file or module, not found by its entry point.
    """

    origin: Origin
    load: Callable[[], ModuleType] = field(eq=False)
    requires: tuple[str, ...] = ()
    by_path: bool = False

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


def installed() -> tuple[Candidate, ...]:
    """Return the installed plugins, sorted by distribution and entry point."""
    # Imported here: whoever gives their own sources need not pay for it.
    from importlib.metadata import entry_points

    found = [_from_entry_point(entry_point) for entry_point in entry_points(group=GROUP)]
    return tuple(sorted(found, key=lambda candidate: candidate.id))


def from_file(path: Path) -> Candidate:
    """Return the plugin in one Python file, named after the file.

    Its module is named after the file as well, so that ``factory="file:attribute"`` works.

    Raises:
        EsperError: E106 if there is no such file, or its name is no module name or that of another module.
    """
    path = path.absolute()
    if not path.is_file():
        raise EsperError("E106", f'there is no plugin file "{path}"', fix="give the path of a Python file")
    module = path.stem
    if not module.isidentifier():
        fix = "rename it: letters, digits and underscores only"
        raise EsperError("E106", f'"{path.name}" cannot be imported: "{module}" is no module name', fix=fix)
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


def canonical(distribution: str) -> str:
    """Return the distribution's name as package indexes compare it: lower case, every separator a hyphen."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def headers(distribution: "Distribution") -> tuple[str, str, tuple[str, ...]]:
    """Return name, version and requirements of a distribution.

    Reads the head of its metadata only: parsing it as an e-mail, description included, takes ten times as long.
    """
    text = distribution.read_text("METADATA")
    requires: tuple[str, ...] = ()
    if text is None and (text := distribution.read_text("PKG-INFO")):
        requires = tuple(distribution.requires or ())  # an egg-info folder keeps them in another file
    fields: dict[str, list[str]] = {}
    for line in (text or "").splitlines():
        if not line:
            break
        key, _, value = line.partition(": ")
        fields.setdefault(key, []).append(value.strip())
    name, version = (fields.get(key, [default])[0] for key, default in (("Name", _UNNAMED), ("Version", "")))
    return name, version, requires or tuple(fields.get("Requires-Dist", ()))


def _from_entry_point(entry_point: "EntryPoint") -> Candidate:
    distribution = entry_point.dist
    name, version, requires = headers(distribution) if distribution else (_UNNAMED, "", ())
    module, _, _ = entry_point.value.partition(":")
    origin = Origin(
        plugin=entry_point.name,
        distribution=name,
        version=version,
        entry_point=entry_point.value,
        module=module.strip(),
        editable=distribution is not None and _is_editable(distribution),
    )
    return Candidate(origin=origin, load=partial(import_module, origin.module), requires=requires)


def _is_editable(distribution: "Distribution") -> bool:
    text = distribution.read_text("direct_url.json")
    if not text or "editable" not in text:
        return False
    import json

    try:
        return bool(json.loads(text)["dir_info"]["editable"])
    except (ValueError, KeyError, TypeError):
        return False


def _execute(name: str, path: Path) -> ModuleType:
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
