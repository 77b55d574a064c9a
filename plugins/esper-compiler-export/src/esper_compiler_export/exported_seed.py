"""A module that runs one of two exported programs, by its mode, with one set of parameters."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.func import functional_call


class ExportedSeed(nn.Module):
    """A seed that was exported; ``forward(h) -> delta``.

    Its parameters and buffers have the names of the seed's, and are handed to the program at each call: they may be
    trained, loaded, moved and copied like those of any module.

    Args:
        programs: that for training (True) and that for evaluation (False), exported from one seed.
    """

    def __init__(self, programs: Mapping[bool, ExportedProgram]) -> None:
        super().__init__()
        # In a tuple, so that they are no submodules: their tensors are those of this module.
        self._programs = (programs[False].module(), programs[True].module())
        given = {**dict(self._programs[1].named_parameters()), **dict(self._programs[1].named_buffers())}
        for name in programs[True].state_dict:
            _register(self, name, given[name])

    def forward(self, h: Tensor) -> Tensor:
        """Return the update of `h`, (B, ...) of the shape that was compiled, B any."""
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        delta: Tensor = functional_call(self._programs[self.training], state, (h,))
        return delta


def _register(root: nn.Module, name: str, tensor: Tensor) -> None:
    *path, leaf = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    if isinstance(tensor, nn.Parameter):
        root.register_parameter(leaf, tensor)
    else:
        root.register_buffer(leaf, tensor)
