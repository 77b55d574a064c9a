"""What a user is told in passing: once, and in words."""

import warnings
from collections.abc import Mapping

from attrs import define, field

from esper_core.leyline.actions import GovernorMode, Op
from esper_core.leyline.reports import HostReport
from esper_core.simic.rollout import Decided
from esper_growing.following.surroundings import averages_without_seeds, slots_that_a_cache_blinds
from esper_growing.measuring.user_host import UserHost


@define
class Notices:
    """Warnings of one training, each of them once."""

    _told: set[str] = field(factory=set)
    _seen: set[str] = field(factory=set)
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

    def overflowed(self, steps: Mapping[str, int]) -> None:
        """Say that a seed has sat steps out, by slot."""
        for slot, count in steps.items():
            self.once(
                f"the gradients of the seed in {slot} overflowed at the loss scale in {count} steps of this epoch: it "
                "sat them out, and the rest of the network did not. Train in bfloat16, or with a smaller loss scale"
            )

    def begun(self, host: UserHost, decided: Decided | None) -> None:
        """Say what a policy lacks that waits because something is not known, and what does not follow the growth."""
        for action in decided.decision.actions if decided else ():
            if action.op is Op.WAIT and "not known" in action.reason:
                self.once(f"the policy waits: {action.reason}")
        model, slots = host.grower.growth.slot_set.model, set(host.grower.growth.slot_set.slots)
        new, self._seen = slots - self._seen, slots
        if new and averages_without_seeds(model):
            self.once(
                f"there is an AveragedModel of a {type(model).__name__} that was made before the network grew: it does "
                "not follow. Make it when nothing grows any more, or of handle.export()"
            )
        for slot in slots_that_a_cache_blinds(model) if new else ():
            self.once(
                f"the seed in {slot} looks at positions that a cache of decoding keeps from it: call "
                "generate(use_cache=False)"
            )

    def concluded(self, report: HostReport, host: UserHost) -> None:
        """Say what an epoch leaves open, and that the governor's mode has changed, and why."""
        if host.unproved:
            self.once(f"it is not known whether seeds in training leave the rest of the network alone: {host.unproved}")
        if host.broken:
            self.once(f"validation data are not finite in {host.broken}: give data without NaN and infinity")
        if report.governor is self._governor:
            return
        self._governor = report.governor
        if report.governor is GovernorMode.NORMAL:
            warnings.warn("the losses are normal again: the network may grow", stacklevel=3)
        else:
            warnings.warn(f"the governor is {report.governor.value}: {report.governor_reason}", stacklevel=3)
