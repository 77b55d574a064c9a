"""The events of a run on the screen."""

from collections.abc import Iterator
from itertools import islice

from rich.console import RenderableType
from rich.text import Text

from esper_app_watch.kept_events import EventFilter, EventRow, KeptEvents
from esper_runs.formatting import whole
from esper_runs.terminal import Terminal

#: How many events are drawn.
DRAWN = 200


def events(kept: KeptEvents, typed: str, terminal: Terminal) -> Iterator[RenderableType]:
    """Yield the newest events that a filter lets through, as somebody has typed it."""
    try:
        chosen = EventFilter.parse(typed)
    except ValueError as error:
        yield terminal.paragraph(str(error), "bad")
        return
    found = [*islice(kept.rows(chosen), DRAWN + 1)]
    yield terminal.paragraph(_count(kept, len(found), bool(typed.strip())), "dim")
    yield Text()
    for row in found[:DRAWN]:
        yield terminal.paragraph(row.text, lead=_lead(row), indent=4)


def _count(kept: KeptEvents, found: int, filtered: bool) -> str:
    number = f"the newest {DRAWN} of more" if found > DRAWN else whole(found)
    said = f"{number} of {whole(kept.total)} events{' match' if filtered else ''}, the newest first"
    if kept.total > len(kept):
        said += f"; {whole(len(kept))} are looked at, all of them by `esper events search`"
    return said


def _lead(row: EventRow) -> str:
    epoch = "" if row.epoch is None else f"epoch {row.epoch + 1}"
    parts = (str(row.sequence), epoch, row.host, row.seed or row.slot, row.kind)
    return " ".join(" ".join(part.split()) for part in parts if part) + ": "
