"""The executor that spreads hosts over the processes of a torchrun job."""

from collections.abc import Sequence

from attrs import evolve

from esper_core.api import EsperError, Evidence, HostBuilder, HostReport
from esper_executor_processes.remote_executor import RemoteExecutor
from esper_executor_processes.remote_host import RemoteHost
from esper_executor_torchrun.config import TorchrunConfig
from esper_executor_torchrun.job import Job
from esper_executor_torchrun.ranks import Ranks
from esper_executor_torchrun.stragglers import Stragglers


class TorchrunExecutor(RemoteExecutor):
    """Hosts in the processes of a torchrun job, on one machine or many.

    The first process runs the command, decides, and writes; all of them, the first one too, train hosts. A process that
    is lost ends the run, by name; the job is started again and goes on from the last checkpoint.

    Args:
        config: how long to wait for a process.
        build: makes a host of its plan, in any of them.
        ranks: the processes of another executor; None: find them.

    Raises:
        EsperError: E161 if torchrun did not start this process.
    """

    def __init__(self, config: TorchrunConfig, build: HostBuilder, ranks: Ranks | None = None) -> None:
        job = Job.here()
        if job is None:
            raise EsperError(
                "E161",
                'executor "torchrun" cannot run here',
                why="torchrun has not started this process",
                fix="torchrun --nproc-per-node 2 -m esper_app run TASK --executor torchrun",
            )
        self._config = config
        self._ranks = Ranks(job, build, config.timeout_seconds) if ranks is None else ranks
        self._stragglers: Stragglers[int] = Stragglers(config.straggler)
        # Nobody takes a lost process's place, so nothing is kept to make its hosts again.
        super().__init__(self._ranks, restarts=0, capture_every=1 << 62)

    def sibling(self) -> "TorchrunExecutor":
        """Return another executor in the same processes."""
        return TorchrunExecutor(self._config, self._ranks.build, self._ranks)

    def epoch(self, references: Sequence[Evidence | None]) -> list[HostReport]:
        """Train every host for one epoch; name the process that is much slower than the others."""
        reports = super().epoch(references)
        for host in self._hosts:
            host.forget_past()
        return self._with_stragglers(reports)

    def _lost(self, host: RemoteHost, why: str) -> None:
        raise self._ranks.gone(host.place)

    def _with_stragglers(self, reports: list[HostReport]) -> list[HostReport]:
        """Say in the reports of a slow process's first host that it is slow."""
        # Without evidence nothing was trained: beside a host that has failed, or is through, all others would be slow.
        trained = [it for it, report in zip(self._hosts, reports, strict=True) if report.evidence is not None]
        slow = self._stragglers.named((host.place, host.seconds) for host in trained)
        told = list(reports)
        for index, host in enumerate(self._hosts):
            if words := slow.pop(host.place, ""):
                notice = f"{self._ranks.name(host.place)} {words}"
                told[index] = host.last = evolve(told[index], notices=(*told[index].notices, notice))
        return told
