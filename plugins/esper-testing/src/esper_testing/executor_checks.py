"""What an executor must do: run every host as if it were alone, in order, and turn what one raises into a result."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from attrs import frozen

from esper_core.leyline.actions import Action, GovernorMode
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.executors import Executor, Plan
from esper_core.leyline.reports import HostReport, HostState
from esper_core.leyline.specs import ExecutorSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.subject import Subject
from esper_testing.tiny_host import TinyHost, tiny_plan
from esper_testing.usage import Usage

CONTRACT = CheckLevel.CONTRACT

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
        plans, actions, references = _plans(3), _actions(3, 0), _references(3, 0)
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


def _plans(count: int) -> list[Plan]:
    return [tiny_plan(f"host{number}", seed=count - number) for number in range(count)]


def _actions(count: int, epoch: int) -> list[list[Action]]:
    """A different number of actions for every host, the first has none."""
    return [[Action(id=f"host{host}/{epoch}/{i}") for i in range(host)] for host in range(count)]


def _references(count: int, epoch: int) -> list[Evidence | None]:
    """A different one for every host, the last has none."""
    losses = [EpochMetrics(loss=1.0 + host + epoch, accuracy=0.5, samples=3) for host in range(count - 1)]
    return [*(Evidence(host="twin", epoch=epoch, train=loss, validation=loss) for loss in losses), None]


def _run(executor: Executor, count: int, epochs: Sequence[int]) -> list[list[HostReport]]:
    found = []
    for epoch in epochs:
        executor.apply(_actions(count, epoch))
        found.append(executor.epoch(_references(count, epoch)))
    return found


def _alone(plan: Plan, host: int, count: int) -> TinyHost:
    """A host of these plans that no executor has touched, after all epochs."""
    built = TinyHost(plan)
    for epoch in range(EPOCHS):
        for action in _actions(count, epoch)[host]:
            built.apply(action)
        built.epoch(_references(count, epoch)[host])
    return built


def _values(state: HostState) -> Any:
    return {name: tensor.tolist() for name, tensor in state.tensors.items()}, dict(state.record)


@check("executor-order", ExecutorSpec.kind, CONTRACT, since="2.0")
def order(subject: ExecutorSubject) -> None:
    """For 1, 2 or 5 hosts everything that is returned is in the order of the plans, with one entry for each host."""
    for count in (1, 2, 5):
        names, actions = [plan.name for plan in _plans(count)], _actions(count, 0)
        with subject.opened(_plans(count)) as executor:
            answers = executor.apply(actions)
            found = {
                "reports": [report.host for report in executor.reports()],
                "epoch": [report.host for report in executor.epoch(_references(count, 0))],
                "finish": [final.host for final in executor.finish()],
            }
        for call, hosts in found.items():
            _require(hosts == names, f"`{call}` is for {hosts}, the plans are for {names}", "results as they came in")
        asked = [[action.id for action in of_one] for of_one in actions]
        told = [[answer.verdict.action_id for answer in of_one] for of_one in answers]
        _require(told == asked, f"`apply` answers to {told}, and was asked {asked}", "one list for all hosts")


@check("executor-alike", ExecutorSpec.kind, CONTRACT, since="2.0")
def alike(subject: ExecutorSubject) -> None:
    """Every host has the evidence and the state, bit for bit, that it has where no executor is in between.

    It gets its own seed, its own actions in order, and its own reference.
    """
    count = 3
    with subject.opened(_plans(count)) as executor:
        reports = _run(executor, count, range(EPOCHS))[-1]
        states, finals = executor.capture(), executor.finish()
    for host, plan in enumerate(_plans(count)):
        alone, cause = _alone(plan, host, count), "an action or a reference that is lost, doubled or another host's"
        same = reports[host] == alone.report() and finals[host] == alone.finish()
        _require(
            same and _values(states[host]) == _values(alone.capture()), f"{plan.name} is not as it is alone", cause
        )


@check("executor-reports-again", ExecutorSpec.kind, CONTRACT, since="2.0")
def reports_again(subject: ExecutorSubject) -> None:
    """Asking for the reports again gives the same: nothing is lost where an answer is, and asking trains nothing."""
    with subject.opened(_plans(2)) as executor:
        for trained in _run(executor, 2, range(2)):
            expected = trained
        for _ in range(2):
            found = executor.reports()
            _require(
                found == expected, "the reports are others when they are asked for again", "a queue that is emptied"
            )


@check("executor-resumes", ExecutorSpec.kind, CONTRACT, since="2.0")
def resumes(subject: ExecutorSubject) -> None:
    """From captured states it goes on bit for bit as before: in a new executor, and in the one that they are of."""
    count, cause = 3, "a state that is shared with the host and changes with it, or one that another host gets"
    with subject.opened(_plans(count)) as executor:
        _run(executor, count, range(MIDDLE))
        states = executor.capture()
        expected = _run(executor, count, range(MIDDLE, EPOCHS))
        with subject.opened(_plans(count)) as other:
            other.restore(states)
            _require(_run(other, count, range(MIDDLE, EPOCHS)) == expected, "a new executor goes on otherwise", cause)
        executor.restore(states)
        _require(_run(executor, count, range(MIDDLE, EPOCHS)) == expected, "brought back it goes on otherwise", cause)


@check("executor-refuses-states", ExecutorSpec.kind, CONTRACT, since="2.0")
def refuses_states(subject: ExecutorSubject) -> None:
    """A state that does not fit its host is refused with an EsperError E502, also from another process."""
    import torch

    with subject.opened(_plans(2)) as executor:
        one, _ = executor.capture()
        wrong = HostState(tensors={"weights": torch.zeros(7)}, record={"epoch": 0, "asked": []})
        try:
            executor.restore([one, wrong])
        except EsperError as error:
            _require(error.code == "E502", f"it raised {error.code}", "an error of its own in place of the host's")
            return
    _require(False, "a state that does not fit was taken without a word", "an exception that is taken for a failure")


@check("executor-failure", ExecutorSpec.kind, CONTRACT, since="2.0")
def failure(subject: ExecutorSubject) -> None:
    """A host that raises has failed: that is a result with a reason, and the others go on as if nothing had happened.

    It is stopped, has no evidence, its actions are denied, and its final report has the reason.
    """
    for call in ("apply", "epoch", "finish"):
        plans, count = _plans(3), 3
        plans[1] = tiny_plan("host1", plans[1].seed, fails_in=call, fails_at=EPOCHS if call == "finish" else 1)
        with subject.opened(plans) as executor:
            reports = _run(executor, count, range(EPOCHS))[-1]
            answers, finals = executor.apply(_actions(count, EPOCHS)), executor.finish()
            again = executor.reports()
        for host in (0, 2):
            alone = _alone(plans[host], host, count)
            _require(reports[host] == alone.report(), f"host{host} is not as it is alone", "a loop that ends early")
        broken, final = again[1], finals[1]
        _require(
            f"planned to fail in {call}" in (broken.failure or "") and broken.failure == final.failure,
            f"the report gives {broken.failure!r} and the final report {final.failure!r} as the reason",
            "a reason that is left out, or an exception that is swallowed",
        )
        if call != "finish":
            stopped = broken.governor is GovernorMode.STOPPED and broken.evidence is None and broken.epoch == 1
            denied = not any(answer.verdict.allowed for answer in answers[1])
            _require(stopped and denied, "a failed host is not stopped", "a report from before the failure")


@check("executor-failure-saved", ExecutorSpec.kind, CONTRACT, since="2.0")
def failure_saved(subject: ExecutorSubject) -> None:
    """A host that has failed can be captured with the others, and stays failed with its reason where it is restored."""
    plans = _plans(2)
    plans[0] = tiny_plan("host0", 5, fails_in="epoch", fails_at=1)
    with subject.opened(plans) as executor:
        _run(executor, 2, range(MIDDLE))
        states, expected = executor.capture(), executor.reports()[0]
    with subject.opened(plans) as executor:
        found = executor.restore(states)[0]
    same = (found.failure, found.epoch, found.governor) == (expected.failure, expected.epoch, expected.governor)
    _require(
        same, f"restored it is {found.governor}, with the reason {found.failure!r}", "a failure that is kept aside"
    )


@check("executor-build-error", ExecutorSpec.kind, CONTRACT, since="2.0")
def build_error(subject: ExecutorSubject) -> None:
    """What keeps a host from being built is raised by `open` as it is: nothing has been trained, so nothing failed."""
    executor = subject.build()
    try:
        executor.open([*_plans(1), tiny_plan("broken", 1, fails_in="build")])
    except EsperError as error:
        _require(error.code == "E402", f"it raised {error.code}", "an error of its own in place of the builder's")
        return
    finally:
        executor.close()
    _require(False, "a host that cannot be built was opened", "an exception that is taken for a failure of the host")


@check("executor-close", ExecutorSpec.kind, CONTRACT, since="2.0")
def close(subject: ExecutorSubject) -> None:
    """`close` before `open` and a second `close` do nothing: a run that cannot begin closes what it has."""
    subject.build().close()
    with subject.opened(_plans(2)) as executor:
        _run(executor, 2, range(1))
        executor.close()


def _require(right: bool, seen: str, cause: str) -> None:
    if not right:
        raise CheckFailure(seen, cause=cause, fix="give each host to a HostRunner, and keep its results in its place")


#: The checks of this module in order.
EXECUTOR_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(ExecutorSubject, EXECUTOR_CHECKS)
