"""A unit for systemd that runs ``esper up``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from esper_core.leyline.errors import EsperError

#: Seconds beyond the drain before systemd kills what is left.
_GRACE = 15

_UNIT = """\
# Made by `esper services unit`.
[Unit]
Description=Esper: services and runs
Documentation=man:systemd.service(5)
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
WorkingDirectory={folder}
Environment={environment}
ExecStart={command}
# The supervisor ends its services itself; whatever is left then is killed with it.
KillMode=mixed
TimeoutStopSec={seconds}
Restart=on-failure
RestartSec=5
SuccessExitStatus=0
UMask=0077

[Install]
WantedBy=default.target
"""


def unit_file(words: Sequence[str], folder: Path, drain_seconds: float) -> str:
    """Return the unit.

    Args:
        words: what stands behind ``esper``.
        folder: where it works.
        drain_seconds: how long the services have to end.

    Raises:
        EsperError: E513 if a path has a character that a unit cannot hold.
    """
    command = [sys.executable, "-m", "esper_app.cli", *words]
    for text in (*command, str(folder)):
        if not text.isprintable():
            raise EsperError("E513", "a unit of systemd cannot hold this", where=repr(text), why="a sign in it")
    path = os.environ.get("PATH", os.defpath)
    return _UNIT.format(
        folder=_escaped(str(folder)),
        environment=_quoted(f"PATH={path}"),
        command=" ".join(map(_quoted_word, command)),
        seconds=round(drain_seconds) + _GRACE,
    )


def _escaped(text: str) -> str:
    """A percent sign begins a specifier."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    inner = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def _quoted_word(text: str) -> str:
    """In a command line a dollar sign begins a variable, too."""
    return _quoted(text.replace("$", "$$"))
