"""Count the code and hold it to its limits: `python tools/sizes.py [--check] [--modules]`.

A line of code is a line with something on it that is no comment, docstring or import statement. A part is a folder or a
module directly in ``esper_core``, or a distribution under ``plugins``. A module's length is that of its file; a
function's is that of its ``def`` and body, without its docstring.
"""

import argparse
import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parents[1]

_GROWING = "plugins/esper-growing/src/esper_growing"
#: How many lines of code there may be: what is summed up, in which places, the limit. A place is a folder with all that
#: is in it, a module without its suffix, or with ``/*`` the modules directly in a folder. A limit is raised only with a
#: reason in docs/architecture.md.
LIMITS = (
    # What growing itself needs. How plugins are found and checked is another matter, counted in the whole core.
    (
        "leyline to simic",
        tuple(f"esper_core/{part}" for part in ("leyline", "tamiyo", "nn", "kasmina", "tolaria", "simic")),
        5_290,
    ),
    ("the whole core", ("esper_core",), 7_010),
    # `grow`, its handle and its session; and with them what finds out about and follows somebody else's training.
    ("growing", (f"{_GROWING}/*",), 500),
    ("esper-growing", (_GROWING,), 1_695),
)
LONGEST_MODULE, LONGEST_FUNCTION = 300, 60

_LAYOUT = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@frozen
class Function:
    """A function or method: where its ``def`` stands, and how many lines it has."""

    name: str
    at: int
    lines: int


@frozen
class Module:
    """A Python file: its path from the root, the part it belongs to, and its sizes."""

    path: Path
    part: str
    lines: int
    code: int
    functions: tuple[Function, ...]


def code_lines(source: str) -> int:
    """Count the lines of code of a module.

    Raises:
        SyntaxError: it is not Python.
    """
    skipped = {line for node in _no_code(ast.parse(source)) for line in _extent(node)}
    text = list(io.StringIO(source))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for it in tokens if it.type not in _LAYOUT for line in range(it.start[0], it.end[0] + 1)}
    return sum(bool(text[line - 1].strip()) for line in lines - skipped)


def core(root: Path) -> list[Module]:
    """Measure the core's modules."""
    base = root / "esper_core"
    return [_measure(root, path, path.relative_to(base).parts[0].removesuffix(".py")) for path in _sources(base)]


def plugins(root: Path) -> list[Module]:
    """Measure the modules of the distributions under ``plugins``."""
    folders = sorted((root / "plugins").glob("*/src"))
    return [_measure(root, path, folder.parent.name) for folder in folders for path in _sources(folder)]


def problems(root: Path) -> Iterator[str]:
    """Yield what is too long or too much, each with its fix."""
    modules = [*core(root), *plugins(root)]
    for name, places, limit in LIMITS:
        yield from (f"there is no {place}: correct LIMITS in tools/sizes.py" for place in missing(places, modules))
        found = _code(within(modules, places))
        if found > limit:
            yield f"{name}: {found:,} lines of code, {found - limit:,} over the limit of {limit:,}; move something out"
    for module in modules:
        if module.lines > LONGEST_MODULE:
            yield f"{module.path} has {module.lines} lines, at most {LONGEST_MODULE}; make two of it"
        for function in module.functions:
            if function.lines > LONGEST_FUNCTION:
                where = f"{module.path}:{function.at} {function.name} has {function.lines} lines"
                yield f"{where}, at most {LONGEST_FUNCTION}; give each thing that it does a name"


def within(modules: Iterable[Module], places: Iterable[str]) -> list[Module]:
    """Return the modules in any of the places of a limit."""
    return [module for module in modules if any(_lies_in(module.path, place) for place in places)]


def missing(places: Iterable[str], modules: Sequence[Module]) -> list[str]:
    """Return the places that a limit names and that are not there: renaming one must not take it out of the count."""
    return [place for place in places if not within(modules, [place])]


def table(root: Path, *, modules: bool = False) -> str:
    """Return the sizes as a Markdown table: a row per part, and with `modules` a row per module."""
    ours, theirs = core(root), plugins(root)
    rows = ["| part | modules | lines | code | limit |", "|---|---:|---:|---:|---:|"]
    for found in (ours, theirs):
        for part in dict.fromkeys(module.part for module in found):
            own = [module for module in found if module.part == part]
            rows.append(_row(part, own))
            rows += [_row(f"&nbsp; {module.path}", [module]) for module in own if modules]
    for name, places, limit in LIMITS:
        rows.append(_row(f"**{name}**", within([*ours, *theirs], places), f"{limit:,}"))
    rows.append(_row("**all plugins**", theirs))
    return "\n".join(rows)


def _row(name: str, modules: Sequence[Module], limit: str = "") -> str:
    return f"| {name} | {len(modules)} | {sum(it.lines for it in modules):,} | {_code(modules):,} | {limit} |"


def _code(modules: Iterable[Module]) -> int:
    return sum(module.code for module in modules)


def _lies_in(path: Path, place: str) -> bool:
    if place.endswith("/*"):
        return path.parent == Path(place[:-2])
    return Path(place) in (path.with_suffix(""), *path.parents)


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _measure(root: Path, path: Path, part: str) -> Module:
    source = path.read_text(encoding="utf-8")
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, _FUNCTION))
    return Module(
        path=path.relative_to(root),
        part=part,
        lines=len(list(io.StringIO(source))),
        code=code_lines(source),
        functions=tuple(Function(node.name, node.lineno, _length(node)) for node in functions),
    )


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len(_extent(function)) - (len(_extent(function.body[0])) if ast.get_docstring(function) is not None else 0)


def _no_code(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the docstrings and the import statements."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Module | ast.ClassDef | _FUNCTION) and ast.get_docstring(node) is not None:
            yield node.body[0]


def _extent(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or what is over its limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="print what is over its limits; exit code 1 if anything is"
    )
    parser.add_argument("--modules", action="store_true", help="a row for each module too")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that holds esper_core and plugins")
    options = parser.parse_args(arguments)
    if not options.check:
        print(table(options.root, modules=options.modules))
    elif found := list(problems(options.root)):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
