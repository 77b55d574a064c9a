"""Workers that are killed, hosts that fail, and processes that are to end."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import evolve

from esper_core.api import Action, EsperError, GovernorMode, Host, HostRunner, Plan
from esper_executor_processes.config import ProcessesConfig
from esper_executor_processes.executor import ProcessesExecutor
from esper_testing.tiny_host import TinyHost, tiny_plan

EPOCHS = 5


class Fragile(TinyHost):
    """A tiny host that ends its own process, once or always, in an epoch; or takes more memory than there is."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._at = plan.config.get("dies_at")
        self._once = plan.config.get("once")
        self._takes = plan.config.get("takes")

    def epoch(self, reference=None):
        if self._epoch == self._at and not (self._once and Path(self._once).exists()):
            if self._once:
                Path(self._once).touch()
            if self._takes:
                bytearray(self._takes)
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().epoch(reference)


def plans(count, **config):
    return [tiny_plan(f"host{index}", seed=index, **config) for index in range(count)]


def actions(count, epoch):
    return [[Action(id=f"host{host}/{epoch}/{i}") for i in range(host + 1)] for host in range(count)]


def run(executor, count, epochs, before=lambda epoch: None):
    reports = []
    for epoch in epochs:
        before(epoch)
        executor.apply(actions(count, epoch))
        before(epoch)
        reports = executor.epoch([None] * count)
    return reports


def silent(reports):
    return [evolve(report, notices=()) for report in reports]


def values(states):
    return [({name: t.tolist() for name, t in s.tensors.items()}, dict(s.record)) for s in states]


@pytest.fixture
def opened():
    executors = []

    def open_(hosts, build=Fragile, **options):
        executors.append(executor := ProcessesExecutor(ProcessesConfig(**options), build))
        executor.open(hosts)
        return executor

    yield open_
    for executor in executors:
        executor.close()


def alone(hosts, epochs=EPOCHS):
    runners = [HostRunner(plan, TinyHost) for plan in hosts]
    for epoch in range(epochs):
        for runner, asked in zip(runners, actions(len(hosts), epoch), strict=True):
            runner.apply(asked)
            runner.epoch(None)
    return runners


@pytest.mark.parametrize("capture_every", [1, 3, None])
def test_a_killed_worker_changes_nothing_but_is_said(opened, capture_every):
    hosts = plans(3)
    executor = opened(hosts, workers=2, capture_every=capture_every)

    def kill(epoch):
        if epoch in (0, 3):
            os.kill(executor.pool.pids()[0], signal.SIGKILL)

    reports = run(executor, 3, range(EPOCHS), kill)
    expected = alone(hosts)
    assert silent(reports) == [runner.report() for runner in expected]
    assert values(executor.capture()) == values([runner.capture() for runner in expected])
    assert executor.finish() == [runner.finish() for runner in expected]


def test_a_killed_worker_is_said_in_the_next_report_once(opened):
    executor = opened(plans(2), workers=1)
    run(executor, 2, range(1))
    os.kill(executor.pool.pids()[0], signal.SIGKILL)
    executor.apply(actions(2, 1))
    said, other = executor.epoch([None, None])
    assert "SIGKILL" in said.notices[0]
    assert "1 of at most 3" in said.notices[0]
    assert not other.notices, "it was not in a call of this host"
    assert executor.reports() == [said, other]
    executor.apply(actions(2, 2))
    assert not executor.epoch([None, None])[0].notices


def test_reports_are_the_same_after_a_worker_was_lost(opened):
    executor = opened(plans(2), workers=2, capture_every=1)
    reports = run(executor, 2, range(2))
    for pid in executor.pool.pids():
        os.kill(pid, signal.SIGKILL)
    assert executor.reports() == reports


def test_a_worker_lost_while_the_run_ends_is_a_warning(opened):
    executor = opened(plans(1))
    run(executor, 1, range(1))
    os.kill(executor.pool.pids()[0], signal.SIGKILL)
    with pytest.warns(RuntimeWarning, match="SIGKILL"):
        (final,) = executor.finish()
    assert final == alone(plans(1), 1)[0].finish()


def test_a_host_that_always_ends_its_process_fails_and_the_others_go_on(opened):
    hosts = plans(3)
    hosts[1] = tiny_plan("host1", seed=1, dies_at=2)
    executor = opened(hosts, workers=1, restarts=2)
    reports = run(executor, 3, range(EPOCHS))
    assert reports[1].failure == "its process was ended by SIGKILL, 3 times in one epoch"
    assert reports[1].governor is GovernorMode.STOPPED
    assert reports[1].evidence is None
    expected = alone(hosts)
    for index in (0, 2):
        assert silent(reports)[index] == expected[index].report()
    assert executor.finish()[1].failure == reports[1].failure
    states = executor.capture()
    other = opened(hosts, workers=1)
    assert [it.failure for it in other.restore(states)] == [None, reports[1].failure, None]


