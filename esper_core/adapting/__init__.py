"""What adapters and further commands import of the core beside what plugins do: counting, clipping. Imports torch."""

from esper_core.adapting.deferred_weights import DeferredWeights
from esper_core.adapting.meter import TrainingMeter
from esper_core.kasmina.cost import forward_flops, parameter_count
from esper_core.kasmina.groups import clip_grad_norm_by_origin_

__all__ = [
    "DeferredWeights",
    "TrainingMeter",
    "clip_grad_norm_by_origin_",
    "forward_flops",
    "parameter_count",
]
