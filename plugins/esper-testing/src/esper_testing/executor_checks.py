"""What an executor must do: run every host as if it were alone, in order, and turn what one raises into a result."""

from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.errors import EsperError
from esper_core.leyline.reports import HostState
from esper_core.leyline.specs import ExecutorSpec
from esper_testing.check import Check, CheckLevel, check, collect
from esper_testing.conformance import Conformance
from esper_testing.executor_processes import PROCESS_CHECKS
from esper_testing.executor_subject import (
    EPOCHS,
    MIDDLE,
    ExecutorSubject,
    alone,
    require,
    run_epochs,
    some_actions,
    some_plans,
    some_references,
    state_values,
)
from esper_testing.tiny_host import tiny_plan

CONTRACT = CheckLevel.CONTRACT


@check("executor-order", ExecutorSpec.kind, CONTRACT, since="2.0")
def order(subject: ExecutorSubject) -> None:
    """For 1, 2 or 5 hosts everything that is returned is in the order of the plans, with one entry for each host."""
    for count in (1, 2, 5):
        names, actions = [plan.name for plan in some_plans(count)], some_actions(count, 0)
        with subject.opened(some_plans(count)) as executor:
            answers = executor.apply(actions)
            found = {
                "reports": [report.host for report in executor.reports()],
                "epoch": [report.host for report in executor.epoch(some_references(count, 0))],
                "finish": [final.host for final in executor.finish()],
            }
        for call, hosts in found.items():
            require(hosts == names, f"`{call}` is for {hosts}, the plans are for {names}", "results as they came in")
        asked = [[action.id for action in of_one] for of_one in actions]
        told = [[answer.verdict.action_id for answer in of_one] for of_one in answers]
        require(told == asked, f"`apply` answers to {told}, and was asked {asked}", "one list for all hosts")


@check("executor-alike", ExecutorSpec.kind, CONTRACT, since="2.0")
def alike(subject: ExecutorSubject) -> None:
    """Every host has the evidence and the state, bit for bit, that it has where no executor is in between.

    It gets its own seed, its own actions in order, and its own reference.
    """
    count = 3
    with subject.opened(some_plans(count)) as executor:
        reports = run_epochs(executor, count, range(EPOCHS))[-1]
        states, finals = executor.capture(), executor.finish()
    for host, plan in enumerate(some_plans(count)):
        expected, cause = alone(plan, host, count), "an action or a reference that is lost, doubled or another host's"
        same = reports[host] == expected.report() and finals[host] == expected.finish()
        require(
            same and state_values(states[host]) == state_values(expected.capture()),
            f"{plan.name} is not as it is alone",
            cause,
        )


@check("executor-reports-again", ExecutorSpec.kind, CONTRACT, since="2.0")
def reports_again(subject: ExecutorSubject) -> None:
    """Asking for the reports again gives the same: nothing is lost where an answer is, and asking trains nothing."""
    with subject.opened(some_plans(2)) as executor:
        for trained in run_epochs(executor, 2, range(2)):
            expected = trained
        for _ in range(2):
            found = executor.reports()
            require(
                found == expected, "the reports are others when they are asked for again", "a queue that is emptied"
            )


@check("executor-resumes", ExecutorSpec.kind, CONTRACT, since="2.0")
def resumes(subject: ExecutorSubject) -> None:
    """From captured states it goes on bit for bit as before: in a new executor, and in the one that they are of."""
    count, cause = 3, "a state that is shared with the host and changes with it, or one that another host gets"
    with subject.opened(some_plans(count)) as executor:
        run_epochs(executor, count, range(MIDDLE))
        states = executor.capture()
        expected = run_epochs(executor, count, range(MIDDLE, EPOCHS))
        with subject.opened(some_plans(count)) as other:
            other.restore(states)
            require(
                run_epochs(other, count, range(MIDDLE, EPOCHS)) == expected, "a new executor goes on otherwise", cause
            )
        executor.restore(states)
        require(
            run_epochs(executor, count, range(MIDDLE, EPOCHS)) == expected, "brought back it goes on otherwise", cause
        )


