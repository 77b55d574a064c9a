import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MessageType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MESSAGE_TYPE_UNSPECIFIED: _ClassVar[MessageType]
    MESSAGE_TYPE_SYSTEM_STATE: _ClassVar[MessageType]
    MESSAGE_TYPE_ADAPTATION_COMMAND: _ClassVar[MessageType]
    MESSAGE_TYPE_FIELD_REPORT: _ClassVar[MessageType]
    MESSAGE_TYPE_TELEMETRY: _ClassVar[MessageType]
    MESSAGE_TYPE_POLICY_UPDATE: _ClassVar[MessageType]
    MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST: _ClassVar[MessageType]
    MESSAGE_TYPE_KERNEL_PREFETCH_READY: _ClassVar[MessageType]
    MESSAGE_TYPE_KERNEL_PREFETCH_ERROR: _ClassVar[MessageType]
    MESSAGE_TYPE_KERNEL_CATALOG_UPDATE: _ClassVar[MessageType]
    MESSAGE_TYPE_EMERGENCY_SIGNAL: _ClassVar[MessageType]

class MessagePriority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MESSAGE_PRIORITY_UNSPECIFIED: _ClassVar[MessagePriority]
    MESSAGE_PRIORITY_LOW: _ClassVar[MessagePriority]
    MESSAGE_PRIORITY_NORMAL: _ClassVar[MessagePriority]
    MESSAGE_PRIORITY_HIGH: _ClassVar[MessagePriority]
    MESSAGE_PRIORITY_CRITICAL: _ClassVar[MessagePriority]
MESSAGE_TYPE_UNSPECIFIED: MessageType
MESSAGE_TYPE_SYSTEM_STATE: MessageType
MESSAGE_TYPE_ADAPTATION_COMMAND: MessageType
MESSAGE_TYPE_FIELD_REPORT: MessageType
MESSAGE_TYPE_TELEMETRY: MessageType
MESSAGE_TYPE_POLICY_UPDATE: MessageType
MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST: MessageType
MESSAGE_TYPE_KERNEL_PREFETCH_READY: MessageType
MESSAGE_TYPE_KERNEL_PREFETCH_ERROR: MessageType
MESSAGE_TYPE_KERNEL_CATALOG_UPDATE: MessageType
MESSAGE_TYPE_EMERGENCY_SIGNAL: MessageType
MESSAGE_PRIORITY_UNSPECIFIED: MessagePriority
MESSAGE_PRIORITY_LOW: MessagePriority
MESSAGE_PRIORITY_NORMAL: MessagePriority
MESSAGE_PRIORITY_HIGH: MessagePriority
MESSAGE_PRIORITY_CRITICAL: MessagePriority

class Envelope(_message.Message):
    __slots__ = ("id", "type", "schema_version", "issued_at", "expires_at", "priority", "attempt", "key", "producer", "payload", "key_id", "signature")
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: MessageType
    schema_version: int
    issued_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    priority: MessagePriority
    attempt: int
    key: str
    producer: str
    payload: bytes
    key_id: str
    signature: bytes
    def __init__(self, id: _Optional[str] = ..., type: _Optional[_Union[MessageType, str]] = ..., schema_version: _Optional[int] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., priority: _Optional[_Union[MessagePriority, str]] = ..., attempt: _Optional[int] = ..., key: _Optional[str] = ..., producer: _Optional[str] = ..., payload: _Optional[bytes] = ..., key_id: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...
