"""What was measured. A quantity that was not measured is None, never a default that looks like a measurement."""

from array import array
from math import isfinite, sqrt
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen

from esper_core.leyline.records import BULKY
from esper_core.leyline.stages import GateLevel, Stage

if TYPE_CHECKING:
    FloatArray: TypeAlias = array[float]
else:  # array takes no type argument before Python 3.12
    FloatArray = array

#: One-sided 95 % quantile of the standard normal distribution.
Z_95 = 1.6448536269514722

#: An update that is bounded on no more than this share of the activations is as good as never bounded: an activation
#: may be nearly zero by chance.
MOST_OUTLIERS = 0.01


@frozen(kw_only=True)
class PairedDifference:
    """Mean difference of two per-sample losses on the same samples, in nats. Positive: the change helps.

    Attributes:
        mean: mean of the differences.
        standard_error: standard error of that mean; infinite for fewer than two samples.
        count: number of samples (images or sequences).
    """

    mean: float
    standard_error: float
    count: int

    def lower_bound(self, z: float = Z_95) -> float:
        """Lower confidence bound: mean - z * standard_error."""
        return self.mean - z * self.standard_error

    def upper_bound(self, z: float = Z_95) -> float:
        """Upper confidence bound: mean + z * standard_error."""
        return self.mean + z * self.standard_error

    @property
    def finite(self) -> bool:
        """Both the mean and its error are finite numbers."""
        return isfinite(self.mean) and isfinite(self.standard_error)


def paired_difference(without: FloatArray, with_change: FloatArray) -> PairedDifference:
    """Compare per-sample losses ``without`` and ``with_change`` on the same samples.

    Raises:
        ValueError: if the two are not of the same, non-zero length.
    """
    count = len(without)
    if count == 0 or count != len(with_change):
        raise ValueError(f"paired losses need the same samples, got {count} and {len(with_change)}")
    differences = [a - b for a, b in zip(without, with_change, strict=True)]
    mean = sum(differences) / count
    if count < 2:
        return PairedDifference(mean=mean, standard_error=float("inf"), count=count)
    variance = sum((d - mean) ** 2 for d in differences) / (count - 1)
    return PairedDifference(mean=mean, standard_error=sqrt(variance / count), count=count)


@frozen(kw_only=True)
class GateResult:
    """A gate's verdict with its evidence.

    Attributes:
        gate: the level.
        passed: the verdict. Missing evidence never passes.
        score: 0 to 1, how clear the verdict is; for display and observation only.
        reason: why, in words.
        evidence: the figures that it rests on; a missing one is None.
        harmful: the evidence says that the seed does harm: waiting will not help.
    """

    gate: GateLevel
    passed: bool
    score: float = 0.0
    reason: str = ""
    evidence: dict[str, float | int | bool | str | None] = field(factory=dict)
    harmful: bool = False


@frozen(kw_only=True)
class EpochMetrics:
    """One epoch over one split.

    Attributes:
        loss: mean loss per sample, in nats.
        accuracy: 0 to 1; NaN where there is none.
        samples: how many samples were seen.
        seconds: wall time.
        sample_losses: loss of each sample in the split's order, where it was asked for.
    """

    loss: float
    accuracy: float
    samples: int
    seconds: float = 0.0
    sample_losses: FloatArray | None = field(default=None, metadata=BULKY, eq=False)


