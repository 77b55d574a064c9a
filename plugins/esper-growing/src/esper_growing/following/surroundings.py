"""What stands around a network that grows, and does not follow: averages of its weights, and ``from_pretrained``."""

import gc
import sys
import warnings
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from esper_core.kasmina.compiled import own_class
from esper_core.kasmina.root_module import SEEDS
from esper_core.kasmina.undisturbed import undisturbed

#: How many calls may lie between `save_pretrained` and the seeds' own `state_dict`.
_CALLS = 12


class SavedWithoutGrowthWarning(UserWarning):
    """A growing network was saved in a way that what has grown cannot be loaded from."""


def averages_without_seeds(model: nn.Module) -> bool:
    """Say whether there is an `AveragedModel` of a network that holds none of its seeds.

    A copy does not know what it is a copy of: all objects of the process are gone through.
    """
    seeds = [*getattr(model, SEEDS)]
    copies = [one.module for one in gc.get_objects() if issubclass(type(one), AveragedModel)]
    alike = (copy for copy in copies if own_class(copy) is own_class(model))
    return any(set(seeds) - {*getattr(copy, SEEDS, ())} for copy in alike)


def slots_that_a_cache_blinds(model: nn.Module) -> list[str]:
    """Return the slots whose seeds look at positions that a decoder's cache, if the model has one, keeps from them."""
    if not getattr(getattr(model, "config", None), "use_cache", False) or find_spec("esper_export") is None:
        return []
    mixes, like = import_module("esper_export.decoding").mixes_positions, next(model.parameters())
    with undisturbed(model):
        slots = getattr(model, SEEDS).items()
        return [name for name, slot in slots if mixes(slot.site, _as_if_trained(slot.seed), like)]


def _as_if_trained(seed: nn.Module) -> nn.Module:
    """A new seed's update is zero, whatever it looks at: a copy in which nothing is zero."""
    copy = deepcopy(seed)
    for parameter in copy.parameters():
        if not bool(parameter.any()):
            parameter.normal_()
    return copy


def tell_where_saved_without_growth(model: nn.Module) -> None:
    """Let ``save_pretrained`` of a network that holds seeds warn that ``from_pretrained`` does not rebuild them."""
    seeds = getattr(model, SEEDS)
    told = any(isinstance(hook, _Telling) for hook in seeds._state_dict_pre_hooks.values())
    if callable(getattr(model, "save_pretrained", None)) and not told:
        seeds.register_state_dict_pre_hook(_Telling())


class _Telling:
    """The hook, on the container of seeds: it is copied and pickled with the model, and goes with the seeds."""

    def __call__(self, seeds: nn.Module, prefix: str, keep_vars: bool) -> Any:
        frame = sys._getframe(1)
        for _ in range(_CALLS):
            if frame.f_back is None:
                return
            frame = frame.f_back
            if frame.f_code.co_name == "save_pretrained" and any(True for _ in seeds.children()):
                warnings.warn(
                    "from_pretrained does not rebuild what has grown here. To go on training, save the states of "
                    "handle, model and optimizer; to use the network, torch.save(handle.export(), path), and "
                    "torch.load(path, weights_only=False)",
                    SavedWithoutGrowthWarning,
                    stacklevel=5,
                )
                return
