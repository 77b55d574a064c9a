"""Challengers, what plugins can use, and the commands: on made-up reports, without a run."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from click.testing import CliRunner

from esper_app.api import load_plugins, rebuild_policy, save_policy
from esper_app.cli.root import cli
from esper_app.configuration.policy_card import FORMAT, PolicyCard
from esper_app_simic.fitting import fits
from esper_app_simic.held_out import discounted
from esper_app_simic.learning import learn
from esper_app_simic.service import Settings, Simic
from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_core.api import Catalogue, Ended, EsperError, Round
from esper_core.assembling.seed_factories import seed_factory
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.envelope import MessageType
from esper_leyline_proto.learning import FieldReportPacket, PolicyValidation
from esper_oona.api import Draft, Keyring, Publisher, Signer
from esper_simic.api import (
    PackedPolicy,
    PolicyStore,
    Refusal,
    RefusedPolicyError,
    ReplayStore,
    Sample,
    make_update,
    report_facts,
    sign,
    update_draft,
)
from esper_testing.situations import host_names, situations
from esper_testing.steps import GAMMA, trajectory

BLUEPRINTS = ("conv-light", "depthwise")
EPOCHS, HOSTS = 6, 3
KEYS = Keyring({"k": b"x" * 32})
PASSED = PolicyValidation(passed=True, validated_at=datetime.now(UTC), trajectories=8, mean_reward=1.0)
OPTIONS = {"hidden": 16, "slot_encoding": 8, "wait_bias": 0.0}


def card_of(plugins, policy="ppo", options=OPTIONS):
    entries = [seed_factory(plugins.registry, name, {}).entry for name in BLUEPRINTS]
    return PolicyCard(
        format=FORMAT,
        policy=policy,
        options=options,
        task="digits",
        host={"name": "cnn"},
        hosts=1,
        epochs=EPOCHS,
        rounds=1,
        blueprints=tuple({"name": it.name, "options": dict(it.options)} for it in entries),
        catalogue=Catalogue(tuple(entries)).digest,
        observation=None,
        rewards={"preset": "shaped", "terms": [{"name": "made-up", "weight": 1.0, "options": {}}], "gamma": GAMMA},
        seed=0,
    )


class Place:
    """A saved policy, and reports of hosts for which it decided."""

    def __init__(self, folder, plugins):
        card = card_of(plugins)
        policy = rebuild_policy(card, plugins.registry)
        self.schema = policy.state().record["schema_hash"]
        path = save_policy(folder, "best", evolve(card, observation=self.schema), policy.state())
        self.folder, self.card = folder, path.with_suffix(".json")
        self.packed = PackedPolicy.read(folder, "best.json", "best.safetensors")
        self.update = make_update(self.packed, None, None, KEYS)
        catalogue, names = policy.actor.encoder.catalogue, host_names(HOSTS)
        policy.reset(Round(hosts=names, epochs=EPOCHS))
        seen = [situations(catalogue, HOSTS, epoch, EPOCHS, 0) for epoch in range(EPOCHS + 1)]
        decided = [policy.decide(shown) for shown in seen[:EPOCHS]]
        self.packets = []
        for host in range(HOSTS):
            shown, answers = ([row[host] for row in rows] for rows in (seen, decided))
            made = trajectory(shown[:-1], answers, shown[-1], number=0, seed=host)
            steps = [evolve(it, epoch=epoch, epochs=EPOCHS) for epoch, it in enumerate(made.steps)]
            steps[-1] = evolve(steps[-1], ended=Ended.TRUNCATED)
            made = evolve(made, policy=f"{self.update.version} (made up)", steps=tuple(steps))
            packet = FieldReportPacket(
                id=f"r{host}", run="r", issued_at=datetime.now(UTC), trajectory=made, observation_schema=self.schema
            )
            self.packets.append(packet)


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def place(tmp_path_factory, plugins):
    return Place(tmp_path_factory.mktemp("place"), plugins)


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    monkeypatch.delenv("ESPER_KEYS", raising=False)
    return tmp_path


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def test_the_same_reports_give_the_same_challenger_which_has_no_memory_of_hosts(place, plugins):
    one, other = (learn(place.card, plugins, place.packets) for _ in range(2))
    assert one.packed.checksum == other.packed.checksum != place.packed.checksum
    assert one.changed
    assert one.figures["steps"] == HOSTS * EPOCHS
    assert {"kl", "entropy", "policy loss", "value loss", "optimizer steps"} <= set(one.figures)
    assert b"hidden/" not in one.packed.tensors
    assert json.loads(one.packed.card)["results"]["reports"] == HOSTS
    fewer = learn(place.card, plugins, place.packets[:1])
    assert fewer.packed.checksum != one.packed.checksum


def test_hosts_of_one_name_in_two_runs_are_told_apart(place, plugins):
    twice = [place.packets[0], evolve(place.packets[0], id="elsewhere")]
    assert learn(place.card, plugins, twice).figures["steps"] == 2 * EPOCHS


def test_replayed_reports_change_what_comes_of_it_and_get_priorities(place, plugins):
    sample = Sample(ids=("r1", "r2", "r1"), packets=(*place.packets[1:], place.packets[1]), weights=np.ones(3))
    window = place.packets[:1]
    plain, more = learn(place.card, plugins, window), learn(place.card, plugins, window, sample)
    assert plain.packed.checksum != more.packed.checksum
    assert set(more.priorities) == {"r1", "r2"}
    assert more.figures["replayed steps"] == 3 * EPOCHS


def test_a_policy_that_does_not_learn_is_refused(tmp_path, plugins):
    card = card_of(plugins, "heuristic", {})
    policy = rebuild_policy(card, plugins.registry)
    path = save_policy(
        tmp_path, "best", card, policy.state() or rebuild_policy(card_of(plugins), plugins.registry).state()
    )
    with pytest.raises(EsperError) as caught:
        learn(path.with_suffix(".json"), plugins, ())
    assert caught.value.code == "E638"


def test_what_plugins_cannot_use_is_refused_by_name(place, plugins):
    check, card = fits(plugins), json.loads(place.packed.card)
    check(place.update, place.packed)
    wide = evolve(place.packed, card=json.dumps(card | {"options": {**OPTIONS, "hidden": 32}}).encode())
    fewer = evolve(place.packed, card=json.dumps(card | {"blueprints": card["blueprints"][1:]}).encode())
    unknown = evolve(place.packed, card=json.dumps(card | {"policy": "nobody-has-it"}).encode())
    other_schema = sign(evolve(place.update, observation_schema="other"), KEYS)
    for update, packed, refusal in (
        (place.update, wide, Refusal.OTHER_SHAPES),
        (place.update, fewer, Refusal.OTHER_CATALOGUE),
        (place.update, unknown, Refusal.OTHER_CATALOGUE),
        (other_schema, place.packed, Refusal.OTHER_SCHEMA),
        (place.update, evolve(place.packed, tensors=b"12345678"), Refusal.DAMAGED),
    ):
        with pytest.raises(RefusedPolicyError) as caught:
            check(update, packed)
        assert caught.value.refusal is refusal


def test_returns_are_discounted():
    assert discounted([1.0, 2.0, 4.0], 0.5) == 3.0


class TestCommands:
    def test_without_a_policy(self, state):
        assert "esper policy add" in invoke("policy", "ls")
        for words in (("show",), ("rollback",), ("promote", "ppo-1-00000000")):
            assert "there are no policies" in invoke("policy", *words, code=2)
        assert invoke("policy", "ls", "--json") == "[]\n"
        assert invoke("simic", "status") == "champion: none\n"
        assert not [*state.iterdir()]  # who looks makes nothing
        assert "there is no champion" in invoke("run", "digits", "--policy", "champion", code=2)

    def test_without_a_champion(self, state, place):
        invoke("policy", "add", place.folder)
        assert "there is no champion" in invoke("policy", "show", code=2)
        assert "there is no champion to go back to" in invoke("policy", "rollback", code=2)
        assert "there is no policy" in invoke("policy", "promote", "ppo-1-00000000", code=2)

    def test_a_policy_is_added_promoted_shown_and_no_other_one_takes_its_place_unasked(self, state, place):
        version = place.update.version
        assert invoke("policy", "add", place.folder).split() == ["added:", version]
        assert invoke("policy", "add", place.folder, "--promote").split() == [
            "already",
            "there:",
            version,
            "champion:",
            version,
        ]
        (found,) = json.loads(invoke("policy", "ls", "--json"))
        assert (found["version"], found["state"], found["parent"]) == (version, "champion", None)
        assert found["update"]["checksum"] == place.packed.checksum
        shown = invoke("policy", "show")
        assert f"{version}: champion" in shown
        assert "validation: none" in shown
        assert "champion" in invoke("policy", "ls")

    def test_status_says_what_is_not_learned_from_and_why(self, state, place):
        invoke("policy", "add", place.folder, "--promote")
        store = ReplayStore(state)
        for packet, policy in zip(
            place.packets, (place.update.version, f"{place.update.version}+1", "ppo"), strict=True
        ):
            named = evolve(packet, trajectory=evolve(packet.trajectory, policy=f"{policy} (made up)"))
            store.put(named, report_facts(named))
        store.refuse("x", "no-trajectory")
        store.close()
        found = json.loads(invoke("simic", "status", "--json"))
        reasons = {it["version"]: it["unused"] for it in found["reports"]}
        # The card names other terms than the made-up reports have.
        assert reasons == {
            place.update.version: "other-rewards",
            f"{place.update.version}+1": "learned-since",
            "ppo": "unknown-policy",
        }
        assert "refused: 1 reports, no-trajectory" in invoke("simic", "status")

    @pytest.mark.parametrize("seeds", ["5", "5-5", "9-1", "1-9999", "a-b"])
    def test_seeds_that_are_no_range_are_refused(self, state, seeds):
        assert "is not a range" in invoke("simic", "run", "--bus", "sqlite:", "--seeds", seeds, code=2)

    def test_a_champion_whose_files_have_changed_does_not_begin_a_run(self, state, place):
        invoke("policy", "add", place.folder, "--promote")
        card = Path(json.loads(invoke("policy", "show", "--json"))["card"])
        card.write_text(card.read_text().replace('"digits"', '"spiral"'))
        output = invoke("run", "digits", "--policy", "champion", code=1)
        assert "is refused: damaged" in output


def test_a_learner_that_raises_is_an_attempt_that_failed_and_not_tried_again(state, place, plugins, monkeypatch):
    def raises(*_):
        raise ValueError("no such tensor")

    monkeypatch.setattr("esper_app_simic.service.learn", raises)
    store = PolicyStore(state, KEYS)
    store.add(place.update, place.packed, lambda *_: None)
    store.promote(place.update.version, lambda *_: None)
    store.close()
    said = []
    bus = sqlite_bus(SqliteConfig())
    service = Simic(bus, "sqlite:", state, KEYS, plugins, Settings(least=1), said.append)
    newest = iter([1, 0])
    monkeypatch.setattr(service.reports, "new_reports", lambda *_: next(newest))
    monkeypatch.setattr(service.reports, "window", lambda *_: (place.packets[:1], 1))
    assert service.learn_if_enough() == "failed"
    assert service.learn_if_enough() is None
    (attempt,) = service.reports.attempts()
    assert (attempt.outcome, attempt.why, attempt.newest) == ("failed", "ValueError: no such tensor", 1)
    assert len(bus.tail("telemetry", 10)) == 1
    service.close()
    bus.close()


class TestFromABus:
    """What another state directory has signed is refused by name, and what cannot be kept is told."""

    @pytest.fixture
    def url(self, tmp_path_factory, place):
        """A bus with a policy and a report, signed by `KEYS`."""
        url = f"sqlite:{tmp_path_factory.mktemp('bus')}/bus.sqlite"
        bus = sqlite_bus(SqliteConfig(url=url))
        validated = evolve(place.update, parent="ppo-0-00000000", validation=PASSED)
        update = sign(validated, KEYS)
        data = place.packed.packed
        parts = [data[: len(data) // 2], data[len(data) // 2 :]]
        updates = [evolve(update, payload=it, part=at, parts=2) for at, it in enumerate(parts)]
        report = Draft(type=MessageType.FIELD_REPORT, payload=to_bytes(place.packets[0]))
        Publisher(bus, Signer(KEYS)).publish([*map(update_draft, updates), report])
        bus.close()
        return url

    def test_a_policy_of_another_key_is_named_and_is_no_success(self, state, url):
        told = invoke("policy", "receive", "--bus", url, code=1)
        assert "2 messages were refused: unknown-key" in told
        assert f"esper bus dead {url}" in told

    def test_a_bus_that_no_run_can_reach_is_refused(self, state):
        assert "E614" in invoke("simic", "run", "--bus", "memory:", "--once", code=2)
        assert "E614" in invoke("policy", "receive", "--bus", "memory:", code=2)

    def test_a_report_of_another_key_is_named(self, state, url):
        told = invoke("simic", "run", "--bus", url, "--once")
        assert "simic: 1 messages were refused: unknown-key" in told
        assert told.count("refused") == 1

    def test_a_policy_in_parts_is_told_once_also_where_it_is_known(self, state, url, place, monkeypatch):
        monkeypatch.setenv("ESPER_KEYS", f"{KEYS.signing[0]}:{KEYS.signing[1].hex()}")
        for _ in range(2):
            assert invoke("policy", "receive", "--bus", url) == f"added: {place.update.version}\n"
            bus = sqlite_bus(SqliteConfig(url=url))
            for group in {it.group for it in bus.backlogs() if it.stream == "policy"}:
                bus.leave("policy", group)
            bus.close()
            (state / "replays.sqlite").unlink()

    def test_a_store_that_cannot_be_written_is_an_error_and_the_policy_comes_again(self, state, url, monkeypatch):
        monkeypatch.setenv("ESPER_KEYS", f"{KEYS.signing[0]}:{KEYS.signing[1].hex()}")
        PolicyStore(state, KEYS).close()
        (state / "policies" / "parts").write_text("")
        assert "E635" in invoke("policy", "receive", "--bus", url, code=1)
        bus = sqlite_bus(SqliteConfig(url=url))
        (left,) = [it.depth for it in bus.backlogs() if it.stream == "policy"]
        assert (left, bus.dead(10)) == (2, [])
        bus.close()
