"""What an executor must do whose hosts are in other processes, or that shares its processes with another one."""

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from esper_core.leyline.executors import SharesWorkers
from esper_core.leyline.specs import ExecutorSpec
from esper_testing.check import Check, CheckLevel, NotApplicable, check, collect
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


@check("executor-lost-process", ExecutorSpec.kind, CONTRACT, since="2.0")
def lost_process(subject: ExecutorSubject) -> None:
    """Where hosts are in other processes and one of these is killed, its hosts go on as they were, or have failed.

    Either is said: by a notice in a report, or by a reason. The other hosts go on as if nothing had happened.
    """
    plans, count = some_plans(3), 3
    with TemporaryDirectory() as folder:
        file = Path(folder) / "process"
        plans[1] = tiny_plan("host1", plans[1].seed, process_file=str(file))
        with subject.opened(plans) as executor:
            if (process := int(file.read_text())) == os.getpid():
                raise NotApplicable("its hosts are in the process of the run")
            run_epochs(executor, count, range(MIDDLE))
            os.kill(process, signal.SIGKILL)
            executor.apply(some_actions(count, MIDDLE))
            told = executor.epoch(some_references(count, MIDDLE))
            reports, states = run_epochs(executor, count, range(MIDDLE + 1, EPOCHS))[-1], executor.capture()
    cause = "a host that is built again without what happened before"
    for host, plan in enumerate(plans):
        expected = alone(tiny_plan(plan.name, plan.seed), host, count)
        same = evolve(reports[host], notices=()) == expected.report() and state_values(states[host]) == state_values(
            expected.capture()
        )
        failed = host == 1 and reports[host].failure is not None
        require(same or failed, f"{plan.name} is not as it is alone", cause)
    said = any(report.notices or report.failure for report in told)
    require(said, "nothing is said of a process that was killed", "a restart that leaves no notice in a report")


@check("executor-siblings", ExecutorSpec.kind, CONTRACT, since="2.0")
def siblings(subject: ExecutorSubject) -> None:
    """A sibling has hosts of its own: they go through their epochs by themselves, and stay when the first is closed."""
    with subject.opened(some_plans(2)) as executor:
        if not isinstance(executor, SharesWorkers):
            raise NotApplicable("it has no `sibling`")
        other = executor.sibling()
        try:
            other.open([tiny_plan(plan.name, plan.seed + 7) for plan in some_plans(2)])
            run_epochs(executor, 2, range(2))
            run_epochs(other, 2, range(1))
            found = [report.epoch for report in executor.reports()], [report.epoch for report in other.reports()]
            apart = found == ([2, 2], [1, 1])
            require(apart, f"their hosts stand before epochs {found}", "hosts that are known by name alone")
            executor.close()
            later = run_epochs(other, 2, range(1, 2))[-1]
        finally:
            other.close()
    expected = [alone(tiny_plan(plan.name, plan.seed + 7), host, 2, 2) for host, plan in enumerate(some_plans(2))]
    same = later == [host.report() for host in expected]
    require(same, "a sibling's host is not as it is alone", "hosts of two executors that are mixed up")


#: The checks of this module in order.
PROCESS_CHECKS: tuple[Check, ...] = collect(globals())
