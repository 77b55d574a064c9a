"""Buses that break one promise each; the conformance suite finds every one."""

import pytest
from attrs import evolve

from esper_bus_memory.bus import MemoryConfig
from esper_bus_sqlite.log import MessageLog
from esper_bus_sqlite.schema import NEW
from esper_oona.api import Survival
from esper_oona.kinds import BusSpec
from esper_oona.testing.bus_subject import BusSubject
from esper_oona.testing.conformance import CONFORMANCE
from esper_testing.check import CheckFailure

CHECKS = {check.id: check for check in CONFORMANCE.checks}


class Log(MessageLog):
    def __init__(self, config):
        super().__init__(":memory:", survives=Survival.NOTHING, synchronous="OFF")


class AcknowledgesEarly(Log):
    """A message is finished when it is read."""

    def receive(self, *args, **how):
        found = super().receive(*args, **how)
        self.acknowledge(found)
        return found


class TrimsByLength(Log):
    """Trimming does not ask who has finished what."""

    def trim(self, stream, *, keep):
        with self._transaction() as sql:
            newest = "SELECT position FROM messages WHERE stream = ? ORDER BY position DESC LIMIT 1 OFFSET ?"
            kept = sql.execute(newest, (stream, keep)).fetchone()
            return sql.execute("DELETE FROM messages WHERE position <= ?", kept).rowcount if kept else 0


class TrimsToTheFastest(Log):
    """Trimming asks the group that is ahead."""

    def trim(self, stream, *, keep):
        slow = [it.group for it in self.backlogs() if it.stream == stream and it.group and it.depth]
        for group in slow[:1]:
            self.leave(stream, group)
        return super().trim(stream, keep=keep)


class TrimsWhatIsLeased(Log):
    """Trimming goes up to what every group has read."""

    def trim(self, stream, *, keep):
        with self._transaction() as sql:
            read = "SELECT min(cursor) FROM groups WHERE stream = ?"
            delete = f"DELETE FROM messages WHERE stream = ? AND position <= ({read})"
            return sql.execute(delete, (stream, stream)).rowcount


class Reorders(Log):
    """What is new goes to the first who asks, also if somebody else has an earlier message of its key."""

    def _new(self, sql, stream, group, cursor, limit):
        rows = sql.execute(NEW, (stream, cursor, limit)).fetchall() if limit > 0 else []
        if rows:
            sql.execute("UPDATE groups SET cursor = ? WHERE stream = ? AND name = ?", (rows[-1][0], stream, group))
        return [(at, key, 0, "") for at, key in rows]


class ReturnsBackwards(Log):
    def receive(self, *args, **how):
        return super().receive(*args, **how)[::-1]


class ForgetsTheDead(Log):
    """Leases never end."""

    def receive(self, *args, lease_seconds, **how):
        return super().receive(*args, lease_seconds=1e9, **how)


class HandsOutAtOnce(Log):
    """Leases end at once."""

    def receive(self, *args, lease_seconds, **how):
        return super().receive(*args, lease_seconds=0.0, **how)


class OneAttemptTooMany(Log):
    def receive(self, *args, attempts, **how):
        return super().receive(*args, attempts=attempts + 1, **how)


class ForgetsTheReason(Log):
    def bury(self, delivery, reason):
        return super().bury(delivery, "")


class DropsWhatIsBuried(Log):
    def bury(self, delivery, reason):
        return bool(self.acknowledge([delivery]))


class IgnoresTheDelay(Log):
    def retry(self, delivery, *, delay_seconds, counts=True):
        return super().retry(delivery, delay_seconds=0.0, counts=counts)


class CountsEverything(Log):
    def retry(self, delivery, *, delay_seconds, counts=True):
        return super().retry(delivery, delay_seconds=delay_seconds)


class BelievesTheLate(Log):
    """Leases are looked up by the message alone."""

    def acknowledge(self, deliveries):
        with self._transaction() as sql:
            rows = [(it.stream, it.group, it.position) for it in deliveries]
            delete = "DELETE FROM pending WHERE stream = ? AND name = ? AND position = ?"
            return sql.executemany(delete, rows).rowcount


class BelievesAllAreRenewed(Log):
    def renew(self, deliveries, *, lease_seconds):
        return deliveries


class OneCursor(Log):
    """All groups are one."""

    def receive(self, stream, group, consumer, **how):
        found = super().receive(stream, "g", consumer, **how)
        return [evolve(it, group=group) for it in found]


