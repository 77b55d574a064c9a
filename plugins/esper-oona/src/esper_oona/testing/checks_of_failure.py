"""Checks of what happens to messages whose consumer dies, fails, or comes too late."""

from esper_oona.kinds import BusSpec
from esper_oona.testing.bus_subject import LONG, SHORT, BusSubject, bodies, demand, waited
from esper_testing.check import Check, CheckLevel, check, collect

CONTRACT = CheckLevel.CONTRACT


@check("bus-take-over", BusSpec.kind, CONTRACT)
def take_over(subject: BusSubject) -> None:
    """What a consumer has not acknowledged when its lease ends is handed out to another one, in order and in full."""
    with subject.opened() as test:
        test.publish("k:1", "k:2", "m:3")
        test.receive("dead", lease=SHORT)
        found = test.eventually("heir")
        test.bus.acknowledge(found)
        found += test.drained("heir")
        demand(
            bodies(found) == ["1", "2", "3"] and [it.attempt for it in found] == [2, 2, 2],
            f"of three messages of a dead consumer {bodies(found)} came, in attempts {[it.attempt for it in found]}",
            "messages are acknowledged when they are read, or what is taken over is not returned",
            "finish a message in `acknowledge` only, and return what is taken over from `receive`",
        )
        demand(all(it.taken_over for it in found), "what a dead consumer had is not said to be taken over",
               "who had it is forgotten when it is handed out", "set `taken_over` where a lease has ended")  # fmt: skip


@check("bus-one-suspect", BusSpec.kind, CONTRACT)
def one_suspect(subject: BusSubject) -> None:
    """What was handed out before comes with fewer others each time, and at last alone; so little is waited for it."""
    with subject.opened() as test:
        test.publish(*map(str, range(32)))
        found, sizes = test.receive("dead", limit=32), []
        for _ in range(2):
            test.bus.renew(found, lease_seconds=0.0)
            batches = [test.eventually("heir", limit=32, attempts=3)]
            while more := test.receive("heir", limit=32, attempts=3):
                batches.append(more)
            sizes.append([len(it) for it in batches])
            found = [it for batch in batches for it in batch]
        expected = [[8] * 4, [1] * 32]
        demand(
            sizes == expected,
            f"32 messages of a consumer that has died came in batches of {sizes}, instead of {expected}",
            "a poisoned message spends all attempts of its neighbours, or what a dead consumer had comes one by one",
            "let a batch have at most `batch_limit` messages",
        )


@check("bus-retry", BusSpec.kind, CONTRACT)
def retry(subject: BusSubject) -> None:
    """A message that is given back comes again, not before its delay, with one more attempt, if that is to count."""
    with subject.opened() as test:
        test.publish("1")
        (first,) = test.receive("c")
        test.bus.retry(first, delay_seconds=LONG)
        demand(not test.receive("d"), "a message came before its delay was over", "the delay is ignored",
               "hand it out when the delay is over")  # fmt: skip
        test.publish("2")
        (second,) = test.receive("c")
        test.bus.retry(second, delay_seconds=0.0, counts=False)
        (again,) = test.eventually("d")
        test.bus.retry(again, delay_seconds=0.05)
        (once_more,) = test.eventually("c")
        attempts = [it.attempt for it in (second, again, once_more)]
        demand(
            attempts == [1, 1, 2],
            f"a message came in attempts {attempts}, instead of 1, 1 (taken back) and 2",
            "attempts are counted by consumer, or those that are taken back count",
            "count how often it was handed out, less what was taken back",
        )
        demand(not (again.taken_over or once_more.taken_over), "what was given back is said to be taken over",
               "every later attempt counts as a take-over", "tell leases that ended from those given back")  # fmt: skip


