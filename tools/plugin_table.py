"""Write the table of plugins in docs/distributions.md: `python tools/plugin_table.py [--check]`.

What a distribution offers is asked of the installed plugins, what it is stands in its pyproject.toml. The table goes
between two markers, each on a line of its own; everything else in the file stays as it is.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from esper_core.plugins.kinds import KINDS
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.records import ROLES, PluginRecord

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- plugins:begin -->", "<!-- plugins:end -->"

#: The order of the rows: by family, which is the word behind ``esper-``.
FAMILIES = ("standard", *(kind.family for kind in KINDS), "adapter", "app", "runs", "testing")


def table(projects: Iterable[Path], records: Iterable[PluginRecord]) -> str:
    """Return the table: a row per distribution, with a link to its folder.

    Args:
        projects: the distributions' pyproject.toml files.
        records: what the loader knows of the installed plugins.

    Raises:
        SystemExit: a distribution that has an entry point is not installed.
    """
    offers = {record.origin.distribution: ", ".join(_offers(record)) for record in records}
    rows = ["| distribution | offers | what it is |", "|---|---|---|"]
    for path in sorted(projects, key=_rank):
        project = tomllib.loads(path.read_text())["project"]
        name = project["name"]
        if "esper" in project.get("entry-points", {}) and name not in offers:
            raise SystemExit(f"{name} is not installed; run `make ready`")
        rows.append(f"| [{name}](../plugins/{path.parent.name}) | {offers.get(name, '')} | {project['description']} |")
    return "\n".join(rows)


def with_table(text: str, rows: str) -> str:
    """Return the document with the table between its markers.

    Raises:
        SystemExit: the document has not exactly one pair of markers.
    """
    head, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, tail = rest.partition(f"{END}\n")
    if not begin or not end or BEGIN in tail or END in tail:
        raise SystemExit(f"put the lines {BEGIN} and {END} once around the place of the table")
    return f"{head}{begin}{rows}\n{end}{tail}"


def _rank(path: Path) -> tuple[int, str]:
    family = path.parent.name.split("-")[1]
    return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)), path.parent.name


def _offers(record: PluginRecord) -> Iterator[str]:
    for kind in KINDS:
        names = dict.fromkeys(getattr(it.spec, kind.named_by) for it in record.components if it.spec.kind == kind.name)
        if names:
            noun = kind.name if kind.named_by == "name" else kind.named_by.replace("_", " ")
            nouns = noun if len(names) == 1 else f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
            yield f"{nouns} {', '.join(f'`{name}`' for name in names)}"
    yield from (role for role in record.kinds if role in ROLES)


def main() -> None:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if the table is out of date")
    parser.add_argument(
        "--file",
        type=Path,
        default=ROOT / "docs" / "distributions.md",
        help="the document (default: docs/distributions.md)",
    )
    options = parser.parse_args()
    old = options.file.read_text()
    new = with_table(old, table(ROOT.glob("plugins/*/pyproject.toml"), load_plugins(tolerant=True).records))
    if options.check and new != old:
        sys.exit(f"the table of plugins in {options.file.name} is out of date; run `python tools/plugin_table.py`")
    if new != old:
        options.file.write_text(new)


if __name__ == "__main__":
    main()
