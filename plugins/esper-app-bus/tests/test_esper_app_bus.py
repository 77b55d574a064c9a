"""`esper bus`: what it prints, and what it does."""

import json

import pytest
from attrs import evolve
from click.testing import CliRunner

from esper_app_bus.command import bus
from esper_app_bus.decoded import send
from esper_app_bus.torture.judge import History, by_message, judge
from esper_app_bus.torture.notes import Note
from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_messaging.outbox import Outbox
from esper_oona.api import DeadLetter, Draft, Keyring, MessageType, Publisher, Signer, keyring

HOW = {"limit": 10, "lease_seconds": 600.0, "attempts": 3}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:{tmp_path}/bus.sqlite"


@pytest.fixture
def opened(url):
    """Two messages, one of which is a dead letter."""
    found = sqlite_bus(SqliteConfig(url=url))
    publisher = Publisher(found, Signer(Keyring({"k": b"x" * 32})), name="me")
    publisher.publish(
        [Draft(type=MessageType.FIELD_REPORT, payload=b"12345", key="k", id=name) for name in ("one", "two")]
    )
    (first, *_) = found.receive("normal", "simic", "c", **HOW)
    found.bury(first, "ValueError: no")
    yield found
    found.close()


def run(*args, code=0):
    result = CliRunner().invoke(bus, args)
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.usefixtures("opened")
class TestCommands:
    def test_ls(self, url):
        assert [it for it in run("ls", url).split() if {*it} != {"─"}] == [
            *("STREAM", "GROUP", "WAITING", "PENDING", "normal", "simic", "0", "1"),
            *("messages", "survive:", "server"),
        ]
        found = json.loads(run("ls", f"{url}?survives=power", "--json"))
        assert found["survives"] == "power"
        assert found["backlogs"] == [{"stream": "normal", "group": "simic", "waiting": 0, "pending": 1}]

    def test_tail(self, url):
        lines = run("tail", url, "normal", "-n", "1").splitlines()
        assert len(lines) == 3
        assert lines[2].split()[:3] == ["2", "k", "field-report"]
        assert lines[2].split()[-3:] == ["me", "5", "two"]

    @pytest.mark.parametrize("words", [("ls",), ("tail", "normal"), ("dead",)])
    def test_a_narrow_terminal_has_room(self, url, opened, monkeypatch, words):
        monkeypatch.setenv("COLUMNS", "60")
        (*_, last) = opened.receive("normal", "nissa", "c", **HOW)
        opened.bury(last, "ValueError: a long reason that says all that was wrong with this message and its fields")
        told = run(words[0], url, *words[1:])
        assert max(map(len, told.splitlines())) <= 60

    @pytest.mark.parametrize("how", [(), ("--decoded",)])
    def test_a_stream_without_messages_is_said_to_have_none(self, url, how):
        said = 'there are no messages in the stream "nromal"; did you mean "normal"?\n'
        assert run("tail", url, "nromal", *how) == said
        assert run("tail", url, "nromal", "--json") == ""

    def test_an_empty_bus_has_no_other_streams_to_name(self, tmp_path):
        other = f"sqlite:{tmp_path}/other.sqlite"
        sqlite_bus(SqliteConfig(url=other)).close()
        assert run("tail", other, "normal") == 'there are no messages in the stream "normal"\n'
        assert run("ls", other).splitlines()[0] == "nothing has been published yet"

    @pytest.mark.parametrize(
        "words", [("ls",), ("tail", "normal"), ("dead",), ("requeue", "--all"), ("trim", "normal", "--keep", "1")]
    )
    def test_who_looks_makes_no_bus(self, tmp_path, monkeypatch, words):
        monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
        for url in ("sqlite:", f"sqlite:{tmp_path}/other.sqlite"):
            refused = CliRunner().invoke(bus, [words[0], url, *words[1:]])
            assert refused.exception.code == "E611"
            assert "there is no bus yet" in str(refused.exception)
        assert not (tmp_path / "state").exists()
        assert not (tmp_path / "other.sqlite").exists()

    def test_a_bus_of_one_process_has_nothing_to_look_at(self):
        assert CliRunner().invoke(bus, ["ls", "memory:"]).exception.code == "E614"

    def test_what_is_kept_for_another_spelling_of_the_address_is_told(self, url, tmp_path, monkeypatch):
        monkeypatch.setenv("ESPER_STATE", str(tmp_path))
        outbox = Outbox(tmp_path, "sqlite:elsewhere", "run")
        outbox.keep([Draft(type=MessageType.FIELD_REPORT, payload=b"1", id="kept")])
        outbox.close()
        told = CliRunner().invoke(send, [url]).output
        assert told.startswith("sent: 0\n1 messages are kept for other addresses")

    def test_dead_letters_are_shown_and_requeued_once(self, url, opened):
        assert "ValueError: no" in run("dead", url)
        letter = opened.dead(1)[0].id
        assert run("requeue", url, letter) == "requeued: 1\n"
        assert run("dead", url) == "there are no dead letters\n"
        assert "not there" in run("requeue", url, letter, code=1)
        (again,) = opened.receive("normal", "simic", "d", **HOW)
        opened.bury(again, "no")
        assert run("requeue", url, "--all") == "requeued: 1\n"

    def test_requeue_wants_to_know_which(self, url, opened):
        assert "name letters" in run("requeue", url, code=2)
        assert "name letters" in run("requeue", url, "1", "--all", code=2)
        assert len(opened.dead(9)) == 1

    def test_trim_says_why_nothing_is_dropped(self, url, opened):
        assert 'did you mean "normal"' in run("trim", url, "nromal", "--keep", "0")
        opened.leave("normal", "simic")
        assert "no group reads the stream" in run("trim", url, "normal", "--keep", "0")

    def test_trim_drops_what_is_finished_only_and_more_after_the_group_has_left(self, url, opened):
        assert run("trim", url, "normal", "--keep", "0") == "dropped: 1\n"
        opened.join("normal", "urza")
        assert "did you mean" in run("leave", url, "normal", "simik", code=2)
        assert run("leave", url, "normal", "simic") == 'the group "simic" has left the stream "normal"\n'
        opened.acknowledge(opened.receive("normal", "urza", "c", **HOW))
        assert run("trim", url, "normal", "--keep", "0") == "dropped: 1\n"


