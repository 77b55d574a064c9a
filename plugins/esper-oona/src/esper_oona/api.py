"""What programs and buses import: records, the protocol `Bus`, publishers, subscribers, keys and addresses."""

from esper_leyline_proto.envelope import Envelope, MessagePriority, MessageType
from esper_oona.addresses import address_options, embedded_address, find_bus, open_bus, open_shared_bus, require_shared
from esper_oona.bus import Backlog, Bus, BusServer, DeadLetter, Delivery, Outgoing, Survival, batch_limit
from esper_oona.keys import Keyring, keyring, present_keys, rotate, secret
from esper_oona.kinds import BusSpec
from esper_oona.messages import LARGEST_BYTES, LIFETIMES, ROUTES, Stream
from esper_oona.metrics import Figures, Histogram, Latency, Metrics
from esper_oona.network_edge import NetworkEdge
from esper_oona.pressure import Pressure, TokenBucket, WhenFull
from esper_oona.publisher import Draft, Published, Publisher
from esper_oona.replays import Accepted, Replays
from esper_oona.signing import Refusal, Signer
from esper_oona.sqlite_files import WAIT_SECONDS, SharedFile, begin_journal
from esper_oona.state import state_directory, state_path
from esper_oona.subscriber import Subscriber, Subscription

__all__ = [
    "LARGEST_BYTES",
    "LIFETIMES",
    "ROUTES",
    "WAIT_SECONDS",
    "Accepted",
    "Backlog",
    "Bus",
    "BusServer",
    "BusSpec",
    "DeadLetter",
    "Delivery",
    "Draft",
    "Envelope",
    "Figures",
    "Histogram",
    "Keyring",
    "Latency",
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
    "SharedFile",
    "Signer",
    "Stream",
    "Subscriber",
    "Subscription",
    "Survival",
    "TokenBucket",
    "WhenFull",
    "address_options",
    "batch_limit",
    "begin_journal",
    "embedded_address",
    "find_bus",
    "keyring",
    "open_bus",
    "open_shared_bus",
    "present_keys",
    "require_shared",
    "rotate",
    "secret",
    "state_directory",
    "state_path",
]
