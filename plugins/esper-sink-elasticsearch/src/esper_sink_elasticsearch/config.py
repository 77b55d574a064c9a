"""Options of the sink `elasticsearch`."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class ElasticsearchConfig:
    """Where events are sent, and for how long it is tried.

    Attributes:
        url: the server's address. It is written into the run's manifest, so it holds no password. None: what the
            environment variable ESPER_ES_URL says.
        index: the index that the events of all runs go to; in lower case.
        request_timeout: seconds that one request may take.
        patience: seconds for which a batch of events is tried again where the server is busy or away.
    """

    url: str | None = None
    index: str = field(default="esper-events", validator=validators.matches_re(r"[a-z0-9][a-z0-9_.-]{0,199}"))
    request_timeout: float = field(default=5.0, validator=[validators.gt(0), validators.le(10)])
    patience: float = field(default=15.0, validator=[validators.ge(0), validators.le(15)])