def test_an_address_that_nobody_knows():
    result = CliRunner().invoke(bus, ["ls", "sqlit:x"])
    assert 'did you mean "sqlite"' in str(result.exception)


def test_rotate(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", "")
    monkeypatch.delenv("ESPER_KEYS", raising=False)
    first = run("--state", str(tmp_path), "rotate").split()[-1]
    second = run("--state", str(tmp_path), "rotate").split()[-1]
    assert [*keyring(tmp_path).secrets] == [second, first]


def letter(reason="ValueError", attempts=3):
    return DeadLetter("1", "normal", "g", 1, "k", b"", reason, attempts, 0.0)


def note(at, what, id="k/1", who="c", sort="plain", seconds=0.1, attempt=1):
    key, _, number = id.partition("/")
    return Note(float(at), what, who, id, key, int(number or 0), sort, seconds, attempt)


GOOD = [
    note(0, "sent", who="p"),
    note(1, "leased"),
    note(2, "handled"),
    note(3, "acknowledged"),
]


def broken(notes, dead=None):
    return [(it.promise, it.id) for it in judge(History(sorted(notes), dead or {}, 1.0, 3)).violations]


def waves(clean, poisoned, late):
    """A hundred messages beside no poisoned ones, and a hundred beside one, which holds its own key up."""
    made = [evolve(note(at, "handled", f"k/{at}"), wave="clean", seconds=clean) for at in range(1, 101)]
    made += [evolve(it, at=it.at + 100, id=f"m/{it.number}", key="m", wave="poisoned", seconds=poisoned) for it in made]
    made += [evolve(note(150.5, "failed", "b/1", sort="poison"), wave="poisoned")]
    made += [evolve(note(150.7, "handled", f"b/{at}"), wave="poisoned", seconds=99.0) for at in range(2, 9)]
    return sorted([*made, note(150.6, "late", id="", seconds=late)])


class TestTheJudge:
    def test_a_good_history(self):
        assert broken(GOOD) == []

    def test_a_message_that_was_not_handled(self):
        assert broken(GOOD[:2]) == [("handled", "k/1")]
        assert broken(GOOD[:2], {"k/1": letter("refused: stale", attempts=1)}) == [("handled", "k/1")]

    def test_a_message_that_died_by_bad_luck_is_none(self):
        assert broken(GOOD[:2], {"k/1": letter("its consumer died")}) == []

    def test_a_publication_that_was_not_confirmed_is_none(self):
        assert broken(GOOD[1:2]) == []

    def test_handled_after_its_acknowledgement(self):
        again = [note(4, "leased", who="d"), note(5, "handled", who="d")]
        assert ("acknowledged", "k/1") in broken([*GOOD, *again])

    def test_more_duplicates_than_in_flight(self):
        assert broken([*GOOD[:3], note(2.5, "handled", who="d"), GOOD[3]]) == [("duplicates", "k/1")]
        died = [note(1, "leased", who="d"), note(1.5, "handled", who="d"), note(1.6, "killed", id="", who="d")]
        assert broken([GOOD[0], *died, *(note(at + 1, it.what) for at, it in enumerate(GOOD[1:], 1))]) == []

    def test_out_of_order(self):
        assert broken([note(1, "handled", "k/2"), note(2, "handled", "k/1")]) == [("order", "k/1")]
        assert broken([note(1, "handled", "k/2"), note(2, "handled", "m/1")]) == []

    def test_a_late_take_over(self):
        killed = [note(1, "leased", who="d"), note(2, "killed", id="", who="d")]
        assert broken([GOOD[0], *killed, note(3.9, "leased"), note(4, "handled")]) == []
        assert broken([GOOD[0], *killed, note(4.1, "leased"), note(5, "handled")]) == [("take-over", "k/1")]
        away = [note(2.1, "killed", id="", who="server"), note(3.1, "started", id="", who="server")]
        assert broken([GOOD[0], *killed, *away, note(4.1, "leased"), note(5, "handled")]) == []

    def test_a_take_over_counts_from_when_the_earlier_ones_of_the_key_are_free(self):
        killed = [note(1, "leased", "k/2", who="d"), note(2, "killed", id="", who="d")]
        first = [note(0.5, "leased"), note(0.6, "handled")]
        late = [note(4.5, "leased", "k/2", attempt=2), note(5, "handled", "k/2")]
        assert broken([*first, *killed, *late]) == [("take-over", "k/2")]
        assert broken([*first, note(3.0, "acknowledged"), *killed, *late]) == []

    def test_the_time_by_which_a_timer_was_late_does_not_count(self):
        history = [
            note(1, "leased", who="d"),
            note(2, "killed", id="", who="d"),
            note(4.5, "leased"),
            note(5, "handled"),
        ]
        away = [note(2.1, "killed", id="", who="server"), note(2.6, "started", id="", who="server")]
        for late, found in (
            ([note(3, "late", id="", seconds=0.6)], []),
            ([note(3, "late", id="", seconds=0.4)], [("take-over", "k/1")]),
            ([note(2.0, "late", id="", seconds=0.6)], [("take-over", "k/1")]),
            ([note(2.5, "late", id="", seconds=0.4), *away], []),
            (
                [note(2.5, "late", id="", seconds=0.4), *away[:1], note(2.5, "started", id="", who="server")],
                [("take-over", "k/1")],
            ),
        ):
            assert broken([*history, *late]) == found

    @pytest.mark.parametrize(
        ("slow", "late", "held"), [(0.15, 0.0, 0), (0.17, 0.0, 1), (0.17, 0.02, 0), (0.9, 0.02, 1)]
    )
    def test_messages_beside_poisoned_ones(self, slow, late, held):
        found = judge(History(waves(0.1, slow, late), {}, 1.0, 3))
        assert [it.promise for it in found.violations] == ["flow"] * held
        assert (found.flow.clean_seconds, found.flow.poisoned_seconds) == (0.1, slow)

    def test_too_few_messages_are_not_compared(self):
        assert judge(History(waves(0.1, 9.0, 0.0)[:150], {}, 1.0, 3)).flow is None

    def test_a_lease_that_nobody_could_note_is_no_late_take_over(self):
        killed = [note(1, "leased", who="d"), note(2, "killed", id="", who="d")]
        assert broken([*killed, note(4.5, "leased", attempt=3), note(5, "handled")]) == []
        assert broken([*killed, note(4.5, "leased", attempt=2), note(5, "handled")]) == [("take-over", "k/1")]

    @pytest.mark.parametrize(
        ("dead", "failures", "found"),
        [({}, 3, 1), ({"k/1": letter()}, 3, 0), ({"k/1": letter(attempts=2)}, 2, 1), ({"k/1": letter()}, 4, 1)],
    )
    def test_poison(self, dead, failures, found):
        notes = [note(0, "sent", sort="poison"), *(note(1 + it, "failed", sort="poison") for it in range(failures))]
        assert broken(notes, dead) == [("dead-letter", "k/1")] * found

    def test_a_message_from_the_future(self):
        sent, refused = note(0, "sent", sort="future"), {"k/1": letter("refused: from-the-future", 1)}
        assert broken([sent], refused) == []
        assert broken([sent]) == [("freshness", "k/1")]
        assert broken([sent, note(1, "handled", sort="future")], refused) == [("freshness", "k/1")]
        assert broken([sent, note(1, "handled", sort="future", seconds=600.0)]) == [("freshness", "k/1")]

    def test_copies_that_were_refused_say_nothing_about_a_message(self):
        assert by_message([("a", letter("refused: replayed")), ("b", letter())]) == {"b": letter()}
