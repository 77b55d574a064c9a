"""The HTTP endpoint that Prometheus reads, and the file by which it finds it."""

import json
import threading
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from esper_runs.names import safe_name
from esper_runs.run_directory import write_atomically
from esper_sink_prometheus.exports import JOB

#: Beside the run's directory, with a file for each run whose endpoint is open. Prometheus's ``file_sd_configs`` reads
#: it; its patterns have a * in the last part of a path alone, so the files cannot be in the runs' own directories.
TARGETS = "prometheus-targets"


class Endpoint:
    """An open endpoint.

    Args:
        registry: what it offers.
        address: the address that it listens on.
        port: its port; 0: any that is free.

    Raises:
        OSError: if there can be none.
    """

    def __init__(self, registry: CollectorRegistry, address: str, port: int) -> None:
        self._server: WSGIServer
        self._thread: threading.Thread
        self._server, self._thread = start_http_server(port, address, registry)
        self._host = f"[{address}]" if ":" in address else address
        self._file: Path | None = None

    @property
    def target(self) -> str:
        """Host and port, as Prometheus wants them."""
        return f"{self._host}:{self._server.server_port}"

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{self.target}/metrics"

    def announce(self, directory: Path) -> None:
        """Write the file by which Prometheus finds the endpoint of the run in this directory. Raises OSError."""
        targets = [{"targets": [self.target], "labels": {"job": JOB}}]
        file = directory.parent / TARGETS / f"{safe_name(directory.name)}.json"
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, json.dumps(targets).encode())
        self._file = file

    def close(self) -> None:
        """Close it, and remove the file."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
