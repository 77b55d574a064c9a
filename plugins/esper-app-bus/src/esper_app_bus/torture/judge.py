"""What was promised, held against what was noted."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from attrs import frozen

from esper_app_bus.torture.flow import LONGEST_RATIO, Flow, flow
from esper_app_bus.torture.metronome import covered, union, withheld
from esper_app_bus.torture.notes import Note
from esper_oona.api import DeadLetter, Refusal

_REPLAYED = f"refused: {Refusal.REPLAYED}"
_FUTURE = f"refused: {Refusal.FROM_THE_FUTURE}"

#: By how much the clock is ahead that makes messages from the future, in seconds: longer than any message waits.
FUTURE_SECONDS = 86_400.0


@frozen
class Violation:
    """A promise that was broken.

    Attributes:
        promise: which one: ``handled``, ``acknowledged``, ``duplicates``, ``order``, ``take-over``, ``dead-letter``,
            ``flow``, ``freshness``.
        id: the message.
        what: what happened to it.
    """

    promise: str
    id: str
    what: str


@frozen
class History:
    """What happened.

    Attributes:
        notes: of all processes, by time.
        dead: the dead letters at the end, by the id of the message.
        lease_seconds: of every consumer.
        attempts: after which a message is given up.
    """

    notes: Sequence[Note]
    dead: dict[str, DeadLetter]
    lease_seconds: float
    attempts: int


@frozen
class Findings:
    """What came of it.

    Attributes:
        violations: promises that were broken.
        sent, handled: messages.
        duplicates: handlings of a message after its first.
        in_flight: leases of messages that were neither acknowledged nor given back.
        take_over_seconds: the longest time from the death of a consumer until one of its messages was leased again,
            not counting the time without a server, and by which a timer was late.
        late_seconds: by which timers of a process were late that only slept, in all.
        flow: messages beside poisoned ones; None if it was not compared.
        p50_seconds, p99_seconds: from publication to handling.
    """

    violations: tuple[Violation, ...]
    sent: int
    handled: int
    duplicates: int
    in_flight: int
    take_over_seconds: float
    late_seconds: float
    flow: Flow | None
    p50_seconds: float
    p99_seconds: float


def judge(history: History) -> Findings:
    """Hold a history against what every bus promises."""
    handled = [it for it in history.notes if it.what == "handled"]
    first: dict[str, Note] = {}
    for note in handled:
        first.setdefault(note.id, note)
    flights = _flights(history.notes)
    took = [*_take_overs(history, flights)]
    duplicates, in_flight = len(handled) - len(first), sum(1 for it in flights if not it.ended)
    found = [*_lost(history, first), *_after_acknowledgement(history.notes), *_out_of_order(first.values())]
    found += [*_poisoned(history), *_too_fresh(history, first)]
    if (beside := flow(history.notes, first)) and beside.held_up:
        what = f"p99 is {beside.poisoned_seconds:.3f} s beside poisoned messages, {beside.clean_seconds:.3f} s without"
        found.append(Violation("flow", beside.slowest, f"{what}: more than {LONGEST_RATIO} times as much"))
    if duplicates > in_flight:
        worst = next(it for it in handled if first[it.id] is not it)
        what = f"{duplicates} duplicates, and only {in_flight} messages were in flight when something died"
        found.append(Violation("duplicates", worst.id, what))
    limit = 2 * history.lease_seconds
    found += [Violation("take-over", id, f"it took {took:.1f} s") for id, took in took if took > limit]
    delays = sorted(it.seconds for it in first.values())
    return Findings(
        violations=tuple(found),
        sent=len({it.id for it in history.notes if it.what == "sent"}),
        handled=len(first),
        duplicates=duplicates,
        in_flight=in_flight,
        take_over_seconds=max((took for _, took in took), default=0.0),
        late_seconds=sum(end - begin for begin, end in withheld(history.notes)),
        flow=beside,
        p50_seconds=delays[len(delays) // 2] if delays else 0.0,
        p99_seconds=delays[len(delays) * 99 // 100] if delays else 0.0,
    )


def _lost(history: History, first: dict[str, Note]) -> Iterable[Violation]:
    for note in history.notes:
        if note.what == "sent" and note.sort == "plain" and note.id not in first:
            letter = history.dead.get(note.id)
            if letter is None:
                what = f"it was published, number {note.number} of the key {note.key}, and never handled"
                yield Violation("handled", note.id, what)
            elif letter.attempts < history.attempts:
                yield Violation("handled", note.id, f"it was given up: {letter.reason}")


def _after_acknowledgement(notes: Sequence[Note]) -> Iterable[Violation]:
    done: dict[str, Note] = {}
    for note in notes:
        if note.what == "acknowledged":
            done.setdefault(note.id, note)
        elif note.what == "handled" and note.id in done:
            seconds = note.at - done[note.id].at
            what = f"{note.who} handled it {seconds:.3f} s after {done[note.id].who} had acknowledged it"
            yield Violation("acknowledged", note.id, what)


def _out_of_order(first: Iterable[Note]) -> Iterable[Violation]:
    last: dict[str, Note] = {}
    for note in first:
        before = last.get(note.key)
        if before is not None and before.number > note.number:
            what = f"number {note.number} of the key {note.key} was handled after number {before.number}"
            yield Violation("order", note.id, what)
        else:
            last[note.key] = note


def _poisoned(history: History) -> Iterable[Violation]:
    failures: dict[str, int] = defaultdict(int)
    for note in history.notes:
        failures[note.id] += note.what == "failed"
    for note in history.notes:
        if note.what == "sent" and note.sort == "poison":
            letter = history.dead.get(note.id)
            if letter is None:
                yield Violation("dead-letter", note.id, "it cannot be handled, and was not given up")
            elif letter.attempts != history.attempts or failures[note.id] > history.attempts:
                what = f"given up after {letter.attempts} attempts, of which {failures[note.id]} failed"
                yield Violation("dead-letter", note.id, f"{what}, instead of {history.attempts}")


def _too_fresh(history: History, first: dict[str, Note]) -> Iterable[Violation]:
    for note in history.notes:
        if note.what == "sent" and note.sort == "future":
            letter = history.dead.get(note.id)
            if note.id in first:
                yield Violation("freshness", note.id, "it was issued far in the future, and handled")
            elif letter is None or letter.reason != _FUTURE:
                yield Violation("freshness", note.id, "it was issued far in the future, and not refused for that")


def by_message(letters: Iterable[tuple[str, DeadLetter]]) -> dict[str, DeadLetter]:
    """Return dead letters by the id of their message; a copy that was refused says nothing about the message."""
    return {id: letter for id, letter in letters if letter.reason != _REPLAYED}


@frozen
class _Flight:
    """A message in the hands of a consumer: from its lease to what ended it, or None if nothing did."""

    lease: Note
    ended: Note | None = None


def _flights(notes: Sequence[Note]) -> list[_Flight]:
    open_flights: dict[tuple[str, str], Note] = {}
    found = []
    for note in notes:
        place = (note.who, note.id)
        if note.what == "leased":
            if before := open_flights.get(place):
                found.append(_Flight(before))
            open_flights[place] = note
        elif note.what in ("acknowledged", "returned") and (before := open_flights.pop(place, None)):
            found.append(_Flight(before, note))
    return [*found, *map(_Flight, open_flights.values())]


def _take_overs(history: History, flights: Sequence[_Flight]) -> Iterable[tuple[str, float]]:
    """Yield the messages of consumers that died, and how long it took until somebody had them.

    A message waits for the earlier ones of its key, so the time counts from when the last of them was free.
    """
    killed = {it.who: it.at for it in history.notes if it.what == "killed" and it.who != "server"}
    leases, of_key = defaultdict(list), defaultdict(list)
    for flight in flights:
        leases[flight.lease.id].append(flight.lease)
        of_key[flight.lease.key].append(flight)
    for same in leases.values():
        same.sort()
    excused = union([*_absences(history.notes), *withheld(history.notes)])
    for flight in flights:
        lease, died = flight.lease, killed.get(flight.lease.who)
        if flight.ended or died is None:
            continue
        after = next((it for it in leases[lease.id] if it.at > died), None)
        if after is None or _unnoted(leases[lease.id], lease, after):
            continue
        begun = died
        if lease.key and after.at - died > 2 * history.lease_seconds:
            earlier = [it for it in of_key[lease.key] if it.lease.number < lease.number and it.lease.at < after.at]
            if any(_unnoted(leases[it.lease.id], it.lease, None) for it in earlier):
                continue
            ends = [it.ended.at if it.ended else killed.get(it.lease.who, died) for it in earlier]
            begun = max([died, *(end for end in ends if end < after.at)])
        yield lease.id, after.at - begun - covered(excused, begun, after.at)


def _unnoted(leases: Sequence[Note], lease: Note, after: Note | None) -> bool:
    """Whether a consumer had a message between two leases and died before it could note it: attempts have a gap."""
    after = after or next((it for it in leases if it.at > lease.at), None)
    return after is not None and after.attempt > lease.attempt + 1


def _absences(notes: Sequence[Note]) -> list[tuple[float, float]]:
    """When there was no server."""
    killed = [it.at for it in notes if it.who == "server" and it.what == "killed"]
    started = [it.at for it in notes if it.who == "server" and it.what == "started"]
    return [(begin, next((end for end in started if end > begin), begin)) for begin in killed]
