"""What messages hold: sources of events, parts of trajectories, emergencies, and what readers make of them."""

import json
from datetime import UTC, datetime

import pytest
import torch
from attrs import evolve

from esper_bus_memory.bus import MemoryConfig, memory_bus
from esper_core.leyline.actions import Action, ActionMasks, Op
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.leyline.learning import Decision, Ended, Situation, Step, Trajectory
from esper_core.leyline.observation import HostSignals, Observation
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.envelope import Envelope, MessageType
from esper_leyline_proto.learning import FieldReportPacket
from esper_leyline_proto.telemetry import (
    CircuitBreakerState,
    HealthStatus,
    TelemetryBatch,
    TelemetryLevel,
    TelemetryPacket,
)
from esper_leyline_proto.v1.trajectory_pb2 import FieldReportPacket as FieldReportMessage
from esper_messaging.drafts import RunIdentity, packet_draft, report_drafts, telemetry_drafts
from esper_messaging.reading import Reader, joined, lines_of, readable, streams_of
from esper_messaging.telemetry import SOURCES, bus_packet, event_packets, source_of
from esper_oona.api import LARGEST_BYTES, Draft, Keyring, Publisher, Replays, Signer, Stream

RUN = RunIdentity(name="digits-1", id="r")
SIGNER = Signer(Keyring({"k": b"x" * 32}))
METRICS = EpochMetrics(loss=1.0, accuracy=0.5, samples=10)


def event(kind, number, **data):
    return Event(kind=kind, host="grown", epoch=0, data=data, sequence=number, time=1e9 + number, run="digits-1")


class TestTelemetry:
    def test_every_kind_of_the_core_has_a_source_and_others_are_called_by_their_namespace(self):
        assert {*SOURCES} == {*EventKind}
        assert source_of("epoch_completed") == "tolaria"
        assert source_of("forge.kept") == "forge"

    def test_events_come_in_a_packet_for_each_source_in_order(self):
        events = [
            event(EventKind.EPOCH_COMPLETED, 0),
            event(EventKind.SEED_TRANSITION, 1),
            event(EventKind.ROLLBACK, 2),
            event("forge.kept", 3),
        ]
        packets = {it.source: it for it in event_packets(events, prefix="r")}
        assert {name: [it.sequence for it in packet.events] for name, packet in packets.items()} == {
            "tolaria": [0, 2],
            "kasmina": [1],
            "forge": [3],
        }
        assert (packets["tolaria"].level, packets["kasmina"].level) == (TelemetryLevel.WARNING, TelemetryLevel.INFO)
        assert packets["tolaria"].id == "r-tolaria-0-2"
        assert packets["forge"].issued_at.timestamp() == 1e9 + 3

    def test_what_is_too_large_for_one_message_is_cut(self):
        events = [event(EventKind.NOTICE, number, message="x" * 40_000) for number in range(20)]
        drafts = telemetry_drafts(events, RUN, dropped=3)
        assert max(len(draft.payload) for draft in drafts) <= LARGEST_BYTES
        batches = [from_bytes(TelemetryBatch, draft.payload) for draft in drafts]
        found = [it for batch in batches for packet in batch.packets for it in packet.events]
        assert found == events
        assert {batch.dropped for batch in batches} == {3}

    @pytest.mark.parametrize(
        ("metrics", "status", "state"),
        [
            ({"breaker": "closed", "degraded": 0.0}, HealthStatus.HEALTHY, CircuitBreakerState.CLOSED),
            ({"breaker": "half-open", "degraded": 1.0}, HealthStatus.DEGRADED, CircuitBreakerState.HALF_OPEN),
        ],
    )
    def test_the_bus_says_how_it_is(self, metrics, status, state):
        packet = bus_packet({**metrics, "publish_seconds.p99": 0.5, "lag": float("inf")}, id="1", run="digits-1")
        assert (packet.source, packet.health.status, packet.health.breakers) == ("oona", status, {"bus": state})
        figures = {it.name: (it.value, it.unit) for it in packet.metrics}
        assert figures == {"oona.degraded": (metrics["degraded"], "1"), "oona.publish_seconds.p99": (0.5, "s")}
        assert from_bytes(TelemetryBatch, packet_draft(packet, RUN, 0).payload).packets == (packet,)


def trajectory(steps, size=0):
    masks = ActionMasks(slots=(), blueprints=())
    seen = Observation(host=HostSignals(epoch=0, epochs=steps), slots=())
    made = []
    for epoch in range(steps):
        evidence = Evidence(host="grown", epoch=epoch, train=METRICS, validation=METRICS, learning_rate=0.1)
        decision = Decision(actions=(Action(op=Op.WAIT),), memo={"hidden": torch.full((size,), float(epoch))})
        ended = Ended.TRUNCATED if epoch + 1 == steps else Ended.NONE
        made.append(
            Step(
                host="grown",
                epoch=epoch,
                epochs=steps,
                observation=seen,
                masks=masks,
                decision=decision,
                after=evidence,
                ended=ended,
            )
        )
    final = Situation(host="grown", observation=seen, masks=masks)
    return Trajectory(host="grown", round=0, policy="ppo 1", steps=tuple(made), final=final)


