"""Save weights once that a model has under several names, such as an embedding that is also the output layer."""

from collections.abc import Iterator, MutableMapping
from typing import Any

from torch import nn


def save_tied_weights_once(module: nn.Module) -> None:
    """Keep only the first name of each parameter in the module's state dict, and do not require the others in loading.

    File formats such as safetensors refuse tensors that share memory.
    """
    module.register_state_dict_post_hook(_drop)
    module.register_load_state_dict_pre_hook(_complete)


def _drop(module: nn.Module, state: MutableMapping[str, Any], prefix: str, metadata: Any) -> None:
    for name, _ in _further_names(module):
        state.pop(prefix + name, None)


def _complete(module: nn.Module, state: MutableMapping[str, Any], prefix: str, *_: Any) -> None:
    for name, first in _further_names(module):
        if prefix + first in state:
            state.setdefault(prefix + name, state[prefix + first])


def _further_names(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield each further name of a parameter with its first name."""
    first: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        if known != name:
            yield name, known
