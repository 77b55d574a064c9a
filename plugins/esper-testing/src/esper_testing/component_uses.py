"""What every component must do however often it is used, and in whichever process, whatever its kind."""

import gc
import tracemalloc
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

from esper_core.leyline.specs import (
    BlueprintSpec,
    Capability,
    DiagnosticSpec,
    ExecutorSpec,
    HostSpec,
    PolicySpec,
    TaskSpec,
)
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, Scope, check, collect
from esper_testing.options_used import require_used
from esper_testing.processes import HASH_SEEDS, elsewhere
from esper_testing.subject import Subject
from esper_testing.surroundings import TORCH_RANDOM, watched
from esper_testing.usage import Usage, difference, picture, same

#: Bytes a use, at most, by which what is kept may grow: the smallest thing that a list can be given takes eight.
BYTES_KEPT = 6.0

#: The same where torch is called in each use: it keeps something of each seed and some of its calls, under 100 bytes.
BYTES_KEPT_BESIDE_TORCH = 256.0
_WITH_TORCH = {it.kind for it in (BlueprintSpec, DiagnosticSpec, ExecutorSpec, HostSpec, PolicySpec, TaskSpec)}

#: Aspects that libraries change when they are first needed.
LIBRARIES = ("the warning filters", "the root logger", "the running threads")


@check("component-input-untouched", Scope.COMPONENT, CheckLevel.CONTRACT)
def input_untouched(subject: Subject[Any]) -> None:
    """What a component is handed is afterwards what it was before, to the last bit: others are handed the same.

    Evidence goes to gates, evaluators, rewards and logs; a batch is data that stay in memory; events go to all sinks. A
    component that only reads always passes, and so does one that works on copies.
    """
    with subject.usage() as usage:
        before = [picture(it) for it in usage.handed]
        for _ in range(2):
            usage.use()
        changed = [it for it, was in zip(usage.handed, before, strict=True) if picture(it) != was]
    if changed:
        raise CheckFailure(
            f"of {len(before)} things that it was handed {len(changed)} have changed, such as one that is now "
            f"{changed[0]!r:.150}",
            cause="an operation in place, or an assignment to a mapping or list that it was given",
            fix="work on a copy: dict(...), list(...), tensor.clone()",
        )


@check("component-many-calls", Scope.COMPONENT, CheckLevel.FULL, slow=True)
def many_calls(subject: Subject[Any]) -> None:
    """Used hundreds of times it does what it did at first, and moves no global random generator.

    What may remember is compared with another that was built alike and used alike. A component whose results follow
    from its options, from what it is handed and, where it remembers, from what it was handed before always passes;
    differences below 0.01 % are rounding.
    """
    allowed = (*LIBRARIES, TORCH_RANDOM) if Capability.RANDOM in subject.spec.capabilities else LIBRARIES
    with ExitStack() as stack:
        one, other = (stack.enter_context(subject.usage()) for _ in range(2))
        with watched(allowed) as changed:
            seen = _first_difference(one, other, subject.uses)
    if seen:
        raise CheckFailure(
            seen,
            cause="a counter, a cache, a random number or an attribute of its class, all of which outlast a call",
            fix="compute it from what is handed; draw from a generator of the component's own, seeded by its options",
        )
    if changed:
        raise CheckFailure(
            f"in {subject.uses} uses it changed {', '.join(changed)}",
            cause="a draw from a global generator in some of the calls only, or a call that seeds one",
            fix="draw from a generator of the component's own",
        )


def _first_difference(one: Usage, other: Usage, uses: int) -> str | None:
    first = one.use()
    if not same(first, expected := other.use()):
        return f"two that are built alike differ: {difference(first, expected)}"
    for number in range(2, uses + 1):
        found, expected = one.use(), other.use() if one.remembers else first
        if not same(found, expected):
            beside = "another that was built and used alike" if one.remembers else "its first use"
            return f"in use {number} it does something else than in {beside}: {difference(found, expected)}"
    return None


@check("component-memory", Scope.COMPONENT, CheckLevel.FULL, slow=True)
def memory(subject: Subject[Any]) -> None:
    """Used alike again and again it does not keep more and more.

    Looked at is what Python objects take after each of four parts of all uses, the first of which fills caches. What is
    kept must have grown in every other part, and by some bytes for each use: a cache that is full, a window of the
    last epochs, and what a library keeps once pass.
    """
    with subject.usage() as usage:
        if usage.keeps:
            raise NotApplicable("it is there to keep what it is handed, or lives for one use")
        uses = max(subject.uses // 4, 10)
        kept = _kept(usage.use, uses)
    growth = [(after - before) / uses for before, after in pairwise(kept)]
    if min(growth) > (BYTES_KEPT_BESIDE_TORCH if subject.spec.kind in _WITH_TORCH else BYTES_KEPT):
        raise CheckFailure(
            f"it keeps {min(growth):.0f} bytes more with each use, in {len(growth)} parts of {uses} uses in a row",
            cause="a list or a cache that is only added to, or tensors that are kept with their graphs",
            fix="keep no more than is needed: collections.deque(maxlen=...), functools.lru_cache(maxsize=...)",
        )


def _kept(use: Any, uses: int) -> list[int]:
    found = []
    begun_here = not tracemalloc.is_tracing()
    gc.collect()
    # What was there before is not looked through again each time: that would take longer than the uses.
    gc.freeze()
    if begun_here:
        tracemalloc.start()
    try:
        for _ in range(5):
            for _ in range(uses):
                use()
            gc.collect()
            found.append(tracemalloc.get_traced_memory()[0])
    finally:
        if begun_here:
            tracemalloc.stop()
        gc.unfreeze()
    # The first part fills caches.
    return found[1:]


@check("component-processes", Scope.COMPONENT, CheckLevel.FULL, slow=True)
def processes(subject: Subject[Any]) -> None:
    """In another process it is and does the same, whatever the order of sets: PYTHONHASHSEED is another in each.

    A run is resumed in another process, and executors send hosts to others. A component always passes that sorts what
    it takes from sets, and that uses neither `hash` of a text nor `id`; differences below 0.01 % are rounding.
    """
    answers = elsewhere(_fingerprint, *[(subject,) for _ in HASH_SEEDS])
    for found in answers:
        if isinstance(found, NotApplicable):
            raise found
        if not same(answers[0], found):
            raise CheckFailure(
                f"in two processes {difference(answers[0], found)}",
                cause="the order of a set, hash() of a text, id(), the number of the process, or the time",
                fix="sort before you choose; use hashlib or esper_core.api.derive_seed in place of hash()",
            )


def _fingerprint(subject: Subject[Any]) -> Any:
    return subject.fingerprint()


@check("component-options-used", Scope.COMPONENT, CheckLevel.FULL, slow=True)
def options_used(subject: Subject[Any]) -> None:
    """No option is accepted and then ignored: for each there is a value with which something is different.

    Numbers, booleans, enumerations and tuples of them are tried with several other values, also with each other option
    changed beside them; that the component refuses a value is a difference. Of other options, and for kinds whose work
    does not show here, it is enough that somebody reads the option, or that the distribution's code does in some case.
    An option that changes nothing but speed, memory or durability says so:
    ``field(default=64, metadata={"esper_unseen": "speed"})``. So every option that has an effect passes.
    """
    require_used(subject)


#: The checks of this module in order.
USE_CHECKS: tuple[Check, ...] = collect(globals())
