"""flex-attention against the conformance suite: all of it where it can train, else what needs no gradient."""

import pytest
import torch

from esper_blueprint_flex_attention.plugin import esper_blueprints
from esper_core.testing import BlueprintSubject, Check, CheckLevel
from esper_core.testing.parametrize import conformance

(SPEC,) = esper_blueprints()
TRAINS = SPEC.unavailable is None and torch.cuda.is_available()
SUBJECT = BlueprintSubject(spec=SPEC, rms_limit=1.0, device="cuda" if TRAINS else "cpu")

# On the CPU every call goes through PyTorch's tracer.
pytestmark = pytest.mark.slow


@conformance(SPEC, CheckLevel.TRAINING if TRAINS else CheckLevel.CONTRACT)
def test_conformance(check: Check) -> None:
    check(SUBJECT)
