"""flex-attention against the conformance suite: all of it where it can train, else what needs no gradient."""

import pytest
import torch

from esper_blueprint_flex_attention.plugin import esper_blueprints
from esper_testing import BlueprintSuite

(SPEC,) = esper_blueprints()
TRAINS = SPEC.unavailable is None and torch.cuda.is_available()


# On the CPU every call goes through PyTorch's tracer.
@pytest.mark.slow
class TestFlexAttention(BlueprintSuite):
    plugin = "esper-blueprint-flex-attention"
    rms_limit = 1.0
    unavailable_too = True
    device = "cuda" if TRAINS else "cpu"
    level = "full" if TRAINS else "contract"
