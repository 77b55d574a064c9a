"""What a policy sees: named signals of the host and of each slot."""

from attrs import frozen

from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.evidence import GateResult, PairedDifference
from esper_core.leyline.sites import Layout, Site
from esper_core.leyline.stages import Blend, Stage


@frozen(kw_only=True)
class SlotState:
    """One slot as it stands before an epoch: what masks and observations are made of.

    Attributes:
        site: where the slot is.
        stage: its stage.
        epochs_in_stage: epochs completed in it.
        blueprint: of the seed that the slot holds; None without one.
        age_epochs: epochs since that seed's germination.
        blend: how that seed is blended in; None without one.
        ramp_epochs: length of that seed's ramp; None without one.
        alpha: present alpha.
        parameters: of the seed that the slot holds.
        settled_epochs: epochs completed since alpha reached 1.
        next_gate: the last verdict on the next transition; None if not asked in this stage.
        may_fossilize: PROBATIONARY, and G5 has passed as often in a row as it must.
        harmful: a gate has called the seed harmful.
        culled_blueprints: blueprints culled in this slot so far, oldest first.
    """

    site: Site
    stage: Stage = Stage.DORMANT
    epochs_in_stage: int = 0
    blueprint: str | None = None
    age_epochs: int = 0
    blend: Blend | None = None
    ramp_epochs: int | None = None
    alpha: float = 0.0
    parameters: int = 0
    settled_epochs: int = 0
    next_gate: GateResult | None = None
    may_fossilize: bool = False
    harmful: bool = False
    culled_blueprints: tuple[str, ...] = ()


@frozen(kw_only=True)
class HostSignals:
    """The host after its last epoch. A measurement is None before the first epoch and where it is not finite.

    Attributes:
        epoch: the epoch that is about to begin, from 0.
        epochs: length of the run in epochs.
        train_loss, validation_loss: mean loss per sample, in nats.
        train_accuracy, validation_accuracy: 0 to 1.
        random_guess_loss: the loss of a model that knows nothing, in nats.
        train_losses, validation_losses, train_accuracies, validation_accuracies: all epochs so far, oldest first;
            None in the place of an epoch whose figure is not finite.
        parameters: number of parameters, seeds included.
        host_parameters: number of the host's own parameters.
        governor: the governor's mode.
        twin_validation_loss: the twin's loss after the same epoch, where there is a twin.
    """

    epoch: int
    epochs: int
    train_loss: float | None = None
    validation_loss: float | None = None
    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    random_guess_loss: float | None = None
    train_losses: tuple[float | None, ...] = ()
    validation_losses: tuple[float | None, ...] = ()
    train_accuracies: tuple[float | None, ...] = ()
    validation_accuracies: tuple[float | None, ...] = ()
    parameters: int = 0
    host_parameters: int = 0
    governor: GovernorMode = GovernorMode.NORMAL
    twin_validation_loss: float | None = None


@frozen(kw_only=True)
class SlotSignals:
    """One slot. Without a seed only its place and stage are set.

    Attributes:
        slot: site id.
        layout, width, depth, causal: of the site.
        stage: the present stage.
        epochs_in_stage: epochs completed in it.
        blueprint: of the present seed.
        age_epochs: epochs since germination.
        blend, ramp_epochs: how the present seed is blended in, and how long its ramp is.
        alpha: present alpha.
        parameters: of the present seed.
        gradient_ratio, update_ratio, probe, contribution: as in `SeedEvidence`; None if not measured or not finite.
        settled_epochs: epochs completed since alpha reached 1.
        next_gate_passed: the verdict on the next transition; None if not asked.
        next_gate_score: its score.
        harmful: a gate has called the seed harmful.
        culled_blueprints: blueprints culled in this slot so far, oldest first.
    """

    slot: str
    layout: Layout
    width: int
    depth: float
    causal: bool
    stage: Stage = Stage.DORMANT
    epochs_in_stage: int = 0
    blueprint: str | None = None
    age_epochs: int = 0
    blend: Blend | None = None
    ramp_epochs: int | None = None
    alpha: float = 0.0
    parameters: int = 0
    gradient_ratio: float | None = None
    update_ratio: float | None = None
    probe: PairedDifference | None = None
    contribution: PairedDifference | None = None
    settled_epochs: int = 0
    next_gate_passed: bool | None = None
    next_gate_score: float | None = None
    harmful: bool = False
    culled_blueprints: tuple[str, ...] = ()


@frozen(kw_only=True)
class Observation:
    """Everything a policy may base one decision on. `slots` are in site order."""

    host: HostSignals
    slots: tuple[SlotSignals, ...]
