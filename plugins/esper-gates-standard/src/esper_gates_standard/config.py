"""Thresholds of the gates. One class per gate; the strict and permissive sets change defaults only."""

from typing import Any

from attrs import field, frozen, validators


def _epochs(default: int, least: int = 0) -> Any:
    return field(default=default, validator=[validators.instance_of(int), validators.ge(least)])


def _amount(default: float) -> Any:
    return field(default=default, validator=[validators.instance_of((int, float)), validators.ge(0.0)])


def _confidence(default: float) -> Any:
    number = validators.instance_of((int, float))
    return field(default=default, validator=[number, validators.ge(0.5), validators.lt(1.0)])


@frozen(kw_only=True)
class G1Config:
    """Options of G1.

    Attributes:
        min_host_epochs: smallest number of epochs that the host has trained for.
    """

    min_host_epochs: int = _epochs(1)


@frozen(kw_only=True)
class G2Config:
    """Options of G2.

    Attributes:
        min_dwell_epochs: smallest number of epochs in TRAINING.
        min_gradient_ratio: smallest gradient of the seed relative to the host's; below it the seed is dead.
        weak_gradient_ratio: below it the verdict only gets a note.
        max_update_ratio: largest rms(delta) / rms(h).
        inert_update_ratio: below it the verdict only gets a note.
        harm_margin_nats: the seed is harmful if, with `harm_confidence`, it costs more than this at the probe alpha.
        harm_confidence: one-sided confidence.
        consecutive_passes: number of epochs in a row in which the gate must pass.
    """

    min_dwell_epochs: int = _epochs(1)
    min_gradient_ratio: float = _amount(0.001)
    weak_gradient_ratio: float = _amount(0.05)
    max_update_ratio: float = _amount(1.0)
    inert_update_ratio: float = _amount(0.02)
    harm_margin_nats: float = _amount(0.05)
    harm_confidence: float = _confidence(0.99)
    consecutive_passes: int = _epochs(1, least=1)


@frozen(kw_only=True)
class G3Config:
    """Options of G3.

    Attributes:
        margin_nats: what the seed may cost; if it costs more, with `confidence`, it is harmful.
        confidence: one-sided confidence of both verdicts.
        consecutive_passes: number of epochs in a row in which the gate must pass.
    """

    margin_nats: float = _amount(0.05)
    confidence: float = _confidence(0.99)
    consecutive_passes: int = _epochs(2, least=1)


@frozen(kw_only=True)
class G5Config:
    """Options of G5.

    Attributes:
        min_settled_epochs: smallest number of epochs since alpha reached 1.
        min_samples: smallest number of validation samples; with fewer the bounds below mean little.
        min_contribution_nats: what the contribution must exceed with `threshold_confidence`.
        threshold_confidence: one-sided confidence.
        sign_confidence: one-sided confidence with which the contribution must exceed zero. It is higher than
            `threshold_confidence`, because the gate is asked in every epoch and a useless seed must not pass by chance.
        harm_margin_nats: the seed is harmful if, with `harm_confidence`, it costs more than this.
        harm_confidence: one-sided confidence.
        twin_margin_nats: the gate fails if, with `twin_confidence`, the network is worse than its twin by more than
            this.
        twin_confidence: one-sided confidence.
        consecutive_passes: number of epochs in a row in which the gate must pass.
    """

    min_settled_epochs: int = _epochs(3)
    min_samples: int = _epochs(30, least=2)
    min_contribution_nats: float = _amount(0.01)
    threshold_confidence: float = _confidence(0.95)
    sign_confidence: float = _confidence(0.99)
    harm_margin_nats: float = _amount(0.05)
    harm_confidence: float = _confidence(0.99)
    twin_margin_nats: float = _amount(0.02)
    twin_confidence: float = _confidence(0.95)
    consecutive_passes: int = _epochs(2, least=1)


@frozen(kw_only=True)
class StrictG2Config(G2Config):
    """Options of G2 in the strict set."""

    min_dwell_epochs: int = _epochs(2)
    max_update_ratio: float = _amount(0.7)
    harm_margin_nats: float = _amount(0.02)


@frozen(kw_only=True)
class StrictG3Config(G3Config):
    """Options of G3 in the strict set."""

    margin_nats: float = _amount(0.02)


@frozen(kw_only=True)
class StrictG5Config(G5Config):
    """Options of G5 in the strict set."""

    min_contribution_nats: float = _amount(0.05)
    harm_margin_nats: float = _amount(0.02)
    twin_margin_nats: float = _amount(0.0)
    consecutive_passes: int = _epochs(3, least=1)


@frozen(kw_only=True)
class PermissiveG2Config(G2Config):
    """Options of G2 in the permissive set."""

    min_gradient_ratio: float = _amount(0.0)
    max_update_ratio: float = _amount(2.0)
    harm_margin_nats: float = _amount(0.1)


@frozen(kw_only=True)
class PermissiveG3Config(G3Config):
    """Options of G3 in the permissive set."""

    margin_nats: float = _amount(0.1)
    consecutive_passes: int = _epochs(1, least=1)


@frozen(kw_only=True)
class PermissiveG5Config(G5Config):
    """Options of G5 in the permissive set."""

    min_settled_epochs: int = _epochs(1)
    min_contribution_nats: float = _amount(0.0)
    threshold_confidence: float = _confidence(0.5)
    sign_confidence: float = _confidence(0.5)
    harm_margin_nats: float = _amount(0.1)
    twin_margin_nats: float = _amount(0.1)
    consecutive_passes: int = _epochs(1, least=1)
