"""The gates: each a list of checks on a seed's evidence."""

from esper_core.api import GateLevel, GateResult, SeedEvidence
from esper_gates_standard.checks import (
    Check,
    at_least,
    at_most,
    fact,
    no_error,
    not_surely_below,
    remark,
    surely_above,
    verdict,
)
from esper_gates_standard.config import G1Config, G2Config, G3Config, G5Config


class ModuleGate:
    """G0, GERMINATED to TRAINING: the module has come and fits its site."""

    consecutive_passes = 1

    def __init__(self, config: None) -> None:
        """It has no options."""

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass a module that is ready, was built without error, passed its probe and is finite."""
        return verdict(
            GateLevel.G0,
            [
                no_error("source_error", evidence.source_error, good="the module came", bad="the module never came"),
                fact("ready", evidence.ready, good="the module is ready", bad="the module is not ready"),
                _probed(evidence.probe_error),
                _finite(evidence),
            ],
        )


class StartGate:
    """G1, GERMINATED to TRAINING, after G0: the host has trained a little and the optimizer knows the seed."""

    consecutive_passes = 1

    def __init__(self, config: G1Config) -> None:
        self.config = config

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass after the least number of host epochs, with the seed's optimizer group in place."""
        return verdict(
            GateLevel.G1,
            [
                at_least("host_epochs", evidence.host_epochs, self.config.min_host_epochs),
                fact(
                    "group_in_place",
                    evidence.group_in_place,
                    good="the optimizer trains the seed",
                    bad="the optimizer does not know the seed's parameters",
                ),
            ],
        )


class TrialGate:
    """G2, TRAINING to BLENDING: the seed learns, is no giant, and does no clear harm at a small alpha.

    That it does good already is not asked: after an epoch in isolation nothing can be said about that.
    """

    def __init__(self, config: G2Config) -> None:
        self.config = config

    @property
    def consecutive_passes(self) -> int:
        """How many epochs in a row it must pass."""
        return self.config.consecutive_passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass a seed that was there long enough, gets gradient, is not too large and not harmful."""
        config = self.config
        return verdict(
            GateLevel.G2,
            [
                at_most("update_ratio", evidence.update_ratio, config.max_update_ratio),
                at_least("epochs_in_stage", evidence.epochs_in_stage, config.min_dwell_epochs),
                at_least("gradient_ratio", evidence.gradient_ratio, config.min_gradient_ratio),
                fact(
                    "gradients_finite",
                    evidence.gradients_finite,
                    good="its gradients are finite",
                    bad="its gradients are not finite",
                ),
                _finite(evidence),
                *_isolated(evidence),
                not_surely_below(
                    "probe", evidence.probe, -config.harm_margin_nats, config.harm_confidence, hopeless=True
                ),
                remark("update_ratio", evidence.update_ratio, config.inert_update_ratio, "the seed is still inert"),
                remark("gradient_ratio", evidence.gradient_ratio, config.weak_gradient_ratio, "its gradient is weak"),
            ],
        )


class RampGate:
    """G3, BLENDING to PROBATIONARY: alpha has reached 1 and the network is surely not much worse with the seed."""

    def __init__(self, config: G3Config) -> None:
        self.config = config

    @property
    def consecutive_passes(self) -> int:
        """How many epochs in a row it must pass."""
        return self.config.consecutive_passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass a finite seed after its ramp whose contribution surely exceeds minus the margin."""
        margin, confidence = self.config.margin_nats, self.config.confidence
        return verdict(
            GateLevel.G3,
            [
                surely_above("contribution", evidence.contribution, -margin, confidence),
                fact("ramp_done", evidence.ramp_done, good="the ramp is done", bad="the ramp is not done"),
                _finite(evidence),
                not_surely_below("contribution", evidence.contribution, -margin, confidence, hopeless=True),
            ],
        )


class FossilGate:
    """G5, PROBATIONARY to FOSSILIZED: the network uses the seed. It does not say that the seed has helped."""

    def __init__(self, config: G5Config) -> None:
        self.config = config

    @property
    def consecutive_passes(self) -> int:
        """How many epochs in a row it must pass."""
        return self.config.consecutive_passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        """Pass a settled, finite seed that surely contributes, in a network not surely worse than its twin."""
        config = self.config
        return verdict(
            GateLevel.G5,
            [
                surely_above(
                    "contribution", evidence.contribution, config.min_contribution_nats, config.threshold_confidence
                ),
                surely_above("contribution", evidence.contribution, 0.0, config.sign_confidence),
                *_enough_samples(evidence, config.min_samples),
                at_least("settled_epochs", evidence.settled_epochs, config.min_settled_epochs),
                _finite(evidence),
                not_surely_below(
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
    """The proof is made by Esper's own loop only; where it was made it must hold."""
    if evidence.isolated is None:
        return []
    good, bad = "it leaves the host's gradients alone", "it disturbs the host's gradients"
    return [fact("isolated", evidence.isolated, good=good, bad=bad, hopeless=True)]


def _probed(probe_error: str | None) -> Check:
    if probe_error is None:
        return fact("probe_error", None, good="", bad="")
    return no_error("probe_error", probe_error, good="the module passed its probe", bad="the module failed its probe")


def _enough_samples(evidence: SeedEvidence, least: int) -> list[Check]:
    """Where nothing was measured, other checks say so."""
    if evidence.contribution is None:
        return []
    return [at_least("contribution_samples", evidence.contribution.count, least)]


def _no_regression(evidence: SeedEvidence, config: G5Config) -> list[Check]:
    """Without a twin there is nothing to compare with. What the whole network lost is not one seed's fault: no harm."""
    if evidence.host_gain is None:
        return []
    return [not_surely_below("host_gain", evidence.host_gain, -config.twin_margin_nats, config.twin_confidence)]
