"""The site's own submodule once more, as a residual update."""

from typing import Any

import torch
from torch import Tensor, nn

from esper_blueprint_copy.config import CopyConfig
from esper_blueprint_copy.projections import zero_outputs
from esper_core.api import EsperError, Site
from esper_core.nn import kept_within, unbuildable

_INSTEAD = "use another blueprint here, such as block for sequences or residual-block for images"


class Copy(nn.Module):
    """Returns ``block(h) - h``, where `block` is a copy of the site's submodule: the host as if it had one block more.

    The copy of a residual block has its output projections zero at birth, so it is the identity. Of any other block the
    update is multiplied by a gain per feature that is zero at birth. It is kept below ``config.limit`` times h.

    Raises:
        EsperError: E404 if the submodule cannot stand behind itself: it needs more than one tensor, gives another
            shape, keeps running statistics, is told what is padding, or has no parameters that could learn.
    """

    def __init__(self, site: Site, config: CopyConfig, module: nn.Module) -> None:
        super().__init__()
        self.layout, self.limit, self.output = site.layout, config.limit, site.output
        self.block = module.requires_grad_(True)
        _refuse(site, module)
        h = _some_activation(site, module)
        # With gradients: without them torch's own transformer layers run as one kernel, which shows no layer.
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            module.eval()
            expected = _called(site, module, self._run, h)
            if expected.shape != h.shape:
                raise _refused(site, f"it makes {tuple(expected.shape)} of {tuple(h.shape)}")
            self.zeroed = zero_outputs(module, self._run, h)
            module.train()
        broadcast = (1,) * (site.layout.rank - 1 - site.layout.width_axis)
        self.gain = None if self.zeroed else nn.Parameter(torch.zeros(site.width, *broadcast))

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`."""
        delta = self._run(h.clone(memory_format=torch.preserve_format)) - h
        return kept_within(delta if self.gain is None else self.gain * delta, h, self.layout, self.limit)

    def _run(self, h: Tensor) -> Tensor:
        given: Any = self.block(h)
        result: Tensor = given if self.output is None else given[self.output]
        return result


def _called(site: Site, module: nn.Module, run: Any, h: Tensor) -> Tensor:
    try:
        given: Tensor = run(h)
    except Exception as error:  # a submodule of somebody else's that was not made to be called like this
        raise _refused(site, f"called with the activation alone, it raised {type(error).__name__}: {error}") from error
    return given


def _refuse(site: Site, module: nn.Module) -> None:
    if site.mask is not None:
        raise _refused(site, "it is told what is padding, and a copy of it would not be")
    if any(getattr(part, "track_running_stats", False) for part in module.modules()):
        raise _refused(site, "it keeps running statistics, which every measurement would move")
    if not any(parameter.is_floating_point() for parameter in module.parameters()):
        raise _refused(site, "it has no parameters")


def _refused(site: Site, why: str) -> EsperError:
    return unbuildable("copy", site, why=f"the site's submodule cannot stand behind itself: {why}", fix=_INSTEAD)


def _some_activation(site: Site, module: nn.Module) -> Tensor:
    like = next(parameter for parameter in module.parameters() if parameter.is_floating_point())
    generator = torch.Generator().manual_seed(0)
    return torch.randn(site.shape(2), generator=generator, device="cpu").to(like)
