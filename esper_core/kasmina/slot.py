"""A slot that holds a seed: the module under ``model.esper`` and the forward hook at its site."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from esper_core.kasmina.compose import Regime, add_guarded, isolated_input, open_input, straight_through
from esper_core.kasmina.outputs import replace, select
from esper_core.leyline.sites import Site
from esper_core.leyline.streams import derive_seed

#: Computes a seed's update of an activation.
Update = Callable[[Tensor], Tensor]


class Slot(nn.Module):
    """Holds one seed module and lets it act on one site of a host.

    It is reachable from the root module, and its hook is a bound method, so that copying or pickling the model gives
    an independent model. The hook is pure: it counts nothing, changes no buffer and leaves the random state alone, so
    it may run twice for one batch (activation checkpointing).

    Args:
        site: the confirmed site.
        seed: module computing the residual update.
        stream: seed of the random stream of a seed that draws random numbers; None for one that does not.
        needs_graph: see `compose.isolated_input`.
    """

    alpha: Tensor

    def __init__(self, site: Site, seed: nn.Module, *, stream: int | None = None, needs_graph: bool = False) -> None:
        super().__init__()
        self.site = site
        self.seed = seed
        self.regime = Regime.STRAIGHT_THROUGH
        self.stream = stream
        self.position = 0
        self.needs_graph = needs_graph
        self.override: float | None = None
        #: Gets the submodule's output and returns what goes on, in place of the slot, while the network is measured.
        self.stand_in: Callable[[Any], Any] | None = None
        self.register_buffer("alpha", torch.zeros(()), persistent=False)
        self._handle: RemovableHandle | None = None

    @property
    def attached(self) -> bool:
        """It acts on its site."""
        return self._handle is not None

    def attach(self, module: nn.Module) -> None:
        """Begin to act on the output of `module`."""
        self._handle = module.register_forward_hook(self.hook)
        invalidate_compiled_code()

    def detach(self) -> None:
        """Stop acting; the host is as if the slot had never been there."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        invalidate_compiled_code()

    def enter(self, regime: Regime) -> None:
        """Change the regime."""
        self.regime = regime
        invalidate_compiled_code()

    def set_alpha(self, alpha: float) -> None:
        """Set alpha, 0 to 1, in place: compiled code goes on using the same tensor."""
        self.alpha.fill_(alpha)

    def update(self, h: Tensor) -> Tensor:
        """Return the seed's update of `h`, in `h`'s dtype."""
        if self.stream is not None and self.training:
            with _random_stream(derive_seed(self.stream, self.position), h.device):
                delta: Tensor = self.seed(h)
        else:
            delta = self.seed(h)
        return delta if delta.dtype == h.dtype else delta.to(h.dtype)

    def hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the site's submodule."""
        if self.stand_in is not None:
            return self.stand_in(output)
        h = select(output, self.site.output)
        grown = self.act(h)
        return output if grown is h else replace(output, self.site.output, grown)

    def act(self, h: Tensor) -> Tensor:
        """Return the activation as the present regime, alpha or override makes it."""
        return self.compose(h, self.override, self.update)

    def compose(self, h: Tensor, alpha: float | None, update: Update) -> Tensor:
        """Return the activation at another alpha, or as the slot stands where `alpha` is None.

        `update` computes the seed's update; it is not called where the result does not depend on it.
        """
        if alpha is not None:
            return h if alpha == 0.0 else h + alpha * update(h)
        if self.regime is Regime.STRAIGHT_THROUGH:
            if not torch.is_grad_enabled():
                return h
            seen = isolated_input(h, needs_graph=self.needs_graph)
            return straight_through(h, update(seen), copy=self.site.inplace_successor)
        if self.regime is Regime.ISOLATED:
            return add_guarded(h, update(isolated_input(h, needs_graph=self.needs_graph)), self.alpha)
        if self.regime is Regime.OPEN:
            return add_guarded(h, update(open_input(h)), self.alpha)
        return h + update(h)

    def extra_repr(self) -> str:
        """Site and regime, for ``print(model)``."""
        return f"site={self.site.id}, regime={self.regime.value}"


def invalidate_compiled_code() -> None:
    """Make compiled models notice a change of topology: compiled code does not look at hooks again by itself."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


@contextmanager
def _random_stream(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
