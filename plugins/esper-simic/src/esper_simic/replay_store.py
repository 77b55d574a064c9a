"""The replay store: what runs have lived through, kept until it has been learned from, each report once."""

import time
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.learning import FieldReportPacket
from esper_simic.database import Database
from esper_simic.packing import PolicyFacts
from esper_simic.replay_records import Attempt, Kept, Refused, ReportFacts, Sample
from esper_simic.sampling import draw

#: The file of reports in the state directory, and its version.
REPORTS, _VERSION = "replay.sqlite", 1

#: Of the reports that are kept, the oldest go first.
MOST_REPORTS = 10_000

#: A report whose other parts have not come by then is given up, in seconds.
PARTS_SECONDS = 7 * 86_400.0

#: Ids are remembered for longer than a bus hands a report out, in seconds.
SEEN_SECONDS = 90 * 86_400.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reports (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, run TEXT NOT NULL, host TEXT NOT NULL,
    round INTEGER NOT NULL, version TEXT NOT NULL, observation TEXT, gamma REAL NOT NULL, terms TEXT NOT NULL,
    steps INTEGER NOT NULL, total_reward REAL NOT NULL, priority REAL NOT NULL, stored_at REAL NOT NULL,
    packet BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS reports_version ON reports (version);
CREATE TABLE IF NOT EXISTS parts (
    id TEXT NOT NULL, part INTEGER NOT NULL, stored_at REAL NOT NULL, packet BLOB NOT NULL, PRIMARY KEY (id, part)
) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS refused (
    reason TEXT PRIMARY KEY, count INTEGER NOT NULL, last_id TEXT NOT NULL, last_at REAL NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, parent TEXT NOT NULL, challenger TEXT,
    reports INTEGER NOT NULL, newest INTEGER NOT NULL, outcome TEXT NOT NULL, why TEXT NOT NULL
) STRICT
"""

#: Until a report has been learned from it goes before all others.
_FIRST_PRIORITY = 1.0


class ReplayStore:
    """The reports in a state directory. Several processes may use it; each method that writes is one transaction.

    Args:
        state: the state directory.
        most: so many reports are kept.

    Raises:
        EsperError: E635, by every method, if it cannot be used.
    """

    def __init__(self, state: Path, *, most: int = MOST_REPORTS) -> None:
        self._database, self._most = Database(state / REPORTS, _SCHEMA, _VERSION), most

    def put(self, packet: FieldReportPacket, facts: ReportFacts) -> bool:
        """Keep a whole report. Return whether it is one that was never kept before, by its id."""
        trajectory = packet.trajectory
        assert trajectory is not None
        rewards = [step.reward.total for step in trajectory.steps if step.reward is not None]
        now = time.time()
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM seen WHERE at < ?", (now - SEEN_SECONDS,))
            if sql.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (packet.id, now)).rowcount == 0:
                return False
            (priority,) = sql.execute("SELECT coalesce(max(priority), ?) FROM reports", (_FIRST_PRIORITY,)).fetchone()
            sql.execute(
                "INSERT INTO reports (id, run, host, round, version, observation, gamma, terms, steps, total_reward,"
                " priority, stored_at, packet) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(packet.id, packet.run, trajectory.host, trajectory.round),
                    *(facts.version, facts.observation, facts.gamma, ",".join(facts.terms)),
                    *(len(trajectory.steps), sum(rewards), priority, now, to_bytes(packet)),
                ),
            )
            sql.execute("DELETE FROM parts WHERE id = ?", (packet.id,))
            sql.execute("DELETE FROM reports WHERE number <= (SELECT max(number) FROM reports) - ?", (self._most,))
        return True

    def put_part(self, packet: FieldReportPacket) -> tuple[FieldReportPacket, ...]:
        """Keep a part of a report, and return all parts of it that are there; none if the report is there."""
        now = time.time()
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM parts WHERE stored_at < ?", (now - PARTS_SECONDS,))
            if sql.execute("SELECT 1 FROM seen WHERE id = ?", (packet.id,)).fetchone():
                return ()
            row = (packet.id, packet.part, now, to_bytes(packet))
            sql.execute("INSERT OR IGNORE INTO parts VALUES (?, ?, ?, ?)", row)
            rows = sql.execute("SELECT packet FROM parts WHERE id = ? ORDER BY part", (packet.id,)).fetchall()
        return tuple(from_bytes(FieldReportPacket, data) for (data,) in rows)

    def refuse(self, id: str, reason: str) -> None:
        """Count a report that nothing can be learned from, once."""
        now = time.time()
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM parts WHERE id = ?", (id,))
            if sql.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (id, now)).rowcount:
                sql.execute(
                    "INSERT INTO refused VALUES (?, 1, ?, ?) ON CONFLICT (reason) DO UPDATE SET"
                    " count = count + 1, last_id = excluded.last_id, last_at = excluded.last_at",
                    (reason, id, now),
                )

    def kept(self) -> list[Kept]:
        """Return how many reports there are, by version and what else decides whether they are learned from."""
        rows = self._database.rows(
            "SELECT version, observation, gamma, terms, count(*), sum(steps), avg(total_reward) FROM reports"
            " GROUP BY version, observation, gamma, terms ORDER BY min(number)"
        )
        return [
            Kept(
                facts=ReportFacts(version=version, observation=observation, gamma=gamma, terms=_terms(terms)),
                reports=reports,
                steps=steps,
                mean_total_reward=mean,
            )
            for version, observation, gamma, terms, reports, steps, mean in rows
        ]

    def refused(self) -> list[Refused]:
        """Return how many reports were refused when they came, by reason."""
        rows = self._database.rows("SELECT reason, count, last_id, last_at FROM refused ORDER BY reason")
        return [Refused(reason=reason, count=count, last_id=id, last_at=at) for reason, count, id, at in rows]

    def window(self, version: str, facts: PolicyFacts, most: int) -> tuple[list[FieldReportPacket], int]:
        """Return the newest reports of hosts for which this very version decided, oldest first.

        Args:
            version: of the policy that is to learn.
            facts: of it; what was observed or rewarded otherwise is left out.
            most: how many at most.

        Returns:
            The reports, and the number of the newest one; 0 without any.
        """
        rows = self._database.rows(
            f"SELECT number, packet FROM reports WHERE version = ? AND {_ALIKE} ORDER BY number DESC LIMIT ?",
            (version, *_alike(facts), most),
        )
        return [from_bytes(FieldReportPacket, data) for _, data in rows[::-1]], rows[0][0] if rows else 0

    def sample(
        self,
        versions: Sequence[str],
        facts: PolicyFacts,
        count: int,
        *,
        alpha: float,
        beta: float,
        generator: np.random.Generator,
    ) -> Sample | None:
        """Draw reports of these versions by their priorities; None if there are none. See `sampling.draw`."""
        marks = ", ".join("?" * len(versions))
        rows = self._database.rows(
            f"SELECT id, priority FROM reports WHERE version IN ({marks}) AND {_ALIKE} ORDER BY number",
            (*versions, *_alike(facts)),
        )
        priorities = np.array([priority for _, priority in rows], dtype=np.float64)
        if not (priorities > 0.0).any():
            return None
        drawn, weights = draw(priorities, count, alpha=alpha, beta=beta, generator=generator)
        ids = tuple(str(rows[index][0]) for index in drawn)
        packets = {
            id: from_bytes(FieldReportPacket, data)
            for id in dict.fromkeys(ids)
            for (data,) in self._database.rows("SELECT packet FROM reports WHERE id = ?", (id,))
        }
        return Sample(ids=ids, packets=tuple(packets[id] for id in ids), weights=weights)

    def set_priorities(self, priorities: Iterable[tuple[str, float]]) -> None:
        """Change priorities, by id. Raises ValueError if one is negative or not finite."""
        given = [(value, id) for id, value in priorities]
        if any(not isfinite(value) or value < 0.0 for value, _ in given):
            raise ValueError("priorities are finite and not negative")
        with self._database.transaction() as sql:
            sql.executemany("UPDATE reports SET priority = ? WHERE id = ?", given)

    def tried(self, attempt: Attempt) -> None:
        """Note what came of learning."""
        with self._database.transaction() as sql:
            sql.execute(
                "INSERT INTO attempts (at, parent, challenger, reports, newest, outcome, why)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(attempt.at, attempt.parent, attempt.challenger, attempt.reports, attempt.newest),
                    *(attempt.outcome, attempt.why),
                ),
            )

    def attempts(self, count: int = 20) -> list[Attempt]:
        """Return the newest attempts, oldest first."""
        rows = self._database.rows(
            "SELECT at, parent, challenger, reports, newest, outcome, why FROM attempts ORDER BY number DESC LIMIT ?",
            (count,),
        )
        names = ("at", "parent", "challenger", "reports", "newest", "outcome", "why")
        return [Attempt(**dict(zip(names, row, strict=True))) for row in rows[::-1]]

    def new_reports(self, version: str, facts: PolicyFacts) -> int:
        """Return how many reports of a version came since it was last learned from."""
        rows = self._database.rows(
            f"SELECT count(*) FROM reports WHERE version = ? AND {_ALIKE} AND number > (SELECT coalesce(max(newest), 0)"
            " FROM attempts WHERE parent = ?)",
            (version, *_alike(facts), version),
        )
        return int(rows[0][0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()


#: What was observed and rewarded as a policy is to learn it.
_ALIKE = "observation IS ? AND gamma = ? AND terms = ?"


def _alike(facts: PolicyFacts) -> tuple[str | None, float, str]:
    return facts.observation, facts.gamma, ",".join(facts.terms)


def _terms(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
