"""The forge: takes jobs, has artifacts made, and puts them into a store."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import field, frozen

from esper_core.leyline.errors import CODES, EsperError, ExitCode
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.reviews import review_blueprints
from esper_tezzeret.apart import Workshop
from esper_tezzeret.inputs import cannot, inputs_of
from esper_tezzeret.kinds import CompilerSpec
from esper_tezzeret.making import not_made
from esper_tezzeret.orders import Order
from esper_tezzeret.queue import ForgeQueue, Taken
from esper_urza.api import Artifact, ArtifactInputs, Manifest, SignedStore

_IDLE_SECONDS = 0.1


@frozen(kw_only=True)
class Outcome:
    """What came of one attempt at a job.

    Attributes:
        job: the id of its order.
        order: what was wanted.
        state: ``made``, ``found`` (the store had it), ``waiting`` (it failed, and is tried again) or ``quarantined``.
        attempt: from 1.
        compiler: that was used; "" if none could be.
        instead_of: compilers that were wanted more, and why they could not be used.
        artifact: the digest of the artifact; "" if there is none.
        facts: what was measured.
        error: why it failed.
    """

    job: str
    order: Order
    state: str
    attempt: int
    compiler: str = ""
    instead_of: Mapping[str, str] = field(factory=dict)
    artifact: str = ""
    facts: Mapping[str, object] = field(factory=dict)
    error: EsperError | None = None


class _LostError(Exception):
    """Another forge has the job."""


class Forge:
    """Makes artifacts, one at a time. A job that fails never keeps another one from being done.

    A forge that is killed leaves its job to the next one; what it had saved is found, not made again.

    Args:
        queue: the jobs.
        store: where artifacts go.
        registry: the loaded plugins.
        workshop: how artifacts are made.
        saved: is told of each artifact before its job is finished; of one whose forge was killed in between, by the
            forge that finds it.
    """

    def __init__(
        self,
        queue: ForgeQueue,
        store: SignedStore,
        registry: Registry,
        workshop: Workshop,
        *,
        saved: Callable[[Manifest], None] = lambda manifest: None,
    ) -> None:
        self._queue, self._store, self._registry, self._workshop = queue, store, registry, workshop
        self._saved = saved

    def submit(self, orders: Sequence[Order]) -> Sequence[str]:
        """Add jobs, and return their ids.

        Raises:
            EsperError: for the first order that cannot be begun as things are: as `inputs_of`, E408 and E409 if the
                catalogue refuses it, and E625 if no compiler can run here. Then none is added.
        """
        for order in orders:
            self._begin(order)
        return self._queue.submit(orders)

    def run(self, stop: threading.Event | None = None) -> Iterator[Outcome]:
        """Do jobs until none is left but those in quarantine, and yield what came of each attempt.

        Jobs of a forge that does not live any more are waited for until their lease is over.

        Args:
            stop: jobs that come later are waited for as well, until it is set and the present attempt is over.

        Raises:
            EsperError: E621 if the store does not answer, E611 if the queue does not.
        """
        while self._queue.unfinished() if stop is None else not stop.is_set():
            outcome = self.step()
            if outcome is None:
                (stop or threading.Event()).wait(_IDLE_SECONDS)
            else:
                yield outcome

    def step(self) -> Outcome | None:
        """Make one attempt at a job, and return what came of it; None if none waits, or another forge took it over.

        Raises:
            EsperError: as `run`.
        """
        taken = self._queue.take()
        if taken is None:
            return None
        try:
            return self._attempt(taken)
        except _LostError:
            return None
        except KeyboardInterrupt:
            # Nobody is to wait for the lease of a forge that was asked to end.
            self._queue.give_back(taken)
            raise

    def look_up(self, order: Order) -> tuple[ArtifactInputs, Artifact | None]:
        """Return what the artifact of an order is made from, and the artifact if the store has it and it is sound.

        Raises:
            EsperError: as `submit`, and E621 if the store does not answer.
        """
        _, inputs, _ = self._begin(order)
        return inputs, self._artifact(inputs)

    def _attempt(self, taken: Taken) -> Outcome:
        order, attempt = taken.order, taken.delivery.attempt
        compiler = ""
        instead: Mapping[str, str] = {}
        try:
            used, inputs, instead = self._begin(order)
            compiler = used.spec.name
            manifest, state = self._find(inputs), "found"
            if manifest is None:
                manifest, state = self._make(taken, used, inputs, instead), "made"
            if state == "made" or attempt > 1:
                self._saved(manifest)
            self._queue.finish(taken, state, inputs.digest)
        except EsperError as error:
            if error.code in ("E611", "E621"):
                # It is not the job's fault.
                self._queue.give_back(taken)
                raise
            state = self._queue.fail(taken, error, hopeless=CODES[error.code][1] is ExitCode.USAGE)
            return Outcome(
                job=order.id,
                order=order,
                state=state,
                attempt=attempt,
                compiler=compiler,
                instead_of=instead,
                error=error,
            )
        return Outcome(
            job=order.id,
            order=order,
            state=state,
            attempt=attempt,
            compiler=compiler,
            instead_of=instead,
            artifact=inputs.digest,
            facts=manifest.facts,
        )

    def _begin(self, order: Order) -> tuple[Registered, ArtifactInputs, Mapping[str, str]]:
        """Return the compiler, what the artifact will have been made from, and which compilers cannot be used."""
        review_blueprints(self._registry, {order.blueprint: order.options}, named=True)
        installed = {it.spec.name: it for it in self._registry[CompilerSpec.kind]}
        instead: dict[str, str] = {}
        for name in order.compilers:
            if name not in installed:
                instead[name] = f"it is not installed: pip install esper-compiler-{name}"
            elif (why := installed[name].spec.unavailable) is not None:
                instead[name] = why
            else:
                return installed[name], inputs_of(order, self._registry, installed[name]), instead
        reasons = "; ".join(f"{name}: {why}" for name, why in instead.items())
        raise cannot(order, f"no compiler can run here ({reasons})", "pip install esper-compiler-export")

    def _find(self, inputs: ArtifactInputs) -> Manifest | None:
        found = self._artifact(inputs)
        return None if found is None else found.manifest

    def _artifact(self, inputs: ArtifactInputs) -> Artifact | None:
        try:
            return self._store.find(inputs)
        except EsperError as error:
            if error.code == "E621":
                raise
            # What is refused is made again, and takes its place.
            return None

    def _make(self, taken: Taken, compiler: Registered, inputs: ArtifactInputs, instead: Mapping[str, str]) -> Manifest:
        product = self._workshop.make(taken.order, compiler.spec.name, beat=self._beat(taken))
        if inputs_of(taken.order, self._registry, compiler) != inputs:
            raise not_made(taken.order, "its code was changed while it was compiled")
        facts: dict[str, object] = {**product.facts, "instead_of": dict(instead)}
        return self._store.save(inputs, product.content, facts)

    def _beat(self, taken: Taken) -> Callable[[], None]:
        pause = self._queue.lease_seconds / 3
        next_at = time.monotonic() + pause

        def beat() -> None:
            nonlocal next_at
            if time.monotonic() >= next_at:
                next_at = time.monotonic() + pause
                if not self._queue.renew(taken):
                    raise _LostError

        return beat
