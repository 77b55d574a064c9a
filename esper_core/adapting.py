"""What adapters into other people's training frameworks import of the core, beside what plugins do. Imports torch."""

from esper_core.growing.grow import grow
from esper_core.growing.handle import GrowthHandle
from esper_core.growing.meter import TrainingMeter
from esper_core.growing.session import EpochOutcome
from esper_core.growing.user_data import UserCriterion, per_sample
from esper_core.kasmina.aside import SeedWeights
from esper_core.kasmina.groups import clip_grad_norm_by_origin_

__all__ = [
    "EpochOutcome",
    "GrowthHandle",
    "SeedWeights",
    "TrainingMeter",
    "UserCriterion",
    "clip_grad_norm_by_origin_",
    "grow",
    "per_sample",
]
