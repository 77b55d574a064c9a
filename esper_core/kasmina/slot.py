"""A slot that holds a seed: the module under ``model.esper`` and the forward hook at its site."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from esper_core.kasmina.compiled import mark_hooked, unmark_hooked
from esper_core.kasmina.forward_mode import ForwardMode, add_guarded, isolated_input, open_input, straight_through
from esper_core.kasmina.masking import given_mask, mask_position
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
        masked: the seed takes the mask that the site's submodule is called with; the site must have one.
    """

    alpha: Tensor

    def __init__(
        self,
        site: Site,
        seed: nn.Module,
        *,
        stream: int | None = None,
        needs_graph: bool = False,
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.site = site
        self.seed = seed
        self.forward_mode = ForwardMode.STRAIGHT_THROUGH
        self.stream = stream
        self.position = 0
        self.needs_graph = needs_graph
        self.override: float | None = None
        self.masked = masked
        self._mask_position: int | None = None
        #: Gets the submodule's output and the mask; returns what goes on, in place of the slot, in measuring.
        self.forward_override: Callable[[Any, Tensor | None], Any] | None = None
        self.register_buffer("alpha", torch.zeros(()), persistent=False)
        self._handle: RemovableHandle | None = None
        # In a tuple, or it would be a submodule of the slot.
        self._hooked: tuple[nn.Module, ...] = ()

    @property
    def attached(self) -> bool:
        """It acts on its site."""
        return self._handle is not None

    def attach(self, module: nn.Module) -> None:
        """Begin to act on the output of `module`."""
        if self.masked and self.site.mask is not None:
            self._mask_position = mask_position(module, self.site.mask)
            self._handle = module.register_forward_hook(self.masked_hook, with_kwargs=True)
        else:
            self._handle = module.register_forward_hook(self.hook)
        mark_hooked(module)
        self._hooked = (module,)

    def detach(self) -> None:
        """Stop acting; the host is as if the slot had never been there."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        for module in self._hooked:
            if not any(isinstance(getattr(hook, "__self__", None), Slot) for hook in module._forward_hooks.values()):
                unmark_hooked(module)
        self._hooked = ()

    def enter(self, forward_mode: ForwardMode) -> None:
        """Change the forward_mode, which compiled code looks at."""
        self.forward_mode = forward_mode

    def set_alpha(self, alpha: float) -> None:
        """Set alpha, 0 to 1, in place: compiled code goes on using the same tensor."""
        self.alpha.fill_(alpha)

    def update(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the seed's update of `h`, in `h`'s dtype; `mask`, (B, T), goes to seeds that take one."""
        given = (h, mask) if self.masked else (h,)
        if self.stream is not None and self.training:
            with _random_stream(derive_seed(self.stream, self.position), h.device):
                delta: Tensor = self.seed(*given)
        else:
            delta = self.seed(*given)
        return delta if delta.dtype == h.dtype else delta.to(h.dtype)

    def hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the site's submodule."""
        return self._grown(output, None)

    def masked_hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Forward hook of the site's submodule for a seed that takes a mask."""
        assert self.site.mask is not None
        h = select(output, self.site.output)
        return self._grown(output, given_mask(self.site.mask, self._mask_position, args, kwargs, h))

    def _grown(self, output: Any, mask: Tensor | None) -> Any:
        if self.forward_override is not None:
            return self.forward_override(output, mask)
        h = select(output, self.site.output)
        grown = self.act(h, mask)
        return output if grown is h else replace(output, self.site.output, grown)

    def act(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the activation as the present forward_mode, alpha or override makes it."""
        return self.compose(h, self.override, partial(self.update, mask=mask))

    def compose(self, h: Tensor, alpha: float | None, update: Update) -> Tensor:
        """Return the activation at another alpha, or as the slot stands where `alpha` is None.

        `update` computes the seed's update; it is not called where the result does not depend on it. A pass at another
        alpha that builds a graph trains the seed (`ForwardMode.PROBE`): the host keeps out of it, and a seed that is
        not finite is left out.
        """
        if alpha == 0.0 or (alpha is None and self.forward_mode is ForwardMode.PROBE):
            return h
        if alpha is not None and torch.is_grad_enabled():
            seen = isolated_input(h, needs_graph=self.needs_graph)
            return add_guarded(h, update(seen), torch.full_like(self.alpha, alpha))
        if alpha is not None:
            return h + alpha * update(h)
        if self.forward_mode is ForwardMode.STRAIGHT_THROUGH:
            if not torch.is_grad_enabled():
                return h
            seen = isolated_input(h, needs_graph=self.needs_graph)
            return straight_through(h, update(seen), copy=self.site.inplace_successor)
        if self.forward_mode is ForwardMode.ISOLATED:
            return add_guarded(h, update(isolated_input(h, needs_graph=self.needs_graph)), self.alpha)
        if self.forward_mode is ForwardMode.OPEN:
            return add_guarded(h, update(open_input(h)), self.alpha)
        return h + update(h)

    def extra_repr(self) -> str:
        """Site and forward_mode, for ``print(model)``."""
        return f"site={self.site.id}, forward_mode={self.forward_mode.value}"


@contextmanager
def _random_stream(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
