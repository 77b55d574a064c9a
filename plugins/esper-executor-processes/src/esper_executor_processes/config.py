"""Options of the executor `processes`."""

from attrs import field, frozen, validators

_WHOLE = validators.instance_of(int)


@frozen(kw_only=True)
class ProcessesConfig:
    """How many processes there are, and what happens when one is lost.

    Attributes:
        workers: worker processes; None: as many as there are hosts, but no more than processors. A worker trains its
            hosts one after the other.
        restarts: how often in a row, without an epoch in between, a host may lose its worker before it has failed.
        capture_every: epochs between two captured states from which a host whose worker is lost goes on; None: by the
            clock, so that capturing takes no more than 2 % of the time. It never changes what comes of a host.
        memory_mib: MiB that a worker may allocate beyond what it starts with; what goes beyond fails. None: as much as
            there is.
    """

    workers: int | None = field(default=None, validator=validators.optional([_WHOLE, validators.ge(1)]))
    restarts: int = field(default=3, validator=[_WHOLE, validators.ge(0)])
    capture_every: int | None = field(default=None, validator=validators.optional([_WHOLE, validators.ge(1)]))
    memory_mib: int | None = field(default=None, validator=validators.optional([_WHOLE, validators.ge(64)]))
