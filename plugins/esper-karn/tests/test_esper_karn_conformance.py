"""The dossiers that ship with Karn against the conformance suite, and what its checks have to find."""

import pytest

from esper_core.plugins.records import Origin, Registered
from esper_core.specs import BlueprintSpec, Layout
from esper_karn.kinds import DossierSpec, Tier
from esper_karn.testing.conformance import DossierSubject, blueprint, bounds
from esper_karn.testing.suite import DossierSuite
from esper_testing.check import CheckFailure, NotApplicable


@pytest.mark.slow
class TestDossiers(DossierSuite):
    plugin = "esper-karn:karn"
    level = "contract"


def subject(**more):
    given = {"distribution": "esper-blueprint-foo", "tier": Tier.SAFE, "risk": 0.0, "stage": 0} | more
    spec = BlueprintSpec(name="foo", summary="A seed.", factory=lambda site, config: 1 / 0, layouts=(Layout.BD,))
    offered = Registered(spec, Origin(plugin="foo", distribution="esper-blueprint-foo", module="a"))
    return DossierSubject(spec=DossierSpec(name="foo", summary="Of a seed.", **given), blueprints=(offered,))


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (blueprint, {"blueprint": "fooo"}),
        (blueprint, {}),
        (bounds, {"bounds": {"count": (1, 2)}}),
    ],
)
def test_a_mutant_is_found(check, mutant):
    with pytest.raises(CheckFailure):
        check(subject(**mutant))


def test_nothing_is_judged_of_a_blueprint_whose_distribution_is_not_installed():
    with pytest.raises(NotApplicable, match="esper-blueprint-bar is not installed"):
        blueprint(subject(distribution="esper-blueprint-bar"))
