"""A host as plugin API 1.0 has it."""

from attrs import frozen
from torch import Tensor, nn

from esper_core.api import DataShape, EsperError, HostBuild, SiteRequest, TaskKind
from esper_core.hooks import hookimpl
from esper_core.specs import HostSpec, Layout

ESPER_API = "1.0"


@frozen(kw_only=True)
class Options:
    """Options of the host."""

    width: int = 6


class Host(nn.Module):
    def __init__(self, features: int, width: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(features, width), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)))


def build(config: Options, data: DataShape) -> HostBuild:
    if data.kind is not TaskKind.VECTORS:
        raise EsperError("E402", f"the host v1 cannot take {data.kind}", fix="choose a task with vectors")
    module = Host(data.input_shape[0], config.width, data.outputs)
    return HostBuild(module=module, sites=[SiteRequest(path=name, layout=Layout.BD) for name in ("first", "second")])


@hookimpl
def esper_hosts():
    yield HostSpec(name="v1", summary="Two layers.", factory=build, config=Options, layouts={Layout.BD})
