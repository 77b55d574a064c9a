"""What programs and buses import: records, the protocol `Bus`, publishers, subscribers, keys and addresses."""

from esper_leyline_proto.envelope import Envelope, MessagePriority, MessageType
from esper_oona.addresses import find_bus, open_bus
from esper_oona.bus import Backlog, Bus, BusServer, DeadLetter, Delivery, Outgoing, Survival
from esper_oona.keys import Keyring, keyring, rotate
from esper_oona.kinds import BusSpec
from esper_oona.messages import LARGEST_BYTES, LIFETIMES, ROUTES, Stream
from esper_oona.metrics import Histogram, Metrics
from esper_oona.network_edge import NetworkEdge
from esper_oona.pressure import Pressure, TokenBucket, WhenFull
from esper_oona.publisher import Draft, Published, Publisher
from esper_oona.replays import Accepted, Replays
from esper_oona.signing import Refusal, Signer
from esper_oona.state import state_directory
from esper_oona.subscriber import Subscriber, Subscription

__all__ = [
    "LARGEST_BYTES",
    "LIFETIMES",
    "ROUTES",
    "Accepted",
    "Backlog",
    "Bus",
    "BusServer",
    "BusSpec",
    "DeadLetter",
    "Delivery",
    "Draft",
    "Envelope",
    "Histogram",
    "Keyring",
    "MessagePriority",
    "MessageType",
    "Metrics",
    "NetworkEdge",
    "Outgoing",
    "Pressure",
    "Published",
    "Publisher",
    "Refusal",
    "Replays",
    "Signer",
    "Stream",
    "Subscriber",
    "Subscription",
    "Survival",
    "TokenBucket",
    "WhenFull",
    "find_bus",
    "keyring",
    "open_bus",
    "rotate",
    "state_directory",
]
