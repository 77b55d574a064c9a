"""Preparing a root module: what can be grown, and where live seeds are kept."""

from collections import OrderedDict
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from esper_core.leyline.errors import EsperError

#: Live seeds are kept under this name on the root module, never under a site.
SEEDS = "esper"

#: Models that something keeps the same in all processes: these may grow where several processes train together.
KEPT_ALIKE: WeakSet[nn.Module] = WeakSet()


class GrowableSequential(nn.Sequential):
    """A root `nn.Sequential` that does not run its seeds' container.

    It has the same children under the same names, so the keys of its ``state_dict`` are those of the original.
    """

    def forward(self, input: Any) -> Any:
        """Run the children in order, the container of the seeds left out."""
        for name, module in self._modules.items():
            if name != SEEDS and module is not None:
                input = module(input)
        return input


def prepare_root(model: nn.Module) -> nn.Module:
    """Return the module to train: `model`, or its replacement if it is a `nn.Sequential`, with an empty `esper`.

    A compiled model is unwrapped; the compiled object goes on working and notices every change.

    Raises:
        EsperError: E402 if the model cannot be grown.
    """
    root = getattr(model, "_orig_mod", model)
    refuse_several_processes(root)
    if isinstance(root, nn.DataParallel):
        raise _refused(root, "DataParallel copies modules in every forward pass", "use one process per device")
    if isinstance(root, nn.parallel.DistributedDataParallel):
        raise _refused(root, "gradients of later parameters would not be reduced", "pip install esper-distributed")
    if type(root).__name__ in {"RecursiveScriptModule", "ScriptModule", "TopLevelTracedModule"}:
        raise _refused(root, "a scripted module has no forward hooks", "call grow() on the module before scripting")
    if hasattr(root, SEEDS):
        raise _refused(root, f'it has an attribute "{SEEDS}" already', "grow a model once, or rename the attribute")
    if isinstance(root, nn.Sequential):
        root = _growable(root)
    root.add_module(SEEDS, nn.ModuleDict())
    return root


def refuse_several_processes(model: nn.Module) -> None:
    """Raise EsperError E402 where this process is one of several that train together, and nothing keeps them alike."""
    processes = torch.distributed.get_world_size() if _distributed() else 1
    if processes > 1 and model not in KEPT_ALIKE:
        raise EsperError(
            "E402",
            f"{type(model).__name__} cannot be grown in {processes} processes",
            why="each would grow its own seeds, whose gradients would not be reduced: the networks would drift apart",
            fix="pip install esper-distributed, and call esper_distributed.grow instead; or train in one process",
        )


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _growable(root: nn.Sequential) -> nn.Module:
    if type(root).forward is not nn.Sequential.forward:
        raise _refused(
            root, "a Sequential with a forward of its own may run every child", "hold it in a plain nn.Module"
        )
    if root._forward_hooks or root._forward_pre_hooks:
        raise _refused(root, "a root Sequential is replaced and would lose its hooks", "hold it in a plain nn.Module")
    replacement = GrowableSequential(OrderedDict(root.named_children()))
    replacement.training = root.training
    return replacement


def _refused(root: nn.Module, why: str, fix: str) -> EsperError:
    return EsperError("E402", f"{type(root).__name__} cannot be grown", why=why, fix=fix)
