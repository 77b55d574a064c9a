"""The store of policies: what is taken in, what becomes the champion, and each refusal by its name."""

import json
import os
from datetime import UTC, datetime

import pytest
import safetensors.torch
import torch
from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.learning import PolicyUpdate, PolicyValidation
from esper_oona.api import LARGEST_BYTES, Keyring
from esper_simic.api import (
    PackedPolicy,
    PolicyStore,
    Refusal,
    RefusedPolicyError,
    UpdateIntake,
    in_messages,
    make_update,
    sign,
    update_draft,
)
from esper_simic.champion import champion_card
from esper_simic.following import take_back

KEYS = Keyring({"k": b"x" * 32})
PASSED = PolicyValidation(passed=True, validated_at=datetime.now(UTC), trajectories=8, mean_reward=1.0)


def packed(value=0.0, *, policy="ppo", catalogue="c", observation="o", tensors=None):
    import hashlib

    data = safetensors.torch.save({"network/weight": torch.full((3,), value)} if tensors is None else tensors)
    card = {
        "policy": policy,
        "catalogue": catalogue,
        "observation": observation,
        "rewards": {"gamma": 0.99, "terms": [{"name": "terminal"}, {"name": "attribution"}]},
        "digest": hashlib.sha256(data).hexdigest(),
    }
    return PackedPolicy(card=json.dumps(card).encode(), tensors=data)


def fits(update, policy):
    """Everything does; the plugins are asked in the tests of esper-app-simic."""


@pytest.fixture
def store(tmp_path):
    found = PolicyStore(tmp_path, KEYS)
    yield found
    found.close()


@pytest.fixture
def root(store):
    """The first champion."""
    policy = packed()
    update = make_update(policy, None, None, KEYS)
    assert store.add(update, policy, fits)
    store.promote(update.version, fits)
    return update.version


def child(root, value=1.0, validation=PASSED, **kinds):
    policy = packed(value, **kinds)
    return make_update(policy, root, validation, KEYS), policy


def refusal_of(call, *args, **kwargs):
    with pytest.raises(RefusedPolicyError) as caught:
        call(*args, **kwargs)
    error = caught.value
    assert error.code == "E637"
    assert str(error.refusal) in str(error)
    return error.refusal


def test_a_policy_survives_its_packing():
    policy = packed(2.0)
    assert PackedPolicy.unpacked(policy.packed) == policy
    assert len(policy.packed) == policy.size
    assert policy.facts().terms == ("attribution", "terminal")
    for cut in (b"", b"1234", policy.packed[:12]):
        with pytest.raises(ValueError, match="no packed policy"):
            PackedPolicy.unpacked(cut)


