"""What is special about mlp."""

import pytest
import torch

from esper_blueprint_mlp.config import MlpConfig
from esper_blueprint_mlp.module import Mlp
from esper_core.api import EsperError, Layout, Site

SITE = Site(id="layer1", path="layers.1", layout=Layout.BTD, width=12, sample_shape=(6, 12), causal=True)


def count(seed: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in seed.parameters())


@pytest.mark.parametrize("expansion", [1, 4])
def test_parameters_follow_the_formula(expansion: int) -> None:
    assert count(Mlp(SITE, MlpConfig(expansion=expansion))) == 2 * expansion * 12**2 + (expansion + 2) * 12


def test_treats_every_position_like_a_vector() -> None:
    torch.manual_seed(0)
    vectors = Site(id="hidden", path="hidden", layout=Layout.BD, width=12, sample_shape=(12,))
    over_text, over_vectors = Mlp(SITE, MlpConfig()), Mlp(vectors, MlpConfig())
    with torch.no_grad():
        over_text.gain.gain.fill_(0.7)
    over_vectors.load_state_dict(over_text.state_dict())
    h = torch.randn(2, 6, 12)
    torch.testing.assert_close(over_text(h).flatten(0, 1), over_vectors(h.flatten(0, 1)))


def test_refuses_a_single_feature() -> None:
    site = Site(id="thin", path="layers.1", layout=Layout.BTD, width=1, sample_shape=(6, 1))
    with pytest.raises(EsperError, match="cannot be built") as error:
        Mlp(site, MlpConfig())
    assert error.value.code == "E404"
    assert 'blueprint "mlp"' in str(error.value)
    assert 'site "thin"' in str(error.value)


@pytest.mark.parametrize("expansion", [0, -1, 1.5])
def test_refuses_an_expansion_without_units(expansion: object) -> None:
    with pytest.raises((ValueError, TypeError), match="expansion"):
        MlpConfig(expansion=expansion)
