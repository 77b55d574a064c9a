"""Options of the sink `alerts`."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class AlertsConfig:
    """How often alerts are evaluated, and where they are sent besides the run's events.

    Attributes:
        interval: seconds between two evaluations.
        webhook: an http or https address that each alert is posted to, in the format of Alertmanager's webhooks. It is
            written into the run's manifest, so an address that is itself a secret stands in the environment variable
            ESPER_ALERTS_WEBHOOK instead, and a token for either in ESPER_ALERTS_TOKEN. None: what the environment
            says, otherwise nothing is posted.
        webhook_timeout: seconds that one post may take.
        webhook_attempts: how often a post is tried at most.
    """

    interval: float = field(default=10.0, validator=[validators.ge(0.1), validators.le(60)])
    webhook: str | None = None
    webhook_timeout: float = field(default=5.0, validator=[validators.gt(0), validators.le(20)])
    webhook_attempts: int = field(default=3, validator=[validators.ge(1), validators.le(10)])
