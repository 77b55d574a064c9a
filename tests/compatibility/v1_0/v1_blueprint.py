"""A blueprint as plugin API 1.0 has it: a linear layer, normalised, behind a bounded gain."""

from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import Layout, Site
from esper_core.hooks import hookimpl
from esper_core.nn import BoundedGain, require_features
from esper_core.specs import BlueprintSpec

ESPER_API = "1.0"


@frozen(kw_only=True)
class Options:
    """Options of the blueprint."""

    bias: bool = True


class Update(nn.Module):
    def __init__(self, site: Site, config: Options) -> None:
        super().__init__()
        require_features("v1", site)
        self.linear = nn.Linear(site.width, site.width, bias=config.bias)
        self.gain = BoundedGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        return self.gain(F.layer_norm(self.linear(h), h.shape[-1:]), h)


@hookimpl
def esper_blueprints():
    yield BlueprintSpec(
        name="v1", summary="A linear layer.", factory=Update, config=Options, layouts=(Layout.BD, Layout.BTD)
    )