@check("executor-refuses-states", ExecutorSpec.kind, CONTRACT, since="2.0")
def refuses_states(subject: ExecutorSubject) -> None:
    """A state that does not fit its host is refused with an EsperError E502, also from another process."""
    import torch

    with subject.opened(some_plans(2)) as executor:
        one, _ = executor.capture()
        wrong = HostState(tensors={"weights": torch.zeros(7)}, record={"epoch": 0, "asked": []})
        try:
            executor.restore([one, wrong])
        except EsperError as error:
            require(error.code == "E502", f"it raised {error.code}", "an error of its own in place of the host's")
            return
    require(False, "a state that does not fit was taken without a word", "an exception that is taken for a failure")


@check("executor-failure", ExecutorSpec.kind, CONTRACT, since="2.0")
def failure(subject: ExecutorSubject) -> None:
    """A host that raises has failed: that is a result with a reason, and the others go on as if nothing had happened.

    It is stopped, has no evidence, its actions are denied, and its final report has the reason.
    """
    for call in ("apply", "epoch", "finish"):
        plans, count = some_plans(3), 3
        plans[1] = tiny_plan("host1", plans[1].seed, fails_in=call, fails_at=EPOCHS if call == "finish" else 1)
        with subject.opened(plans) as executor:
            reports = run_epochs(executor, count, range(EPOCHS))[-1]
            answers, finals = executor.apply(some_actions(count, EPOCHS)), executor.finish()
            again = executor.reports()
        for host in (0, 2):
            expected = alone(plans[host], host, count)
            require(reports[host] == expected.report(), f"host{host} is not as it is alone", "a loop that ends early")
        broken, final = again[1], finals[1]
        require(
            f"planned to fail in {call}" in (broken.failure or "") and broken.failure == final.failure,
            f"the report gives {broken.failure!r} and the final report {final.failure!r} as the reason",
            "a reason that is left out, or an exception that is swallowed",
        )
        if call != "finish":
            stopped = broken.governor is GovernorMode.STOPPED and broken.evidence is None and broken.epoch == 1
            denied = not any(answer.verdict.allowed for answer in answers[1])
            require(stopped and denied, "a failed host is not stopped", "a report from before the failure")


@check("executor-failure-saved", ExecutorSpec.kind, CONTRACT, since="2.0")
def failure_saved(subject: ExecutorSubject) -> None:
    """A host that has failed can be captured with the others, and stays failed with its reason where it is restored."""
    plans = some_plans(2)
    plans[0] = tiny_plan("host0", 5, fails_in="epoch", fails_at=1)
    with subject.opened(plans) as executor:
        run_epochs(executor, 2, range(MIDDLE))
        states, expected = executor.capture(), executor.reports()[0]
    with subject.opened(plans) as executor:
        found = executor.restore(states)[0]
    same = (found.failure, found.epoch, found.governor) == (expected.failure, expected.epoch, expected.governor)
    require(same, f"restored it is {found.governor}, with the reason {found.failure!r}", "a failure that is kept aside")


@check("executor-build-error", ExecutorSpec.kind, CONTRACT, since="2.0")
def build_error(subject: ExecutorSubject) -> None:
    """What keeps a host from being built is raised by `open` as it is: nothing has been trained, so nothing failed."""
    executor = subject.build()
    try:
        executor.open([*some_plans(1), tiny_plan("broken", 1, fails_in="build")])
    except EsperError as error:
        require(error.code == "E402", f"it raised {error.code}", "an error of its own in place of the builder's")
        return
    finally:
        executor.close()
    require(False, "a host that cannot be built was opened", "an exception that is taken for a failure of the host")


@check("executor-close", ExecutorSpec.kind, CONTRACT, since="2.0")
def close(subject: ExecutorSubject) -> None:
    """`close` before `open` and a second `close` do nothing: a run that cannot begin closes what it has."""
    subject.build().close()
    with subject.opened(some_plans(2)) as executor:
        run_epochs(executor, 2, range(1))
        executor.close()


#: The checks of this module in order.
EXECUTOR_CHECKS: tuple[Check, ...] = (*collect(globals()), *PROCESS_CHECKS)

#: What components of the kind are checked with.
CONFORMANCE = Conformance(ExecutorSubject, EXECUTOR_CHECKS)
