"""Thresholds of the evaluator."""

from attrs import field, frozen, validators


@frozen(kw_only=True)
class LossAnomalyConfig:
    """Options of `loss-anomaly`.

    Attributes:
        factor: a validation loss this many times above both the best so far and random guessing's is an anomaly.
        floor_share: where random guessing's loss is not known, this share of the first loss stands for it: a small loss
            that wobbles is not an anomaly.
        patience_epochs: this many anomalous epochs in a row are a divergence, which stops the host.
    """

    factor: float = field(default=3.0, validator=[validators.instance_of((int, float)), validators.gt(1.0)])
    floor_share: float = field(default=0.1, validator=[validators.instance_of((int, float)), validators.ge(0.0)])
    patience_epochs: int = field(default=3, validator=[validators.instance_of(int), validators.ge(1)])
