"""Files of results that grow while a tool works, a JSON object in each line: what is there is not done again."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def append(out: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write lines behind the others, on lines of their own also behind one that was cut."""
    cut = out.exists() and out.stat().st_size > 0 and not out.read_bytes().endswith(b"\n")
    with out.open("a") as file:
        file.write("\n" * cut + "".join(json.dumps(line) + "\n" for line in lines))


def read(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file; one that was cut is left out."""
    for line in out.read_text().splitlines() if out.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue
