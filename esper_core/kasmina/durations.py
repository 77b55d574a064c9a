"""How long things last in a seed's life, and where on its ramp it is."""

from collections.abc import Mapping

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.lifecycle import Life
from esper_core.kasmina.schedules import alpha_at
from esper_core.leyline.stages import Stage

#: What follows on a stage in which a slot rests.
_AFTER_REST: Mapping[Stage, Stage] = {
    Stage.CULLED: Stage.EMBARGOED,
    Stage.EMBARGOED: Stage.RESETTING,
    Stage.RESETTING: Stage.DORMANT,
}


def alpha_of(life: Life, config: LifecycleConfig, time: float) -> float:
    """Return the seed's alpha at `time`, in host epochs (2.5 is half-way through epoch 2)."""
    if life.stage in (Stage.PROBATIONARY, Stage.FOSSILIZED):
        return 1.0
    if life.stage is not Stage.BLENDING or life.ramp_epoch is None:
        return 0.0
    length = ramp_epochs(life, config)
    return alpha_at(life.blend, (time - life.ramp_epoch) / length) if length else 1.0


def ramp_epochs(life: Life, config: LifecycleConfig) -> int:
    """Return the length of the seed's ramp: its own, or the lifecycle's."""
    return config.ramp_epochs if life.ramp_epochs is None else life.ramp_epochs


def settled_epochs(life: Life, config: LifecycleConfig, epoch: int) -> int:
    """Return the epochs completed before `epoch` since alpha reached 1."""
    if life.ramp_epoch is None:
        return 0
    return max(0, epoch - life.ramp_epoch - ramp_epochs(life, config))


def patience(life: Life, config: LifecycleConfig) -> int:
    """Epochs that a live seed may spend in its stage before it is culled."""
    if life.stage is Stage.BLENDING:
        return ramp_epochs(life, config) + config.blending_timeout_epochs
    return config.probation_timeout_epochs if life.stage is Stage.PROBATIONARY else config.training_timeout_epochs


def cooldown(stage: Stage, config: LifecycleConfig) -> tuple[int, Stage]:
    """Return the epochs that a slot rests in this stage, one for CULLED and RESETTING, and the stage that follows."""
    return config.embargo_epochs if stage is Stage.EMBARGOED else 1, _AFTER_REST[stage]
