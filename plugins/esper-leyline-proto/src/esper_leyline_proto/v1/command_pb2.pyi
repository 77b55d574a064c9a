import datetime

from esper_leyline_proto.v1 import seed_pb2 as _seed_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Op(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OP_UNSPECIFIED: _ClassVar[Op]
    OP_GERMINATE: _ClassVar[Op]
    OP_FOSSILIZE: _ClassVar[Op]
    OP_CULL: _ClassVar[Op]
    OP_WAIT: _ClassVar[Op]

class CommandType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_TYPE_UNSPECIFIED: _ClassVar[CommandType]
    COMMAND_TYPE_SEED: _ClassVar[CommandType]
OP_UNSPECIFIED: Op
OP_GERMINATE: Op
OP_FOSSILIZE: Op
OP_CULL: Op
OP_WAIT: Op
COMMAND_TYPE_UNSPECIFIED: CommandType
COMMAND_TYPE_SEED: CommandType

class Action(_message.Message):
    __slots__ = ("op", "slot", "blueprint", "blend", "ramp_epochs", "policy", "reason", "confidence", "id")
    OP_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    BLUEPRINT_FIELD_NUMBER: _ClassVar[int]
    BLEND_FIELD_NUMBER: _ClassVar[int]
    RAMP_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    op: Op
    slot: str
    blueprint: str
    blend: _seed_pb2.Blend
    ramp_epochs: int
    policy: str
    reason: str
    confidence: float
    id: str
    def __init__(self, op: _Optional[_Union[Op, str]] = ..., slot: _Optional[str] = ..., blueprint: _Optional[str] = ..., blend: _Optional[_Union[_seed_pb2.Blend, str]] = ..., ramp_epochs: _Optional[int] = ..., policy: _Optional[str] = ..., reason: _Optional[str] = ..., confidence: _Optional[float] = ..., id: _Optional[str] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("action_id", "allowed", "reason")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    allowed: bool
    reason: str
    def __init__(self, action_id: _Optional[str] = ..., allowed: bool = ..., reason: _Optional[str] = ...) -> None: ...

class AdaptationCommand(_message.Message):
    __slots__ = ("type", "run", "host", "round", "epoch", "issued_at", "action", "verdict")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    type: CommandType
    run: str
    host: str
    round: int
    epoch: int
    issued_at: _timestamp_pb2.Timestamp
    action: Action
    verdict: Verdict
    def __init__(self, type: _Optional[_Union[CommandType, str]] = ..., run: _Optional[str] = ..., host: _Optional[str] = ..., round: _Optional[int] = ..., epoch: _Optional[int] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., action: _Optional[_Union[Action, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ...) -> None: ...
