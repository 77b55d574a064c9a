"""Torture on real processes and servers, small; and buses that break a promise, each of which it finds."""

import subprocess
import sys
from pathlib import Path

import pytest

from esper_app_bus.torture.run import Plan, torture
from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_bus_sqlite.log import MessageLog
from esper_bus_sqlite.schema import NEW
from esper_oona.api import Subscription, Survival

QUICK = Subscription(batch=20, lease_seconds=1.5, attempts=4, first_delay_seconds=0.02)


def esper_bus_torture(scheme, kills, seconds):
    command = [
        Path(sys.executable).with_name("esper"),
        "bus",
        "torture",
        scheme,
        "--kills",
        kills,
        "--seconds",
        seconds,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=3_000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every promise was kept" in done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["sqlite:", "redis:"])
def test_nothing_is_found(scheme):
    esper_bus_torture(scheme, 20, 5)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("scheme", ["sqlite:", "redis:"])
def test_nothing_is_found_in_500_kills(scheme):
    esper_bus_torture(scheme, 500, 300)


class AcknowledgesEarly(MessageLog):
    """A message is finished when it is read."""

    def receive(self, *args, **how):
        found = super().receive(*args, **how)
        self.acknowledge(found)
        return found


class TrimsTooMuch(MessageLog):
    """What was not handed out yet is dropped."""

    def trim(self, stream, *, keep):
        with self._transaction() as sql:
            delete = "DELETE FROM messages WHERE stream = ? AND position NOT IN (SELECT position FROM pending)"
            return sql.execute(delete, (stream,)).rowcount


class Reorders(MessageLog):
    """What is new goes to the first who asks, also if somebody else has an earlier message of its key."""

    def _new(self, sql, stream, group, cursor, limit):
        rows = sql.execute(NEW, (stream, cursor, limit)).fetchall() if limit > 0 else []
        if rows:
            sql.execute("UPDATE groups SET cursor = ? WHERE stream = ? AND name = ?", (rows[-1][0], stream, group))
        return [(at, key, 0) for at, key in rows]


MUTANTS = {AcknowledgesEarly: "handled", TrimsTooMuch: "handled", Reorders: "order"}


@pytest.mark.slow
@pytest.mark.parametrize(("mutant", "promise"), MUTANTS.items(), ids=lambda it: getattr(it, "__name__", it))
def test_a_mutant_is_found(mutant, promise, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    plan = Plan(kills=15, seconds=3.0, subscription=QUICK)
    path = tmp_path / "bus.sqlite"
    found = torture(lambda: mutant(path, survives=Survival.SERVER, synchronous="NORMAL"), plan, notes)
    named = [it for it in found.findings.violations if it.promise == promise]
    assert named
    assert all(it.id and it.what for it in named)


@pytest.mark.slow
def test_the_same_plan_finds_nothing_in_what_the_mutants_are_made_of(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    plan = Plan(kills=15, seconds=3.0, subscription=QUICK)
    config = SqliteConfig(url=f"sqlite:{tmp_path}/bus.sqlite")
    assert torture(lambda: sqlite_bus(config), plan, notes).findings.violations == ()
