"""Checks of what a bus delivers, in which order, to whom, and how long it keeps it."""

import threading
from typing import Any

from esper_oona.bus import Backlog, Bus, Outgoing
from esper_oona.kinds import BusSpec
from esper_oona.testing.bus_subject import LONG, PATIENCE_SECONDS, BusSubject, bodies, demand, waited
from esper_testing.check import Check, CheckLevel, check, collect

CONTRACT, FULL = CheckLevel.CONTRACT, CheckLevel.FULL


@check("bus-keeps", BusSpec.kind, CONTRACT)
def keeps(subject: BusSubject) -> None:
    """What is published arrives byte by byte and in order, also what was published before the group was there."""
    with subject.opened() as test:
        sent = [Outgoing(f"k{index % 3}", bytes(range(256)) * index) for index in range(7)]
        positions = [*test.bus.publish(test.stream, sent[:4]), *test.bus.publish(test.stream, sent[4:])]
        none = [*test.bus.publish(test.stream, [])]
        found = test.drained("c")
        demand(
            [Outgoing(it.key, it.body) for it in found] == sent and [it.attempt for it in found] == [1] * 7,
            f"of 7 messages that were published before the group was made, {len(found)} arrived as they were",
            "a new group begins with what comes after it, or bodies are decoded as text",
            "let a group begin with the oldest message, and keep bodies as bytes",
        )
        demand(
            not none and [it.position for it in found] == positions == sorted({*positions}),
            f"`publish` returned {positions}, and the deliveries have {[it.position for it in found]}",
            "positions of another counter, or that are not in order",
            "return for each message its position in the stream, growing",
        )
        newest = [*test.bus.tail(test.stream, 3)]
        demand(newest == [*zip(positions, sent, strict=True)][-3:], f"the newest three are {newest!r:.200}",
               "the oldest ones, or in reverse", "return the newest messages in order")  # fmt: skip


@check("bus-groups", BusSpec.kind, CONTRACT)
def groups(subject: BusSubject) -> None:
    """Every group is given every message, and of a group's consumers each message goes to one."""
    with subject.opened() as test:
        for group in ("g", "h"):
            test.bus.join(test.stream, group)
        test.publish(*"abcdef")
        shares = [bodies(test.receive(name, limit=2)) for name in ("c", "d", "e")]
        other = bodies(test.receive("c", group="h"))
        demand(
            shares == [["a", "b"], ["c", "d"], ["e", "f"]],
            f"three consumers of one group were given {shares}",
            "each consumer reads for itself, or more than was asked for",
            "lease each message to one consumer of a group, and respect `limit`",
        )
        demand(other == [*"abcdef"], f"another group was given {other}", "groups share one cursor",
               "keep a cursor for each group")  # fmt: skip


@check("bus-lease", BusSpec.kind, CONTRACT)
def lease(subject: BusSubject) -> None:
    """As long as a message is leased, nobody else is given it, and once acknowledged nobody at all."""
    with subject.opened() as test:
        test.publish("a", "b")
        first = test.receive("c")
        second = test.receive("d")
        demand(
            not second,
            f"{bodies(second)} are leased to two consumers",
            "messages that are not acknowledged are taken over at once",
            "hand a message out again only when its lease has ended",
        )
        finished = test.bus.acknowledge(first[:1]), test.bus.acknowledge(first)
        demand(
            finished == (1, 1),
            f"acknowledging one, and then both of two messages finished {finished}, instead of (1, 1)",
            "what is finished already is counted again",
            "count what was still leased to its consumer",
        )
        demand(not test.receive("c"), "a message came again after it was acknowledged",
               "the acknowledgement is lost", "finish what is acknowledged")  # fmt: skip


