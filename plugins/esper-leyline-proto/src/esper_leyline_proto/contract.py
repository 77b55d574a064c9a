"""The contract as protobuf knows it: the descriptors of all messages and enumerations."""

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FileDescriptor

from esper_leyline_proto.v1 import (
    command_pb2,
    emergency_pb2,
    envelope_pb2,
    evidence_pb2,
    kernel_pb2,
    observation_pb2,
    options_pb2,
    policy_pb2,
    seed_pb2,
    state_pb2,
    telemetry_pb2,
    trajectory_pb2,
    value_pb2,
)

#: The protobuf package.
PACKAGE = "esper.leyline.v1"

_MODULES = (
    *(options_pb2, value_pb2, envelope_pb2, seed_pb2, evidence_pb2, command_pb2, observation_pb2),
    *(trajectory_pb2, state_pb2, policy_pb2, kernel_pb2, telemetry_pb2, emergency_pb2),
)

#: Every file of the contract, after those that it imports.
FILES: tuple[FileDescriptor, ...] = tuple(module.DESCRIPTOR for module in _MODULES)


def message_descriptor(name: str) -> Descriptor:
    """Return the descriptor of the message of this name.

    Raises:
        TypeError: if there is none.
    """
    try:
        return descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{name}")
    except KeyError:
        raise TypeError(f"{PACKAGE} has no message {name}") from None