def test_a_process_that_ends_while_it_builds_a_host_is_named(opened):
    with pytest.raises(EsperError, match='the host "host0" cannot be built') as raised:
        opened(plans(1), EndsAtOnce)
    assert raised.value.code == "E541"
    assert "exit status 7" in (raised.value.why or "")


class EndsAtOnce(TinyHost):
    def __init__(self, plan: Plan) -> None:
        os._exit(7)


def test_memory_beyond_the_limit_fails_the_host_alone(opened):
    hosts = plans(2)
    hosts[0] = tiny_plan("host0", seed=0, dies_at=1, takes=1 << 30)
    executor = opened(hosts, workers=1, memory_mib=256)
    reports = run(executor, 2, range(3))
    assert reports[0].failure == "MemoryError"
    assert silent(reports)[1] == alone(hosts, 3)[1].report()


def test_siblings_share_workers_and_hosts_have_the_same_names(opened):
    one = opened(plans(2), workers=2)
    other = one.sibling()
    other.open([evolve(plan, seed=plan.seed + 10) for plan in plans(2)])
    try:
        run(one, 2, range(2))
        run(other, 2, range(1))
        assert len(one.pool.pids()) == 2
        assert one.pool is other.pool
        assert [report.epoch for report in one.reports()] == [2, 2]
        assert [report.epoch for report in other.reports()] == [1, 1]
    finally:
        one.close()
    assert [report.epoch for report in other.reports()] == [1, 1], "the processes are still its own"
    other.close()
    other.close()
    assert not other.pool.pids()


def test_what_interrupts_a_call_leaves_no_answer_behind(opened, monkeypatch):
    executor = opened(plans(2), workers=2, capture_every=1)
    run(executor, 2, range(1))

    def interrupted(connections):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("esper_executor_processes.pool.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.epoch([None, None])
    assert [report.epoch for report in executor.reports()] == [1, 1]


def test_the_forkserver_may_be_killed(opened):
    executor = opened(plans(2), workers=2)
    run(executor, 2, range(1))
    parents = {int(Path(f"/proc/{pid}/stat").read_text().split()[3]) for pid in executor.pool.pids()}
    os.kill(parents.pop(), signal.SIGKILL)
    reports = run(executor, 2, range(1, EPOCHS))
    assert silent(reports) == [runner.report() for runner in alone(plans(2))]


def test_a_process_that_begins_workers_and_dies_again_is_an_error_with_its_code(opened, monkeypatch):
    executor = opened(plans(2), workers=2)

    def died(pool, place):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(type(executor.pool), "_fork", died)
    executor.pool._workers.clear()
    with pytest.raises(EsperError, match="E541") as caught:
        executor.pool.worker(0)
    assert "has ended" in caught.value.why


def test_a_builder_that_leaves_threads_is_not_preloaded(opened):
    executor = opened(plans(1), Threaded())
    assert not executor.pool.preloaded
    assert silent(run(executor, 1, range(1))) == [runner.report() for runner in alone(plans(1), 1)]


class Threaded:
    """A builder whose preloading begins a thread."""

    def preload(self, plan: Plan) -> None:
        import threading

        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

    def __call__(self, plan: Plan) -> Host:
        return TinyHost(plan)


PROGRAM = """
    import sys
    from esper_executor_processes.config import ProcessesConfig
    from esper_executor_processes.executor import ProcessesExecutor
    from esper_testing.tiny_host import TinyHost, tiny_plan

    executor = ProcessesExecutor(ProcessesConfig(workers=2), TinyHost)
    executor.open([tiny_plan("a", 0), tiny_plan("b", 1)])
    print(*executor.pool.pids(), flush=True)
    if "exit" not in sys.argv:
        sys.stdin.read()
"""


@pytest.mark.parametrize(
    "end", ["SIGKILL", *(pytest.param(end, marks=pytest.mark.slow) for end in ("SIGTERM", "SIGINT", "exit"))]
)
def test_no_process_outlives_the_run(end):
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), end]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2
        descriptors = []
        for pid in workers:
            with suppress(ProcessLookupError):  # it has ended before its descriptor could be opened
                descriptors.append(os.pidfd_open(pid))
        if end != "exit":
            process.send_signal(signal.Signals[end])
        process.wait(240)
    _await_end(descriptors)
    assert not [pid for pid in workers if _runs(pid)]


def _await_end(descriptors):
    import select

    for descriptor in descriptors:
        assert select.select([descriptor], [], [], 240)[0], "a worker goes on without its run"
        os.close(descriptor)


def _runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_options_that_make_no_sense_are_refused():
    for options in ({"workers": 0}, {"restarts": -1}, {"capture_every": 0}, {"memory_mib": 1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            ProcessesConfig(**options)
