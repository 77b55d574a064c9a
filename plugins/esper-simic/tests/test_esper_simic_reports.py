"""Reports: stored before they are acknowledged, each once, drawn by priority, and refused by name."""

from datetime import UTC, datetime
from math import inf, nan

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_bus_memory.bus import MemoryConfig, memory_bus
from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import Decision, Ended
from esper_core.leyline.reports import RewardBreakdown
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.learning import FieldReportPacket
from esper_messaging.drafts import RunIdentity, report_drafts
from esper_messaging.reading import Reader, joined
from esper_oona.api import Keyring, Publisher, Replays, Signer, Subscription
from esper_simic.api import Attempt, Intake, Kept, PolicyFacts, Reason, ReplayStore, ReportFacts, report_facts, unused
from esper_simic.sampling import draw
from esper_testing.situations import CATALOGUE, situations
from esper_testing.steps import GAMMA, trajectory

SIGNER = Signer(Keyring({"k": b"x" * 32}))
CHAMPION = "ppo-2-12345678"


def report(id="r", version=CHAMPION, seed=0, steps=4, schema="o"):
    shown = [situations(CATALOGUE, 1, epoch, steps, seed)[0] for epoch in range(steps + 1)]
    made = trajectory(shown[:-1], [Decision()] * steps, shown[-1], number=0, seed=seed)
    made = evolve(made, policy=f"{version} (esper-policy-ppo 0.1.0)")
    return FieldReportPacket(id=id, run="run", issued_at=datetime.now(UTC), trajectory=made, observation_schema=schema)


def changed(packet, index, **changes):
    steps = [*packet.trajectory.steps]
    steps[index] = evolve(steps[index], **changes)
    return evolve(packet, trajectory=evolve(packet.trajectory, steps=tuple(steps)))


def facts_of(packet):
    found = report_facts(packet)
    assert isinstance(found, ReportFacts)
    return PolicyFacts(
        policy="ppo", catalogue="c", observation=found.observation, gamma=found.gamma, terms=found.terms, digest="d"
    )


@pytest.fixture
def store(tmp_path):
    found = ReplayStore(tmp_path, most=6)
    yield found
    found.close()


@pytest.fixture
def intake(store):
    return Intake(store, joined)


