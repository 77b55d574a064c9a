"""From names and globs to requests."""

import pytest
from torch import nn

from esper_core.leyline.errors import EsperError
from esper_growing.sites.requests import find_sites


def test_globs_stop_at_dots():
    model = nn.Module()
    model.layer1, model.layer2 = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))
    assert [r.path for r in find_sites(model, ["layer*"])] == ["layer1", "layer2"]
    assert [r.path for r in find_sites(model, ["layer1.*", "layer*"])] == ["layer1.0", "layer1", "layer2"]
    with pytest.raises(EsperError, match="block"):
        find_sites(model, ["block*"])
