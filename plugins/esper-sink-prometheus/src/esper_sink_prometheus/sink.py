"""Offer a run's numbers to Prometheus, from one registry in this process that events keep up to date."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from esper_alerts.collector import SeriesCollector
from esper_alerts.recorder import Recorder
from esper_alerts.series import Series
from esper_core.api import EsperError, Event
from esper_runs.printing import echo
from esper_sink_prometheus.config import PrometheusConfig
from esper_sink_prometheus.endpoint import Endpoint
from esper_sink_prometheus.exports import Export, Pushgateway, TextFile


class PrometheusSink:
    """A sink that keeps the present values of all metrics, and offers them in up to three ways.

    Args:
        config: where.
        clock: seconds since 1970.

    Attributes:
        registry: the run's own; None unless the sink is open.
    """

    def __init__(self, config: PrometheusConfig, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self.registry: CollectorRegistry | None = None
        self._series = Series(run="", most=config.most_series)
        self._recorder: Recorder | None = None
        self._endpoint: Endpoint | None = None
        self._exports: list[Export] = []

    @property
    def series(self) -> Series:
        """The values of the run's metrics."""
        return self._series

    @property
    def url(self) -> str | None:
        """Where the metrics are while the endpoint is open."""
        return None if self._endpoint is None else self._endpoint.url

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Open the endpoint, and write to every other destination once.

        Raises:
            EsperError: E504 if one of them cannot be used, or there is none.
        """
        if not (self._config.http or self._config.textfile or self._config.pushgateway):
            fix = "set sinks.prometheus.http, textfile or pushgateway"
            raise EsperError("E504", 'the sink "prometheus" offers its metrics nowhere', fix=fix)
        run = str(manifest.get("name"))
        self._series = Series(run=run, most=self._config.most_series)
        self.registry = CollectorRegistry()
        series = self._series
        self.registry.register(SeriesCollector(lambda: (series,)))
        self._recorder = Recorder(self._series, manifest, self._clock)
        try:
            self._exports = [*self._destinations(run)]
            for export in self._exports:
                self._series.add("esper_exports_failed_total", export.name, amount=0)
                self._first(export)
            if self._config.http:
                self._endpoint = self._listen(manifest.get("directory"))
        except BaseException:
            self._release()
            raise

    def emit(self, events: Sequence[Event]) -> None:
        """Count events.

        Raises:
            RuntimeError: before `open` and after `close`.
        """
        if self._recorder is None:
            raise RuntimeError('the sink "prometheus" is not open')
        self._recorder.take(events)

    def flush(self) -> None:
        """Write the file and push. What fails is counted, in the metrics as well, and tried again at the next epoch."""
        for export in self._exports:
            with suppress(OSError):
                self._write(export)

    def close(self) -> None:
        """Say that the run is over, write and push for the last time, and close the endpoint; once.

        Raises:
            OSError: if what was written or pushed last is not how the run ended.
        """
        if self._recorder is None:
            return
        self._recorder.end()
        failed = []
        for export in self._exports:
            try:
                self._write(export)
            except OSError as error:
                failed.append(f"{export.where}: {error}")
        self._release()
        if failed:
            raise OSError(f"the last values are missing: {'; '.join(failed)}")

    def _destinations(self, run: str) -> Iterator[Export]:
        if self._config.textfile:
            path = Path(self._config.textfile).expanduser().absolute()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                yield TextFile(path)
            except OSError as error:
                raise _refused(str(path), error, TextFile.option) from error
        if self._config.pushgateway:
            yield Pushgateway(self._config.pushgateway, run, self._config.push_timeout)

    def _first(self, export: Export) -> None:
        try:
            self._write(export)
        except OSError as error:
            raise _refused(export.where, error, export.option) from error

    def _write(self, export: Export) -> None:
        if self.registry is None:
            return
        self._series.add("esper_exports_total", export.name)
        try:
            export.write(self.registry)
        except OSError:
            self._series.add("esper_exports_failed_total", export.name)
            raise

    def _listen(self, directory: Any) -> Endpoint:
        assert self.registry is not None
        address, port = self._config.address, self._config.port
        try:
            endpoint = Endpoint(self.registry, address, port)
        except (OSError, OverflowError) as error:
            fix = "sinks.prometheus.port to a free port or to 0, or sinks.prometheus.address"
            raise _refused(f"{address}:{port}", error, fix) from error
        try:
            if directory is not None:
                endpoint.announce(Path(directory).absolute())
        except OSError as error:
            endpoint.close()
            raise _refused(str(directory), error, "the run's directory to one that can be written to") from error
        echo(f"metrics: {endpoint.url}", err=True)
        return endpoint

    def _release(self) -> None:
        endpoint, self._endpoint = self._endpoint, None
        self.registry = self._recorder = None
        self._exports = []
        if endpoint is not None:
            endpoint.close()


def _refused(where: str, error: BaseException, option: str) -> EsperError:
    why = getattr(error, "strerror", None) or str(error)
    return EsperError("E504", f'the sink "prometheus" cannot use "{where}"', why=why, fix=f"set {option}")
