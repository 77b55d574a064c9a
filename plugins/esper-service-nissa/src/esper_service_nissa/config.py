"""Options of the service `nissa`."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen, validators


@frozen(kw_only=True)
class NissaConfig:
    """Where metrics are offered, and which sinks are fed.

    Attributes:
        address: the address that it listens on. Everybody who reaches it can read the metrics.
        port: its port; 0: any that is free.
        sinks: tables of options by the names of telemetry sinks, such as ``elasticsearch``.
        interval: seconds between two evaluations of alerts.
    """

    address: str = "127.0.0.1"
    port: int = field(default=0, validator=[validators.ge(0), validators.le(65535)])
    sinks: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    interval: float = field(default=10.0, validator=[validators.ge(0.1), validators.le(60)])
