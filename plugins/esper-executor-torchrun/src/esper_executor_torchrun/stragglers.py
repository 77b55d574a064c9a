"""Which processes are slow: those that take much longer for an epoch than the others, named once."""

from collections.abc import Hashable, Iterable, Mapping
from statistics import median
from typing import Generic, TypeVar

from attrs import define, field

#: Seconds; a difference below this one concerns nobody.
_NOTEWORTHY = 1.0
#: Epochs that say which process is slow; and times, the last ones, that count.
_LOOKED_AT, _KEPT = 2, 8

Process = TypeVar("Process", bound=Hashable)


@define
class Stragglers(Generic[Process]):
    """Remembers how long each process has taken, and which have been named.

    Attributes:
        factor: a process is slow that takes this many times as long as the median of the others.
    """

    factor: float
    _seconds: dict[Process, list[float]] = field(factory=dict)
    _named: set[Process] = field(factory=set)

    def named(self, taken: Iterable[tuple[Process, float]]) -> dict[Process, str]:
        """Take in what was needed for an epoch, of each host; return what there is to say of processes that are slow.

        Args:
            taken: a process, and the seconds that it has needed for one host's epoch.
        """
        for process, seconds in taken:
            self._seconds[process] = [*self._seconds.get(process, ()), seconds][-_KEPT:]
        if len(self._seconds) < 2 or min(map(len, self._seconds.values())) < _LOOKED_AT:
            return {}
        usual = {process: median(seconds) for process, seconds in self._seconds.items()}
        said = {process: self._said(process, usual) for process in usual if process not in self._named}
        slow = {process: words for process, words in said.items() if words}
        self._named |= {*slow}
        return slow

    def _said(self, process: Process, usual: Mapping[Process, float]) -> str:
        others = median(seconds for other, seconds in usual.items() if other != process)
        if usual[process] <= max(self.factor * others, others + _NOTEWORTHY):
            return ""
        return f"takes {usual[process] / others:.1f} times as long for an epoch as the others"
