"""How long things last in a seed's life, and where on its ramp it is."""

from collections.abc import Mapping

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.lifecycle import Seed
from esper_core.kasmina.schedules import alpha_at
from esper_core.leyline.stages import Stage

#: What follows on a stage in which a slot rests.
_AFTER_REST: Mapping[Stage, Stage] = {
    Stage.CULLED: Stage.EMBARGOED,
    Stage.EMBARGOED: Stage.RESETTING,
    Stage.RESETTING: Stage.DORMANT,
}


def alpha_of(seed: Seed, config: LifecycleConfig, time: float) -> float:
    """Return the seed's alpha at `time`, in host epochs (2.5 is half-way through epoch 2)."""
    if seed.stage in (Stage.PROBATIONARY, Stage.FOSSILIZED):
        return 1.0
    if seed.stage is not Stage.BLENDING or seed.ramp_epoch is None:
        return 0.0
    length = ramp_epochs(seed, config)
    return alpha_at(seed.blend, (time - seed.ramp_epoch) / length) if length else 1.0


def ramp_epochs(seed: Seed, config: LifecycleConfig) -> int:
    """Return the length of the seed's ramp: its own, or the lifecycle's."""
    return config.ramp_epochs if seed.ramp_epochs is None else seed.ramp_epochs


def settled_epochs(seed: Seed, config: LifecycleConfig, epoch: int) -> int:
    """Return the epochs completed before `epoch` since alpha reached 1."""
    if seed.ramp_epoch is None:
        return 0
    return max(0, epoch - seed.ramp_epoch - ramp_epochs(seed, config))


def patience(seed: Seed, config: LifecycleConfig) -> int:
    """Epochs that a live seed may spend in its stage before it is culled."""
    if seed.stage is Stage.BLENDING:
        return ramp_epochs(seed, config) + config.blending_timeout_epochs
    return config.probation_timeout_epochs if seed.stage is Stage.PROBATIONARY else config.training_timeout_epochs


def bounded_too_long(seed: Seed, config: LifecycleConfig) -> str:
    """Say why a live seed's update has been at its bound for too long; "" if it has not."""
    if not seed.stage.live or seed.bounded_epochs < config.bounded_timeout_epochs:
        return ""
    larger = f"more than {config.update_limit:g} times as large as the activation"
    return f"its update was {larger} in {seed.bounded_epochs} epochs in a row, and so it was bounded"


def cooldown(stage: Stage, config: LifecycleConfig) -> tuple[int, Stage]:
    """Return the epochs that a slot rests in this stage, one for CULLED and RESETTING, and the stage that follows."""
    return config.embargo_epochs if stage is Stage.EMBARGOED else 1, _AFTER_REST[stage]
