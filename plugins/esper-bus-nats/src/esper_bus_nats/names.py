"""The names under which a bus keeps what on a server.

Of each stream S of the bus, and each group G of it:

    stream of JetStream  subject               what is there
    OONA-S               oona.messages.S       packs of messages
    OONA                 oona.stream.S         its groups, and the position up to which it is trimmed
    OONA                 oona.group.S.G        the state of a group
    OONA                 oona.dead.S.G.P       the dead letter of the message at position P
    OONA                 oona.apart.S.G.P      the body of a message that was requeued, until it is finished

A subject of OONA has one message, its newest; an empty one says that there is nothing any more.
"""

from urllib.parse import quote

#: The stream of all that is replaced.
STATE = "OONA"

#: Begins the subjects of what is known of streams.
STREAMS = "oona.stream."

STATE_SUBJECTS = ["oona.stream.>", "oona.group.>", "oona.dead.>", "oona.apart.>"]


def messages_of(stream: str) -> tuple[str, str]:
    """Return JetStream's name for a stream, and the subject of its messages."""
    return f"{STATE}-{_token(stream)}", f"oona.messages.{_token(stream)}"


def stream_subject(stream: str | None) -> str:
    """Return where the groups of a stream are; None for those of all."""
    return f"{STREAMS}{_token(stream)}"


def group_subject(stream: str, group: str) -> str:
    """Return where the state of a group is."""
    return f"oona.group.{_token(stream)}.{_token(group)}"


def groups_subject(stream: str | None) -> str:
    """Return where the states of all groups of a stream are; None for those of all streams."""
    return f"oona.group.{_token(stream)}.*"


def dead_subject(stream: str, group: str, position: int) -> str:
    """Return where a dead letter is."""
    return f"oona.dead.{_token(stream)}.{_token(group)}.{position}"


def apart_subject(stream: str, group: str, position: int | str) -> str:
    """Return where the body of a requeued message is; ``>`` for all of a group."""
    return f"oona.apart.{_token(stream)}.{_token(group)}.{position}"


def _token(name: str | None) -> str:
    """One part of a subject has no space, dot, star or arrow in it, and is not empty; a star is for any."""
    if name is None:
        return "*"
    return quote(name, safe="").replace(".", "%2E").replace("%", "=") or "="
