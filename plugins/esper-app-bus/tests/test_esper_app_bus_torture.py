"""Torture on real processes and servers, small; and buses that break a promise, each of which it finds."""

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from esper_app_bus.torture.run import Plan, torture
from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_bus_sqlite.log import MessageLog
from esper_bus_sqlite.schema import NEW
from esper_oona.api import Subscription, Survival

QUICK = Subscription(batch=20, lease_seconds=1.5, attempts=4, first_delay_seconds=0.02)


#: Promises in seconds. A machine that is busy with other tests breaks them as well; a bus does so every time.
OF_TIME = {"flow", "take-over"}


def esper_bus_torture(scheme, kills, seconds, seed=0):
    """Return what was broken, and what was printed."""
    options = ["--kills", kills, "--seconds", seconds, "--seed", seed, "--json"]
    command = [Path(sys.executable).with_name("esper"), "bus", "torture", scheme, *options]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=3_000)
    printed = done.stdout + done.stderr
    assert done.returncode in (0, 1), printed
    assert done.stdout.startswith("{"), printed
    broken = {it["promise"] for it in json.loads(done.stdout)["violations"]}
    assert done.returncode == bool(broken)
    return broken, printed


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["sqlite:", "redis:", "nats:"])
def test_nothing_is_found(scheme):
    for seed in range(3):
        broken, printed = esper_bus_torture(scheme, 20, 5, seed)
        assert broken <= OF_TIME, printed
        if not broken:
            return
    pytest.fail(f"broken three times: {printed}")


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("scheme", ["sqlite:", "redis:", "nats:"])
def test_nothing_is_found_in_500_kills(scheme):
    broken, printed = esper_bus_torture(scheme, 500, 300)
    assert not broken, printed


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
        return [(at, key, 0, "") for at, key in rows]


MUTANTS = {AcknowledgesEarly: "handled", TrimsTooMuch: "handled", Reorders: "order"}


def findings_of(bus, folder, promise, **plan):
    """Torture a bus with up to three random seeds, because what is rare comes up less often on a busy machine."""
    for seed in range(3):
        (notes := folder / f"notes{seed}").mkdir()
        opened = partial(bus, folder / f"bus{seed}.sqlite", survives=Survival.SERVER, synchronous="NORMAL")
        found = torture(opened, Plan(**plan, subscription=QUICK, seed=seed), notes).findings
        if any(it.promise == promise for it in found.violations):
            break
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("mutant", "promise"), MUTANTS.items(), ids=lambda it: getattr(it, "__name__", it))
def test_a_mutant_is_found(mutant, promise, tmp_path):
    found = findings_of(mutant, tmp_path, promise, kills=15, seconds=3.0, calm_seconds=0.0)
    named = [it for it in found.violations if it.promise == promise]
    assert named
    assert all(it.id and it.what for it in named)


class HoldsAllBack(MessageLog):
    """While a message waits for its next attempt, nobody is given anything."""

    def retry(self, delivery, *, delay_seconds, counts=True):
        with self._transaction():
            time.sleep(delay_seconds)
        return super().retry(delivery, delay_seconds=0.0, counts=counts)


@pytest.mark.slow
def test_a_bus_that_holds_others_up_is_found(tmp_path):
    found = findings_of(HoldsAllBack, tmp_path, "flow", kills=0, seconds=0.0, calm_seconds=8.0)
    assert [it.promise for it in found.violations] == ["flow"], found
    assert found.violations[0].id


@pytest.mark.slow
def test_the_same_plan_finds_nothing_in_what_the_mutants_are_made_of(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    plan = Plan(kills=15, seconds=3.0, calm_seconds=0.0, subscription=QUICK)
    config = SqliteConfig(url=f"sqlite:{tmp_path}/bus.sqlite")
    assert torture(lambda: sqlite_bus(config), plan, notes).findings.violations == ()
