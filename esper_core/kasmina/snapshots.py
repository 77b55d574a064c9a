"""What can be said of a seed without measuring: pure functions of its seed and the epoch."""

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.durations import alpha_of, ramp_epochs, settled_epochs
from esper_core.kasmina.gate_tracker import GateStreak
from esper_core.kasmina.lifecycle import Seed
from esper_core.leyline.evidence import SeedEvidence
from esper_core.leyline.observation import SlotState
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Stage


def seed_evidence(seed: Seed, config: LifecycleConfig, epoch: int, *, planted: bool) -> SeedEvidence:
    """Return what is known of a seed before `epoch`; everything that must be measured is missing."""
    alpha = alpha_of(seed, config, epoch)
    return SeedEvidence(
        slot=seed.slot,
        seed_id=seed.seed_id,
        blueprint=seed.blueprint,
        stage=seed.stage,
        epochs_in_stage=seed.epochs_in_stage(epoch),
        age_epochs=epoch - seed.germinated_epoch,
        alpha=alpha,
        parameters=seed.parameters,
        ready=planted,
        probe_error="" if planted else None,
        host_epochs=epoch,
        group_in_place=planted,
        ramp_done=seed.stage.contributes and alpha == 1.0,
        settled_epochs=settled_epochs(seed, config, epoch),
    )


def slot_state(
    site: Site,
    seed: Seed | None,
    streak: GateStreak | None,
    culled: tuple[str, ...],
    config: LifecycleConfig,
    epoch: int,
) -> SlotState:
    """Return a slot as it stands before `epoch`."""
    if seed is None:
        return SlotState(site=site, culled_blueprints=culled)
    holds = seed.stage.holds_module
    return SlotState(
        site=site,
        stage=seed.stage,
        previous_stage=seed.history[-1].source,
        epochs_in_stage=seed.epochs_in_stage(epoch),
        blueprint=seed.blueprint if holds else None,
        age_epochs=epoch - seed.germinated_epoch,
        blend=seed.blend if holds else None,
        ramp_epochs=ramp_epochs(seed, config) if holds else None,
        alpha=alpha_of(seed, config, epoch),
        parameters=seed.parameters if holds else 0,
        settled_epochs=settled_epochs(seed, config, epoch),
        next_gate=streak.result if streak is not None else None,
        may_fossilize=streak is not None and streak.passed and seed.stage is Stage.PROBATIONARY,
        harmful=streak is not None and streak.result.harmful,
        culled_blueprints=culled,
    )
