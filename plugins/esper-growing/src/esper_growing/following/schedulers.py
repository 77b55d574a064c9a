"""How the user's learning-rate scheduler goes on while seeds' parameter groups come and go: it never sees them.

A torch scheduler reads and writes the groups of ``scheduler.optimizer``, and holds lists with one entry for each of
them (base learning rates, lambdas, upper bounds, minima). Instead of mending those lists at every change, `follow` puts
a view in that place that shows the host's groups only. The scheduler's own state is then exactly that of a run without
seeds, so it saves and loads as ever; ``optimizer`` is also the one attribute that no scheduler saves. The seeds'
learning rates are set elsewhere (`esper_core.kasmina.groups.set_seed_lr`).
"""

import gc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import SWALR

from esper_core.kasmina.groups import Group, host_groups
from esper_core.leyline.errors import EsperError

#: The kinds that reach the groups through ``self.optimizer`` alone. Their subclasses are taken to do the same.
KINDS: tuple[type[LRScheduler], ...] = (
    lr_scheduler.LambdaLR,
    lr_scheduler.MultiplicativeLR,
    lr_scheduler.StepLR,
    lr_scheduler.MultiStepLR,
    lr_scheduler.ConstantLR,
    lr_scheduler.LinearLR,
    lr_scheduler.ExponentialLR,
    lr_scheduler.PolynomialLR,
    lr_scheduler.CosineAnnealingLR,
    lr_scheduler.CosineAnnealingWarmRestarts,
    lr_scheduler.CyclicLR,
    lr_scheduler.OneCycleLR,
    lr_scheduler.ReduceLROnPlateau,
    lr_scheduler.SequentialLR,
    lr_scheduler.ChainedScheduler,
    SWALR,
)


def follow(scheduler: LRScheduler, optimizer: Optimizer) -> None:
    """Let a scheduler of `optimizer` go on as if seeds' groups were not there. A second call does nothing.

    Schedulers inside of a `SequentialLR` or `ChainedScheduler` are followed too.

    Raises:
        EsperError: E405 if the scheduler is of an unknown class, schedules another optimizer, or was built over groups
            of live seeds. Nothing has been changed then.
    """
    parts = list(_parts(scheduler))
    for part in parts:
        _refuse(part, optimizer)
    for part in parts:
        if not _is_view(part.optimizer):
            part.optimizer = HostView(part.optimizer)  # type: ignore[assignment]


def follow_attached(optimizer: Optimizer) -> None:
    """Follow every scheduler of an optimizer that nobody has named; those of unknown classes are left alone.

    A scheduler knows its optimizer and not the other way round, so all objects of the process are gone through.
    """
    for found in [one for one in gc.get_objects() if issubclass(type(one), LRScheduler)]:
        scheduled: Any = getattr(found, "optimizer", None)
        # Wrappers of an optimizer (accelerate's) share its list of groups.
        if getattr(scheduled, "param_groups", None) is optimizer.param_groups:
            with suppress(EsperError):
                follow(found, optimizer)


def peak_lr(optimizer: Optimizer, scheduler: LRScheduler | None = None) -> float:
    """Return the highest learning rate that the host's first group is known to reach: a seed's natural first one.

    That is the largest of its present and initial learning rate and of the upper bound that OneCycleLR or CyclicLR
    gives it. Ask before training, since a plateau scheduler forgets where it came from.
    """
    first = host_groups(optimizer)[0]
    known = [first[key] for key in ("lr", "initial_lr", "max_lr") if key in first]
    for part in _parts(scheduler) if scheduler is not None else ():
        if isinstance(part, lr_scheduler.CyclicLR):
            known.append(part.max_lrs[0])
    return max(float(lr) for lr in known)


class HostView:
    """An optimizer as the host's scheduler sees it: `param_groups` without the seeds' groups.

    To everything else it is the optimizer: attributes, class and equality are the optimizer's, since users and
    frameworks ask a scheduler for its optimizer (to log its class's name, or to find it in a list).
    """

    __slots__ = ("_optimizer",)

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    @property
    def param_groups(self) -> list[Group]:
        """The host's groups themselves, in a new list; read afresh, since loading a state replaces them."""
        return host_groups(self._optimizer)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Optimizer]:  # type: ignore[override]
        return type(self._optimizer)

    def __getattr__(self, name: str) -> Any:
        if name == "_optimizer":  # not set yet: a copy under construction
            raise AttributeError(name)
        return getattr(self._optimizer, name)

    def __eq__(self, other: object) -> bool:
        return self._optimizer is (other._optimizer if isinstance(other, HostView) else other)

    def __hash__(self) -> int:
        return hash(self._optimizer)

    def __repr__(self) -> str:
        return f"HostView({self._optimizer!r})"

    def __reduce__(self) -> tuple[type["HostView"], tuple[Optimizer]]:
        return (HostView, (self._optimizer,))


def _is_view(optimizer: object) -> bool:
    # `isinstance` believes `__class__`, which names the optimizer's.
    return type(optimizer) is HostView


def _parts(scheduler: LRScheduler) -> Iterator[LRScheduler]:
    yield scheduler
    for inner in getattr(scheduler, "_schedulers", ()):
        yield from _parts(inner)


def _refuse(scheduler: LRScheduler, optimizer: Optimizer) -> None:
    if not isinstance(scheduler, KINDS):
        raise _misfit(
            scheduler,
            why="only torch's own schedulers are known to leave a parameter group alone that they did not begin with",
            fix="pass torch's scheduler itself if this one wraps it, or write the schedule as a LambdaLR; or pass "
            "scheduler=None and set the learning rates of all groups yourself",
        )
    scheduled: Any = scheduler.optimizer
    real = scheduled._optimizer if _is_view(scheduled) else scheduled
    # Wrappers of an optimizer (accelerate's) share its list of groups, so the list tells what belongs together.
    if real.param_groups is not optimizer.param_groups:
        raise _misfit(
            scheduler,
            why=f"it schedules another optimizer ({type(real).__name__})",
            fix="pass the optimizer that the scheduler was built with",
        )
    hosts = len(host_groups(optimizer))
    for name in ("base_lrs", "min_lrs"):
        entries = len(getattr(scheduler, name, ()))
        if entries not in (0, hosts):
            raise _misfit(
                scheduler,
                why=f"its {name} has {entries} entries, but the host has {hosts} parameter groups: it was built while "
                "seeds were alive, or a group has been added since",
                fix="build the scheduler on an optimizer without seeds' groups, and add those afterwards",
            )


def _misfit(scheduler: object, *, why: str, fix: str) -> EsperError:
    name = type(scheduler).__name__
    return EsperError("E405", f"{name} cannot schedule a growing network", where=f"scheduler {name}", why=why, fix=fix)
