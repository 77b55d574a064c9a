"""Checks of stores: what was saved is found as it was, or not at all."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from esper_core.leyline.errors import EsperError
from esper_testing.check import Check, CheckLevel, check, collect
from esper_urza.kinds import StoreSpec
from esper_urza.testing.store_subject import (
    FEWEST,
    MOST,
    SIZE,
    StoreSubject,
    demand,
    digest_of,
    inputs,
    kept,
    signed_store,
)

CONTRACT = CheckLevel.CONTRACT


@check("store-keeps", StoreSpec.kind, CONTRACT)
def keeps(subject: StoreSubject) -> None:
    """What was put is got byte for byte, also by a store that is opened later; what was not put is not there."""
    digest, thing = digest_of("a"), kept("a")
    with subject.opened() as store:
        demand(
            store.get(digest) is None,
            "there is an artifact that nobody has put",
            "digests are shortened, or a default is handed out",
            "return None for what is not there",
        )
        store.put(digest, thing)
        demand(
            store.get(digest) == thing,
            "an artifact is not what was put",
            "manifest or content is changed, cut or decoded",
            "keep both as the bytes that they are",
        )
    store = subject.build()
    found = store.get(digest)
    store.remove(digest)
    store.close()
    demand(
        found == thing,
        "an artifact is not there, or another one, when the store is opened again",
        "artifacts are kept in the memory of a process, or written when it ends",
        "have them written when `put` returns",
    )


@check("store-replaces", StoreSpec.kind, CONTRACT)
def replaces(subject: StoreSubject) -> None:
    """What is put under a digest takes the place of what was there, manifest and content; other digests keep theirs."""
    digest, other, thing, same = digest_of("a"), digest_of("b"), kept("new", 2 * SIZE), kept("same")
    with subject.opened() as store:
        store.put(digest, same)
        store.put(other, same)
        store.put(digest, thing)
        demand(
            (store.get(digest), store.get(other)) == (thing, same),
            "after an artifact was replaced, it or another one with its earlier content is wrong",
            "the first artifact is kept, or a content that two artifacts share goes with one of them",
            "replace manifest and content in one step, and remove a content when nothing needs it",
        )
        demand(
            [it.size for it in store.entries() if it.digest == digest] == [2 * SIZE],
            "a replaced artifact has its old size, or is there twice",
            "entries are not replaced together with what they describe",
            "replace the entry in the same step",
        )


@check("store-entries", StoreSpec.kind, CONTRACT)
def entries(subject: StoreSubject) -> None:
    """Entries say what there is, how large, and in which order it was used; getting is a use."""
    digests = [digest_of(name) for name in "abc"]
    with subject.opened() as store:
        for digest in digests:
            store.put(digest, kept(digest))
        store.get(digests[0])
        found = [(it.digest, it.size) for it in store.entries()]
        demand(
            found == [(it, SIZE) for it in (digests[1], digests[2], digests[0])],
            f"after a, b and c were put and a was got, there are {[digests.index(it) for it, _ in found]}",
            "getting is no use, or entries are in another order",
            "order entries by their last use, the oldest first",
        )
        times = [(it.saved_at, it.used_at) for it in store.entries()]
        demand(
            all(0 < saved <= used for saved, used in times),
            f"artifacts were saved and used at {times}",
            "times are missing or in other units",
            "give both in seconds since 1970",
        )


@check("store-removes", StoreSpec.kind, CONTRACT)
def removes(subject: StoreSubject) -> None:
    """What is removed is gone, and only that; whether there was something is told."""
    digest, other, same = digest_of("a"), digest_of("b"), kept("same")
    with subject.opened() as store:
        store.put(digest, same)
        store.put(other, same)
        told = store.remove(digest), store.remove(digest)
        demand(
            told == (True, False),
            f"removing an artifact twice was answered with {told}",
            "the answer is that of the call, not of what happened",
            "say whether there was an artifact",
        )
        store.collect()
        demand(
            (store.get(digest), store.get(other)) == (None, same),
            "what was removed is still there, or another artifact of the same content has gone with it",
            "a content that two artifacts share is removed with the first of them",
            "remove a content when nothing needs it",
        )


@check("store-bounded", StoreSpec.kind, CONTRACT)
def bounded(subject: StoreSubject) -> None:
    """A full store makes room by what was used longest ago, says so, and never gives up what is put or still in use."""
    with subject.opened() as store:
        first = digest_of("first")
        store.put(first, kept("first"))
        put: list[str] = []
        removed: list[str] = []
        for number in range(MOST + 1):
            put.append(digest_of(f"{number}"))
            removed += store.put(put[-1], kept(f"{number}"))
            store.get(first)
            if removed:
                break
        there = {it.digest for it in store.entries()}
        demand(
            removed == put[:1] and there == {first, *put[1:]},
            f"after {len(put)} artifacts {len(removed)} were said to be removed, and {len(there)} of them are there",
            "the store is not bounded, or removes what was put first instead of what was used longest ago",
            "remove what was used longest ago, return its digests, and count getting as a use",
        )
        demand(
            len(put) >= FEWEST - 1,
            f"there is room for {len(put)} artifacts of {SIZE} bytes",
            "the bound counts something else than bytes",
            "let the sum of the contents' sizes decide",
        )


@check("store-too-large", StoreSpec.kind, CONTRACT)
def too_large(subject: StoreSubject) -> None:
    """What can never fit is refused (E646), and costs nothing that is there."""
    digest, there = digest_of("large"), digest_of("there")
    with subject.opened() as store:
        store.put(there, kept("there"))
        code = _code(lambda: store.put(digest, kept("large", (MOST + 1) * SIZE)))
        demand(
            code == "E646" and store.get(digest) is None and store.get(there) is not None,
            f"an artifact larger than the store ended in {code}, and what was there is gone or the large one is there",
            "room is made before the size is looked at",
            "refuse it with E646 first",
        )


@check("store-threads", StoreSpec.kind, CONTRACT)
def threads(subject: StoreSubject) -> None:
    """Manifest and content that are got belong to one put, also while others put under the same digest."""
    digest, things = digest_of("a"), [kept(f"{number}", SIZE + number) for number in range(2)]
    with subject.opened() as store:
        store.put(digest, things[0])
        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(lambda it: [store.put(digest, it) for _ in range(10)], it) for it in things]
            read = torn = 0
            while read == 0 or not all(writer.done() for writer in writers):
                read, torn = read + 1, torn + (store.get(digest) not in things)
            for writer in writers:
                writer.result()
    demand(
        torn == 0,
        f"{torn} of {read} times manifest and content came from two artifacts, or none was there",
        "the two are replaced, or read, in two steps",
        "replace and read them together",
    )


@check("store-signed", StoreSpec.kind, CONTRACT)
def verified(subject: StoreSubject) -> None:
    """What a program saves is found and verified; with one byte changed it is refused (E622, E623)."""
    made, content = inputs(), kept("content").content
    with subject.opened() as store:
        signed = signed_store(store)
        signed.save(made, content, {"compile_ms": 1.5})
        found = signed.find(made)
        demand(
            found is not None and found.content == content and found.manifest.facts == {"compile_ms": 1.5},
            "what was saved with a signature was not found as it was",
            "manifest or content is changed",
            "keep both as the bytes that they are",
        )
        before = store.get(made.digest)
        assert before is not None
        for manifest, changed in ((before.manifest, _flipped(content)), (_flipped(before.manifest), content)):
            store.put(made.digest, type(before)(manifest, changed))
            code = _code(lambda: signed.find(made))
            demand(
                code in ("E622", "E623"),
                f"a changed byte ended in {code}",
                "the store repairs or normalises what it keeps",
                "keep what was put",
            )


def _code(call: Callable[[], object]) -> str | None:
    try:
        call()
    except EsperError as error:
        return error.code
    return None


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


#: The checks of this module in order.
STORE_CHECKS: tuple[Check, ...] = collect(globals())
