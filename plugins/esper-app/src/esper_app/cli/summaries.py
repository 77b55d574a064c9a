"""What a command says of itself, read from its source: help that shows a command must not import it."""

import ast
import os
import sys
from collections.abc import Iterable

from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import EntryPoint


class Broken(Exception):  # noqa: N818 - it says what a command is
    """A command cannot be loaded; the message says why."""


def split(entry_point: EntryPoint) -> tuple[str, str]:
    """Return the module and the object that an entry point names. Raises `Broken`."""
    module, colon, attribute = entry_point.value.partition("[")[0].strip().partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise Broken(f'"{entry_point.value}" is not an object in a module')
    return module, attribute


def summary(entry_point: EntryPoint) -> str:
    """Return the first line of a command's help, else what its distribution says of itself.

    Raises:
        Broken: if its source shows that it cannot be loaded.
    """
    module, attribute = split(entry_point)
    source = _source(module)
    found = None if source is None else _said_in(source, attribute, module)
    return found or _of_distribution(entry_point)


def _of_distribution(entry_point: EntryPoint) -> str:
    try:
        return entry_point.distribution.metadata.summary
    except EsperError as error:
        raise Broken(error.what) from error


def _source(module: str) -> str | None:
    """The text of a module; None where it cannot be read without importing its package."""
    top, *rest = module.split(".")
    # That is where it nearly always is; asking the import system costs more than all else that help does.
    if (path := _file(sys.path, [top, *rest])) is not None:
        return _text(path)
    from importlib.util import find_spec

    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        raise Broken(f'there is no module "{top}"')
    folders = list(spec.submodule_search_locations or ())
    if rest and (path := _file(folders, rest)) is not None:
        return _text(path)
    if rest and folders and not any(_may_hold(os.path.join(folder, *rest)) for folder in folders):
        raise Broken(f'there is no module "{module}"')
    return None


def _file(folders: Iterable[str], parts: list[str]) -> str | None:
    relative = "/".join(parts)
    for folder in folders:
        for path in (f"{folder or '.'}/{relative}.py", f"{folder or '.'}/{relative}/__init__.py"):
            if os.path.isfile(path):
                return path
    return None


def _text(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace").replace("\r\n", "\n")


def _may_hold(path: str) -> bool:
    """Something by this name is there, an extension module perhaps, or the folder is none (a zip file)."""
    folder, name = os.path.split(path)
    try:
        return any(entry.partition(".")[0] == name for entry in os.listdir(folder))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _said_in(source: str, attribute: str, module: str) -> str | None:
    """What a function's decorator or docstring says; only the function is parsed where it can be found by its name."""
    text = _cut_out(source, attribute)
    try:
        if text is not None:
            return _short_help(text) or _said_by(ast.parse(text), attribute)
    except (SyntaxError, LookupError):
        pass
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise Broken(f"{module} has a syntax error in line {error.lineno}") from error
    try:
        return _said_by(tree, attribute)
    except LookupError:
        if _may_define(tree, attribute.partition(".")[0]):
            return None
        raise Broken(f'{module} has no "{attribute}"') from None


def _cut_out(source: str, attribute: str) -> str | None:
    """A function with its decorators: from the blank line before it to the next line that begins something else."""
    text = f"\n{source}"
    if (begin := text.find(f"\ndef {attribute}(")) < 0:
        return None
    end = begin + 1
    while (end := text.find("\n", end) + 1) and text[end : end + 1] in ("\n", " ", "\t", ")"):
        pass
    return text[text.rfind("\n\n", 0, begin) + 1 : end or None]


def _short_help(function: str) -> str | None:
    """What ``short_help="..."`` in its decorator says, if that is a text without escapes."""
    decorators = function[: function.find("\ndef ")]
    _, found, rest = decorators.partition('short_help="')
    text, end, _ = rest.partition('"')
    return text if found and end and "\\" not in text else None


def _said_by(tree: ast.Module, attribute: str) -> str | None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == attribute:
            said = _keywords(node)
            text = said.get("short_help") or said.get("help") or ast.get_docstring(node) or ""
            return text.strip().partition("\n")[0]
    raise LookupError(attribute)


def _keywords(function: ast.FunctionDef) -> dict[str, str]:
    """The texts that its decorator `command` or `group` is given."""
    return {
        keyword.arg: keyword.value.value
        for call in function.decorator_list
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("command", "group")
        for keyword in call.keywords
        if keyword.arg and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    }


def _may_define(tree: ast.Module, name: str) -> bool:
    """Some statement may bind the name: whatever is not understood here may."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names = [node.id] if isinstance(node.ctx, ast.Store) else []
        elif isinstance(node, ast.alias):
            names = [name if node.name == "*" else (node.asname or node.name).partition(".")[0]]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [name if node.name == "__getattr__" else node.name]
        else:
            continue
        if name in names:
            return True
    return False
