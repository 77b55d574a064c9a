"""The handle on a network that grows alike in several processes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from attrs import evolve
from torch import nn

from esper_core.kasmina.root_module import KEPT_ALIKE
from esper_distributed.deciding import deciding_first
from esper_distributed.host import DistributedHost
from esper_distributed.ranks import Ranks
from esper_distributed.reducing import GradientReducer, SharedGradients
from esper_growing import GrowthHandle
from esper_growing.run_record import RunRecord
from esper_growing.session import GrowPlan
from esper_growing.sites.confirming import Confirmation


class DistributedHandle(GrowthHandle):
    """Grows a model inside a data-parallel training loop. Call every method in all processes, at the same point.

    Gradients are reduced at the end of each backward pass, so that whatever the loop does with them afterwards is done
    alike everywhere. They are reduced as long as there is a process group, also after `finish`.

    Args:
        model, optimizer, plan, record: as of a `GrowthHandle`.
        ranks: the processes.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: GrowPlan, record: RunRecord, *, ranks: Ranks
    ) -> None:
        KEPT_ALIKE.add(model)  # a root Sequential was replaced
        self._ranks = ranks
        self._reducer = GradientReducer(ranks)
        decided = evolve(plan, parts=evolve(plan.parts, policy=deciding_first(plan.parts.policy, ranks)))
        super().__init__(model, optimizer, decided, record)

    def begin(self, confirmed: Confirmation) -> None:
        """Make the slots, once the sites are confirmed."""
        super().begin(confirmed)
        session = self._known
        self._hooks.seeds = gradients = SharedGradients(self.growth)
        session.host = DistributedHost(
            self._ranks, self._reducer, gradients, session.host.grower, self.epochs, self._plan.look
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Rebuild the topology of a saved state, in all processes the same; see `GrowthHandle.load_state_dict`.

        Raises:
            EsperError: E502 as there, E651 if the processes were given different states.
        """
        super().load_state_dict(state)
        assert isinstance(self._known.host, DistributedHost)
        if self._known.in_epoch:
            self._known.host.go_on()

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Leave gradients unreduced in this block, to add up the backward passes of several small batches."""
        with self._reducer.paused():
            yield
