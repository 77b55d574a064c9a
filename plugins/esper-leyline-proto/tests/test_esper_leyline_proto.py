import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.conversion import from_bytes, from_message, to_bytes, to_message
from esper_leyline_proto.envelope import Envelope, MessageType, signed_bytes
from esper_leyline_proto.v1 import envelope_pb2

AT = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
SENT = Envelope(id="a", type=MessageType.TELEMETRY, issued_at=AT, payload=b"\x00\xff", key="run/host")


class TestAnEnvelope:
    def test_comes_back_as_it_was(self):
        assert from_bytes(Envelope, to_bytes(SENT)) == SENT

    def test_of_another_time_zone_means_the_same_moment(self):
        there = evolve(SENT, issued_at=AT.astimezone(timezone(timedelta(hours=-7))))
        back = from_bytes(Envelope, to_bytes(there))
        assert back.issued_at == AT
        assert back.issued_at.tzinfo is UTC

    def test_without_an_expiry_has_none_afterwards(self):
        assert not to_message(SENT).HasField("expires_at")
        assert from_bytes(Envelope, to_bytes(SENT)).expires_at is None


class TestWhatIsSigned:
    @pytest.mark.parametrize(
        "change",
        [
            {"id": "b"},
            {"type": MessageType.FIELD_REPORT},
            {"schema_version": 2},
            {"issued_at": AT + timedelta(microseconds=1)},
            {"expires_at": AT},
            {"priority": 3},
            {"key": "run"},
            {"producer": "x"},
            {"payload": b"\x00"},
            {"key_id": "k"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_covers_every_field(self, change):
        assert signed_bytes(evolve(SENT, **change)) != signed_bytes(SENT)

    def test_is_the_same_bytes_in_every_version(self):
        """Of another Esper's signatures: what is signed here is what is verified there."""
        assert signed_bytes(SENT).hex() == (
            "65737065722e6c65796c696e652e76312e456e76656c6f706500000000000000016100000000000000080000000000000004"
            "00000000000000080000000000000001000000000000000800064bf5a0fac440ffffffffffffffff00000000000000080000"
            "000000000002000000000000000872756e2f686f73740000000000000000000000000000000200ffffffffffffffffff"
        )
        other = evolve(SENT, expires_at=AT + timedelta(days=1, microseconds=-1), key_id="k-1", producer="é", priority=4)
        assert hashlib.sha256(signed_bytes(other)).hexdigest() == (
            "94a39357f9bba7acabf99ff1a9bc1de81f8168013b84f7cceaa41ba887e248fc"
        )

    def test_does_not_cover_the_attempt_nor_the_signature(self):
        assert signed_bytes(evolve(SENT, attempt=3, signature=b"s")) == signed_bytes(SENT)

    def test_a_byte_that_moves_from_one_field_into_the_next_changes_it(self):
        assert signed_bytes(evolve(SENT, key="ab", producer="c")) != signed_bytes(evolve(SENT, key="a", producer="bc"))

    def test_a_key_that_is_missing_is_not_an_empty_one(self):
        assert signed_bytes(evolve(SENT, key_id="")) != signed_bytes(SENT)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"id": 3}, "id"),
            ({"type": 4}, "type"),
            ({"issued_at": datetime(2026, 1, 1)}, "issued_at"),
            ({"attempt": 2**32}, "attempt"),
            ({"attempt": True}, "attempt"),
            ({"payload": "text"}, "payload"),
            ({"key": "\ud800"}, "key"),
        ],
    )
    def test_a_record_whose_value_has_no_place_is_refused_with_its_path(self, change, path):
        with pytest.raises(EsperError) as caught:
            to_bytes(evolve(SENT, **change))
        assert caught.value.code == "E601"
        assert caught.value.where == f"Envelope.{path}"
        assert caught.value.fix

    @pytest.mark.parametrize("name", ["id", "type", "issued_at", "payload"])
    def test_a_message_without_a_field_that_has_no_default_is_refused(self, name):
        message = to_message(SENT)
        message.ClearField(name)
        with pytest.raises(EsperError, match="missing") as caught:
            from_message(Envelope, message)
        assert caught.value.code == "E602"
        assert caught.value.where == f"Envelope.{name}"

    def test_a_number_that_no_member_has_is_refused(self):
        message = to_message(SENT)
        message.type = 21
        with pytest.raises(EsperError, match="MessageType has no member with the number 21"):
            from_message(Envelope, message)

    def test_bytes_that_are_cut_off_are_refused(self):
        with pytest.raises(EsperError) as caught:
            from_bytes(Envelope, to_bytes(SENT)[:-3])
        assert caught.value.code == "E602"

    def test_a_time_beyond_the_calendar_is_refused(self):
        message = to_message(SENT)
        message.issued_at.seconds = 2**60
        with pytest.raises(EsperError, match="no point in time"):
            from_message(Envelope, message)

    def test_another_message_is_not_taken_for_it(self):
        with pytest.raises(TypeError, match="is no Envelope"):
            from_message(Envelope, envelope_pb2.google_dot_protobuf_dot_timestamp__pb2.Timestamp())