class TestIntake:
    def test_a_report_is_kept_once(self, store, intake):
        packet = report()
        for _ in range(3):
            intake.take(packet)
        assert [(it.reports, it.steps, it.facts.version) for it in store.kept()] == [(1, 4, CHAMPION)]
        (found,), newest = store.window(CHAMPION, facts_of(packet), 10)
        assert newest == 1
        assert to_bytes(found) == to_bytes(packet)

    def test_parts_are_joined_in_any_order_and_parts_that_come_again_are_left(self, store, intake):
        packet = report()
        steps = packet.trajectory.steps
        parts = [
            evolve(packet, part=n, parts=4, trajectory=evolve(packet.trajectory, steps=(step,)))
            for n, step in enumerate(steps)
        ]
        for part in (parts[2], parts[0], parts[2], parts[3]):
            intake.take(part)
        assert store.kept() == []
        for _ in range(2):
            intake.take(parts[1])
        (found,), _ = store.window(CHAMPION, facts_of(packet), 10)
        assert to_bytes(found) == to_bytes(packet)

    @pytest.mark.parametrize(
        ("spoiled", "reason"),
        [
            (lambda it: evolve(it, trajectory=None), Reason.NO_TRAJECTORY),
            (lambda it: changed(it, -1, ended=Ended.NONE), Reason.NO_END),
            (lambda it: changed(it, 1, reward=None), Reason.NO_REWARD),
            (lambda it: changed(it, 1, gamma=0.5), Reason.MIXED_REWARDS),
            (lambda it: changed(it, 1, reward=RewardBreakdown(terms={"other": 1.0})), Reason.MIXED_REWARDS),
        ],
        ids=lambda it: it if isinstance(it, str) else "",
    )
    def test_nothing_is_learned_from_it(self, store, intake, spoiled, reason):
        for _ in range(2):
            intake.take(spoiled(report("one")))
        intake.take(report("two"))
        assert [(it.reason, it.count, it.last_id) for it in store.refused()] == [(reason, 1, "one")]
        assert sum(it.reports for it in store.kept()) == 1

    @pytest.mark.parametrize("value", [nan, inf])
    def test_a_reward_that_is_not_finite(self, value):
        packet = report()
        terms = dict(packet.trajectory.steps[0].reward.terms) | {
            next(iter(packet.trajectory.steps[0].reward.terms)): value
        }
        assert report_facts(changed(packet, 0, reward=RewardBreakdown(terms=terms))) is Reason.NOT_FINITE

    def test_only_what_is_stored_is_acknowledged(self, store, tmp_path):
        """The process dies while it stores the second report; the next one is given it again, and the first one not."""
        bus = memory_bus(MemoryConfig())
        packets = [report("one"), report("two", seed=1)]
        Publisher(bus, SIGNER).publish(
            [
                draft
                for it in packets
                for draft in report_drafts("h", 0, (), it.trajectory, RunIdentity(name="n", id=it.id), "o")
            ]
        )

        class Died(BaseException):
            pass

        taken = []

        def dies(packet, envelope):
            if taken:
                raise Died
            taken.append(packet)
            Intake(store, joined).take(packet)

        def reader(handle):
            how = Subscription(lease_seconds=1e-3, batch=1)
            handlers = {FieldReportPacket: handle}
            return Reader(bus, "simic", "c", handlers, signer=SIGNER, replays=Replays(None), subscription=how)

        first = reader(dies)
        first.poll()
        with pytest.raises(Died):
            first.poll()
        second = reader(Intake(store, joined).take)
        while sum(it.depth for it in bus.backlogs() if it.stream == "normal"):
            second.poll()
        assert sum(it.reports for it in store.kept()) == 2
        bus.close()


class TestStore:
    def fill(self, store, *versions, schema="o"):
        for index, version in enumerate(versions):
            packet = report(f"{version}-{index}", version, seed=index, schema=schema)
            store.put(packet, report_facts(packet))
        return facts_of(report(schema=schema))

    def test_a_window_is_of_one_version_and_one_kind(self, store):
        facts = self.fill(store, "a", "b", "a", "a")
        found, newest = store.window("a", facts, 2)
        assert [it.id for it in found] == ["a-2", "a-3"]
        assert newest == 4
        for other in ({"observation": "p"}, {"gamma": 0.1}, {"terms": ("x",)}):
            assert store.window("a", evolve(facts, **other), 2) == ([], 0)

    def test_the_oldest_go_first(self, store):
        facts = self.fill(store, *"aaaaaaaa")
        assert [it.id for it in store.window("a", facts, 99)[0]] == [f"a-{n}" for n in range(2, 8)]

    def test_new_reports_are_those_since_it_was_last_learned_from(self, store):
        facts = self.fill(store, "a", "a", "b")
        assert store.new_reports("a", facts) == 2
        _, newest = store.window("a", facts, 9)
        attempt = Attempt(at=1.0, parent="a", challenger="c", reports=2, newest=newest, outcome="refused", why="w")
        store.tried(attempt)
        assert store.attempts() == [attempt]
        assert (store.new_reports("a", facts), store.new_reports("b", facts)) == (0, 1)
        packet = report("late", "a")
        store.put(packet, report_facts(packet))
        assert store.new_reports("a", facts) == 1

    def test_a_sample_follows_priorities(self, store):
        facts = self.fill(store, "a", "b", "c")
        store.set_priorities([("a-0", 0.0), ("b-1", 3.0)])
        generator = np.random.default_rng(0)
        found = store.sample(["a", "b"], facts, 5, alpha=1.0, beta=1.0, generator=generator)
        assert set(found.ids) == {"b-1"}
        assert [it.id for it in found.packets] == ["b-1"] * 5
        assert found.weights.tolist() == [1.0] * 5
        assert store.sample(["z"], facts, 5, alpha=1.0, beta=1.0, generator=generator) is None
        for wrong in (nan, inf, -1.0):
            with pytest.raises(ValueError, match="finite"):
                store.set_priorities([("a-0", wrong)])

    def test_a_file_that_is_none_is_named(self, tmp_path):
        (tmp_path / "replay.sqlite").write_bytes(b"this is no database at all" * 99)
        with pytest.raises(EsperError) as caught:
            ReplayStore(tmp_path)
        assert caught.value.code == "E635"


