"""Options of the sink `otlp`."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class OtlpConfig:
    """Where a run is sent.

    Attributes:
        endpoint: the address of a collector that takes OTLP over HTTP, without ``/v1/traces``. It is written into the
            run's manifest, so it holds no password. None: what the environment variable OTEL_EXPORTER_OTLP_ENDPOINT
            says, otherwise http://localhost:4318.
        traces: send the run as a trace.
        metrics: send its numbers.
        timeout: seconds for which it is tried to send something.
        service: the name of the service, as which the run is shown.
    """

    endpoint: str | None = None
    traces: bool = True
    metrics: bool = True
    timeout: float = field(default=5.0, validator=[validators.gt(0), validators.le(10)])
    service: str = "esper"