class BeginsWithWhatComesNext(Log):
    def _join(self, sql, stream, group):
        sql.execute(
            "INSERT OR IGNORE INTO groups SELECT ?, ?, IFNULL(MAX(position), 0) FROM messages WHERE stream = ?",
            (stream, group, stream),
        )
        return super()._join(sql, stream, group)


class BlamesTheNeighbours(Log):
    """All that is due comes at once, also in the last attempt."""

    def receive(self, *args, **how):
        found = super().receive(*args, **how)
        while found and found[-1].attempt > 1 and (more := super().receive(*args, **how)):
            found = [*found, *more]
        return found


class HandsOutOneByOne(Log):
    """What a dead consumer had comes message by message."""

    def _due(self, *args):
        found = super()._due(*args)
        return found[:1] if found and found[0][2] else found


class LooksAtTheFirstThousand(Log):
    """Of what can be handed out, a part is looked at that is the first as text."""

    def _due(self, sql, stream, group, now, limit, attempts):
        found = super()._due(sql, stream, group, now, limit, attempts)
        query = "SELECT position FROM pending WHERE due <= ? ORDER BY CAST(position AS TEXT) LIMIT 1000"
        seen = {at for (at,) in sql.execute(query, (now,))}
        return [it for it in found if it[0] in seen]


class RequeuesForEverybody(Log):
    def requeue(self, ids):
        letters = [it for it in self.dead(1000) if it.id in ids]
        for it in letters:
            self.publish(it.stream, [it])
        with self._transaction() as sql:
            sql.executemany("DELETE FROM dead WHERE id = ?", [(it.id,) for it in letters])
        return len(letters)


class KeepsEverything(Log):
    def trim(self, stream, *, keep):
        return 0


class HidesWhatNobodyReads(Log):
    def backlogs(self):
        return [it for it in super().backlogs() if it.group]


class LosesOneOfTwoThreads(Log):
    """Reading is not one transaction with leasing."""

    def receive(self, stream, group, consumer, **how):
        ahead = self.tail(stream, 10_000)
        found = super().receive(stream, group, consumer, **how)
        if len(found) == how["limit"] and ahead and consumer == "d":
            self.retry(found[-1], delay_seconds=0.0, counts=False)
        return found


MUTANTS = {
    AcknowledgesEarly: "bus-take-over",
    TrimsByLength: "bus-trim",
    TrimsToTheFastest: "bus-trim",
    TrimsWhatIsLeased: "bus-trim",
    Reorders: "bus-key-order",
    ReturnsBackwards: "bus-keeps",
    ForgetsTheDead: "bus-take-over",
    HandsOutAtOnce: "bus-lease",
    OneAttemptTooMany: "bus-dead-letter",
    ForgetsTheReason: "bus-bury",
    DropsWhatIsBuried: "bus-bury",
    IgnoresTheDelay: "bus-retry",
    CountsEverything: "bus-retry",
    BelievesTheLate: "bus-late",
    BelievesAllAreRenewed: "bus-renew",
    OneCursor: "bus-groups",
    BeginsWithWhatComesNext: "bus-keeps",
    BlamesTheNeighbours: "bus-one-suspect",
    HandsOutOneByOne: "bus-one-suspect",
    LooksAtTheFirstThousand: "bus-many-let-go",
    RequeuesForEverybody: "bus-bury",
    KeepsEverything: "bus-trim-room",
    HidesWhatNobodyReads: "bus-backlog",
    LosesOneOfTwoThreads: "bus-threads",
}


class HoldsForever(Log):
    """What a key has held back is not let go."""

    def _release(self, sql, stream, group, key):
        pass


MUTANTS[HoldsForever] = "bus-key-goes-on"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A mutant is not waited for."""
    monkeypatch.setattr("esper_oona.testing.bus_subject.PATIENCE_SECONDS", 1.0)


@pytest.mark.parametrize(("mutant", "check"), MUTANTS.items(), ids=lambda it: getattr(it, "__name__", it))
def test_a_mutant_is_caught(mutant, check):
    spec = BusSpec(name="mutant", summary="", factory=mutant, schemes={"mutant"})
    with pytest.raises(CheckFailure):
        CHECKS[check](BusSubject(spec=spec, config=MemoryConfig()))


def test_every_check_has_a_mutant():
    assert set(MUTANTS.values()) == set(CHECKS)