class TestUnused:
    FACTS = PolicyFacts(policy="ppo", catalogue="c", observation="o", gamma=0.9, terms=("t",), digest="d")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({}, None),
            ({"version": "ppo-2-12345678+1"}, Reason.LEARNED_SINCE),
            ({"version": "ppo"}, Reason.UNKNOWN_POLICY),
            ({"version": "ppo-1-12345678"}, Reason.OFF_POLICY),
            ({"observation": None}, Reason.OTHER_SCHEMA),
            ({"gamma": 1.0}, Reason.OTHER_REWARDS),
            ({"terms": ("t", "u")}, Reason.OTHER_REWARDS),
        ],
    )
    def test_reports_that_the_champion_does_not_learn_from(self, changes, reason):
        facts = evolve(ReportFacts(version=CHAMPION, observation="o", gamma=0.9, terms=("t",)), **changes)
        kept = Kept(facts=facts, reports=1, steps=1, mean_total_reward=0.0)
        assert unused(kept, CHAMPION, self.FACTS, [CHAMPION, "ppo-1-12345678"]) is reason


class TestSampling:
    @settings(deadline=None)
    @given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20).filter(any), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
    def test_what_has_no_priority_is_never_drawn_and_no_weight_is_above_one(self, priorities, alpha, beta):
        drawn, weights = draw(np.array(priorities), 50, alpha=alpha, beta=beta, generator=np.random.default_rng(1))
        assert all(priorities[index] > 0.0 for index in drawn)
        assert np.all((weights >= 0.0) & (weights <= 1.0))

    def test_frequencies_and_weights_are_as_in_the_paper(self):
        priorities, alpha, beta = np.array([1.0, 2.0, 5.0]), 0.7, 0.5
        probabilities = priorities**alpha / (priorities**alpha).sum()
        drawn, weights = draw(priorities, 30_000, alpha=alpha, beta=beta, generator=np.random.default_rng(2))
        assert np.bincount(drawn) / len(drawn) == pytest.approx(probabilities, abs=0.005)
        full = (3 * probabilities) ** -beta
        for index in range(3):
            assert weights[drawn == index] == pytest.approx(full[index] / full.max())

    def test_small_priorities_behind_a_large_sum_are_drawn(self):
        """In float32 the sum would not move: 2^24 + 1 = 2^24."""
        priorities = np.concatenate([np.full(2**12, 2.0**13), np.ones(2**14)])
        assert np.float32(2.0**25) + np.float32(1.0) == np.float32(2.0**25)
        drawn, _ = draw(priorities, 2**16, alpha=1.0, beta=0.0, generator=np.random.default_rng(3))
        share = (drawn >= 2**12).mean()
        assert share == pytest.approx(2**14 / (2**14 + 2**25), rel=0.5)
        assert len(set(drawn[drawn >= 2**12].tolist())) > 10

    @pytest.mark.parametrize("wrong", [[0.0, 0.0], [1.0, nan], [1.0, inf], [1.0, -1.0]])
    def test_what_is_no_priority_is_refused(self, wrong):
        with pytest.raises(ValueError, match="priorities"):
            draw(np.array(wrong), 1, alpha=1.0, beta=1.0, generator=np.random.default_rng(0))


def test_the_discount_of_made_up_reports_is_theirs():
    assert report_facts(report()).gamma == GAMMA
