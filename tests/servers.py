"""Servers for tests: one that speaks Elasticsearch's protocol, a collector of OTLP, a Redis, and one of NATS."""

import gzip
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_REDIS, _NATS = "6379", "4222"


@contextmanager
def otlp_collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Where a collector is, and the path and body of each request that it takes."""
    requests: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            requests.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


@contextmanager
def elasticsearch_server(folder: Path) -> Iterator[str]:
    """Where a server is that speaks Elasticsearch's protocol, and keeps its data in a folder."""
    program = shutil.which("noida-db", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert program is not None, "noida-db is in the group dev"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [program, "start", "--only", "elasticsearch", "--elasticsearch-port", port, "--data-dir", str(folder)]
    with _running(command, folder, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def redis_server(folder: Path) -> Iterator[None]:
    """A server of Redis or Valkey at the port where everybody looks for one; one that is there already will do."""
    from esper_bus_redis.server import server_program

    if _answers(_REDIS):
        yield
        return
    command = [server_program(), "--port", _REDIS, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with _running(command, folder, _REDIS):
        yield


@contextmanager
def nats_server(folder: Path) -> Iterator[None]:
    """A server of NATS at the port where everybody looks for one; one that is there already will do."""
    from esper_bus_nats.server import server_program

    if _answers(_NATS):
        yield
        return
    command = [server_program(), "--addr", "127.0.0.1", "--port", _NATS, "--jetstream", "--store_dir", str(folder)]
    with _running(command, folder, _NATS):
        yield


def _answers(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


@contextmanager
def _running(command: list[str], folder: Path, port: str) -> Iterator[None]:
    # A session of its own: some of these programs only start another one, which would go on.
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        end = time.monotonic() + 60
        while not _answers(port):
            assert time.monotonic() < end
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
