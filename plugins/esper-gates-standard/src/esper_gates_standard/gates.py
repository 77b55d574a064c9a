"""The gates: each is a list of checks on a seed's evidence."""

from collections.abc import Iterator

from esper_core.api import GateLevel, GateResult, SeedEvidence
from esper_gates_standard.checks import (
    Check,
    at_least,
    at_most,
    fact,
    lower_bound_above,
    no_error,
    remark,
    upper_bound_at_least,
    verdict,
)
from esper_gates_standard.config import G1Config, G2Config, G3Config, G5Config


class ModuleGate:
    """G0, GERMINATED to TRAINING: the module is ready and fits its site."""

    consecutive_passes = 1

    def __init__(self, config: None) -> None:
        """It has no options."""

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass a module that was delivered without error, is ready, passed its probe and is finite."""
        return verdict(
            GateLevel.G0,
            [
                no_error(
                    "source_error",
                    evidence.source_error,
                    good="the module was delivered",
                    bad="the module was not delivered",
                ),
                fact("ready", evidence.ready, good="the module is ready", bad="the module is not ready"),
                _probed(evidence.probe_error),
                _finite(evidence),
            ],
        )


class StartGate:
    """G1, GERMINATED to TRAINING, after G0: the host has trained a little and the optimizer has the seed."""

    consecutive_passes = 1

    def __init__(self, config: G1Config) -> None:
        self.config = config

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass after the minimum number of host epochs, if the optimizer has the seed's parameter group."""
        return verdict(
            GateLevel.G1,
            [
                at_least("host_epochs", evidence.host_epochs, self.config.min_host_epochs),
                fact(
                    "group_in_place",
                    evidence.group_in_place,
                    good="the optimizer trains the seed",
                    bad="the optimizer does not have the seed's parameters",
                ),
            ],
        )


class TrialGate:
    """G2, TRAINING to BLENDING: the seed learns, is not too large, and does no clear harm at a small alpha.

    The seed need not help yet: after an epoch in isolation that cannot be measured.
    """

    def __init__(self, config: G2Config) -> None:
        self.config = config

    @property
    def consecutive_passes(self) -> int:
        """Number of epochs in a row in which it must pass."""
        return self.config.consecutive_passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass a seed that has trained long enough, gets a gradient, is not too large and not harmful."""
        config = self.config
        return verdict(
            GateLevel.G2,
            [
                at_most("update_ratio", evidence.update_ratio, config.max_update_ratio),
                at_least("epochs_in_stage", evidence.epochs_in_stage, config.min_dwell_epochs),
                _gradient(evidence, config),
                fact(
                    "gradients_finite",
                    evidence.gradients_finite,
                    good="its gradients are finite",
                    bad="its gradients are not finite",
                ),
                _finite(evidence),
                *_isolated(evidence),
                upper_bound_at_least(
                    "probe", evidence.probe, -config.harm_margin_nats, config.harm_confidence, hopeless=True
                ),
                remark("update_ratio", evidence.update_ratio, config.inert_update_ratio, "the seed is still inert"),
                *_weak_gradient(evidence, config),
            ],
        )


def _gradient(evidence: SeedEvidence, config: G2Config) -> Check:
    """The seed is not dead: its gradient compares with the host's, or is there at all where the host is frozen."""
    if not evidence.host_frozen:
        return at_least("gradient_ratio", evidence.gradient_ratio, config.min_gradient_ratio)
    norm = evidence.gradient_norm
    learns = None if norm is None else norm > 0.0
    return fact("gradient_not_zero", learns, good="it has a gradient (the host is frozen)", bad="its gradient is zero")


def _weak_gradient(evidence: SeedEvidence, config: G2Config) -> Iterator[Check]:
    if not evidence.host_frozen:
        yield remark("gradient_ratio", evidence.gradient_ratio, config.weak_gradient_ratio, "its gradient is weak")


class RampGate:
    """G3, BLENDING to PROBATIONARY: alpha has reached 1 and, with confidence, the seed costs less than the margin."""

    def __init__(self, config: G3Config) -> None:
        self.config = config

    @property
    def consecutive_passes(self) -> int:
        """Number of epochs in a row in which it must pass."""
        return self.config.consecutive_passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass a finite seed after its ramp if the lower bound of its contribution exceeds minus the margin."""
        margin, confidence = self.config.margin_nats, self.config.confidence
        return verdict(
            GateLevel.G3,
            [
                lower_bound_above("contribution", evidence.contribution, -margin, confidence),
                fact("ramp_done", evidence.ramp_done, good="the ramp is done", bad="the ramp is not done"),
                _finite(evidence),
                upper_bound_at_least("contribution", evidence.contribution, -margin, confidence, hopeless=True),
            ],
        )


class FossilGate:
    """G5, PROBATIONARY to FOSSILIZED: the network uses the seed. This does not mean that the seed has helped."""

    def __init__(self, config: G5Config) -> None:
        self.config = config

    @property
    def consecutive_passes(self) -> int:
        """Number of epochs in a row in which it must pass."""
        return self.config.consecutive_passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass a settled, finite seed whose contribution is significant, unless the network is worse than its twin."""
        config = self.config
        return verdict(
            GateLevel.G5,
            [
                lower_bound_above(
                    "contribution", evidence.contribution, config.min_contribution_nats, config.threshold_confidence
                ),
                lower_bound_above("contribution", evidence.contribution, 0.0, config.sign_confidence),
                *_enough_samples(evidence, config.min_samples),
                at_least("settled_epochs", evidence.settled_epochs, config.min_settled_epochs),
                _finite(evidence),
                upper_bound_at_least(
                    "contribution",
                    evidence.contribution,
                    -config.harm_margin_nats,
                    config.harm_confidence,
                    hopeless=True,
                ),
                *_no_regression(evidence, config),
            ],
        )


def _finite(evidence: SeedEvidence) -> Check:
    return fact(
        "finite",
        evidence.finite,
        good="the seed is finite",
        bad="the seed's update or parameters are not finite",
        hopeless=True,
    )


def _isolated(evidence: SeedEvidence) -> list[Check]:
    """Only Esper's own loop verifies isolation; if it was verified it must hold."""
    if evidence.isolated is None:
        return []
    good, bad = "it does not change the host's gradients", "it changes the host's gradients"
    return [fact("isolated", evidence.isolated, good=good, bad=bad, hopeless=True)]


def _probed(probe_error: str | None) -> Check:
    if probe_error is None:
        return fact("probe_error", None, good="", bad="")
    return no_error("probe_error", probe_error, good="the module passed its probe", bad="the module failed its probe")


def _enough_samples(evidence: SeedEvidence, least: int) -> list[Check]:
    """Require enough samples. If nothing was measured, other checks report it."""
    if evidence.contribution is None:
        return []
    return [at_least("contribution_samples", evidence.contribution.count, least)]


def _no_regression(evidence: SeedEvidence, config: G5Config) -> list[Check]:
    """Compare the network with its twin, if it has one. A loss of the whole network does not make one seed harmful."""
    if evidence.host_gain is None:
        return []
    return [upper_bound_at_least("host_gain", evidence.host_gain, -config.twin_margin_nats, config.twin_confidence)]
