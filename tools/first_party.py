"""Write down which distribution of this repository offers what: `python tools/first_party.py [--check]`.

What a distribution offers is asked of the installed plugins, which commands it has stands in its pyproject.toml. The
file is read where an error suggests what to install.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

from esper_core.plugins import known
from esper_core.plugins.loader import load_plugins

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(known.__file__).with_name(known.FILE)


def content() -> str:
    """Return what the file has to hold."""
    projects = [tomllib.loads(path.read_text())["project"] for path in ROOT.glob("plugins/*/pyproject.toml")]
    ours = {project["name"] for project in projects}
    registry = load_plugins(tolerant=True).registry
    found: dict[str, dict[str, str]] = {}
    for kind in registry.kinds:
        names = {
            getattr(it.spec, kind.named_by): it.origin.distribution
            for it in registry[kind.name]
            if it.origin.distribution in ours
        }
        if names:
            found[kind.name] = dict(sorted(names.items()))
    commands = {name: it["name"] for it in projects for name in it.get("entry-points", {}).get("esper.commands", {})}
    if commands:
        found[known.COMMAND] = dict(sorted(commands.items()))
    return json.dumps(found, indent=2) + "\n"


def main() -> None:
    """Write the file, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if the file is out of date")
    if parser.parse_args().check:
        if TARGET.read_text() != content():
            sys.exit(f"{TARGET.name} is out of date; run `python tools/first_party.py`")
    else:
        TARGET.write_text(content())


if __name__ == "__main__":
    main()
