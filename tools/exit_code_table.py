"""Write the table of exit codes in docs/errors.md: `python tools/exit_code_table.py [--check]`.

It is made from `esper_app.exit_codes`, and goes between two markers, each on a line of its own.
"""

import argparse
import sys
from pathlib import Path

from esper_app.exit_codes import markdown_table

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/errors.md"
BEGIN, END = "<!-- exit-codes:begin -->", "<!-- exit-codes:end -->"


def with_table(text: str) -> str:
    """Return the document with the table between its markers.

    Raises:
        SystemExit: the document has no pair of markers.
    """
    head, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, tail = rest.partition(f"{END}\n")
    if not begin or not end:
        raise SystemExit(f"put the lines {BEGIN} and {END} around the place of the table")
    return f"{head}{begin}\n{markdown_table()}\n\n{end}{tail}"


def main() -> None:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if the table is out of date")
    options = parser.parse_args()
    old = DOCUMENT.read_text()
    new = with_table(old)
    if options.check and new != old:
        sys.exit(f"the exit codes in {DOCUMENT.name} are out of date; run `python tools/exit_code_table.py`")
    if new != old:
        DOCUMENT.write_text(new)


if __name__ == "__main__":
    main()
