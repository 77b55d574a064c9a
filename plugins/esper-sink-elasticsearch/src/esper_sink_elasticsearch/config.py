"""Options of the sink `elasticsearch`."""

import re
from typing import Any

from attrs import Attribute, field, frozen, validators


def check_index(_: Any, attribute: "Attribute[str]", value: str) -> None:
    """Check that Elasticsearch takes the name of an index. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,199}", value):
        raise ValueError(
            f"'{attribute.name}' must be at most 200 lower-case letters, digits and . _ -, the first a letter or a "
            f"digit, such as esper-events: {value!r}"
        )


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
    index: str = field(default="esper-events", validator=check_index)
    request_timeout: float = field(default=5.0, validator=[validators.gt(0), validators.le(10)])
    patience: float = field(default=15.0, validator=[validators.ge(0), validators.le(15)])
