"""lora against the conformance suite."""

from esper_blueprint_lora.plugin import esper_blueprints
from esper_core.testing import BlueprintSubject, Check
from esper_core.testing.parametrize import conformance

(SPEC,) = esper_blueprints()
SUBJECT = BlueprintSubject(spec=SPEC, rms_limit=1.0)


@conformance(SPEC)
def test_conformance(check: Check) -> None:
    check(SUBJECT)
