"""Dead letters as records."""

import json

from esper_bus_nats.names import dead_subject
from esper_bus_nats.store import Change, Record
from esper_oona.api import DeadLetter

PREFIX = "oona.dead."


def letter_change(letter: DeadLetter) -> Change:
    """Return what writes a dead letter; its id is that of the record, and is made by the server."""
    about = {
        "stream": letter.stream,
        "group": letter.group,
        "position": letter.position,
        "key": letter.key,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "at": letter.at,
    }
    text = json.dumps(about).encode()
    subject = dead_subject(letter.stream, letter.group, letter.position)
    return Change(subject, len(text).to_bytes(4, "big") + text + letter.body)


def letter_of(record: Record) -> DeadLetter:
    """Return the dead letter that is in a record."""
    end = 4 + int.from_bytes(record.data[:4], "big")
    return DeadLetter(id=str(record.revision), body=record.data[end:], **json.loads(record.data[4:end]))
