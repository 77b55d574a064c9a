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


_LIMIT = validators.optional([_NUMBER, validators.gt(0.0)])
_SHARE = validators.optional([_NUMBER, validators.ge(0.0), validators.le(1.0)])
_STOP = validators.optional(validators.and_(*_EPOCHS))


@frozen(kw_only=True)
class ResourcesConfig:
    """Options of `resources`. A limit that is None is not judged; a figure with a limit must be known.

    Attributes:
        growth_ratio: parameters added by seeds over the host's own.
        forward_flops: floating-point operations of one sample's forward pass, seeds included.
        total_flops: of the host so far, everything included.
        epoch_seconds: wall time of an epoch's training and validation.
        memory_share: of the machine's memory, and of the device's where that has its own, in use; 0 to 1.
        processor_share: of the machine's processors, in use since the epoch before; 0 to 1.
        stop_after_epochs: objections in so many epochs in a row are a reason to stop the run; None: never.
    """

    growth_ratio: float | None = field(default=None, validator=_LIMIT)
    forward_flops: float | None = field(default=None, validator=_LIMIT)
    total_flops: float | None = field(default=None, validator=_LIMIT)
    epoch_seconds: float | None = field(default=None, validator=_LIMIT)
    memory_share: float | None = field(default=0.95, validator=_SHARE)
    processor_share: float | None = field(default=None, validator=_SHARE)
    stop_after_epochs: int | None = field(default=None, validator=_STOP)


#: The figures of a policy that a run may know.
KNOWN = ("policy entropy", "value error", "policy age hours", "decision seconds")


def _check_known(_: object, __: object, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in KNOWN:
            raise ValueError(f"'known' has {name!r}; there are {', '.join(KNOWN)}")


@frozen(kw_only=True)
class PolicyHealthConfig:
    """Options of `policy-health`. A figure that is known and not finite is objected to in any case.

    Attributes:
        least_entropy: of a choice between several actions, over that of an even choice; 0 to 1.
        most_value_error: mean of ``|reward + gamma * next value - value|`` over the last 20 epochs, in the reward's
            unit.
        most_age_hours: since the files of the saved policy were written.
        most_decision_seconds: of the policy's last decision for all hosts.
        known: figures that must be known: ``policy entropy``, ``value error``, ``policy age hours``, ``decision
            seconds``. Others that are not known are passed over.
        stop_after_epochs: objections in so many epochs in a row are a reason to stop the run; None: never.
    """

    least_entropy: float = field(default=0.0, validator=[_NUMBER, validators.ge(0.0), validators.le(1.0)])
    most_value_error: float | None = field(default=None, validator=_LIMIT)
    most_age_hours: float | None = field(default=None, validator=_LIMIT)
    most_decision_seconds: float | None = field(default=None, validator=_LIMIT)
    known: tuple[str, ...] = field(default=(), converter=tuple, validator=_check_known)
    stop_after_epochs: int | None = field(default=None, validator=_STOP)


@frozen(kw_only=True)
class StabilityConfig:
    """Options of `stability`. A limit that is None is not judged.

    Attributes:
        loss_rise: of the validation loss since the last normal epoch, in nats.
        loss_volatility: standard deviation of its changes over the last normal epochs, in nats.
        gradient_ratio: of a seed, see `SeedEvidence`.
        isolation: object to a seed in training that is not isolated from its host.
        learning_rate: object to a loss that rises while the learning rate is 0.
        known_share: of the figures of live seeds that must have been measured; 0 to 1.
        stop_after_epochs: objections in so many epochs in a row are a reason not to go on; None: never.
    """

    loss_rise: float | None = field(default=None, validator=_LIMIT)
    loss_volatility: float | None = field(default=None, validator=_LIMIT)
    gradient_ratio: float | None = field(default=None, validator=_LIMIT)
    isolation: bool = field(default=True, validator=validators.instance_of(bool))
    learning_rate: bool = field(default=True, validator=validators.instance_of(bool))
    known_share: float | None = field(default=None, validator=_SHARE)
    stop_after_epochs: int | None = field(default=None, validator=_STOP)
