"""Write real little plugin distributions into a folder that is put on the path: a package and its metadata."""

from collections.abc import Mapping, Sequence
from pathlib import Path

#: A sound plugin with one blueprint; its factory needs no torch to be resolved.
SOUND = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints():
    yield BlueprintSpec(
        name="{name}",
        summary="A blueprint for tests.",
        layouts=(Layout.NCHW,),
        factory="{package}.module:Update",
        config="{package}.config:UpdateConfig",
    )
"""

_CONFIG = '''
from attrs import frozen


@frozen(kw_only=True)
class UpdateConfig:
    """Options of the update.

    Attributes:
        width: channels.
        gain: size of the update.
    """

    width: int = 4
    gain: float = 1.0
'''

_MODULE = """
class Update:
    def __init__(self, site, config):
        self.site = site
        self.config = config
"""


def write_distribution(
    folder: Path,
    name: str,
    *,
    code: str = SOUND,
    plugin: str | None = None,
    version: str = "0.1.0",
    requires: Sequence[str] = ("esper-core>=0.1,<1",),
    files: Mapping[str, str] | None = None,
    entry_point: str | None = None,
    groups: Mapping[str, Mapping[str, str]] | None = None,
) -> Path:
    """Write the distribution `name` and return its package's folder.

    Args:
        folder: where packages lie.
        name: the distribution's name, such as ``esper-blueprint-foo``; the package has underscores.
        code: of ``plugin.py``; ``{name}`` stands for the last word of the distribution's name, ``{package}`` for the
            package.
        plugin: name of the entry point; default: the distribution's name without ``esper-``.
        version: of the distribution.
        requires: its requirements.
        files: further files of the package by name.
        entry_point: value of the entry point; default ``<package>.plugin``.
        groups: entry points by group and name, instead of that one.
    """
    package = name.replace("-", "_")
    root = folder / package
    root.mkdir(parents=True)
    sources = {"__init__.py": "", "plugin.py": code, "module.py": _MODULE, "config.py": _CONFIG} | dict(files or {})
    for file, text in sources.items():
        filled_in = text.replace("{name}", name.rpartition("-")[2]).replace("{package}", package)
        (root / file).write_text(filled_in)
    info = folder / f"{package}-{version}.dist-info"
    info.mkdir()
    requirements = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{requirements}\nName: not-this-one\n"
    )
    if groups is None:
        groups = {"esper": {plugin or name.removeprefix("esper-"): entry_point or f"{package}.plugin"}}
    lines = [(f"[{group}]", *(f"{key} = {value}" for key, value in points.items())) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("".join(f"{line}\n" for group in lines for line in group))
    return root
