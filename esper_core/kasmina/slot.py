"""A slot that holds a seed: the module under ``model.esper`` and the forward hook at its site."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from esper_core.kasmina.compiled import mark_hooked, unmark_hooked
from esper_core.kasmina.config import UPDATE_LIMIT
from esper_core.kasmina.forward_mode import (
    ForwardMode,
    RowNorms,
    add_bounded,
    is_transformed,
    isolated_input,
    open_input,
    straight_through,
)
from esper_core.kasmina.masking import given_mask, mask_position
from esper_core.kasmina.outputs import replace, select
from esper_core.kasmina.undisturbed import seed_random_state
from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.sites import Site
from esper_core.leyline.streams import derive_seed

#: Computes a seed's update of an activation; None where the seed has failed.
Update = Callable[[Tensor], Tensor | None]
#: Gives the norms of the activation and of its update that was computed last.
Norms = Callable[[], RowNorms | None]


class Slot(nn.Module):
    """Holds one seed module and lets it act on one site of a host.

    It is reachable from the root module, and its hook is a bound method, so that copying or pickling the model gives
    an independent model. The hook is pure: it counts nothing, changes no buffer and leaves the random state alone, so
    it may run twice for one batch (activation checkpointing). What it does keep is that its seed has failed.

    A seed fails by raising, by returning what is no update, or by writing into its input. The pass goes on without it,
    and so do all that follow; the owner of the slot then culls the seed. A fossil cannot be left out: it raises E407.

    Args:
        site: the confirmed site.
        seed: module computing the residual update.
        blueprint: what it was built from, for messages.
        limit: see `RowNorms.factor`.
        stream: seed of the random stream of a seed that draws random numbers; None for one that does not.
        needs_graph: see `compose.isolated_input`.
        masked: the seed takes the mask that the site's submodule is called with; the site must have one.
        fed: the seed takes the input of the site's submodule.
    """

    alpha: Tensor

    def __init__(
        self,
        site: Site,
        seed: nn.Module,
        *,
        blueprint: str = "",
        limit: float = UPDATE_LIMIT,
        stream: int | None = None,
        needs_graph: bool = False,
        masked: bool = False,
        fed: bool = False,
    ) -> None:
        super().__init__()
        self.site = site
        self.seed = seed
        self.blueprint = blueprint
        self.limit = limit
        #: Why the seed has failed; "" as long as it has not.
        self.failure = ""
        self._failed_at: int | None = None
        self.forward_mode = ForwardMode.STRAIGHT_THROUGH
        self.stream = stream
        self.position = 0
        self.needs_graph = needs_graph
        self.override: float | None = None
        self.masked, self.fed = masked, fed
        self._mask_position: int | None = None
        #: Gets the submodule's output and what is beside it; returns what goes on, in place of the slot, in measuring.
        self.forward_override: Callable[[Any, Tensor | None], Any] | None = None
        self.register_buffer("alpha", torch.zeros(()), persistent=False)
        self._handle: RemovableHandle | None = None
        # In a tuple, or it would be a submodule of the slot.
        self._hooked: tuple[nn.Module, ...] = ()

    @property
    def attached(self) -> bool:
        """It acts on its site."""
        return self._handle is not None

    @property
    def acts_in_evaluation(self) -> bool:
        """The result depends on the seed; one in TRAINING leaves it alone."""
        return self.attached and self.forward_mode not in (ForwardMode.STRAIGHT_THROUGH, ForwardMode.PROBE)

    def attach(self, module: nn.Module) -> None:
        """Begin to act on the output of `module`."""
        if self.masked and self.site.mask is not None:
            self._mask_position = mask_position(module, self.site.mask)
        if self.masked or self.fed:
            self._handle = module.register_forward_hook(self.beside_hook, with_kwargs=True)
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
            if not any(_is_a_slots(hook) for hook in module._forward_hooks.values()):
                unmark_hooked(module)
        self._hooked = ()

    def enter(self, forward_mode: ForwardMode) -> None:
        """Change the forward_mode, which compiled code looks at."""
        self.forward_mode = forward_mode

    def set_alpha(self, alpha: float) -> None:
        """Set alpha, 0 to 1, in place: compiled code goes on using the same tensor."""
        self.alpha.fill_(alpha)

    def update(self, h: Tensor, beside: Tensor | None = None) -> Tensor | None:
        """Return the seed's update of `h`, in `h`'s dtype; `beside` is the mask or the input, for seeds that take one.

        None if the seed has failed, now or before; see `failure`. A seed that is no fossil is given a copy of `h`: what
        it writes into that is lost on the host.

        Raises:
            EsperError: E407 if a fossil fails.
        """
        # What runs again for activation checkpointing must do the same again.
        if self.failure and not (self._failed_at == self.position and torch.is_grad_enabled()):
            return None
        fossil = self.forward_mode is ForwardMode.FOSSIL
        try:
            seen = self._seen(self.forward_mode, beside) if self.fed and beside is not None else beside
            return self._computed(h if fossil else h.clone(), seen if fossil or seen is None else seen.clone())
        except BaseException as error:
            # Checkpointing ends a pass by raising, when it has all that it wants. What torch.func cannot transform, as
            # random numbers without `randomness`, is no fault of the seed.
            checkpointing = type(error).__module__ == "torch.utils.checkpoint"
            if isinstance(error, KeyboardInterrupt) or checkpointing or is_transformed():
                raise
            reason = f"its forward raised {summary(error)}"
            if fossil:
                raise self._fossil_failed(reason) from error
            self.failure, self._failed_at = reason, self.position
        return None

    def _seen(self, mode: ForwardMode, x: Tensor) -> Tensor:
        """Return what a forward_mode lets a seed see, of the activation or of what the submodule was given."""
        if mode is ForwardMode.FOSSIL:
            return x
        return open_input(x) if mode is ForwardMode.OPEN else isolated_input(x, needs_graph=self.needs_graph)

    def _computed(self, h: Tensor, beside: Tensor | None) -> Tensor:
        given = (h, beside) if self.masked or self.fed else (h,)
        # Dynamo knows no versions; but everything that is measured runs uncompiled.
        version = None if torch.compiler.is_compiling() or h.is_inference() else h._version
        if self.stream is not None and self.training:
            with _random_stream(derive_seed(self.stream, self.position), h.device):
                delta = self.seed(*given)
        else:
            delta = self.seed(*given)
        if not isinstance(delta, Tensor) or delta.shape != h.shape or delta.device != h.device:
            raise TypeError(f"it returned {_described(delta)} for an activation of {_described(h)}")
        if version is not None and h._version != version:
            raise RuntimeError("it has written into the activation, which is the host's")
        return delta if delta.dtype == h.dtype else delta.to(h.dtype)

    def _fossil_failed(self, reason: str) -> EsperError:
        return EsperError(
            "E407",
            f'the fossilized seed "{self.blueprint}" cannot be computed',
            where=f'slot "{self.site.id}" ({self.site.path})',
            why=reason,
            fix=f'correct the blueprint "{self.blueprint}" and go on from the last saved state, or train without it',
        )

    def hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the site's submodule."""
        return self._grown(output, None)

    def beside_hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Forward hook of the site's submodule for a seed that takes a mask, or the submodule's input."""
        if self.fed:
            return self._grown(output, args[0] if args else None)
        assert self.site.mask is not None
        h = select(output, self.site.output)
        return self._grown(output, given_mask(self.site.mask, self._mask_position, args, kwargs, h))

    def _grown(self, output: Any, beside: Tensor | None) -> Any:
        if self.forward_override is not None:
            return self.forward_override(output, beside)
        h = select(output, self.site.output)
        grown = self.act(h, beside)
        return output if grown is h else replace(output, self.site.output, grown)

    def act(self, h: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the activation as the present forward_mode, alpha or override makes it."""
        return self.compose(h, self.override, partial(self.update, beside=beside))

    def compose(self, h: Tensor, alpha: float | None, update: Update, norms: Norms | None = None) -> Tensor:
        """Return the activation at another alpha, or as the slot stands where `alpha` is None.

        `update` computes the seed's update; it is not called where the result does not depend on it. `norms` gives the
        norms of activation and update where no graph is built; by default they are measured. A pass at another
        alpha that builds a graph trains the seed (`ForwardMode.PROBE`): the host keeps out of it. What is added is
        bounded (`add_bounded`) unless it is a fossil's.
        """
        mode = self.forward_mode if alpha is None else ForwardMode.ISOLATED
        unseen = mode is ForwardMode.STRAIGHT_THROUGH and not torch.is_grad_enabled()
        if alpha == 0.0 or mode is ForwardMode.PROBE or unseen:
            return h
        delta = update(self._seen(mode, h))
        if delta is None:
            return h
        if mode is ForwardMode.FOSSIL:
            return h + delta
        if mode is ForwardMode.STRAIGHT_THROUGH:
            return straight_through(h, delta, copy=self.site.inplace_successor)
        scale = self.alpha if alpha is None else torch.full_like(self.alpha, alpha)
        return add_bounded(h, delta, scale, limit=self.limit, axes=self.site.layout.row_axes, norms=norms and norms())

    def extra_repr(self) -> str:
        """Site and forward_mode, for ``print(model)``."""
        return f"site={self.site.id}, forward_mode={self.forward_mode.value}"


@contextmanager
def on_trial(model: nn.Module) -> Iterator[None]:
    """Raise at the end if a seed has failed meanwhile, and forget it: the pass was of another kind than training's.

    Raises:
        RuntimeError: naming the first such seed.
    """
    slots = [module for module in model.modules() if isinstance(module, Slot) and not module.failure]
    yield
    failed = [(slot.site.id, slot.failure) for slot in slots if slot.failure]
    for slot in slots:
        slot.failure = ""
    if failed:
        raise RuntimeError('the seed in slot "{}" has failed: {}'.format(*failed[0]))


def bare_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a part of a host in which no slot acts."""
    copied = deepcopy(module)
    for part in copied.modules():
        unmark_hooked(part)
        for key in [key for key, hook in part._forward_hooks.items() if _is_a_slots(hook)]:
            del part._forward_hooks[key]
            part._forward_hooks_with_kwargs.pop(key, None)
    return copied


def _is_a_slots(hook: Any) -> bool:
    return isinstance(getattr(hook, "__self__", None), Slot)


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"shape {tuple(value.shape)} on {value.device}"


@contextmanager
def _random_stream(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seed_random_state(seed, device)
        yield
