"""What adapters and further commands import of the core beside what plugins do: counting, clipping. Imports torch."""

from esper_core.kasmina.cost import forward_flops, parameter_count
from esper_core.kasmina.deferred_weights import DeferredWeights
from esper_core.kasmina.groups import clip_grad_norm_by_origin_
from esper_core.tolaria.meter import TrainingMeter

__all__ = [
    "DeferredWeights",
    "TrainingMeter",
    "clip_grad_norm_by_origin_",
    "forward_flops",
    "parameter_count",
]
