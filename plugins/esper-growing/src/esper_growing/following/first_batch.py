"""Waiting for the model's next forward pass that trains: what an epoch begins with."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from esper_core.kasmina.compiled import mark_hooked, unmark_hooked


class FirstBatch:
    """Calls back once, in front of the model's next forward pass that trains.

    Args:
        model: the model.
        begin: is called with the positional and the named arguments of the pass.
    """

    def __init__(self, model: nn.Module, begin: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> None:
        self._model = model
        self._begin = begin
        self._handle: Any = None

    def wait(self) -> None:
        """Wait, unless that is so already."""
        if self._handle is None:
            self._handle = self._model.register_forward_pre_hook(
                _Waiting(self._model, self._begin_once), with_kwargs=True
            )
            mark_hooked(self._model)

    def stop(self) -> None:
        """Wait no more."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
            unmark_hooked(self._model)

    def _begin_once(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.stop()
        self._begin(args, kwargs)


class _Waiting:
    """The hook. Copies of the model share it, and are not looked at; in another process it does nothing."""

    def __init__(self, model: nn.Module, begin: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> None:
        self._model = model
        self._begin = begin

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A validation in front of the training is not its first batch.
        if module is self._model and torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            # Of a model that was compiled before its first batch, Dynamo would trace the tracing of the sites.
            compiled = "torch._dynamo" in sys.modules
            begin = self._begin
            (torch.compiler.disable(begin) if compiled else begin)(args, kwargs)  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Waiting":
        return self

    def __reduce__(self) -> Any:
        return (_Elsewhere, ())


class _Elsewhere:
    """What the hook is in another process."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Do nothing."""