@check("bus-dead-letter", BusSpec.kind, CONTRACT)
def dead_letter(subject: BusSubject) -> None:
    """A message of which consumers die is handed out exactly as often as allowed, then given up; others go on."""
    with subject.opened() as test:
        test.publish("k:1", "k:2")
        found = []
        for _ in range(3):
            found += test.eventually("c", limit=1, lease=SHORT, attempts=3)
        last = test.eventually("c", limit=1, attempts=3)
        demand(
            (bodies(found), bodies(last)) == (["1"] * 3, ["2"]),
            f"with 3 attempts allowed, {bodies(found + last)} came, instead of 1 three times, then 2",
            "attempts are compared one too early or too late, or the key stays blocked",
            "give a message up when it would be handed out once more than allowed",
        )
        letters = [it for it in test.bus.dead(1000) if it.stream == test.stream]
        told = [(it.group, it.key, it.body, it.attempts, it.position) for it in letters]
        demand(
            told == [("g", "k", b"1", 3, found[0].position)] and letters[0].reason,
            f"the dead letters are {letters!r:.200}",
            "it is dropped instead of kept, or without its reason",
            "keep the message as it was, with the reason and the number of attempts",
        )


@check("bus-bury", BusSpec.kind, CONTRACT)
def bury(subject: BusSubject) -> None:
    """A dead letter tells its reason, is finished, outlives trimming, and can be handed out again to its group."""
    with subject.opened() as test:
        test.bus.join(test.stream, "other")
        test.publish("k:1")
        (first,) = test.receive("c")
        test.bus.bury(first, "ValueError: ü")
        test.drained("c", group="other")
        test.bus.trim(test.stream, keep=0)
        letters = [it for it in test.bus.dead(1000) if it.stream == test.stream]
        demand(
            [(it.reason, it.attempts, it.body) for it in letters] == [("ValueError: ü", 1, b"1")],
            f"the dead letters are {letters!r:.200}",
            "they are lost, or changed",
            "keep the message with its reason",
        )
        counts = test.bus.requeue([letters[0].id]), test.bus.requeue([letters[0].id, "none"])
        again, others = waited(lambda: test.receive("c")), test.receive("c", group="other")
        came = [(it.body, it.key, it.attempt, it.position) for it in again]
        demand(
            (counts, came, others) == ((1, 0), [(b"1", "k", 1, first.position)], []),
            f"requeued {counts} times, it came as {again!r:.150}, and to a group that had it as {others!r:.90}",
            "it is published again, to everybody, and at another position",
            "hand it out at its old position, to the group that gave it up",
        )
        left = [it for it in test.bus.dead(1000) if it.stream == test.stream]
        demand(not left, "a dead letter is still there after it was requeued", "it is copied, not moved", "move it")


@check("bus-late", BusSpec.kind, CONTRACT)
def late(subject: BusSubject) -> None:
    """A consumer whose lease has ended cannot finish or give back what another one has by now."""
    with subject.opened() as test:
        test.publish("1")
        (stale,) = test.receive("slow", lease=SHORT)
        (current,) = test.eventually("heir")
        done = (
            test.bus.acknowledge([stale]),
            bool(test.bus.retry(stale, delay_seconds=0.0)),
            bool(test.bus.bury(stale, "late")),
            [*test.bus.renew([stale], lease_seconds=LONG)],
        )
        demand(
            done == (0, False, False, []) and test.bus.acknowledge([current]) == 1,
            f"after the lease had passed to another consumer, the first one could still do {done}",
            "leases are looked up by the message alone",
            "compare consumer and attempt with those of the lease",
        )


@check("bus-renew", BusSpec.kind, CONTRACT)
def renew(subject: BusSubject) -> None:
    """A lease that is renewed in time does not end."""
    with subject.opened() as test:
        test.publish("1", "2")
        one, two = test.receive("c", lease=4 * SHORT)
        renewed = [*test.bus.renew([one], lease_seconds=LONG)]
        found = test.eventually("d")
        demand(
            renewed == [one] and bodies(found) == ["2"],
            f"of two leases the first was renewed ({renewed!r:.80}); another consumer was given {bodies(found)}",
            "a renewal that is ignored, or one that renews everything",
            "set the end of the leases that are given",
        )
        demand(test.bus.acknowledge([one, two]) == 1, "a message was finished by a consumer that had lost it",
               "leases are not compared", "compare consumer and attempt")  # fmt: skip


#: The checks of this module in order.
FAILURE_CHECKS: tuple[Check, ...] = collect(globals())
