"""Options of the executor `torchrun`."""

from enum import StrEnum

from attrs import field, frozen, validators

_NUMBER = validators.instance_of((int, float))


class Parallel(StrEnum):
    """What the processes divide among themselves."""

    HOSTS = "hosts"
    DATA = "data"


@frozen(kw_only=True)
class TorchrunConfig:
    """What the processes share, how long the first one waits for the others, and when one of them is called slow.

    Attributes:
        parallel: ``hosts`` (each process trains whole hosts) or ``data`` (all of them train one host, each on its share
            of every batch).
        timeout_seconds: how long a process may take for an epoch of its hosts, and to come, before it counts as lost.
        straggler: a process that takes this many times as long for a host's epoch as the median process is named, once.
    """

    parallel: Parallel = field(default=Parallel.HOSTS, converter=Parallel)
    timeout_seconds: float = field(default=3600.0, validator=[_NUMBER, validators.gt(0)])
    straggler: float = field(default=2.0, validator=[_NUMBER, validators.gt(1)])