@check("bus-key-order", BusSpec.kind, CONTRACT)
def key_order(subject: BusSubject) -> None:
    """A message is not handed out while an earlier one of its key is leased or waits; others are not held up."""
    with subject.opened() as test:
        test.publish("k:1", "m:2", "k:3", "k:4", ":5", "m:6")
        first = test.receive("c", limit=2)
        other = test.receive("d")
        demand(
            (bodies(first), bodies(other)) == (["1", "2"], ["5"]),
            f"one consumer has {bodies(first)}; of what follows, another one was given {bodies(other)}, instead of 5",
            "messages of one key go to two consumers at once, or what has no key is held up",
            "hold a message back as long as an earlier one of its key is not finished",
        )
        test.bus.retry(first[0], delay_seconds=LONG)
        test.bus.acknowledge(first[1:])
        later = bodies(test.receive("d"))
        demand(
            later == ["6"],
            f"while the first message of a key waits for its next attempt, {later} came, instead of 6",
            "what waits does not count as earlier",
            "hold the key back, and no other key",
        )


@check("bus-key-goes-on", BusSpec.kind, CONTRACT)
def key_goes_on(subject: BusSubject) -> None:
    """When a message is finished, in whatever way, the later ones of its key come, in order and all of them."""
    with subject.opened() as test:
        test.publish(*(f"k:{number}" for number in range(300)))
        found = []
        for finish in ("acknowledge", "bury"):
            (one,) = test.receive("c", limit=1)
            held = test.receive("d")
            demand(not held, f"{bodies(held)[:3]} came although an earlier one is leased",
                   "messages of one key go to two consumers at once", "hold them back")  # fmt: skip
            test.bus.acknowledge([one]) if finish == "acknowledge" else test.bus.bury(one, "no use")
            found.append(one)
        found += test.drained("d")
        demand(
            bodies(found) == [str(number) for number in range(300)],
            f"of 300 messages of one key {len(found)} came, beginning with {bodies(found)[:6]}",
            "what was held back is forgotten, or let go out of order",
            "when a message is finished, let go of what its key has held back",
        )


@check("bus-many-let-go", BusSpec.kind, FULL, slow=True)
def many_let_go(subject: BusSubject) -> None:
    """However many messages are let go at once, the first of each key come, and what a dead consumer had as well."""
    with subject.opened() as test:
        # Behind position 1,000, numbers in the order of text are no longer in the order of numbers.
        test.publish(*map(str, range(900)))
        test.drained("c")
        keys = [f"k{number}" for number in range(20)]
        for _ in range(101):
            test.publish(*(f"{key}:1" for key in keys))
        test.publish("dead:1")
        first = test.receive("c", limit=20)
        others = test.eventually("d")
        test.bus.acknowledge(first)
        found = test.receive("e", limit=20)
        demand(
            len(found) == 20 and {it.key for it in found} <= {*keys},
            f"of 2,000 messages that were let go {len(found)} came at once, instead of 20",
            "only a part of what can be handed out is looked at, and the first of a key is not in it",
            "look further as long as the batch has room",
        )
        test.bus.renew(others, lease_seconds=0.0)
        again = test.eventually("e", limit=20)
        demand(
            any(it.taken_over for it in again),
            f"the message of a dead consumer did not come; {len(again)} others did",
            "what was let go comes first, however much it is",
            "hand out what a dead consumer had in its turn",
        )


@check("bus-trim", BusSpec.kind, CONTRACT)
def trim(subject: BusSubject) -> None:
    """Trimming drops what every group has finished, and nothing else: not what is leased, waits or was never read."""
    with subject.opened() as test:
        bus, stream = test.bus, test.stream
        test.publish(*"abcdefgh")
        demand(bus.trim(stream, keep=0) == 0, "messages were dropped that no group has read",
               "trimming by length or age alone", "drop nothing as long as there is no group")  # fmt: skip
        bus.join(stream, "slow")
        bus.acknowledge(test.receive("c"))
        demand(bus.trim(stream, keep=0) == 0, "messages were dropped that one of two groups has not read",
               "trimming up to the fastest group", "drop what every group has finished")  # fmt: skip
        leased = test.receive("c", group="slow", limit=6)
        demand(bus.trim(stream, keep=0) == 0, "messages were dropped that a consumer has and has not finished",
               "trimming up to what was read", "keep what is leased, also if it is the oldest message")  # fmt: skip
        bus.acknowledge(leased[:3] + leased[4:])
        bus.trim(stream, keep=0)
        rest = bodies(test.receive("d", group="slow"))
        demand(rest == ["g", "h"], f"of g and h, {rest} are left",
               "what was never read was trimmed", "keep it")  # fmt: skip
        bus.retry(leased[3], delay_seconds=0.0)
        again = bodies(test.eventually("d", group="slow"))
        demand(again == ["d"], f"a message that was leased came again as {again}",
               "it was trimmed while it was not finished", "keep what is not finished")  # fmt: skip


