"""What a real host has lived through is worth as much to a learner in another process as in its own."""

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from attrs import evolve

from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.evidence import UNKNOWN_COMPUTE
from esper_core.leyline.stages import Stage
from esper_core.simic.rounds import run_rounds
from esper_core.tamiyo.policy import Policy
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.learning import FieldReportPacket
from esper_leyline_proto.state import SystemStatePacket, state_packet
from esper_leyline_proto.telemetry import TelemetryBatch, TelemetryPacket
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.plugin import esper_policies
from esper_policy_ppo.policy import PPO

_PATH = Path(__file__).parents[3] / "tests" / "simic" / "bandit.py"
_spec = importlib.util.spec_from_file_location("esper_test_bandit_on_the_wire", _PATH)
bandit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bandit)

AT = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = PPOConfig(rounds=1, hidden=16, slot_encoding=8)


class Keeps(PPO):
    """The policy that keeps what it is given to learn from, and learns nothing of it."""

    given = ()

    def learn(self, trajectories):
        self.given = tuple(trajectories)
        return {}


class Lived:
    """One round of two hosts, their reports before each epoch, and what there is to learn."""

    def __init__(self, folder):
        plan = bandit.small_plan()
        self.catalogue = Catalogue(tuple(factory.entry for factory in plan.seed_factories.values()))
        actor = Keeps(CONFIG, self.catalogue)
        capabilities = next(iter(esper_policies())).capabilities
        policy = Policy(actor=actor, name="ppo", capabilities=capabilities)
        training = bandit.Training(folder=folder, plan=plan, policy=policy)
        self.reports = []

        def make_round(number):
            staged = training.make_round(number)
            self.reports += staged.rollout.reports
            return staged

        def keep(staged, epoch):
            self.reports += staged.rollout.reports

        run_rounds(make_round, training.policy, training.around, rounds=1, after_epoch=keep)
        self.trajectories, self.state, self.events = actor.given, actor.state(), tuple(training.around.events)

    def learned_from(self, trajectories):
        pupil = PPO(CONFIG, self.catalogue)
        pupil.restore(self.state)
        figures = pupil.learn(trajectories)
        return figures, pupil.state().tensors


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    return Lived(tmp_path_factory.mktemp("lived"))


def sent(record):
    return from_bytes(type(record), to_bytes(record))


def test_a_policy_learns_bit_for_bit_the_same_from_trajectories_that_were_sent(lived):
    packets = [FieldReportPacket(id="1", run="r", issued_at=AT, trajectory=one) for one in lived.trajectories]
    assert all(len(packet.trajectory.steps) == bandit.EPOCHS for packet in packets)
    figures, weights = lived.learned_from(lived.trajectories)
    figures_there, weights_there = lived.learned_from([sent(packet).trajectory for packet in packets])
    assert figures_there == figures
    assert all(torch.equal(weights_there[name], weights[name]) for name in weights)
    assert any(not torch.equal(weights[name], tensor) for name, tensor in lived.state.tensors.items())


def test_what_is_learned_depends_on_what_was_sent(lived):
    """The mutant of the test above: a trajectory whose rewards were lost teaches something else."""
    lost = [
        evolve(one, steps=tuple(evolve(step, reward=evolve(step.reward, terms={})) for step in one.steps))
        for one in lived.trajectories
    ]
    assert lived.learned_from(lost)[0] != lived.learned_from(lived.trajectories)[0]


def test_every_event_of_a_round_can_be_sent(lived):
    batch = TelemetryBatch(packets=(TelemetryPacket(id="1", issued_at=AT, source="simic", events=lived.events),))
    back = sent(batch).packets[0].events
    assert [event.kind for event in back] == [event.kind for event in lived.events]
    assert [(event.host, event.epoch, event.round) for event in back] == [
        (event.host, event.epoch, event.round) for event in lived.events
    ]


class TestAStatePacket:
    def packet(self, report):
        return state_packet(report, id="1", run="r", round=0, issued_at=AT)

    def test_can_be_sent_before_and_after_every_epoch(self, lived):
        packets = [self.packet(report) for report in lived.reports]
        assert [sent(packet) for packet in packets] == packets
        assert {packet.epoch for packet in packets} == set(range(bandit.EPOCHS + 1))

    def test_before_the_first_epoch_has_no_figures(self, lived):
        packet = self.packet(lived.reports[0])
        assert (packet.train, packet.validation, packet.learning_rate) == (None, None, None)
        assert packet.compute == UNKNOWN_COMPUTE
        assert all(seed.seed_id is None for seed in packet.seeds)

    def test_says_of_each_slot_what_the_report_says(self, lived):
        report = lived.reports[-2]
        packet = self.packet(report)
        assert isinstance(packet, SystemStatePacket)
        assert [(seed.slot, seed.stage) for seed in packet.seeds] == [
            (slot.site.id, slot.stage) for slot in report.states
        ]
        assert packet.validation == report.evidence.validation

    def test_does_not_take_the_figures_of_a_culled_seed_for_those_of_an_empty_slot(self, lived):
        report = next(it for it in lived.reports if it.evidence is not None and it.evidence.seeds)
        slot = report.evidence.seeds[0].slot
        states = tuple(
            evolve(state, stage=Stage.CULLED, blueprint=None) if state.site.id == slot else state
            for state in report.states
        )
        packet = self.packet(evolve(report, states=states))
        assert next(seed for seed in packet.seeds if seed.slot == slot).seed_id is None

    def test_leaves_out_what_is_not_finite(self, lived):
        report = next(
            it
            for it in lived.reports
            if any(state.stage.holds_module for state in it.states) and it.evidence and it.evidence.seeds
        )
        seeds = tuple(evolve(seed, gradient_norm=float("nan")) for seed in report.evidence.seeds)
        packet = self.packet(evolve(report, evidence=evolve(report.evidence, seeds=seeds)))
        assert any(seed.seed_id for seed in packet.seeds)
        assert all(seed.gradient_norm is None for seed in packet.seeds)
        to_bytes(packet)
