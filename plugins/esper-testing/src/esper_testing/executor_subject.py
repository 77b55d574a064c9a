"""What executors are tried with: hosts of a few numbers, what they are told, and what they are alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from attrs import frozen

from esper_core.leyline.actions import Action
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.executors import Executor, Plan
from esper_core.leyline.reports import HostReport, HostState
from esper_core.leyline.specs import ExecutorSpec
from esper_testing.check import CheckFailure
from esper_testing.subject import Subject
from esper_testing.tiny_host import TinyHost, tiny_plan
from esper_testing.usage import Usage

#: Epochs that are run, and the epoch before which states are captured.
EPOCHS, MIDDLE = 4, 2


@frozen(kw_only=True)
class ExecutorSubject(Subject[ExecutorSpec]):
    """What the executor checks look at."""

    uses: ClassVar[int] = 60
    #: How hosts are run in parallel changes how long it takes.
    shows_options: ClassVar[bool] = False

    def build(self) -> Executor:
        """Return a new executor, of tiny hosts."""
        executor: Executor = self.factory(self.config, TinyHost)
        return executor

    def build_any(self) -> None:
        """Build one executor."""
        self.build().close()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Run an epoch of three hosts from their first state, and capture them."""
        plans, actions, references = some_plans(3), some_actions(3, 0), some_references(3, 0)
        with self.opened(plans) as executor:
            begun = executor.capture()

            def use() -> Any:
                executor.restore(begun)
                return executor.apply(actions), executor.epoch(references), executor.reports(), executor.capture()

            yield Usage(use=use, handed=[plans, actions, references, begun])

    @contextmanager
    def opened(self, plans: Sequence[Plan]) -> Iterator[Executor]:
        """Open an executor, and close it in the end."""
        executor = self.build()
        try:
            executor.open(plans)
            yield executor
        finally:
            executor.close()


def some_plans(count: int) -> list[Plan]:
    """Return plans of hosts with seeds of their own."""
    return [tiny_plan(f"host{number}", seed=count - number) for number in range(count)]


def some_actions(count: int, epoch: int) -> list[list[Action]]:
    """A different number of actions for every host, the first has none."""
    return [[Action(id=f"host{host}/{epoch}/{i}") for i in range(host)] for host in range(count)]


def some_references(count: int, epoch: int) -> list[Evidence | None]:
    """A different one for every host, the last has none."""
    losses = [EpochMetrics(loss=1.0 + host + epoch, accuracy=0.5, samples=3) for host in range(count - 1)]
    return [*(Evidence(host="twin", epoch=epoch, train=loss, validation=loss) for loss in losses), None]


def run_epochs(executor: Executor, count: int, epochs: Sequence[int]) -> list[list[HostReport]]:
    """Run epochs of an executor; return the reports of each."""
    found = []
    for epoch in epochs:
        executor.apply(some_actions(count, epoch))
        found.append(executor.epoch(some_references(count, epoch)))
    return found


def alone(plan: Plan, host: int, count: int, epochs: int = EPOCHS) -> TinyHost:
    """A host of these plans that no executor has touched, after all epochs."""
    built = TinyHost(plan)
    for epoch in range(epochs):
        for action in some_actions(count, epoch)[host]:
            built.apply(action)
        built.epoch(some_references(count, epoch)[host])
    return built


def state_values(state: HostState) -> Any:
    """Return what is in a state as values that can be compared."""
    return {name: tensor.tolist() for name, tensor in state.tensors.items()}, dict(state.record)


def require(right: bool, seen: str, cause: str) -> None:
    """Fail the check unless something is right."""
    if not right:
        raise CheckFailure(seen, cause=cause, fix="give each host to a HostRunner, and keep its results in its place")
