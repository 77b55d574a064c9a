"""Nissa under Weatherlight."""

import json
import urllib.request
from pathlib import Path

from esper_app.api import build_config
from esper_core.specs import SinkSpec
from esper_runs.reading import parse_object, read_regular
from esper_service_nissa.config import NissaConfig
from esper_weatherlight.api import Ending, Health, HealthStatus, Launch, Place, ProcessService, esper_command

#: In the folder of the service: where it answers.
ADDRESS = "address.json"

_TIMEOUT = 5.0


class NissaService(ProcessService):
    """Runs ``esper nissa``.

    Args:
        config: where metrics are offered, and which sinks are fed.
    """

    def __init__(self, config: NissaConfig) -> None:
        self._config = config

    def check(self, place: Place) -> None:
        """Raise EsperError E204 for a sink that is not there, E201 and E202 for options that it does not have."""
        for name, options in self._config.sinks.items():
            path = f"services.{place.name}.sinks.{name}"
            build_config(place.registry.get(SinkSpec.kind, name, where=path), options, path=path)

    def start(self, place: Place) -> Launch:
        """Start it; it says in the folder where it answers."""
        (place.folder / ADDRESS).unlink(missing_ok=True)
        config = self._config
        words = ["--bus", place.bus, "--folder", str(place.folder), "--http", f"{config.address}:{config.port}"]
        for name, options in config.sinks.items():
            words += ["--sink", name]
            words += [part for key, it in options.items() for part in ("--set", f"{name}.{key}={json.dumps(it)}")]
        return Launch(command=esper_command("nissa", *words, "--interval", f"{config.interval:g}"))

    def ready(self, place: Place) -> bool:
        """It is ready when it answers."""
        return self._url(place) is not None

    def ended(self, place: Place, code: int) -> Ending:
        """It is to run for ever; what is wrong in its options is hopeless."""
        return Ending.HOPELESS if code == 2 else Ending.AGAIN

    def health(self, place: Place) -> Health:
        """Ask it."""
        if (url := self._url(place)) is None:
            return Health()
        with urllib.request.urlopen(f"{url}/health", timeout=_TIMEOUT) as answer:
            found = parse_object(answer.read())
        return Health(
            status=HealthStatus[str(found["status"]).upper()],
            summary=f"{url}: {found['summary']}",
            figures={name: float(value) for name, value in found["figures"].items()},
        )

    @staticmethod
    def _url(place: Place) -> str | None:
        path: Path = place.folder / ADDRESS
        try:
            return str(parse_object(read_regular(path))["url"])
        except (OSError, ValueError, KeyError):
            return None