@check("bus-trim-room", BusSpec.kind, CONTRACT)
def trim_room(subject: BusSubject) -> None:
    """Trimming does make room: of what is finished, at most `keep` messages are left."""
    with subject.opened() as test:
        test.publish(*(str(number) for number in range(500)))
        test.drained("c")
        dropped = test.bus.trim(test.stream, keep=7)
        left = len(test.bus.tail(test.stream, 1000))
        demand(
            (dropped, left) == (493, 7),
            f"of 500 finished messages {dropped} were dropped, and {left} are left, instead of 7",
            "trimming to an approximate length, or not at all",
            "drop every finished message beyond the newest `keep`",
        )


@check("bus-backlog", BusSpec.kind, CONTRACT)
def backlog(subject: BusSubject) -> None:
    """What is not finished can be seen: by stream and group, and of streams that nobody reads."""

    def seen(bus: Bus, stream: str) -> list[Backlog]:
        return sorted(it for it in bus.backlogs() if it.stream == stream)

    with subject.opened() as test:
        test.publish("k:1", "k:2", "3")
        unread = [Backlog(test.stream, "", 3, 0)]
        found = seen(test.bus, test.stream)
        demand(found == unread, f"a stream that nobody reads shows as {found}", "only groups are counted",
               "show its messages under the group ''")  # fmt: skip
        first = test.receive("c", limit=1)
        found = seen(test.bus, test.stream)
        demand(found == [Backlog(test.stream, "g", 2, 1)], f"with one of three leased, {found} is shown",
               "a lease counts as finished, or messages count twice", "count what is not finished once")  # fmt: skip
        test.bus.acknowledge(first)
        test.drained("c")
        found = seen(test.bus, test.stream)
        demand(found == [Backlog(test.stream, "g", 0, 0)], f"when all is finished, {found} is shown",
               "finished messages are counted", "count what is not finished")  # fmt: skip
        test.bus.leave(test.stream, "g")
        found = seen(test.bus, test.stream)
        demand(all(it.group == "" for it in found), f"after the group has left, {found} is shown",
               "the group is still there", "remove it with its leases")  # fmt: skip


@check("bus-threads", BusSpec.kind, FULL, slow=True)
def threads(subject: BusSubject) -> None:
    """Several threads publish to one bus and read from it: every message is handled once, those of a key in order."""
    with subject.opened() as test:
        producers, each = 3, 400
        lock, found, failures = threading.Lock(), [], []

        def guarded(work: Any, name: str) -> None:
            try:
                work(name)
            except Exception as error:
                failures.append(error)

        def produce(name: str) -> None:
            for first in range(0, each, 20):
                test.publish(*(f"{name}{number % 2}:{name}-{number:04}" for number in range(first, first + 20)))

        def consume(name: str) -> None:
            def step() -> bool:
                deliveries = test.receive(name, limit=7)
                with lock:
                    found.extend(deliveries)
                test.bus.acknowledge(deliveries)
                return len(found) >= producers * each or bool(failures)

            # Hundreds of calls, on a machine that may be busy.
            waited(step, 6 * PATIENCE_SECONDS)

        names = [*((produce, f"p{number}") for number in range(producers)), *((consume, name) for name in "cde")]
        running = [threading.Thread(target=guarded, args=pair) for pair in names]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        if failures:
            raise failures[0]
        demand(
            len({it.position for it in found}) == len(found) == producers * each,
            f"of {producers * each} messages {len({it.position for it in found})} came, in {len(found)} deliveries",
            "state of the bus that threads change at once",
            "lock it, or give each thread a connection",
        )
        for key in {it.key for it in found}:
            order = [it.body for it in found if it.key == key]
            demand(order == sorted(order), f"messages of the key {key} came out of order: {order!r:.200}",
                   "two consumers had messages of one key", "lease a key to one consumer at a time")  # fmt: skip


#: The checks of this module in order.
DELIVERY_CHECKS: tuple[Check, ...] = collect(globals())
