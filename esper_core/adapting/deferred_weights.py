"""Weights of seeds that are loaded before the seeds are there.

Training frameworks load a network's weights first and make its optimizer later, and seeds bring optimizer groups along.
So the weights are kept aside until the seeds have been rebuilt.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from esper_core.kasmina.root_module import SEEDS
from esper_core.leyline.errors import EsperError


class DeferredWeights:
    """Takes seeds' weights out of a state that is loaded into a network without seeds, and gives them to it later.

    Args:
        network: the root module that is going to be grown. Until `close`, or `give`, it carries a hook.
    """

    def __init__(self, network: nn.Module) -> None:
        self._weights: dict[str, Tensor] = {}
        # A function of its own: copies of the network share a function, but would copy the object of a bound method.
        self._hook = network.register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
            lambda module, state, prefix, *_: self._take(state, prefix) if module is network else None
        )

    def give(self, network: nn.Module) -> None:
        """Load what was taken into the network, whose seeds have been rebuilt, and stop taking.

        Raises:
            EsperError: E502 if the seeds in the network are not those whose weights were taken.
        """
        self.close()
        present = {name for name in network.state_dict() if name.startswith(f"{SEEDS}.")}
        if different := present ^ {*self._weights}:
            raise EsperError(
                "E502",
                "the weights of seeds do not fit the seeds that have been rebuilt",
                why=f"on one side only: {', '.join(sorted(different)[:4])}",
                fix="load weights and the record of the growth from one and the same checkpoint",
            )
        network.load_state_dict(self._weights, strict=False)

    def close(self) -> None:
        """Stop taking: seeds' weights are loaded with all others from now on."""
        self._hook.remove()

    def _take(self, state: dict[str, Any], prefix: str) -> None:
        mine = f"{prefix}{SEEDS}."
        taken: Mapping[str, Tensor] = {name: state.pop(name) for name in [*state] if name.startswith(mine)}
        self._weights |= {name.removeprefix(prefix): weight for name, weight in taken.items()}
