"""The seeds of a host, slot by slot over the epochs: stages as colours, alpha as height, what happened as marks."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from attrs import frozen

from esper_core.leyline.events import EventKind
from esper_core.leyline.stages import Stage
from esper_runs.curves import alphas
from esper_runs.formatting import loss
from esper_runs.html.legend import legend
from esper_runs.html.markup import Markup, element, note
from esper_runs.html.scale import Scale
from esper_runs.run_record import RunRecord
from esper_runs.timeline import TimelineEvent
from esper_runs.timeline_text import denial_text, transition_text

_WIDTH, _LEFT, _RIGHT = 720, 4, 716
_PITCH, _BAR, _LABEL = 62, 32, 22

#: A word is written on a bar where there are this many units for each letter; where lanes are narrow, this many.
_LETTER, _WIDE_LETTER = 7.0, 11.0

#: A seed that is narrower than this has no line for its alpha, only the area below.
_NARROW = 12

#: No more lanes and marks are drawn: the table has them all. And no more columns: epochs share them.
_MOST_LANES, _MOST_MARKS, _MOST_COLUMNS = 64, 400, 700

#: What a mark looks like, by the stage that a seed has reached.
_SHAPES = {
    Stage.FOSSILIZED.name: "M0-7L6 0L0 7L-6 0Z",
    Stage.CULLED.name: "M-5-5L5 5M5-5L-5 5",
}
_TICK, _DENIED = "M0-16V16", "M0-7L7 6H-7Z"


@frozen
class _Bar:
    stage: str
    seed: str
    blueprint: str
    first: int
    last: int


def swimlanes(record: RunRecord, host: str, epochs: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the lanes of a host's slots; `epochs` is data of its completed epochs, oldest first.

    A bar is a stage, in its colour and where there is room with its name. The line over it is alpha at the end of each
    epoch: at the lower edge 0, at the upper one 1.
    """
    slots = list(epochs[-1]["slots"])
    step = -(-len(epochs) // _MOST_COLUMNS)
    columns = [(group[0]["epoch"], group[-1]) for group in (epochs[i : i + step] for i in range(0, len(epochs), step))]
    lanes = {slot: list(_bars(columns, slot)) for slot in slots[:_MOST_LANES]}
    across = Scale(epochs[0]["epoch"], max(epochs[-1]["epoch"], epochs[0]["epoch"]) + 1.0, _LEFT, _RIGHT)
    last = epochs[-1]["epoch"]
    marks = [event for event in record.timeline if event.host == host and _marked(event) and event.epoch <= last + 1]
    stages = dict.fromkeys(bar.stage for bars in lanes.values() for bar in bars)
    shown = [data for _, data in columns]
    added = {slot: found for slot in lanes if any((found := alphas(shown, slot)).values())}
    height = _PITCH * len(lanes) + 30
    svg = element(
        "svg",
        *(
            part
            for row, (slot, bars) in enumerate(lanes.items())
            for part in _lane(row, slot, bars, added.get(slot, {}), across)
        ),
        *(
            _mark(event, [*lanes].index(event.slot) if event.slot in lanes else None, across)
            for event in marks[:_MOST_MARKS]
        ),
        *_axis(across, _PITCH * len(lanes)),
        viewBox=f"0 -6 {_WIDTH} {height}",
        role="group",
        aria_label=f"stages and alpha of the slots of {host}, epoch by epoch; tables below say the same",
        class_="lanes",
    )
    known = [(stage, f"stage-{stage.lower()}") for stage in Stage.__members__ if stage in stages]
    colours = legend([*known, *([("alpha, from 0 to 1", "alpha")] if added else [])])
    left_out = len(slots) - len(lanes) + max(0, len(marks) - _MOST_MARKS)
    notes = [f"{step:,} epochs share a column, which shows the last of them."] if step > 1 else []
    notes += [f"{left_out:,} further slots and marks are not drawn; the history has them."] if left_out else []
    title = element("figcaption", f"{host}: its slots, epoch by epoch")
    return element("figure", title, svg, colours, *map(note, notes))


def _bars(columns: Sequence[tuple[int, Mapping[str, Any]]], slot: str) -> Iterator[_Bar]:
    bar: _Bar | None = None
    for first, data in columns:
        stage = str(data["slots"].get(slot, ""))
        here: list[Mapping[str, Any]] = [seed for seed in data.get("seeds", ()) if seed["slot"] == slot]
        seed = here[0] if here else {}
        name, blueprint = str(seed.get("seed_id", "")), str(seed.get("blueprint", ""))
        if bar is not None and (bar.stage, bar.seed) == (stage, name) and bar.last + 1 == first:
            bar = _Bar(stage, name, bar.blueprint, bar.first, data["epoch"])
            continue
        if bar is not None:
            yield bar
        bar = _Bar(stage, name, blueprint, first, data["epoch"])
    if bar is not None:
        yield bar


def _lane(row: int, slot: str, bars: Sequence[_Bar], alpha: Mapping[int, float], across: Scale) -> Iterator[Markup]:
    top = row * _PITCH
    yield element("text", slot, x=_LEFT, y=top + _LABEL - 8, class_="lane")
    known = [bar for bar in bars if bar.stage in Stage.__members__]
    seeds: dict[str, list[_Bar]] = {}
    for bar in known:
        left = across.place(bar.first)
        width = max(0.5, round(across.place(bar.last + 1.0) - left, 1))
        yield element(
            "rect",
            element("title", _described(bar, alpha)),
            x=left,
            y=top + _LABEL,
            width=width,
            height=_BAR,
            class_=f"stage-{bar.stage.lower()}",
        )
        if bar.seed:
            seeds.setdefault(bar.seed, []).append(bar)
    for whole in seeds.values():
        yield from _alpha(whole, alpha, across, top + _LABEL + _BAR)
        left, room = across.place(whole[0].first), across.place(whole[-1].last + 1.0) - across.place(whole[0].first)
        if room > _LETTER * len(whole[0].blueprint) + 16:
            yield element("text", whole[0].blueprint, x=left + 8, y=top + _LABEL + 12, class_="word blueprint")
    for bar in known:
        left, room = across.place(bar.first), across.place(bar.last + 1.0) - across.place(bar.first)
        if bar.seed and room > _LETTER * len(bar.stage) + 16:
            wide = room > _WIDE_LETTER * len(bar.stage) + 16
            yield element("text", bar.stage, x=left + 11, y=top + _LABEL + 26, class_="word wide" if wide else "word")


def _described(bar: _Bar, alpha: Mapping[int, float]) -> str:
    when = f"epoch {bar.first + 1}" if bar.first == bar.last else f"epochs {bar.first + 1} to {bar.last + 1}"
    words = " ".join(filter(None, (bar.seed, bar.blueprint and f"({bar.blueprint})")))
    added = f", alpha {loss(alpha[bar.last], digits=2)} at its end" if bar.seed and bar.last in alpha else ""
    return f"{words + ': ' if words else ''}{bar.stage}, {when}{added}"


def _alpha(bars: Sequence[_Bar], alpha: Mapping[int, float], across: Scale, base: float) -> Iterator[Markup]:
    """Alpha is known at the end of each epoch; between two ends it is drawn as a straight line, and begins at 0."""
    line, before = "", bars[0].first
    for epoch, value in alpha.items():
        if not bars[0].first <= epoch <= bars[-1].last:
            continue
        if value and not line:
            line = f"M{across.place(before)} {base}"
        before = epoch + 1
        if line:
            share = min(1.0, max(0.0, value)) if isfinite(value) else 0.0
            line += f"L{across.place(before)} {round(base - _BAR * share, 1)}"
    if line:
        yield element("path", d=f"{line}V{base}Z", class_="alpha area")
        # Outlines of seeds that are a few units wide would hide everything else.
        if across.place(before) - across.place(bars[0].first) > _NARROW:
            yield element("path", d=line, class_="alpha")


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
        element("path", d="M-6-16H6V16H-6Z", class_="target"),
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
            middle, words = across.place(value - 0.5), f"{value:,.0f}"
            near = middle + _LETTER * len(words) / 2 > across.end
            place = {"x": across.end, "class_": "axis end"} if near else {"x": middle, "class_": "axis middle"}
            yield element("text", words, y=y + 18, **place)
