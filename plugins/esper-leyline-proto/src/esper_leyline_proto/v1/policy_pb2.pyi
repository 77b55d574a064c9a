import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PolicyValidation(_message.Message):
    __slots__ = ("passed", "validated_at", "trajectories", "mean_reward", "standard_error", "baseline_reward", "metrics", "failures")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PASSED_FIELD_NUMBER: _ClassVar[int]
    VALIDATED_AT_FIELD_NUMBER: _ClassVar[int]
    TRAJECTORIES_FIELD_NUMBER: _ClassVar[int]
    MEAN_REWARD_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERROR_FIELD_NUMBER: _ClassVar[int]
    BASELINE_REWARD_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    passed: bool
    validated_at: _timestamp_pb2.Timestamp
    trajectories: int
    mean_reward: float
    standard_error: float
    baseline_reward: float
    metrics: _containers.ScalarMap[str, float]
    failures: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, passed: bool = ..., validated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trajectories: _Optional[int] = ..., mean_reward: _Optional[float] = ..., standard_error: _Optional[float] = ..., baseline_reward: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ..., failures: _Optional[_Iterable[str]] = ...) -> None: ...

class PolicyUpdate(_message.Message):
    __slots__ = ("id", "policy", "version", "parent", "run", "issued_at", "observation_schema", "payload", "artifact_ref", "size", "checksum", "validation", "key_id", "signature", "part", "parts")
    ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_REF_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    policy: str
    version: str
    parent: str
    run: str
    issued_at: _timestamp_pb2.Timestamp
    observation_schema: str
    payload: bytes
    artifact_ref: str
    size: int
    checksum: str
    validation: PolicyValidation
    key_id: str
    signature: bytes
    part: int
    parts: int
    def __init__(self, id: _Optional[str] = ..., policy: _Optional[str] = ..., version: _Optional[str] = ..., parent: _Optional[str] = ..., run: _Optional[str] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., observation_schema: _Optional[str] = ..., payload: _Optional[bytes] = ..., artifact_ref: _Optional[str] = ..., size: _Optional[int] = ..., checksum: _Optional[str] = ..., validation: _Optional[_Union[PolicyValidation, _Mapping]] = ..., key_id: _Optional[str] = ..., signature: _Optional[bytes] = ..., part: _Optional[int] = ..., parts: _Optional[int] = ...) -> None: ...
