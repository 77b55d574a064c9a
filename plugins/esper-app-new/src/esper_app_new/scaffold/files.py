"""The files of a new plugin: filled-in templates. Either all are written, or none."""

import os
import shutil
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from string import Template
from tempfile import mkdtemp

from attrs import field, frozen

from esper_app_new.scaffold.names import TEMPLATES, Names
from esper_core.api import EsperError

#: Where each template goes, relative to the distribution's folder; those that an author changes first come first.
PLACES: Mapping[str, str] = {
    "module.py": "src/{package}/module.py",
    "config.py": "src/{package}/config.py",
    "plugin.py": "src/{package}/plugin.py",
    "init.py": "src/{package}/__init__.py",
    "py.typed": "src/{package}/py.typed",
    # The templates are not named like tests, or they would look like tests of the core in its wheel.
    "behaviour_test.py": "tests/test_behaviour.py",
    "conformance_test.py": "tests/test_conformance.py",
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    "gitignore": ".gitignore",
    "tests.yml": ".github/workflows/tests.yml",
}


@frozen(kw_only=True)
class Outline:
    """What the common templates need to know about a kind, from the file ``outline.toml`` in its folder.

    Attributes:
        description: one sentence about the generated plugin.
        use: a command that uses the plugin; ``$name`` is its name.
        requires: requirements of its package.
        untyped: imported packages that come without types.
    """

    description: str
    use: str
    requires: tuple[str, ...] = field(converter=tuple)
    untyped: tuple[str, ...] = field(default=(), converter=tuple)


def outline(kind: str) -> Outline:
    """Return the outline of a kind that has templates."""
    return Outline(**tomllib.loads((TEMPLATES / kind / "outline.toml").read_text(encoding="utf-8")))


def render(names: Names) -> dict[str, str]:
    """Return the files of a new plugin by path, relative to the distribution's folder."""
    values = _values(names)
    files = {}
    for template, place in PLACES.items():
        files[place.format(package=names.package)] = _filled_in(names.kind.name, template, values)
    return files


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write files into a new folder: all of them, or none.

    Raises:
        EsperError: E181 if the folder exists or cannot be written.
    """
    if os.path.lexists(folder):
        what, fix = f'"{folder}" exists already', "choose another name or --directory, or move it away"
        raise EsperError("E181", what, why="a new plugin never overwrites anything", fix=fix)
    try:
        # In the same directory, so that one rename puts it in place.
        unfinished = Path(mkdtemp(prefix=".esper-new-", dir=folder.parent))
        try:
            for name, text in files.items():
                path = unfinished / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
            unfinished.chmod(0o777 & ~_umask())
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        fix = "free disk space, or choose another --directory"
        raise EsperError("E181", f'"{folder}" cannot be written', why=str(error), fix=fix) from error


def _values(names: Names) -> dict[str, str]:
    about = outline(names.kind.name)
    values = {
        "a_kind": f"a {names.kind.name.replace('-', ' ')}",
        "class_name": names.class_name,
        "description": about.description,
        "distribution": names.distribution,
        "mypy_overrides": "".join(_override(module) for module in about.untyped),
        "name": names.name,
        "package": names.package,
        "plugin": names.plugin,
        "requirements": "\n".join(f'    "{requirement}",' for requirement in about.requires),
        "suite": f"{names.kind.spec.__name__.removesuffix('Spec')}Suite",
        "use": Template(about.use).substitute(name=names.name),
        "year": str(date.today().year),
    }
    return values | {"about": _filled_in(names.kind.name, "about.md", values).strip()}


def _filled_in(kind: str, template: str, values: Mapping[str, str]) -> str:
    own, common = (TEMPLATES / folder / f"{template}.template" for folder in (kind, "common"))
    text = (own if own.exists() else common).read_text(encoding="utf-8")
    # A template writes $$ for a dollar; an unknown name is a bug and raises.
    filled_in = Template(text).substitute(values).strip("\n")
    return f"{filled_in}\n" if filled_in else ""


def _override(module: str) -> str:
    return f'\n[[tool.mypy.overrides]]\nmodule = "{module}.*"\nignore_missing_imports = true\n'


def _umask() -> int:
    """Return the umask; the only way to read it is to set it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
