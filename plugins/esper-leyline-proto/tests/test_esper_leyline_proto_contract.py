"""The contract itself: its enumerations, what was made of it, and what an older and a newer Esper understand of it."""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

import pytest
from attrs import evolve
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from esper_core.leyline.actions import GovernorMode, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.learning import Ended
from esper_core.leyline.stages import Blend, Cause, GateLevel, Stage
from esper_leyline_proto.commands import CommandType, EmergencyLevel, EmergencySignal
from esper_leyline_proto.contract import FILES, PACKAGE
from esper_leyline_proto.conversion import from_bytes, to_bytes, to_message
from esper_leyline_proto.envelope import Envelope, MessagePriority, MessageType
from esper_leyline_proto.kernels import KernelPrefetchRequest
from esper_leyline_proto.messages import RECORDS, content, enclose
from esper_leyline_proto.scalars import enum_numbers
from esper_leyline_proto.telemetry import CircuitBreakerState, HealthStatus, TelemetryLevel

FOLDER = Path(__file__).parents[1]
PROTOS = FOLDER / "src" / "esper_leyline_proto" / "protos"
RELEASED = FOLDER / "tests" / "released" / "0.1.binpb"

ENUMERATIONS: tuple[type[Enum], ...] = (
    *(Stage, GateLevel, Blend, Cause, Op, GovernorMode, Layout, Ended),
    *(MessageType, MessagePriority, CommandType, EmergencyLevel),
    *(TelemetryLevel, HealthStatus, CircuitBreakerState),
)


def tool(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    assert path.exists(), f"{name} is a tool of development: make ready"
    return str(path)


def generator():
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "tools" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestEnumerations:
    FOUND = {name: enum for file in FILES for name, enum in file.enum_types_by_name.items()}

    def test_are_all_tested_here(self):
        assert {*self.FOUND} - {"NonFinite"} == {kind.__name__ for kind in ENUMERATIONS}

    @pytest.mark.parametrize("kind", ENUMERATIONS, ids=lambda kind: kind.__name__)
    def test_have_the_members_of_the_record_s(self, kind):
        assert {*enum_numbers(self.FOUND[kind.__name__])} == {member.name for member in kind}

    @pytest.mark.parametrize("kind", [Stage, *ENUMERATIONS[8:]], ids=lambda kind: kind.__name__)
    def test_have_the_numbers_of_the_record_s(self, kind):
        assert enum_numbers(self.FOUND[kind.__name__]) == {member.name: member.value for member in kind}

    @pytest.mark.parametrize(
        ("name", "numbers"),
        [("Stage", {5, 11}), ("GateLevel", {5}), ("Op", {2, 3, 4, 5, 6, 9}), ("CommandType", {2, 3, 4, 5, 6, 7})],
    )
    def test_never_use_the_number_of_what_is_gone(self, name, numbers):
        proto = descriptor_pb2.EnumDescriptorProto()
        self.FOUND[name].CopyToProto(proto)
        reserved = {number for it in proto.reserved_range for number in range(it.start, it.end + 1)}
        assert reserved == numbers
        assert len(proto.reserved_name) == len(numbers)
        assert not reserved & {value.number for value in proto.value}


@pytest.mark.slow
class TestWhatWasMade:
    def test_is_what_the_protos_give(self):
        committed = {path.name: path.read_text() for path in (PROTOS.parent / "v1").glob("*_pb2.py*")}
        assert generator().generate() == committed, "run python plugins/esper-leyline-proto/tools/generate.py"

    def test_asks_for_no_later_protobuf_than_the_distribution(self):
        text = (PROTOS.parent / "v1" / "envelope_pb2.py").read_text()
        assert "# Protobuf Python Version: 6.31.1" in text
        assert '"protobuf>=6.31.1,<8"' in (FOLDER / "pyproject.toml").read_text()


@pytest.mark.slow
def test_reading_messages_without_tensors_does_not_import_torch():
    program = "import sys, esper_leyline_proto.messages; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def buf(*arguments: str | Path) -> list[str]:
    """What buf complains of."""
    ran = subprocess.run([tool("buf"), *arguments], capture_output=True, text=True, cwd=FOLDER)
    assert ran.returncode in (0, 100), ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.slow
class TestBuf:
    def test_finds_nothing_to_correct(self):
        assert not buf("lint", PROTOS)

    def test_finds_nothing_that_breaks_the_last_release(self):
        assert not buf("breaking", PROTOS, "--against", RELEASED)

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("envelope", "  optional string key_id = 11;", ""),
            ("envelope", "optional string key_id = 11", "optional string key_id = 21"),
            ("envelope", "optional uint32 attempt = 7", "optional string attempt = 7"),
            ("seed", "  reserved 5, 11;", "  reserved 11;"),
            ("seed", "  STAGE_BLENDING = 4;", "  STAGE_BLENDING = 12;"),
            ("seed", "  repeated GateResult gates = 11;", "  optional GateResult gates = 11;"),
        ],
        ids=["removed", "renumbered", "other type", "not reserved", "other number", "not repeated"],
    )
    def test_catches_what_breaks_it(self, tmp_path, file, old, new):
        shutil.copytree(PROTOS, tmp_path / "protos")
        changed = tmp_path / "protos" / "esper" / "leyline" / "v1" / f"{file}.proto"
        text = changed.read_text()
        assert text.count(old) == 1
        changed.write_text(text.replace(old, new))
        assert buf("breaking", tmp_path / "protos", "--against", RELEASED)


