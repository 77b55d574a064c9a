"""What a sink must do: keep every event in order, whatever it holds, and end well."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from esper_core.leyline.errors import EsperError
from esper_core.leyline.specs import Capability, SinkSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, check, collect
from esper_testing.conformance import Conformance
from esper_testing.sink_care import CARE_CHECKS
from esper_testing.sink_subject import SinkSubject, Traces, every_kind_of_event, marked, traces

CONTRACT = CheckLevel.CONTRACT

#: Where one batch of events ends and the next begins: none, one, several, many at a time.
BATCHES = (0, 0, 1, 3, 4, 64, 65, 200, 300, 301, 1400, 3000)


def _numbers(found: Traces) -> list[int]:
    marks = found.marks()
    if not marks:
        raise NotApplicable("no event's text is to be found in the run's directory or in what it prints")
    return marks


@check("sink-every-event", SinkSpec.kind, CONTRACT)
def every_event(subject: SinkSubject) -> None:
    """Events of every kind are taken, also with NaN, infinities, missing figures and any text in them.

    Three exceptions disable a sink for the rest of the run.
    """
    with traces() as found:
        sink = subject.build()
        sink.open(found.manifest)
        for event in every_kind_of_event():
            try:
                sink.emit([event])
            except Exception as error:
                raise CheckFailure(
                    f"{event.kind} raised {type(error).__name__}: {error}"[:300],
                    cause="a strict encoder and NaN or a lone surrogate, or a key that the data need not have",
                    fix="write with esper_core.api.to_json and errors='backslashreplace'; read data with .get",
                ) from error
        sink.flush()
        sink.close()


@check("sink-order", SinkSpec.kind, CONTRACT)
def order(subject: SinkSubject) -> None:
    """Every event is kept once and in order, however events are batched."""
    with traces() as found:
        sink = subject.build()
        sink.open(found.manifest)
        for begin, end in pairwise(BATCHES):
            sink.emit(marked(range(begin, end)))
            sink.flush()
        sink.close()
        kept = _numbers(found)
    if kept != list(range(BATCHES[-1])):
        lost = len(set(range(BATCHES[-1])) - set(kept))
        raise CheckFailure(
            f"of {BATCHES[-1]} events {lost} are lost, {len(kept) - len(set(kept))} are there twice"
            + ("" if kept == sorted(kept) else ", and they are out of order"),
            cause="a set or a dictionary of events, only the last of a batch, or a buffer that `close` does not empty",
            fix="append every event of a batch in its order, and write the rest in `close`",
        )


@check("sink-flush", SinkSpec.kind, CONTRACT)
def flush(subject: SinkSubject) -> None:
    """After `flush` everything that was emitted can be seen, before `close`; with nothing to do it does nothing."""
    with traces() as found:
        sink = subject.build()
        sink.open(found.manifest)
        sink.flush()
        sink.emit(marked(range(5)))
        sink.flush()
        sink.flush()
        seen = found.marks()
        sink.close()
        if _numbers(found) != seen:
            raise CheckFailure(
                f"after flush {len(seen)} of 5 events are to be seen, after close {len(found.marks())}",
                cause="a buffered file that is not flushed",
                fix="flush every buffer of your own and of the file in `flush`",
            )


@check("sink-close-twice", SinkSpec.kind, CONTRACT)
def close_twice(subject: SinkSubject) -> None:
    """A second `close` does nothing, and so does one before `open`: a run that fails may close more than once."""
    with traces() as found:
        never_opened = subject.build()
        never_opened.close()
        sink = subject.build()
        sink.open(found.manifest)
        sink.emit(marked([0]))
        sink.close()
        before = found.marks()
        sink.close()
        if found.marks() != before:
            raise CheckFailure(
                "a second close wrote events again",
                cause="a buffer that `close` writes and does not empty",
                fix="empty it, or return at once if the sink is closed",
            )


@check("sink-closed", SinkSpec.kind, CONTRACT)
def closed(subject: SinkSubject) -> None:
    """`emit` after `close` raises: an event that goes nowhere must not look as if it were kept."""
    with traces() as found:
        sink = subject.build()
        sink.open(found.manifest)
        sink.close()
        try:
            sink.emit(marked([0]))
        except Exception:
            return
    raise CheckFailure(
        "an event after close was taken without a word",
        cause="a file that is opened for each event, or a test that only skips the write",
        fix="raise RuntimeError in `emit` unless the sink is open",
    )


@check("sink-no-directory", SinkSpec.kind, CONTRACT)
def no_directory(subject: SinkSubject) -> None:
    """A run without a directory is served, or refused in `open` with an EsperError that says what to set."""
    with traces() as found:
        sink = subject.build()
        try:
            sink.open(found.manifest | {"directory": None})
        except EsperError:
            return
        except Exception as error:
            raise CheckFailure(
                f"without a directory `open` raised {type(error).__name__}: {error}",
                cause="the directory is used without a look whether there is one",
                fix='raise EsperError("E504", ...) that names the option to set, or work without files',
            ) from error
        sink.emit(marked([0]))
        sink.close()


@check("sink-resumed", SinkSpec.kind, CONTRACT)
def resumed(subject: SinkSubject) -> None:
    """What a sink has stored of a run from the event `resumed_at` on is gone once the run goes on from there.

    A resumed run lives through the epochs since its checkpoint again; otherwise its log would tell them twice.
    """
    with traces() as found:
        sink = subject.build()
        sink.open(found.manifest)
        sink.emit(marked(range(10)))
        sink.close()
        if not found.stored():
            raise NotApplicable("it stores no events in the run's directory")
        sink = subject.build()
        sink.open(found.manifest | {"resumed_at": 6})
        sink.emit(marked(range(6, 9)))
        sink.close()
        stored = found.stored()
    if stored != list(range(9)):
        raise CheckFailure(
            f"resumed at event 6 after 0 to 9, and given 6 to 8, it holds {stored}",
            cause="a file that is only appended to, or one that is started again",
            fix='cut off what it holds from manifest["resumed_at"] on, and append',
        )


@check("sink-threads", SinkSpec.kind, CONTRACT, requires={Capability.THREAD_SAFE})
def threads(subject: SinkSubject) -> None:
    """A sink that declares `Capability.THREAD_SAFE` loses no event when four threads emit at once."""
    with traces() as found:
        sink = subject.build()
        sink.open(found.manifest)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: sink.emit(marked(range(50 * n, 50 * n + 50))), range(20)))
        sink.close()
        kept = _numbers(found)
    if sorted(kept) != list(range(1000)):
        raise CheckFailure(
            f"of 1000 events from four threads {len(set(kept))} were kept whole",
            cause="a buffer or a file position that threads share without a lock",
            fix="take a lock around each batch, or do not declare the capability",
        )


#: The checks of this module in order.
SINK_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(SinkSubject, (*SINK_CHECKS, *CARE_CHECKS))
