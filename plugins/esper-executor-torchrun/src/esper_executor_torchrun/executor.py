"""The executor that spreads hosts over the processes of a torchrun job."""

from collections.abc import Sequence
from statistics import median

from attrs import evolve

from esper_core.api import EsperError, Evidence, HostBuilder, HostReport
from esper_executor_processes.remote_executor import RemoteExecutor
from esper_executor_processes.remote_host import RemoteHost
from esper_executor_torchrun.config import TorchrunConfig
from esper_executor_torchrun.job import Job
from esper_executor_torchrun.ranks import Ranks

#: Seconds; a difference below this one concerns nobody.
_NOTEWORTHY = 1.0
#: Epochs that say which process is slow.
_LOOKED_AT = 2


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
        self._seconds: dict[int, list[float]] = {}
        self._named: set[int] = set()
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
        for host in self._hosts:
            self._seconds.setdefault(host.place, []).append(host.seconds)
        usual = {place: median(seconds[-_LOOKED_AT * 4 :]) for place, seconds in self._seconds.items()}
        if len(usual) < 2 or min(map(len, self._seconds.values())) < _LOOKED_AT:
            return reports
        told = list(reports)
        for index, host in enumerate(self._hosts):
            others = median(seconds for place, seconds in usual.items() if place != host.place)
            much_slower = usual[host.place] > max(self._config.straggler * others, others + _NOTEWORTHY)
            if host.place not in self._named and much_slower:
                self._named.add(host.place)
                times = usual[host.place] / others
                notice = f"{self._ranks.name(host.place)} takes {times:.1f} times as long for an epoch as the others"
                told[index] = host.last = evolve(told[index], notices=(*told[index].notices, notice))
        return told
