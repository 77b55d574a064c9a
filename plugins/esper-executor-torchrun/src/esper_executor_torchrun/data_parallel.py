"""One host that all processes of a torchrun job train together, each on its share of every batch."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from esper_core.api import EsperError, HostBuilder, HostReport, Plan
from esper_executor_processes.dispatch import Lost, ask_all
from esper_executor_processes.remote_host import RemoteHost
from esper_executor_processes.worker import Answer, Call
from esper_executor_torchrun.config import Parallel, TorchrunConfig
from esper_executor_torchrun.executor import TorchrunExecutor
from esper_executor_torchrun.meeting import made_in_shares
from esper_executor_torchrun.ranks import Ranks

#: What all processes are asked for; anything else the first one can answer alone.
_TOGETHER = frozenset({"apply", "epoch", "restore"})

#: Errors that concern the processes, not the host.
_OF_THE_JOB = frozenset({"E651", "E652", "E655"})


def torchrun_executor(config: TorchrunConfig, build: HostBuilder) -> TorchrunExecutor:
    """Return the executor that the configuration asks for. Raises EsperError E161, E654 if it cannot run here."""
    return DataParallelExecutor(config, build) if config.parallel is Parallel.DATA else TorchrunExecutor(config, build)


class DataParallelExecutor(TorchrunExecutor):
    """One host in all processes of a torchrun job; each has a copy, and all are told the same.

    What the first process says of its copy is what the run is told: events, checkpoints and results are those of a run
    in one process. Where the copies do not agree, or a process is lost, the run ends by name.

    Args:
        config: how long to wait for a process.
        build: makes a host of its plan; a builder of hosts that other things may make of their parts (`made_by`).
        ranks: the processes of another executor; None: find them.

    Raises:
        EsperError: E161 if torchrun did not start this process, E654 if the hosts of this builder cannot be shared.
    """

    def __init__(self, config: TorchrunConfig, build: HostBuilder, ranks: Ranks | None = None) -> None:
        made_by = getattr(build, "made_by", None)
        if made_by is None and ranks is None:
            raise _refused("these hosts are made by something that makes whole ones only")
        super().__init__(config, build if made_by is None else made_by(partial(made_in_shares, config)), ranks)
        self._mirrors: list[RemoteHost] = []

    def sibling(self) -> "DataParallelExecutor":
        """Return another executor in the same processes."""
        return DataParallelExecutor(self._config, self._ranks.build, self._ranks)

    def open(self, plans: Sequence[Plan]) -> list[HostReport]:
        """Build the host in all processes.

        Raises:
            Exception: whatever keeps a host from being built.
            EsperError: E654 for several hosts, or one that cannot be shared; E652 if a process does not come.
        """
        if len(plans) != 1:
            raise _refused(f"there are {len(plans)} hosts, and all processes train one together")
        size = self._ranks.job.size
        self._ranks.open([*plans] * size)
        self._mirrors = [RemoteHost(key=(self._number, 0), place=rank, plan=plans[0]) for rank in range(1, size)]
        return super().open(plans)

    def _ask(self, calls: Sequence[tuple[Call, ...]], lost: Lost | None = None) -> list[tuple[Any, ...]]:
        (asked,) = calls
        building = any(mirror.generation is None for mirror in self._mirrors)
        hosts = [*self._hosts, *(self._mirrors if building or asked[0][0] in _TOGETHER else [])]
        answers = ask_all(self._workers, hosts, [asked] * len(hosts), lost or self._lost)
        for mirror in self._mirrors:
            mirror.forget_past()
        raised = [answer.raised for answer in answers if answer.raised is not None]
        if raised:
            raise raised[0]
        self._agree(answers)
        return [answers[0].values]

    def _agree(self, answers: Sequence[Answer]) -> None:
        """A host that has failed alike in all processes is a result, as with any executor; everything else is not."""
        reports = [value for answer in answers for value in answer.values[:1] if isinstance(value, HostReport)]
        failed = [(rank, report) for rank, report in enumerate(reports) if report.failure is not None]
        if not failed:
            return
        concerns_job = [report for _, report in failed if _code(report) in _OF_THE_JOB]
        if not concerns_job and len({report.failure for report in reports}) == 1:
            return
        told = [(rank, report) for rank, report in failed if _code(report) != "E652"]
        if not told or _code(told[0][1]) in _OF_THE_JOB:
            cause = (told or failed)[0][1].cause
            assert cause is not None
            raise cause
        rank, report = told[0]
        raise EsperError(
            "E652",
            "the processes that train together have lost each other",
            where="executor torchrun",
            why=f"the host has failed in {self._ranks.name(rank)}: {report.failure}",
            fix="mend that, and go on from the last checkpoint: torchrun ... -m esper_app run --resume last",
        )


def _code(report: HostReport) -> str | None:
    return report.cause.code if isinstance(report.cause, EsperError) else None


def _refused(why: str) -> EsperError:
    fix = "--set executor.parallel=hosts, which gives each process whole hosts"
    return EsperError("E654", "this run cannot be trained in shares of its batches", why=why, fix=fix)
