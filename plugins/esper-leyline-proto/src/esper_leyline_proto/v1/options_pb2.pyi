from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class NonFinite(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NON_FINITE_UNSPECIFIED: _ClassVar[NonFinite]
    NON_FINITE_ALLOWED: _ClassVar[NonFinite]
    NON_FINITE_NAN_IS_MISSING: _ClassVar[NonFinite]
NON_FINITE_UNSPECIFIED: NonFinite
NON_FINITE_ALLOWED: NonFinite
NON_FINITE_NAN_IS_MISSING: NonFinite
NON_FINITE_FIELD_NUMBER: _ClassVar[int]
non_finite: _descriptor.FieldDescriptor
