"""What can be said of a seed without measuring: pure functions of its life and the epoch."""

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.durations import alpha_of, ramp_epochs, settled_epochs
from esper_core.kasmina.gatekeeper import Standing
from esper_core.kasmina.lifecycle import Life
from esper_core.leyline.evidence import SeedEvidence
from esper_core.leyline.observation import SlotState
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Stage


def seed_evidence(life: Life, config: LifecycleConfig, epoch: int, *, planted: bool) -> SeedEvidence:
    """Return what is known of a seed before `epoch`; everything that must be measured is missing."""
    alpha = alpha_of(life, config, epoch)
    return SeedEvidence(
        slot=life.slot,
        seed_id=life.seed_id,
        blueprint=life.blueprint,
        stage=life.stage,
        epochs_in_stage=life.epochs_in_stage(epoch),
        age_epochs=epoch - life.germinated_epoch,
        alpha=alpha,
        parameters=life.parameters,
        ready=planted,
        probe_error="" if planted else None,
        host_epochs=epoch,
        group_in_place=planted,
        ramp_done=life.stage.contributes and alpha == 1.0,
        settled_epochs=settled_epochs(life, config, epoch),
    )


def slot_state(
    site: Site,
    life: Life | None,
    standing: Standing | None,
    culled: tuple[str, ...],
    config: LifecycleConfig,
    epoch: int,
) -> SlotState:
    """Return a slot as it stands before `epoch`."""
    if life is None:
        return SlotState(site=site, culled_blueprints=culled)
    holds = life.stage.holds_module
    return SlotState(
        site=site,
        stage=life.stage,
        previous_stage=life.history[-1].source,
        epochs_in_stage=life.epochs_in_stage(epoch),
        blueprint=life.blueprint if holds else None,
        age_epochs=epoch - life.germinated_epoch,
        blend=life.blend if holds else None,
        ramp_epochs=ramp_epochs(life, config) if holds else None,
        alpha=alpha_of(life, config, epoch),
        parameters=life.parameters if holds else 0,
        settled_epochs=settled_epochs(life, config, epoch),
        next_gate=standing.result if standing is not None else None,
        may_fossilize=standing is not None and standing.passed and life.stage is Stage.PROBATIONARY,
        harmful=standing is not None and standing.result.harmful,
        culled_blueprints=culled,
    )
