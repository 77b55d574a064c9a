"""Series that are made of others, and recorded."""

from attrs import frozen


@frozen(kw_only=True)
class Recording:
    """A series that is recorded.

    Attributes:
        name: its name.
        expression: PromQL.
        labels: what is added to its labels.
    """

    name: str
    expression: str
    labels: tuple[tuple[str, str], ...] = ()


RECORDINGS = (
    Recording(
        name="esper:event_lag_seconds:p95_5m",
        expression="histogram_quantile(0.95, sum by (run, le) (rate(esper_event_lag_seconds_bucket[5m])))",
    ),
    Recording(
        name="esper:epoch_train_seconds:p50_15m",
        expression="histogram_quantile(0.5, sum by (run, host, le) (rate(esper_epoch_train_seconds_bucket[15m])))",
    ),
    Recording(name="esper:epochs:rate5m", expression="sum by (run, host) (rate(esper_epochs_total[5m]))"),
)
