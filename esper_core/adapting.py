"""What adapters and further commands import of the core, beside what plugins do: grow, count. Imports torch."""

from esper_core.growing.grow import grow
from esper_core.growing.handle import GrowthHandle
from esper_core.growing.session import EpochOutcome
from esper_core.kasmina.cost import forward_flops, parameter_count
from esper_core.kasmina.deferred_weights import DeferredWeights
from esper_core.kasmina.groups import clip_grad_norm_by_origin_
from esper_core.tolaria.meter import TrainingMeter
from esper_core.tolaria.user_data import UserCriterion

__all__ = [
    "DeferredWeights",
    "EpochOutcome",
    "GrowthHandle",
    "TrainingMeter",
    "UserCriterion",
    "clip_grad_norm_by_origin_",
    "forward_flops",
    "grow",
    "parameter_count",
]
