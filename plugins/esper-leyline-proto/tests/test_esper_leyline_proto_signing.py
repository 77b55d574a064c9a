from datetime import UTC, datetime, timedelta, timezone

import pytest
from attrs import evolve, fields, frozen

from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.kernels import KernelCatalogUpdate
from esper_leyline_proto.learning import PolicyUpdate, PolicyValidation
from esper_leyline_proto.signing import signed_record_bytes

AT = datetime(2026, 3, 1, tzinfo=UTC)
UPDATE = PolicyUpdate(
    id="1",
    policy="ppo",
    version="2",
    parent="1",
    run="r",
    issued_at=AT,
    observation_schema="0f",
    payload=b"\x01",
    artifact_ref="a",
    size=1,
    checksum="ff",
    validation=PolicyValidation(
        passed=True, validated_at=AT, trajectories=2, mean_reward=0.5, metrics={"b": 1.0, "a": 2.0}, failures=("x",)
    ),
    key_id="k",
    signature=b"s",
    part=0,
    parts=2,
)
CHANGED = {
    str: lambda value: value + "x",
    bytes: lambda value: value + b"x",
    int: lambda value: value + 1,
    datetime: lambda value: value + timedelta(microseconds=1),
    PolicyValidation: lambda value: evolve(value, passed=False),
}


@pytest.mark.parametrize("name", [field.name for field in fields(PolicyUpdate) if field.name != "signature"])
def test_every_field_is_covered(name):
    value = getattr(UPDATE, name)
    assert signed_record_bytes(evolve(UPDATE, **{name: CHANGED[type(value)](value)})) != signed_record_bytes(UPDATE)


@pytest.mark.parametrize("name", ["parent", "run", "artifact_ref", "validation", "key_id"])
def test_a_field_that_is_missing_is_another_record(name):
    assert signed_record_bytes(evolve(UPDATE, **{name: None})) != signed_record_bytes(UPDATE)


def test_the_signature_is_not_covered():
    assert signed_record_bytes(evolve(UPDATE, signature=None)) == signed_record_bytes(UPDATE)


def test_what_was_sent_is_signed_alike():
    assert signed_record_bytes(from_bytes(PolicyUpdate, to_bytes(UPDATE))) == signed_record_bytes(UPDATE)


def test_the_order_of_a_mapping_and_the_time_zone_do_not_matter():
    there = evolve(
        UPDATE,
        issued_at=AT.astimezone(timezone(timedelta(hours=3))),
        validation=evolve(UPDATE.validation, metrics={"a": 2.0, "b": 1.0}),
    )
    assert signed_record_bytes(there) == signed_record_bytes(UPDATE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": [1, [2]]}, {"a": [[1], 2]}),
        ({"a": ["b", "c"]}, {"a": {"b": "c"}}),
        ({"ab": "c"}, {"a": "bc"}),
    ],
)
def test_plain_data_that_look_alike_are_signed_differently(one, other):
    def signed(parameters):
        return signed_record_bytes(
            KernelCatalogUpdate(
                blueprint="b",
                parameters=parameters,
                artifact_ref="a",
                artifact_version="1",
                checksum="f",
                guard_digest="f",
                issued_at=AT,
            )
        )

    assert signed(one) != signed(other)


def test_two_messages_of_the_same_fields_are_signed_differently():
    @frozen
    class One:
        id: str = "1"

    @frozen
    class Other:
        id: str = "1"

    assert signed_record_bytes(One()) != signed_record_bytes(Other())


def test_what_is_no_plain_data_is_refused():
    with pytest.raises(TypeError, match="object cannot be signed"):
        signed_record_bytes(evolve(UPDATE, validation=object()))
