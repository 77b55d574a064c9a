"""What a user is told in passing: once, and in words."""

import warnings
from collections.abc import Iterable

from attrs import define, field

from esper_core.leyline.actions import Action, GovernorMode, Op
from esper_core.leyline.reports import HostReport
from esper_growing.measuring.user_host import UserHost


@define
class Notices:
    """Warnings of one training, each of them once."""

    _told: set[str] = field(factory=set)
    _governor: GovernorMode = GovernorMode.NORMAL

    def once(self, message: str) -> None:
        """Warn, unless that was said before."""
        if message not in self._told:
            self._told.add(message)
            warnings.warn(message, stacklevel=4)

    def missing(self, *, data: bool) -> None:
        """Say what follows from data that were not given."""
        if data:
            self.once("nothing is measured per sample without validation data and a loss: no seed will be kept")

    def frozen(self, host: UserHost) -> None:
        """Say what follows where no parameter of the host is trained."""
        if not any(p.requires_grad for p in host.grower.growth.slot_set.host_parameters):
            self.once(
                "no parameter of the model is trained: while there is no seed, the loss has no gradient, and the loop "
                "must leave backward out (`if loss.requires_grad: loss.backward()`)"
            )

    def clipped(self, together: bool) -> None:
        """Say that a seed's gradients have shrunk the host's."""
        if together:
            self.once(
                "gradients of host and seeds were clipped by one norm: a seed in training slows the host down. "
                "Clip with handle.clip_grad_norm_(max_norm), or handle.without_seeds(model.parameters())"
            )

    def waiting(self, actions: Iterable[Action]) -> None:
        """Say what a policy lacks that waits because something is not known."""
        for action in actions:
            if action.op is Op.WAIT and "not known" in action.reason:
                self.once(f"the policy waits: {action.reason}")

    def governor(self, report: HostReport) -> None:
        """Say that the governor's mode has changed, and why."""
        if report.governor is self._governor:
            return
        self._governor = report.governor
        if report.governor is GovernorMode.NORMAL:
            warnings.warn("the losses are normal again: the network may grow", stacklevel=3)
        else:
            warnings.warn(f"the governor is {report.governor.value}: {report.governor_reason}", stacklevel=3)