@frozen(kw_only=True)
class SeedEvidence:
    """All that is known about one seed after an epoch.

    Attributes:
        slot: site id.
        seed_id: unique in the run.
        blueprint: catalogue name.
        stage: its stage during that epoch.
        epochs_in_stage: epochs completed in that stage.
        age_epochs: epochs since germination.
        alpha: alpha at the end of that epoch.
        parameters: number of the seed's parameters.
        ready: the module source has delivered its module.
        source_error: why the module source failed.
        probe_error: why the module failed its shape, dtype, layout or finiteness probe; "" if it passed.
        host_epochs: epochs that the host has trained for.
        group_in_place: the seed's parameters are in the optimizer.
        gradient_ratio: ``(|g_seed| / |g_host|) * sqrt(n_host / n_seed)``, mean over the epoch. With the incubation
            ``probe`` g_seed is that of the seed's own pass over the alpha there, so that it compares with ``ste``.
        gradient_norm: 2-norm of the seed's gradient, mean over the epoch.
        host_frozen: no parameter of the host is trained, so that there is no gradient to compare the seed's with.
        gradients_finite: all of the seed's gradients were finite.
        isolated: what one batch did to the host (gradients, buffers, random state) was bit for bit what it does without
            the seed; TRAINING only.
        update_ratio: rms(delta) / rms(h) on validation samples.
        bounded: the share, 0 to 1, of the images, positions or vectors of the validation split on which its update was
            beyond the lifecycle's ``update_limit``, and so was bounded or, if it was not finite, left out.
        finite: the seed's update and parameters are finite.
        probe: loss without the seed minus loss at the small probe alpha; TRAINING only.
        contribution: loss without the seed minus loss with it, as the network stands (ablation: it measures
            dependence, not gain).
        ramp_done: alpha has reached 1.
        settled_epochs: epochs completed since alpha reached 1.
        host_gain: the twin's loss minus this network's loss on the same samples; a property of the whole network.
    """

    slot: str
    seed_id: str
    blueprint: str
    stage: Stage
    epochs_in_stage: int
    age_epochs: int
    alpha: float
    parameters: int = 0
    ready: bool = False
    source_error: str | None = None
    probe_error: str | None = None
    host_epochs: int = 0
    group_in_place: bool = False
    gradient_ratio: float | None = None
    gradient_norm: float | None = None
    host_frozen: bool = False
    gradients_finite: bool | None = None
    isolated: bool | None = None
    update_ratio: float | None = None
    bounded: float | None = None
    finite: bool | None = None
    probe: PairedDifference | None = None
    contribution: PairedDifference | None = None
    ramp_done: bool = False
    settled_epochs: int = 0
    host_gain: PairedDifference | None = None

    @property
    def at_its_bound(self) -> bool:
        """Its update adds to the activation, and was bounded on more than a few outliers."""
        return self.stage.contributes and self.bounded is not None and self.bounded > MOST_OUTLIERS


@frozen(kw_only=True)
class Compute:
    """Floating-point operations of one host so far, by what they were for. None: they cannot be counted.

    A multiply-add is two operations; see `kasmina.cost.count_flops` for what is counted. A backward pass is taken for
    two forward passes, one for the gradients of the activations and one for those of the weights (Kaplan et al., 2020,
    section 2.1).

    Attributes:
        training: of the network, fossilized seeds included.
        candidates: of training the seeds whose fate is open.
        probes: of second passes through the network that train seeds, and of proving that seeds leave it alone.
        evaluation: of measuring the network as it stands on the validation split.
        counterfactuals: of measuring it as it does not stand.
    """

    training: int | None = 0
    candidates: int | None = 0
    probes: int | None = 0
    evaluation: int | None = 0
    counterfactuals: int | None = 0

    @property
    def total(self) -> int | None:
        """The sum; None if one of them is not known."""
        parts = (self.training, self.candidates, self.probes, self.evaluation, self.counterfactuals)
        return None if None in parts else sum(part or 0 for part in parts)

    def plus(self, other: "Compute") -> "Compute":
        """Return the sums, part by part."""
        names = ("training", "candidates", "probes", "evaluation", "counterfactuals")
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return Compute(**{name: None if None in pair else sum(pair) for name, pair in pairs.items()})


#: What is not known of a host whose training is somebody else's.
UNKNOWN_COMPUTE = Compute(training=None, candidates=None, probes=None, evaluation=None, counterfactuals=None)


@frozen(kw_only=True)
class Evidence:
    """All that was measured on one host in one epoch.

    Attributes:
        host: the host's name in the run.
        epoch: from 0.
        train: metrics over the training split, while training.
        validation: metrics over the validation split, after training.
        seeds: one entry for each slot with a seed, in site order.
        gates: verdicts of the gates in front of each live seed's next stage.
        parameters: number of parameters, seeds included.
        host_parameters: number of the host's own parameters.
        forward_flops: multiply-adds times two of one sample's forward pass, seeds included.
        learning_rate: of the host's first parameter group at the epoch's end.
        compute: floating-point operations of the host so far, this epoch included.
    """

    host: str
    epoch: int
    train: EpochMetrics
    validation: EpochMetrics
    seeds: tuple[SeedEvidence, ...] = ()
    gates: dict[str, tuple[GateResult, ...]] = field(factory=dict)
    parameters: int = 0
    host_parameters: int = 0
    forward_flops: int | None = None
    learning_rate: float | None = None
    compute: Compute = UNKNOWN_COMPUTE
