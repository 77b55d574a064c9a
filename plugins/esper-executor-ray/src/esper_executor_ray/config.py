"""Options of the executor `ray`."""

from collections.abc import Mapping

from attrs import field, frozen, validators

_WHOLE = validators.instance_of(int)
_NUMBER = validators.instance_of((int, float))


@frozen(kw_only=True)
class RayConfig:
    """Which cluster, what each actor takes of it, and what happens when one is lost.

    Attributes:
        address: of the cluster, such as ``auto`` or ``ray://head:10001``; None: that of the environment variable
            ``RAY_ADDRESS``, or else a cluster of its own on this machine, which ends with the run, also where another
            cluster is there.
        actors: how many; None: one for each host. An actor trains its hosts one after the other.
        cpus: processors that an actor takes; it has as many threads as the run's ``threads``.
        gpus: GPUs that an actor takes; a part of one, such as 0.25, shares it.
        resources: further resources that an actor takes, by name.
        restarts: how often in a row, without an epoch in between, a host may lose its actor before it has failed.
        capture_every: epochs between two captured states from which a host whose actor is lost goes on; None: by the
            clock, so that capturing takes no more than 2 % of the time. It never changes what comes of a host.
        start_seconds: how long the cluster may take to find room for an actor.
    """

    address: str | None = None
    actors: int | None = field(default=None, validator=validators.optional([_WHOLE, validators.ge(1)]))
    cpus: float = field(default=1.0, validator=[_NUMBER, validators.ge(0)])
    gpus: float = field(default=0.0, validator=[_NUMBER, validators.ge(0)])
    resources: Mapping[str, float] = field(factory=dict)
    restarts: int = field(default=3, validator=[_WHOLE, validators.ge(0)])
    capture_every: int | None = field(default=None, validator=validators.optional([_WHOLE, validators.ge(1)]))
    start_seconds: float = field(default=300.0, validator=[_NUMBER, validators.gt(0)])