class TestFieldReports:
    def packets(self, whole):
        drafts = report_drafts("grown", 2, (), whole, RUN, "schema")
        assert max(len(draft.payload) for draft in drafts) <= LARGEST_BYTES
        assert len({draft.id for draft in drafts}) == len(drafts)
        return [from_bytes(FieldReportPacket, draft.payload) for draft in drafts]

    def test_a_small_one_is_whole(self):
        (packet,) = self.packets(trajectory(3))
        assert (packet.id, packet.part, packet.parts) == ("r-report-2-grown", None, None)
        assert joined([packet]) == packet
        assert [step.epoch for step in packet.trajectory.steps] == [0, 1, 2]

    def test_a_large_one_comes_in_parts_that_are_joined_again_in_any_order(self):
        whole = trajectory(40, size=5_000)
        packets = self.packets(whole)
        assert len(packets) > 3
        assert joined(packets[1:]) is None
        found = joined(reversed(packets))
        assert [step.epoch for step in found.trajectory.steps] == [*range(40)]
        assert [float(step.decision.memo["hidden"][0]) for step in found.trajectory.steps] == [*map(float, range(40))]
        assert (found.part, found.parts) == (None, None)

    def test_parts_of_several_are_refused(self):
        one, *_ = self.packets(trajectory(40, size=5_000))
        with pytest.raises(ValueError, match="several"):
            joined([one, evolve(one, id="another")])

    def test_a_producer_that_knows_no_parts_sends_whole_ones(self):
        message = FieldReportMessage.FromString(to_bytes(self.packets(None)[0]))
        assert not message.HasField("part")
        assert not message.HasField("parts")
        packet = from_bytes(FieldReportPacket, message.SerializeToString())
        assert joined([packet]) == packet

    def test_a_newer_producer_may_say_more(self):
        data = to_bytes(self.packets(None)[0]) + b"\xba\x06\x03new"  # field 103, a text
        assert from_bytes(FieldReportPacket, data).run == "digits-1"


class TestReading:
    @pytest.fixture
    def bus(self):
        bus = memory_bus(MemoryConfig())
        yield bus
        bus.close()

    def test_records_go_to_the_handler_of_their_class(self, bus):
        packet = TelemetryPacket(id="1", issued_at=datetime(2026, 1, 1, tzinfo=UTC), source="oona")
        draft = packet_draft(packet, RUN, 0)
        report = report_drafts("grown", 0, (), None, RUN, None)
        Publisher(bus, SIGNER).publish([draft, *report])
        found = []
        reader = Reader(
            bus,
            "nissa",
            "c",
            {FieldReportPacket: lambda record, envelope: found.append((record.id, envelope.key))},
            signer=SIGNER,
            replays=Replays(None),
        )
        assert reader.poll() == 1
        assert found == [("r-report-0-grown", "r/grown")]
        assert [(it.stream, it.depth) for it in bus.backlogs() if it.depth] == [("telemetry", 1)]

    def test_a_record_that_cannot_be_read_is_a_dead_letter_and_holds_nothing_up(self, bus):
        good = report_drafts("grown", 0, (), None, RUN, None)
        bad = Draft(type=MessageType.FIELD_REPORT, payload=b"\xff")
        Publisher(bus, SIGNER).publish([bad, *good])
        found = []
        reader = Reader(
            bus,
            "simic",
            "c",
            {FieldReportPacket: lambda record, _: found.append(record.id)},
            signer=SIGNER,
            replays=Replays(None),
        )
        reader.poll()
        assert found == ["r-report-0-grown"]
        assert reader.subscribers[Stream.NORMAL].metrics.value("failed") == 1

    def test_only_what_a_message_carries_can_be_wanted(self, bus):
        with pytest.raises(TypeError, match="Trajectory"):
            Reader(bus, "g", "c", {Trajectory: print}, signer=SIGNER, replays=Replays(None))

    def test_emergencies_can_be_on_the_normal_stream_too(self):
        assert streams_of([MessageType.TELEMETRY]) == (Stream.EMERGENCY, Stream.TELEMETRY)
        assert streams_of([MessageType.EMERGENCY_SIGNAL]) == (Stream.NORMAL, Stream.EMERGENCY)

    def test_a_message_is_readable_by_name_of_field(self, bus):
        Publisher(bus, SIGNER, name="me").publish(report_drafts("grown", 0, (), trajectory(2, size=100), RUN, None))
        ((_, message),) = bus.tail("normal", 1)
        data = readable(from_bytes(Envelope, message.body))
        assert (data["type"], data["producer"], data["signed"]) == ("field-report", "me", True)
        step = data["content"]["trajectory"]["steps"][1]
        assert step["ended"] == "truncated"
        assert step["decision"]["memo"]["hidden"] == "<torch.float32 100>"
        assert step["after"]["validation"]["accuracy"] == 0.5
        assert json.loads(json.dumps(data)) == data
        lines = lines_of(data)
        assert "  run: digits-1" in lines
        assert any(line.strip() == "steps[1]:" for line in lines)

    def test_what_is_no_record_is_shown_as_such(self, bus):
        Publisher(bus, SIGNER).publish([Draft(type=MessageType.FIELD_REPORT, payload=b"\xff")])
        ((_, message),) = bus.tail("normal", 1)
        assert "E602" in readable(from_bytes(Envelope, message.body))["content"]["error"]
