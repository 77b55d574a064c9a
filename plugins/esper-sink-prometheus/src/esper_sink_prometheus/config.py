"""Options of the sink `prometheus`."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class PrometheusConfig:
    """Where the metrics are offered.

    Attributes:
        http: offer them over HTTP while the run goes on.
        address: the address that the endpoint listens on. Everybody who reaches it can read the metrics.
        port: its port; 0: any that is free.
        textfile: a file for the textfile collector of node_exporter, whose name ends in .prom. None: no file.
        pushgateway: the address of a pushgateway, such as ``http://localhost:9091``. None: nothing is pushed.
        push_timeout: seconds that a push may take.
        most_series: the most series of one metric; further ones are left out and counted.
    """

    http: bool = True
    address: str = "127.0.0.1"
    port: int = field(default=0, validator=[validators.ge(0), validators.le(65535)])
    textfile: str | None = None
    pushgateway: str | None = None
    push_timeout: float = field(default=5.0, validator=[validators.gt(0), validators.le(20)])
    most_series: int = field(default=500, validator=validators.ge(1))
