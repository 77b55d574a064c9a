"""The state of a group, without a server: what it hands out, holds and lets go, and how it becomes bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_bus_nats.group import MOST_HELD, GroupState, Lease, decoded, encoded
from esper_bus_nats.names import group_subject, messages_of
from esper_bus_nats.packs import PLACES, packed, unpacked
from esper_oona.api import Outgoing

NOW = 1_700_000_000.0


def state(*keys):
    """A group that was given new messages with these keys, in its first lease."""
    made = GroupState(0, 0)
    made.lease(made.admit(enumerate(keys, 1)), "c", NOW + 10.0)
    return made


def test_a_busy_key_is_held_until_its_earlier_messages_are_finished():
    it = state("k", "k")
    assert it.admit([(3, "k"), (4, "m"), (5, "")]) == [4, 5]
    assert (it.held, it.cursor, it.first_unfinished, it.pending) == ({"k": [3]}, 5, 1, 5)
    it.finish([1])
    assert it.held == {"k": [3]}
    it.finish([2])
    assert (it.held, it.leases[3]) == ({}, Lease("k", "", 0, 0.0))


def test_a_message_that_waits_blocks_its_key_and_no_other():
    it = state("k", "m", "k")
    it.give_back(1, 1, NOW + 5.0)
    it.give_back(2, 0, 0.0)
    it.give_back(3, 0, 0.0)
    assert it.ready(NOW, 9, 3) == ([2], [])
    it.finish([1])
    assert it.ready(NOW, 9, 3) == ([2, 3], [])


def test_what_was_handed_out_before_comes_with_fewer_and_what_was_too_often_not_at_all():
    it = state("", "", "", "", "")
    for at, attempts in ((1, 3), (2, 1), (3, 1), (4, 1), (5, 2)):
        it.give_back(at, attempts, 0.0)
    assert it.ready(NOW, 9, 3) == ([2, 3], [1])
    assert (it.room(9, 3, [2, 3]), it.room(9, 3, [2]), it.room(9, 3, [5])) == (0, 1, 0)
    it.finish([1, 2, 3, 4])
    assert it.ready(NOW, 9, 3) == ([5], [])
    assert it.ready(NOW, 0, 3) == ([], [])


def test_so_many_messages_are_let_go_at_once():
    it = state("k")
    it.admit((at, "k") for at in range(2, 303))
    for left in (201, 101, 1):
        it.finish([*it.leases])
        assert (len(it.leases), it.held_count) == (100, left)


def test_no_more_is_read_than_a_record_can_hold():
    it = state("k")
    it.admit((at * PLACES, "k") for at in range(2, MOST_HELD))
    assert it.room(100, 5, []) == 2
    assert len(encoded(it)) < 900_000


def test_a_requeued_message_comes_from_its_own_place():
    it = state("k")
    it.requeue(7, "k")
    it.requeue(1, "k")
    assert (it.leases[7].apart, it.leases[1].apart) == (True, False)


KEYS = st.text(max_size=3)


@settings(max_examples=30, deadline=None)
@given(st.lists(KEYS, max_size=20), st.sets(st.integers(1, 20)))
def test_a_state_comes_back_from_its_bytes(keys, finished):
    it = state(*keys)
    it.admit(enumerate(keys, len(keys) + 1))
    it.finish(finished & it.leases.keys())
    assert decoded(encoded(it)) == it


@settings(max_examples=30, deadline=None)
@given(st.lists(st.builds(Outgoing, KEYS, st.binary(max_size=60)), min_size=1, max_size=30), st.integers(100, 300))
def test_messages_come_back_from_packs_in_order(messages, largest):
    found, before = [], 5
    for data in packed(messages, before, largest):
        pack = unpacked(1, "", data)
        assert pack.before == before
        assert pack.messages
        assert len(data) <= largest
        before = pack.after
        found += pack.messages
    assert found == messages


@settings(max_examples=30, deadline=None)
@given(st.text(), st.text())
def test_a_name_becomes_one_part_of_a_subject_and_no_other_name_the_same(one, other):
    subject = group_subject(one, other)
    assert subject.count(".") == 3
    assert not any(part == "" for part in subject.split("."))
    assert not set(subject) & set(" *>\t\r\n/\\")
    assert (messages_of(one) == messages_of(other)) == (one == other)


@pytest.mark.parametrize("name", ["", "=", "%", "a.b", "a=2Eb"])
def test_names_that_could_be_taken_for_another(name):
    assert messages_of(name)[0] not in {messages_of(it)[0] for it in {"", "=", "%", "a.b", "a=2Eb"} - {name}}
