"""What is told of modules that come from a store, in a run's log. Seconds are of this machine's clock."""

from attrs import frozen

#: What the kinds are called in a log.
KERNEL_READY, KERNEL_FALLBACK = "modules.kernel-ready", "modules.kernel-fallback"
KERNEL_UNFIT, KERNEL_ANSWER_DROPPED = "modules.kernel-unfit", "modules.kernel-answer-dropped"


@frozen(kw_only=True)
class KernelReady:
    """A seed has a module from the store.

    Attributes:
        slot, seed_id, blueprint: the seed's.
        way: ``store`` (it was there), ``compiled`` (it was made for this seed), ``prefetch`` (a worker said that it is
            there).
        artifact: its digest.
        compiler: that has made it.
        replaced: why what the store had before was refused; "" if nothing was.
        exact: on activations of the host it gives the bits of the blueprint's own module.
        waited_seconds: from germination until it was known what becomes of the seed.
        lookup_seconds: of finding and verifying it.
        load_seconds: of making a module of it.
        prewarm_p50_ms, prewarm_p95_ms: loading and a first call, as the worker has said; None: it has not.
    """

    slot: str
    seed_id: str
    blueprint: str
    way: str
    artifact: str
    compiler: str
    replaced: str = ""
    exact: bool
    waited_seconds: float
    lookup_seconds: float
    load_seconds: float
    prewarm_p50_ms: float | None = None
    prewarm_p95_ms: float | None = None


@frozen(kw_only=True)
class KernelFallback:
    """A seed should have had a module from the store, and has none.

    Attributes:
        slot, seed_id, blueprint: the seed's.
        code: of the error.
        reason: in words.
        built: its blueprint has built it in process; False: it was culled.
        waited_seconds: until that was known.
    """

    slot: str
    seed_id: str
    blueprint: str
    code: str
    reason: str
    built: bool
    waited_seconds: float


@frozen(kw_only=True)
class KernelUnfit:
    """There can be no artifact for a seed: its blueprint builds it in process.

    Attributes:
        slot, seed_id, blueprint: the seed's.
        reason: in words.
    """

    slot: str
    seed_id: str
    blueprint: str
    reason: str


@frozen(kw_only=True)
class KernelAnswerDropped:
    """An answer came that nobody waits for.

    Attributes:
        slot, seed_id, blueprint: of the seed that it was for.
        request_id: the request's.
        why: ``late`` (the seed was built or culled meanwhile) or ``duplicate`` (there was an answer before).
    """

    slot: str
    seed_id: str
    blueprint: str
    request_id: str
    why: str