def contract(change=lambda files: None):
    """Message classes of another Esper's contract, beside this one's: the last release's, changed."""
    files = descriptor_pb2.FileDescriptorSet.FromString(RELEASED.read_bytes())
    change(files)
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def described(files, name):
    return next(message for file in files.file for message in file.message_type if message.name == name)


def without(message, *names):
    """A change: the message has not got these fields yet."""

    def change(files):
        proto = described(files, message)
        kept = [field for field in proto.field if field.name not in names]
        assert len(kept) + len(names) == len(proto.field)
        del proto.field[:], proto.oneof_decl[:]
        for index, field in enumerate(kept):  # An `optional` field has a oneof of its own.
            field.oneof_index = index
            proto.oneof_decl.add(name=f"_{field.name}")
            proto.field.append(field)

    return change


def with_more(files):
    """A change: a field, a member of an enumeration and a kind of plain data are new."""
    described(files, "Envelope").field.add(name="tenant", number=99, type=9, label=1)
    kinds = described(files, "Value")
    kinds.field.add(name="complex", number=99, type=1, label=1, oneof_index=0)
    types = next(enum for file in files.file for enum in file.enum_type if enum.name == "MessageType")
    types.value.add(name="MESSAGE_TYPE_ANOTHER", number=30)


#: Where not any text will do.
SAMPLES = {f"{PACKAGE}.Event.kind": "notice", "google.protobuf.Timestamp.nanos": 1000}


