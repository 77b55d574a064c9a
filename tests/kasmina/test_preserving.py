"""A growth is brought back from its record, or it is said why that cannot be done."""

import pytest

from esper_core.kasmina.growth import Growth
from esper_core.kasmina.serialization import growth_record, restore_growth
from esper_core.leyline.errors import EsperError
from esper_core.leyline.stages import Blend, Stage


def grown(make_growth, host_class):
    growth: Growth = make_growth(host_class())
    growth.germinate("block0", "conv", Blend.LINEAR, 0)
    growth.tick(0)
    assert growth.stage("block0") is Stage.TRAINING
    return growth


def wrongly_shaped(module):
    """A seed as it may be after an upgrade of what it is built from: it fails its probe."""
    module.forward = lambda h: h[:, :1]
    return module


def refuses(site):
    raise ImportError("no module named einops")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda build: lambda site: wrongly_shaped(build(site)), "it returned shape"),
        (lambda build: refuses, "no module named einops"),
    ],
    ids=["probe", "source"],
)
def test_a_seed_that_cannot_be_built_any_more_is_named_with_the_reason(make_growth, host_class, change, why):
    record = growth_record(grown(make_growth, host_class))
    again: Growth = make_growth(host_class())
    seed_factory = again.seed_factories["conv"]
    again.seed_factories["conv"] = type(seed_factory)(entry=seed_factory.entry, build=change(seed_factory.build))
    with pytest.raises(EsperError, match='of blueprint "conv" cannot be built any more') as caught:
        restore_growth(again, record)
    error = caught.value
    assert error.code == "E502"
    assert error.where == 'slot "block0"'
    assert why in error.why
    assert error.fix
