"""The ways to Prometheus for runs that are shorter than a scrape: a text file, and a pushgateway."""

from http.client import HTTPException
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest, push_to_gateway

from esper_core.api import EsperError
from esper_runs.names import safe_name
from esper_runs.run_directory import write_atomically

#: How a text file begins that Esper has written, and may replace.
_BEGIN = b"# Written by Esper for the textfile collector of node_exporter.\n"

JOB = "esper"


class Export(Protocol):
    """One way to Prometheus.

    Attributes:
        name: what it is called in metrics.
        where: its destination, for people.
        option: the option that names the destination.
    """

    name: str
    where: str
    option: str

    def write(self, registry: CollectorRegistry) -> None:
        """Hand on how the metrics stand. Raises OSError."""


class TextFile:
    """A file for the textfile collector of node_exporter.

    Args:
        path: the file. What is there already is replaced if Esper wrote it.

    Raises:
        OSError: if something else is there, or the name does not end in .prom.
    """

    name = "textfile"
    option = "sinks.prometheus.textfile"

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path
        if path.suffix != ".prom":
            raise OSError("the textfile collector reads files whose names end in .prom alone")
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise OSError("it is no regular file")
        if path.exists():
            with path.open("rb") as file:
                if file.read(len(_BEGIN)) != _BEGIN:
                    raise OSError("there is a file already that Esper has not written")

    def write(self, registry: CollectorRegistry) -> None:
        """Replace the file in one step. Raises OSError."""
        write_atomically(self._path, _BEGIN + generate_latest(registry))


class Pushgateway:
    """A pushgateway, in which the run is a group of its own.

    Args:
        url: its address.
        run: the run's name.
        timeout: seconds that a push may take.

    Raises:
        EsperError: E504 if it is no address.
    """

    name = "pushgateway"
    option = "sinks.prometheus.pushgateway"

    def __init__(self, url: str, run: str, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            what = f'the sink "prometheus" cannot push to "{url}"'
            raise EsperError("E504", what, why="it is no http or https address", fix=f"set {self.option}")
        # A password in the address stays out of messages.
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._url = url
        self._key = {"run": safe_name(run)}
        self._timeout = timeout

    def write(self, registry: CollectorRegistry) -> None:
        """Replace the run's metrics there. Raises OSError."""
        try:
            push_to_gateway(self._url, job=JOB, registry=registry, grouping_key=self._key, timeout=self._timeout)
        except (HTTPException, ValueError) as error:  # whatever answers there is no pushgateway
            raise OSError(f"{type(error).__name__}: {error}") from error