def fill(
    message,
):
    """Set every field of a message, as a producer does that knows them all."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None:
            value = sample(field)
            getattr(message, field.name).append(value) if field.is_repeated else setattr(message, field.name, value)
        elif field.message_type.full_name == f"{PACKAGE}.Value":
            getattr(message, field.name).text = "1"
        elif field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name["value"]
            held = getattr(message, field.name)
            if entry.message_type is None:
                held["1"] = sample(entry)
            elif entry.message_type.full_name == f"{PACKAGE}.Value":
                held["1"].text = "1"
            else:
                fill(held["1"])
        else:
            held = getattr(message, field.name)
            fill(held.add() if field.is_repeated else held)
    return message


def sample(field):
    if field.enum_type is not None:
        return field.enum_type.values[1].number
    by_type = {field.TYPE_STRING: "1", field.TYPE_BYTES: b"1", field.TYPE_BOOL: True, field.TYPE_DOUBLE: 0.5}
    return SAMPLES.get(field.full_name, by_type.get(field.type, 1))


SENT = Envelope(
    id="a",
    type=MessageType.TELEMETRY,
    issued_at=datetime(2026, 3, 1, tzinfo=UTC),
    expires_at=datetime(2026, 3, 2, tzinfo=UTC),
    attempt=3,
    payload=b"1",
    key_id="k",
)


class TestAnOlderProducer:
    @pytest.mark.parametrize("kind", [Envelope, *RECORDS.values()], ids=lambda kind: kind.__name__)
    def test_of_the_last_release_is_understood(self, kind):
        sent = fill(contract()(kind.__name__)())
        read = from_bytes(kind, sent.SerializeToString())
        assert to_bytes(read) == sent.SerializeToString(deterministic=True)

    def test_that_did_not_know_a_field_leaves_it_at_its_default_or_missing(self):
        older = contract(without("Envelope", "attempt", "expires_at"))("Envelope")
        read = from_bytes(Envelope, fill(older()).SerializeToString())
        assert read.attempt == 0
        assert read.expires_at is None

    def test_that_did_not_know_a_field_without_a_default_is_refused(self):
        """So it is by this that a change is found out which adds one."""
        older = contract(without("Envelope", "id"))("Envelope")
        with pytest.raises(EsperError, match="Envelope cannot be read: id") as caught:
            from_bytes(Envelope, fill(older()).SerializeToString())
        assert caught.value.code == "E602"


class TestANewerProducer:
    NEWER = staticmethod(contract(with_more))

    def test_adds_a_field_that_is_dropped(self):
        sent = self.NEWER("Envelope").FromString(to_bytes(SENT))
        sent.tenant = "t"
        assert from_bytes(Envelope, sent.SerializeToString()) == SENT

    def test_adds_a_field_that_survives_where_the_message_is_passed_on_as_such(self):
        sent = self.NEWER("Envelope").FromString(to_bytes(SENT))
        sent.tenant = "t"
        relayed = type(to_message(SENT)).FromString(sent.SerializeToString())
        relayed.attempt = 4
        assert self.NEWER("Envelope").FromString(relayed.SerializeToString()).tenant == "t"

    def test_means_something_by_a_number_that_this_version_does_not_know(self):
        sent = self.NEWER("Envelope").FromString(to_bytes(SENT))
        sent.type = 30
        with pytest.raises(EsperError, match="MessageType has no member with the number 30"):
            from_bytes(Envelope, sent.SerializeToString())

    def test_sends_plain_data_of_a_kind_that_this_version_does_not_know(self):
        sent = fill(self.NEWER("KernelPrefetchRequest")())
        sent.parameters["1"].complex = 1.0
        with pytest.raises(EsperError, match="a kind that this version does not know") as caught:
            from_bytes(KernelPrefetchRequest, sent.SerializeToString())
        assert caught.value.where == "KernelPrefetchRequest.parameters['1']"

    def test_sends_a_content_whose_meaning_has_changed(self):
        with pytest.raises(EsperError, match="a later version than this Esper reads"):
            content(evolve(SENT, schema_version=2))


class TestAnOlderConsumer:
    @pytest.mark.parametrize("kind", [Envelope, *RECORDS.values()], ids=lambda kind: kind.__name__)
    def test_of_the_last_release_finds_all_that_it_knows(self, kind):
        filled = fill(contract()(kind.__name__)())
        sent = to_bytes(from_bytes(kind, filled.SerializeToString()))
        assert type(filled).FromString(sent) == filled

    def test_that_did_not_know_a_field_reads_the_others_and_hands_that_one_on(self):
        older = contract(without("Envelope", "key_id"))("Envelope")
        read = older.FromString(to_bytes(SENT))
        assert (read.id, read.attempt, read.payload) == ("a", 3, b"1")
        assert from_bytes(Envelope, read.SerializeToString()) == SENT


class TestAnEnvelopeAndItsContent:
    def test_belong_together_by_the_type_alone(self):
        signal = EmergencySignal(
            id="1", level=EmergencyLevel.HALT, reason="heat", origin="tolaria", triggered_at=SENT.issued_at
        )
        sent = enclose(signal, key="run", lifetime=timedelta(seconds=5))
        assert sent.type is MessageType.EMERGENCY_SIGNAL
        assert sent.expires_at - sent.issued_at == timedelta(seconds=5)
        assert content(from_bytes(Envelope, to_bytes(sent))) == signal

    def test_every_type_has_its_record(self):
        assert set(RECORDS) == set(MessageType)
        assert len(set(RECORDS.values())) == len(MessageType)

    def test_a_record_that_no_envelope_carries_is_refused(self):
        with pytest.raises(TypeError, match="no envelope carries a Envelope"):
            enclose(SENT)
