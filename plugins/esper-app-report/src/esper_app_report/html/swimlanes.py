"""The seeds of a host, slot by slot over the epochs: stages as colours, what happened as marks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from esper_app_report.html.charts import legend
from esper_app_report.html.markup import Markup, element, note
from esper_app_report.html.scale import Scale
from esper_core.api import EventKind, Stage
from esper_runs.run_record import RunRecord
from esper_runs.timeline import TimelineEvent
from esper_runs.timeline_text import denial_text, transition_text

_WIDTH, _LEFT, _RIGHT = 720, 4, 716
_PITCH, _BAR, _LABEL = 54, 24, 22

#: A seed's blueprint is written on its bar where there are this many units for each letter.
_LETTER = 6.5

#: No more lanes and marks are drawn: the table has them all.
_MOST_LANES, _MOST_MARKS = 64, 400

#: What a mark looks like, by the stage that a seed has reached.
_SHAPES = {
    Stage.FOSSILIZED.name: "M0-7L6 0L0 7L-6 0Z",
    Stage.CULLED.name: "M-5-5L5 5M5-5L-5 5",
}
_TICK, _DENIED = "M0-12V12", "M0-7L7 6H-7Z"


@frozen
class _Bar:
    stage: str
    seed: str
    blueprint: str
    first: int
    last: int


def swimlanes(record: RunRecord, host: str, epochs: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the lanes of a host's slots; `epochs` is data of its completed epochs, oldest first."""
    slots = list(epochs[-1]["slots"])
    lanes = {slot: list(_bars(epochs, slot)) for slot in slots[:_MOST_LANES]}
    across = Scale(epochs[0]["epoch"], max(epochs[-1]["epoch"], epochs[0]["epoch"]) + 1.0, _LEFT, _RIGHT)
    last = epochs[-1]["epoch"]
    marks = [event for event in record.timeline if event.host == host and _marked(event) and event.epoch <= last + 1]
    stages = dict.fromkeys(bar.stage for bars in lanes.values() for bar in bars)
    height = _PITCH * len(lanes) + 30
    svg = element(
        "svg",
        *(part for row, (slot, bars) in enumerate(lanes.items()) for part in _lane(row, slot, bars, across)),
        *(
            _mark(event, [*lanes].index(event.slot) if event.slot in lanes else None, across)
            for event in marks[:_MOST_MARKS]
        ),
        *_axis(across, _PITCH * len(lanes)),
        viewBox=f"0 -6 {_WIDTH} {height}",
        role="group",
        aria_label=f"stages of the slots of {host}, epoch by epoch; the table of the history says the same",
        class_="lanes",
    )
    known = [(stage, f"stage-{stage.lower()}") for stage in Stage.__members__ if stage in stages]
    left_out = len(slots) - len(lanes) + max(0, len(marks) - _MOST_MARKS)
    more = note(f"{left_out:,} further slots and marks are not drawn; the history has them.") if left_out else None
    return element("figure", element("figcaption", f"{host}: its slots, epoch by epoch"), svg, legend(known), more)


def _bars(epochs: Sequence[Mapping[str, Any]], slot: str) -> Iterator[_Bar]:
    bar: _Bar | None = None
    for data in epochs:
        stage = str(data["slots"].get(slot, ""))
        here: list[Mapping[str, Any]] = [seed for seed in data.get("seeds", ()) if seed["slot"] == slot]
        seed = here[0] if here else {}
        name, blueprint = str(seed.get("seed_id", "")), str(seed.get("blueprint", ""))
        if bar is not None and (bar.stage, bar.seed) == (stage, name) and bar.last + 1 == data["epoch"]:
            bar = _Bar(stage, name, bar.blueprint, bar.first, data["epoch"])
            continue
        if bar is not None:
            yield bar
        bar = _Bar(stage, name, blueprint, data["epoch"], data["epoch"])
    if bar is not None:
        yield bar


def _lane(row: int, slot: str, bars: Sequence[_Bar], across: Scale) -> Iterator[Markup]:
    top = row * _PITCH
    yield element("text", slot, x=_LEFT, y=top + _LABEL - 8, class_="lane")
    known = [bar for bar in bars if bar.stage in Stage.__members__]
    for bar in known:
        left = across.place(bar.first)
        width = max(0.5, round(across.place(bar.last + 1.0) - left, 1))
        yield element("rect", x=left, y=top + _LABEL, width=width, height=_BAR, class_=f"stage-{bar.stage.lower()}")
    for seed in dict.fromkeys(bar.seed for bar in known if bar.seed):
        whole = [bar for bar in known if bar.seed == seed]
        left, room = across.place(whole[0].first), across.place(whole[-1].last + 1.0) - across.place(whole[0].first)
        if room > _LETTER * len(whole[0].blueprint) + 16:
            yield element("text", whole[0].blueprint, x=left + 8, y=top + _LABEL + 16, class_="blueprint")


def _marked(event: TimelineEvent) -> bool:
    return event.epoch is not None and event.kind in (EventKind.SEED_TRANSITION, EventKind.ACTION_DENIED)


def _mark(event: TimelineEvent, row: int | None, across: Scale) -> Markup:
    denied = event.kind == EventKind.ACTION_DENIED
    words = denial_text(event.data) if denied else transition_text(event.data)
    target = str(event.data.get("target"))
    style = "denied" if denied else target.lower() if target in _SHAPES else "tick"
    # What is about no slot stands above the first lane.
    y = _LABEL + _BAR / 2 + row * _PITCH if row is not None else 6
    about = event.seed_id or event.slot or event.host
    return element(
        "g",
        element("path", d="M-6-12H6V12H-6Z", class_="target"),
        element("path", d=_DENIED if denied else _SHAPES.get(target, _TICK)),
        transform=f"translate({across.place(event.epoch or 0)} {y})",
        class_=f"mark {style}",
        tabindex="0",
        role="img",
        aria_label=f"epoch {(event.epoch or 0) + 1}, {about}: {words}",
    )


def _axis(across: Scale, y: float) -> Iterator[Markup]:
    # Epochs are counted from 1 for people; each takes a cell, in whose middle its number stands.
    counted = Scale(across.low + 1, across.high + 1, across.start, across.end)
    for value in counted.ticks(6, whole=True):
        if value < counted.high:
            middle = across.place(value - 0.5)
            yield element("text", f"{value:,.0f}", x=middle, y=y + 18, class_="axis middle")
