"""Thresholds of the evaluators."""

from attrs import field, frozen, validators

_NUMBER = validators.instance_of((int, float))
_EPOCHS = [validators.instance_of(int), validators.ge(1)]


@frozen(kw_only=True)
class DivergenceConfig:
    """Options of `divergence`.

    Attributes:
        guess_share: the first criterion: a validation loss above this share of random guessing's.
        first_share: where random guessing's loss is not known, this share of the first loss stands in for the limit: a
            small loss that wobbles is not an anomaly.
        factor: the second criterion: a validation loss this many times above the best one so far.
        rises: the third criterion: a rise since the last normal epoch of more than this many times the mean rise
            between two normal epochs, where a fall counts as 0.
        patience_epochs: this many anomalous epochs in a row are a divergence.
        watched_patience_epochs: the same while the host is watched after a structural change.
    """

    guess_share: float = field(default=1.0, validator=[_NUMBER, validators.gt(0.0)])
    first_share: float = field(default=0.3, validator=[_NUMBER, validators.ge(0.0)])
    factor: float = field(default=3.0, validator=[_NUMBER, validators.gt(1.0)])
    rises: float = field(default=6.0, validator=[_NUMBER, validators.ge(0.0)])
    patience_epochs: int = field(default=3, validator=_EPOCHS)
    watched_patience_epochs: int = field(default=1, validator=_EPOCHS)


@frozen(kw_only=True)
class LobotomyConfig:
    """Options of `lobotomy`.

    Attributes:
        tolerance: a validation loss is that of random guessing if it differs by no more than this share of it.
        far_share: the network had been far below guessing if the median loss of the last normal epochs is at most this
            share of guessing's.
    """

    tolerance: float = field(default=0.065, validator=[_NUMBER, validators.gt(0.0), validators.lt(1.0)])
    far_share: float = field(default=0.6, validator=[_NUMBER, validators.gt(0.0), validators.lt(1.0)])
