"""``esper plugins new``: a complete plugin to start from."""

from pathlib import Path

import click

from esper_app.api import Registered, install_line_for_plugin, list_plugins
from esper_app_new.scaffold.files import outline, render, write
from esper_app_new.scaffold.names import KINDS_TO_WRITE, Names, names
from esper_runs.printing import echo
from esper_runs.tables import table

_START_HERE = {
    "module.py": "what it does: start here",
    "config.py": "its options",
    "plugin.py": "its name and summary, for runs and lists",
    "test_behaviour.py": "tests of your idea",
    "test_conformance.py": "tests of everything that Esper requires",
}


_HELP = f"""Write a new plugin: a distribution that works, passes all checks, and is yours to change.

KIND is one of {", ".join(KINDS_TO_WRITE)}. NAME is its name in runs: lower-case words joined by '-', such as
wide-attention. The folder is named after the distribution, esper-<family>-NAME, and must not exist.
"""


@click.command(short_help="Write a new plugin to begin with.", help=_HELP)
@click.argument("kind", metavar="KIND", type=click.Choice(list(KINDS_TO_WRITE)))
@click.argument("name")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="Where to create the plugin's folder.  [default: here]",
)
def new(kind: str, name: str, directory: Path) -> None:
    """Write the folder of a new plugin, and say what to do next."""
    called = names(KINDS_TO_WRITE[kind], name)
    folder = directory / called.distribution
    clashes, files = _clashes(called), render(called)
    write(files, folder)
    for warning in clashes:
        echo(f"warning: {warning}", err=True)
    echo(f"{folder} is a complete {kind} plugin:\n")
    echo(table(("FILE", "WHAT IT IS"), [(file, purpose) for file in files if (purpose := _purpose(file))]))
    echo(_next_steps(called, folder))


def _purpose(file: str) -> str | None:
    return _START_HERE.get(Path(file).name)


def _next_steps(called: Names, folder: Path) -> str:
    use = outline(called.kind.name).use.replace("$name", called.name)
    steps = [f"cd {folder}", "pip install -e '.[dev]'", "pytest", use]
    return "\nNext:\n\n" + "\n".join(f"  {step}" for step in steps)


def _clashes(called: Names) -> list[str]:
    """Return a warning for each name that is already in use. It is not an error: a run may not use the other plugin."""
    found = list_plugins()
    warnings = []
    if install_line_for_plugin(called.distribution):
        warnings.append(
            f"{called.distribution} is one of Esper's own distributions; pip would install that one by name"
        )
    elif any(record.origin.distribution == called.distribution for record in found.records):
        warnings.append(f"the distribution {called.distribution} is installed; installing this one replaces it")
    for registered in (r for record in found.records for r in record.components):
        origin = registered.origin
        if _is_called(registered, called) and origin.distribution != called.distribution:
            title = f"{origin.provider}/{called.name}"
            warnings.append(
                f'{origin.title} also offers a {called.kind.name} "{called.name}": runs would have to write {title}'
            )
            break
    return warnings


def _is_called(registered: Registered, called: Names) -> bool:
    kind = called.kind
    return type(registered.spec) is kind.spec and getattr(registered.spec, kind.named_by) == called.name
