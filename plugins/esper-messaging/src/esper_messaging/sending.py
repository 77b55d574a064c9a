"""A bus as it is at the moment, and sending what is in an outbox, at once."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.envelope import MessageType
from esper_messaging.delivery import PRESSURE
from esper_messaging.outbox import Outbox
from esper_oona.api import Bus, Publisher, Signer

#: So many messages are published at once.
BATCH = 100


def if_it_answers(open_bus: Callable[[], Bus]) -> Bus | None:
    """Open a bus; None if it does not answer. Raises whatever else is wrong."""
    try:
        return open_bus()
    except EsperError as error:
        if error.code != "E611":
            raise
        return None


def send_batch(outbox: Outbox, publisher: Publisher) -> tuple[list[MessageType], int]:
    """Send a batch from the outbox. Return the types of what the bus has confirmed, and how many there was no room for.

    Raises:
        EsperError: E611 if the bus does not answer; all of the batch is in the outbox then.
    """
    taken = outbox.take(BATCH)
    if not taken:
        return [], 0
    try:
        done = publisher.publish([it.draft for it in taken])
    except BaseException:
        outbox.give_back(taken)
        raise
    sent = [it for it in taken if it.draft.id in done.sent]
    outbox.confirm(sent)
    outbox.give_back([it for it in taken if it.draft.id not in done.sent])
    return [it.draft.type for it in sent], len(taken) - len(sent)


def send_kept(bus: Bus, address: str, state: Path, signer: Signer) -> tuple[int, int, int]:
    """Send what is kept for a bus.

    Returns:
        How many messages were sent, how many are left, and how many are kept for other addresses.

    Args:
        bus: the open bus.
        address: its address as it was given when the messages were kept, without options.
        state: the state directory with the outbox.
        signer: signs every message.

    Raises:
        EsperError: E611 if the bus or the outbox cannot be used.
    """
    outbox = Outbox(state, address, f"by-hand-{uuid4().hex[:8]}")
    publisher = Publisher(bus, signer, name="outbox", pressure=PRESSURE)
    count = 0
    try:
        while True:
            sent, full = send_batch(outbox, publisher)
            count += len(sent)
            if full or not sent:
                return count, outbox.depth(), outbox.elsewhere()
    finally:
        outbox.close()
