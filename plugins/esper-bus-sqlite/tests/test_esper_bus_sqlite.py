"""Where the file is, what it survives, and who can open it."""

import pytest

from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_oona.api import Outgoing, Survival, open_bus

HOW = {"limit": 10, "lease_seconds": 600.0, "attempts": 3}


@pytest.fixture(scope="module")
def registry():
    return load_plugins().registry


@pytest.mark.parametrize(
    ("level", "survives", "synchronous"), [("server", Survival.SERVER, 1), ("power", Survival.POWER, 2)]
)
def test_the_level_is_that_of_the_address(registry, tmp_path, level, survives, synchronous):
    bus = open_bus(f"sqlite:{tmp_path}/bus?survives={level}", registry)
    assert bus.survives is survives
    assert bus._file.connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    assert bus._file.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_file_is_its_owners_and_by_default_in_the_state_directory(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    open_bus("sqlite:", registry).close()
    assert (tmp_path / "state" / "bus.sqlite").stat().st_mode & 0o777 == 0o600


def test_two_that_open_one_file_share_it_and_it_outlives_them(tmp_path):
    config = SqliteConfig(url=f"sqlite:{tmp_path}/bus")
    one, two = sqlite_bus(config), sqlite_bus(config)
    one.publish("normal", [Outgoing("k", b"1"), Outgoing("m", b"2")])
    (first,) = one.receive("normal", "g", "c", **{**HOW, "limit": 1})
    assert [it.body for it in two.receive("normal", "g", "d", **HOW)] == [b"2"]
    one.close()
    two.close()
    assert sqlite_bus(config).acknowledge([first]) == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [("survives=nothing", "E202", "survives"), ("survive=power", "E201", 'did you mean "survives"')],
)
def test_options_that_do_not_fit_are_named(registry, tmp_path, options, code, said):
    with pytest.raises(EsperError, match=said) as raised:
        open_bus(f"sqlite:{tmp_path}/bus?{options}", registry)
    assert raised.value.code == code


def test_another_address_is_refused_in_words():
    with pytest.raises(ValueError, match=r"'url' must be sqlite:PATH, such as sqlite:bus\.db, .*: 'memory:'"):
        SqliteConfig(url="memory:")


def test_what_is_no_such_file_is_said(tmp_path):
    (tmp_path / "text").write_text("a text, and no database\n" * 100)
    for path in (tmp_path / "text", tmp_path / "none" / "bus"):
        with pytest.raises(EsperError) as raised:
            sqlite_bus(SqliteConfig(url=f"sqlite:{path}"))
        assert raised.value.code == "E611"


def test_backlogs_are_of_every_stream(tmp_path):
    bus = sqlite_bus(SqliteConfig(url=f"sqlite:{tmp_path}/bus"))
    for stream, count in (("a", 3), ("b", 2), ("c", 1)):
        assert [*bus.publish(stream, [Outgoing("", b"1")] * count)] == [it for it, _ in bus.tail(stream, 9)]
    bus.join("b", "g")
    bus.join("d", "g")
    found = {it.stream: (it.group, it.waiting, it.pending) for it in bus.backlogs()}
    assert found == {"a": ("", 3, 0), "b": ("g", 2, 0), "c": ("", 1, 0), "d": ("g", 0, 0)}


def test_what_is_finished_costs_nothing_when_backlogs_are_looked_at(tmp_path):
    bus = sqlite_bus(SqliteConfig(url=f"sqlite:{tmp_path}/bus"))

    def steps(finished):
        bus.publish("normal", [Outgoing("", b"1")] * finished)
        while found := bus.receive("normal", "g", "c", **{**HOW, "limit": 1000}):
            bus.acknowledge(found)
        steps = []
        bus._file.connection.set_progress_handler(lambda: steps.append(1), 10)
        bus.backlogs()
        bus._file.connection.set_progress_handler(None, 0)
        return len(steps)

    few = steps(10)
    assert steps(4_000) <= 2 * few + 10


def test_a_batch_is_added_whole_or_not_at_all(tmp_path):
    bus = sqlite_bus(SqliteConfig(url=f"sqlite:{tmp_path}/bus"))
    with pytest.raises(EsperError):
        bus.publish("normal", [Outgoing("k", b"1"), Outgoing("k", None)])
    assert bus.tail("normal", 9) == []
