"""The `esper` command. Importing this package costs nothing; each command is imported when it is called."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `esper` command and exit with its code (see `esper_core.leyline.errors.ExitCode`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        # Answered without click, which takes three times as long to import as Python takes to start.
        print(version_text())
        return
    import gc

    # Importing makes many objects and no garbage; looking for some takes a tenth of the time of a short command. Every
    # command that may live longer turns it on again.
    gc.disable()
    from esper_app.cli.root import cli

    try:
        cli.main(given, prog_name="esper", terminal_width=_width())
    finally:
        if not gc.isenabled():
            # The process ends and looks for garbage once more: a twentieth of a short command.
            gc.freeze()


def terminal_columns() -> int | None:
    """Return the width of what is written to, by COLUMNS or the terminal; None where nothing says how wide it is."""
    import os

    try:
        return int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size(1).columns or None
    except (ValueError, OSError):  # no number, no terminal
        return None


def _width() -> int:
    """The width of help, as click has it, which imports five modules of the library to ask for it."""
    return max(min(terminal_columns() or 80, 80) - 2, 50)


def version_text() -> str:
    """Return the versions of the core and of its plugin API on one line."""
    from esper_core import API, __version__

    return f"esper {__version__} (plugin API {API[0]}.{API[1]})"