def test_an_update_is_promoted_and_the_next_run_finds_it(store, root, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    monkeypatch.setenv("ESPER_KEYS", f"k:{(b'x' * 32).hex()}")
    update, policy = child(root)
    assert store.add(update, policy, fits)
    assert not store.add(update, policy, fits)
    assert champion_card() == (store.card_path(root), root)
    store.promote(update.version, fits, because="it is better")
    path, version = champion_card()
    assert version == update.version
    assert path.read_bytes() == policy.card
    assert path.with_suffix(".safetensors").read_bytes() == policy.tensors
    assert store.chain(version) == [version, root]
    assert [it.state for it in store.versions()] == ["former champion", "champion"]
    assert store.history()[-1].because == "it is better"


def test_versions_count_their_parents(store, root):
    first, _ = child(root)
    second, _ = child(first.version, 2.0)
    assert [it.rsplit("-", 1)[0] for it in (root, first.version, second.version)] == ["ppo-1", "ppo-2", "ppo-3"]


def test_a_version_is_not_taken_back_where_another_one_has_become_the_champion_meanwhile(
    store, root, tmp_path, monkeypatch
):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    monkeypatch.setenv("ESPER_KEYS", f"{KEYS.signing[0]}:{KEYS.signing[1].hex()}")
    child, grandchild = packed(1.0), packed(2.0)
    first = make_update(child, root, PASSED, KEYS)
    second = make_update(grandchild, first.version, PASSED, KEYS)
    store.add(first, child, fits)
    store.add(second, grandchild, fits)
    store.promote(first.version, fits)
    begin = PolicyStore.rollback

    def later(self, **given):
        store.promote(second.version, fits)
        return begin(self, **given)

    monkeypatch.setattr(PolicyStore, "rollback", later)
    assert take_back(first.version, "worse") == store.champion() == second.version


def test_a_rollback_goes_back_one_champion_and_what_was_rolled_back_stays_so(store, root):
    update, policy = child(root)
    store.add(update, policy, fits)
    store.promote(update.version, fits)
    assert store.rollback(because="worse") == (update.version, root)
    assert store.champion() == root
    assert refusal_of(store.promote, update.version, fits) is Refusal.ROLLED_BACK
    assert [it.state for it in store.versions()] == ["champion", "rolled back"]
    with pytest.raises(EsperError, match="no champion to go back to"):
        store.rollback()


def test_without_a_champion_there_is_none(store):
    assert store.champion() is None
    with pytest.raises(EsperError) as caught:
        store.require_champion()
    assert caught.value.code == "E636"
    with pytest.raises(EsperError, match="no policy"):
        store.promote("ppo-1-12345678", fits)


def large(root, value=1.0):
    """A policy of several messages, and the messages."""
    policy = packed(tensors={"network/weight": torch.full((200_000,), value)})
    update = make_update(policy, root, PASSED, KEYS)
    return update, [from_bytes(PolicyUpdate, to_bytes(it)) for it in in_messages(update, policy)]


class TestParts:
    def test_a_policy_comes_in_parts_in_any_order_and_more_than_once(self, store, root, tmp_path):
        update, parts = large(root)
        assert len(parts) == 4
        told = []
        intake = UpdateIntake(store, fits, [].append, promote=True)
        for part in (parts[2], parts[0], parts[2], parts[3]):
            assert intake.take(part) is None
            told.append(store.champion())
        assert {*told} == {root}
        # Another process goes on with what is there.
        assert UpdateIntake(PolicyStore(tmp_path, KEYS), fits, [].append, promote=True).take(parts[1]) is None
        assert store.champion() == update.version
        assert store.read(update.version)[1].checksum == update.checksum
        assert not [*(tmp_path / "policies" / "parts").iterdir()]

    def test_every_part_fits_into_a_message_and_is_signed(self, root):
        update, parts = large(root)
        assert all(len(to_bytes(it)) <= LARGEST_BYTES for it in parts)
        assert {it.signature for it in parts} == {update.signature}
        assert len({update_draft(it).id for it in parts}) == 4

    def test_one_that_was_changed_is_refused_when_it_is_whole_and_may_come_again(self, store, root):
        update, parts = large(root)
        told = []
        intake = UpdateIntake(store, fits, told.append, promote=False)
        changed = evolve(parts[1], payload=b"\0" * len(parts[1].payload))
        refusals = [intake.take(it) for it in (parts[0], changed, *parts[2:])]
        assert [it and it.refusal for it in refusals] == [None, None, None, Refusal.DAMAGED]
        assert [intake.take(it) for it in parts] == [None] * 4
        assert store.get(update.version).state == "challenger"

    @pytest.mark.parametrize(
        "changes",
        [{"part": 4}, {"part": None}, {"parts": 0}, {"payload": b""}, {"payload": b"x" * 900_000}],
    )
    def test_what_is_no_part_is_refused(self, store, root, changes):
        _, parts = large(root)
        error = UpdateIntake(store, fits, [].append, promote=False).take(evolve(parts[0], **changes))
        assert error.refusal is Refusal.DAMAGED

    def test_nothing_is_kept_of_a_part_that_nobody_has_signed(self, store, root, tmp_path):
        _, parts = large(root)
        error = UpdateIntake(store, fits, [].append, promote=False).take(evolve(parts[0], signature=b"0" * 32))
        assert error.refusal is Refusal.FORGED
        assert not (tmp_path / "policies" / "parts").exists()

    def test_what_was_never_whole_is_forgotten(self, store, root, tmp_path):
        intake = UpdateIntake(store, fits, [].append, promote=False)
        intake.take(large(root)[1][0])
        (first,) = (tmp_path / "policies" / "parts").iterdir()
        os.utime(first, (0, 0))
        intake.take(large(root, 2.0)[1][0])
        assert first not in [*(tmp_path / "policies" / "parts").iterdir()]


class TestRefusals:
    """Each is tried where an update comes in, and nothing is kept of it."""

    @pytest.fixture
    def told(self):
        return []

    def received(self, store, told, update, policy):
        """Take an update in from a bus, as bytes; return the refusal."""
        sent = from_bytes(PolicyUpdate, to_bytes(update if policy is None else in_messages(update, policy)[0]))
        before = len(store.versions())
        error = UpdateIntake(store, fits, told.append, promote=True).take(sent)
        if error is not None:
            assert len(store.versions()) == before
            assert len(told) == 1
        return None if error is None else error.refusal

    def test_nothing_is_wrong(self, store, root, told):
        update, policy = child(root)
        assert self.received(store, told, update, policy) is None
        assert store.champion() == update.version
        assert len(told) == 1

    def test_unsigned(self, store, root, told):
        update, policy = child(root)
        assert self.received(store, told, evolve(update, signature=None), policy) is Refusal.UNSIGNED

    def test_unknown_key(self, store, root, told):
        update, policy = child(root)
        other = sign(update, Keyring({"other": b"y" * 32}))
        assert self.received(store, told, other, policy) is Refusal.UNKNOWN_KEY

    @pytest.mark.parametrize(
        "change",
        [
            {"version": "ppo-2-00000000"},
            {"parent": "ppo-1-00000000"},
            {"validation": evolve(PASSED, mean_reward=9.0)},
            {"checksum": "0" * 64},
            {"observation_schema": "other"},
        ],
        ids=lambda it: next(iter(it)),
    )
    def test_forged(self, store, root, told, change):
        update, policy = child(root)
        assert self.received(store, told, evolve(update, **change), policy) is Refusal.FORGED
        forged = sign(update, Keyring({"k": b"y" * 32}))
        told.clear()
        assert self.received(store, told, forged, policy) is Refusal.FORGED

    def test_damaged(self, store, root, told):
        update, _ = child(root)
        assert self.received(store, told, update, packed(1.5)) is Refusal.DAMAGED

    def test_a_version_that_leads_elsewhere(self, store, root, told):
        update, policy = child(root)
        named = sign(evolve(update, version=f"../../{update.version}"), KEYS)
        assert self.received(store, told, named, policy) is Refusal.DAMAGED

    def test_not_finite(self, store, root, told):
        update, policy = child(root, float("nan"))
        assert self.received(store, told, update, policy) is Refusal.NOT_FINITE

    def test_not_validated(self, store, root, told):
        update, policy = child(root, validation=None)
        assert self.received(store, told, update, policy) is Refusal.NOT_VALIDATED

    @pytest.mark.parametrize("changes", [{"passed": False}, {"failures": ("worse: by 1",)}])
    def test_failed_validation(self, store, root, told, changes):
        update, policy = child(root, validation=evolve(PASSED, **changes))
        assert self.received(store, told, update, policy) is Refusal.FAILED_VALIDATION

    def test_not_there(self, store, root, told):
        update, _ = child(root)
        assert self.received(store, told, update, None) is Refusal.NOT_THERE

    @pytest.mark.parametrize("parent", [None, "ppo-1-00000000"])
    def test_other_parent(self, store, root, parent):
        update, policy = child(parent)
        store.add(update, policy, fits)
        assert refusal_of(store.promote, update.version, fits) is Refusal.OTHER_PARENT
        assert store.champion() == root

    def test_other_parent_after_another_one_was_promoted(self, store, root):
        (one, first), (other, second) = child(root, 1.0), child(root, 2.0)
        for update, policy in ((one, first), (other, second)):
            store.add(update, policy, fits)
        store.promote(one.version, fits)
        assert refusal_of(store.promote, other.version, fits) is Refusal.OTHER_PARENT

    @pytest.mark.parametrize(
        ("kinds", "refusal"),
        [
            ({"observation": "p"}, Refusal.OTHER_SCHEMA),
            ({"catalogue": "d"}, Refusal.OTHER_CATALOGUE),
        ],
    )
    def test_another_kind_than_the_champion(self, store, root, kinds, refusal):
        update, policy = child(root, **kinds)
        store.add(update, policy, fits)
        assert refusal_of(store.promote, update.version, fits) is refusal

    def test_files_that_somebody_has_changed_or_removed(self, store, root):
        tensors = store.card_path(root).with_suffix(".safetensors")
        whole = tensors.read_bytes()
        tensors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert refusal_of(store.read, root) is Refusal.DAMAGED
        tensors.unlink()
        assert refusal_of(store.read, root) is Refusal.NOT_THERE


def test_another_line_takes_the_place_only_if_that_is_asked_for(store, root):
    policy = packed(5.0, catalogue="d")
    update = make_update(policy, None, None, KEYS)
    store.add(update, policy, fits)
    assert refusal_of(store.promote, update.version, fits) is Refusal.OTHER_PARENT
    store.promote(update.version, fits, new_line=True)
    assert store.champion() == update.version


def test_what_plugins_cannot_use_is_not_kept(store):
    policy = packed()

    def never(update, found):
        raise refusal

    from esper_simic.api import refused

    refusal = refused(Refusal.OTHER_SHAPES, "v", "it is too wide")
    assert refusal_of(store.add, make_update(policy, None, None, KEYS), policy, never) is Refusal.OTHER_SHAPES
    assert store.versions() == []
