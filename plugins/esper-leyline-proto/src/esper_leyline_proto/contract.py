"""The contract as protobuf knows it: the descriptors of all messages and enumerations."""

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor

from esper_leyline_proto.v1 import envelope_pb2, options_pb2

#: The protobuf package.
PACKAGE = "esper.leyline.v1"

#: Every file of the contract.
FILES = (options_pb2.DESCRIPTOR, envelope_pb2.DESCRIPTOR)


def message_descriptor(name: str) -> Descriptor:
    """Return the descriptor of the message of this name.

    Raises:
        TypeError: if there is none.
    """
    try:
        return descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{name}")
    except KeyError:
        raise TypeError(f"{PACKAGE} has no message {name}") from None
