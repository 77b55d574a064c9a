"""What a sink must do with events that it has not written yet, and with what others are handed as well."""

import gc
import weakref
from collections.abc import Sequence

from esper_core.leyline.specs import SinkSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, check, collect
from esper_testing.sink_subject import SinkSubject, every_kind_of_event, marked, traces
from esper_testing.usage import picture

CONTRACT = CheckLevel.CONTRACT

#: How many events come in which batches, None for a flush between two of them; the last batch is never flushed.
ENDINGS: tuple[tuple[int | None, ...], ...] = ((5, None, 1), (1,), (64, None, 64, 7), (3, None, None, 2000), (1000, 1))

#: Events that are taken and flushed, and how many of them a sink that has written them may still hold.
MANY, HELD = 4000, 2000


@check("sink-close-keeps", SinkSpec.kind, CONTRACT)
def close_keeps(subject: SinkSubject) -> None:
    """`close` keeps what came after the last `flush`, also where there never was one, however much it is.

    A run that fails closes its sinks without a flush. A sink that writes at once, or that writes in `close` what it
    still holds, always passes.
    """
    for batches in ENDINGS:
        with traces() as found:
            sink = subject.build()
            sink.open(found.manifest)
            number = 0
            for size in batches:
                if size is None:
                    sink.flush()
                else:
                    sink.emit(marked(range(number, number + size)))
                    number += size
            sink.close()
            kept = found.marks()
        if not kept:
            raise NotApplicable("no event's text is to be found in the run's directory or in what it prints")
        if kept != list(range(number)):
            raise CheckFailure(
                f"of {number} events in batches of {_told(batches)} {len(kept)} are there after close",
                cause="a buffer that only `flush` writes, or one whose last part waits until it is full",
                fix="write in `close` what is still held, and close the file",
            )


def _told(batches: Sequence[int | None]) -> str:
    return ", ".join("(flush)" if size is None else str(size) for size in batches)


@check("sink-leaves-events", SinkSpec.kind, CONTRACT)
def leaves_events(subject: SinkSubject) -> None:
    """Events and the manifest are afterwards what they were, to the last bit, from `open` to `close`.

    All sinks of a run are handed the same, in turn. A sink that only reads, or changes copies, always passes.
    """
    with traces() as found:
        sink, events, manifest = subject.build(), every_kind_of_event(), found.manifest | {"nested": {"names": ["a"]}}
        before = [picture(it) for it in (manifest, *events)]
        sink.open(manifest)
        for event in events:
            sink.emit([event])
        sink.emit(tuple(events))
        sink.flush()
        sink.close()
    changed = [it for it, was in zip((manifest, *events), before, strict=True) if picture(it) != was]
    if changed:
        raise CheckFailure(
            f"it changed {len(changed)} of {len(events)} events and the manifest, such as {changed[0]!r:.150}",
            cause="an assignment to event.data or to the manifest, or a pop from one, also of something nested in it",
            fix="work on a copy: copy.deepcopy(dict(event.data))",
        )


@check("sink-memory", SinkSpec.kind, CheckLevel.FULL, slow=True)
def memory(subject: SinkSubject) -> None:
    """A sink that has written its events lets go of them: runs have millions.

    After 4,000 notices and a flush no more than 2,000 of them may be held, whatever was made of them. Sinks that leave
    nothing in the run's directory, such as one that collects events for a notebook, are not asked.
    """
    with traces() as found:
        sink = subject.build()
        sink.open(found.manifest)
        alive = []
        for begin in range(0, MANY, 50):
            events = marked(range(begin, begin + 50))
            alive += [weakref.ref(event) for event in events]
            sink.emit(events)
            sink.flush()
        del events
        gc.collect()
        held = sum(reference() is not None for reference in alive)
        stored = found.stored()
        sink.close()
    if not stored:
        raise NotApplicable("it stores no events in the run's directory")
    if held > HELD:
        raise CheckFailure(
            f"of {MANY} events that it was given and has flushed it still holds {held}",
            cause="a list of all events beside the file",
            fix="let go of what is written; keep the figures that are needed, or collections.deque(maxlen=...)",
        )


#: The checks of this module in order.
CARE_CHECKS: tuple[Check, ...] = collect(globals())
