"""Charts as SVG: lines over epochs, and networks as points. A script shows the figures below the pointer."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import isfinite

from attrs import field, frozen

from esper_runs.html.legend import legend
from esper_runs.html.markup import Markup, element, joined, note
from esper_runs.html.scale import Scale

_WIDTH, _HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 352, 10, 178

#: About how wide a letter of an axis is.
_LETTER = 6.5

#: No line has more points: several epochs share one, which shows the last of them.
_MOST_POINTS = 400


@frozen(kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
        title: what it shows.
        style: the class that colours it.
        values: a figure for each epoch, from 0. What is not finite leaves a gap.
    """

    title: str
    style: str
    values: dict[int, float] = field(factory=dict)


@frozen(kw_only=True)
class Course:
    """One line of a chart over something else than epochs.

    Attributes:
        title: what it shows.
        style: the class that colours it.
        points: pairs of a place and a figure, both finite, in the order of the places.
    """

    title: str
    style: str
    points: Sequence[tuple[float, float]]


@frozen(kw_only=True)
class Dot:
    """One network in a chart of networks.

    Attributes:
        x, y: its figures.
        title: what it is, with its figures in words.
        style: the class that draws it.
    """

    x: float
    y: float
    title: str
    style: str


def line_chart(title: str, lines: Sequence[Line], write: Callable[[float], str]) -> Markup:
    """Return a chart of figures over epochs, with a legend; a sentence where there is nothing to draw.

    Args:
        title: what the figures are.
        lines: what to draw.
        write: how a figure is written.
    """
    epochs = sorted({epoch for line in lines for epoch in line.values})
    shown = epochs[:: max(1, -(-len(epochs) // _MOST_POINTS))]
    if epochs and shown[-1] != epochs[-1]:
        shown.append(epochs[-1])
    across = Scale.around([epoch + 1.0 for epoch in shown], _LEFT, _RIGHT)
    up = Scale.around((line.values[epoch] for line in lines for epoch in shown if epoch in line.values), _BOTTOM, _TOP)
    if across is None or up is None:
        return _figure(title, note("Nothing can be drawn: there is no finite figure, or they are too far apart."))
    drawn = [
        element(
            "path",
            d=_path(line, shown, across, up),
            class_=f"line {line.style}",
            data_title=line.title,
            data_y="|".join(write(line.values[e]) if e in line.values else "" for e in shown),
        )
        for line in lines
    ]
    places = ",".join(str(across.place(epoch + 1.0)) for epoch in shown)
    svg = element(
        "svg",
        *_axes(across, up, write, lambda value: f"{value:,.0f}", whole=True),
        element("text", "epoch", x=_RIGHT, y=_HEIGHT - 4, class_="axis end"),
        *drawn,
        element("line", x1=0, x2=0, y1=_TOP, y2=_BOTTOM, class_="cursor"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title} by epoch; the figures are in the table below",
        class_="chart",
        data_x=places,
        data_epochs=",".join(str(epoch + 1) for epoch in shown),
    )
    return _figure(title, svg, legend([(line.title, line.style) for line in lines]))


def course_chart(
    title: str,
    courses: Sequence[Course],
    write_x: Callable[[float], str],
    write_y: Callable[[float], str],
    x_title: str,
) -> Markup:
    """Return a chart of lines that each have places of their own, with a legend; a sentence where nothing can be drawn.

    Args:
        title: what the figures are.
        courses: what to draw.
        write_x, write_y: how a place and a figure are written.
        x_title: what the places are.
    """
    points = [point for course in courses for point in course.points]
    across = Scale.around([x for x, _ in points], _LEFT, _RIGHT)
    up = Scale.around([y for _, y in points], _BOTTOM, _TOP)
    if across is None or up is None:
        return _figure(title, note("Nothing can be drawn: there is no finite figure, or they are too far apart."))
    drawn = []
    for course in courses:
        shown = list(course.points[:: max(1, -(-len(course.points) // _MOST_POINTS))])
        if shown and shown[-1] != course.points[-1]:
            shown.append(course.points[-1])
        corners = "L".join(f"{across.place(x)} {up.place(y)}" for x, y in shown)
        if corners:
            drawn.append(element("path", d=f"M{corners}h0.1", class_=f"line {course.style}"))
    svg = element(
        "svg",
        *_axes(across, up, write_y, write_x),
        element("text", x_title, x=_RIGHT, y=_HEIGHT - 4, class_="axis end"),
        *drawn,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title}, over {x_title}; the figures are in the table below",
        class_="chart",
    )
    return _figure(title, svg, legend([(course.title, course.style) for course in courses]))


def dot_chart(
    title: str,
    dots: Sequence[Dot],
    front: Sequence[int],
    write_x: Callable[[float], str],
    write_y: Callable[[float], str],
    x_title: str,
) -> Markup:
    """Return a chart of networks, with steps through those on the front."""
    across = Scale.around([dot.x for dot in dots], _LEFT, _RIGHT - 8)
    up = Scale.around([dot.y for dot in dots], _BOTTOM, _TOP)
    if across is None or up is None:
        return _figure(title, note("Nothing can be drawn: there is no finite figure, or they are too far apart."))
    placed = [(across.place(dot.x), up.place(dot.y)) for dot in dots]
    corners = [placed[index] for index in front]
    steps = "".join(f"H{x}V{y}" for x, y in corners[1:])
    svg = element(
        "svg",
        *_axes(across, up, write_y, write_x),
        element("text", x_title, x=_RIGHT, y=_HEIGHT - 4, class_="axis end"),
        element("path", d=f"M{corners[0][0]} {corners[0][1]}{steps}", class_="front") if corners else None,
        *(
            element(
                "circle", cx=x, cy=y, r=5, class_=f"dot {dot.style}", tabindex="0", role="img", aria_label=dot.title
            )
            for dot, (x, y) in zip(dots, placed, strict=True)
        ),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="group",
        aria_label=f"{title}; the figures are in the table below",
        class_="chart",
    )
    return _figure(title, svg)


def _figure(title: str, *children: Markup) -> Markup:
    return element("figure", element("figcaption", title), *children)


def _path(line: Line, epochs: Sequence[int], across: Scale, up: Scale) -> str:
    parts, pen_down = [], False
    for index, epoch in enumerate(epochs):
        value = line.values.get(epoch)
        if value is None or not isfinite(value):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{across.place(epoch + 1.0)} {up.place(value)}")
        alone = index + 1 == len(epochs) or not isfinite(line.values.get(epochs[index + 1], float("nan")))
        if not pen_down and alone:
            parts.append("h0.1")  # a single point is seen by its round ends
        pen_down = True
    return "".join(parts)


def _axes(
    across: Scale, up: Scale, write_y: Callable[[float], str], write_x: Callable[[float], str], *, whole: bool = False
) -> Iterator[Markup]:
    grid = [f"M{_LEFT} {up.place(value)}H{_RIGHT}" for value in up.ticks()]
    yield element("path", d="".join(grid), class_="grid")
    written = ""
    for value in up.ticks():
        if write_y(value) == written:
            continue
        written = write_y(value)
        yield element("text", written, x=_LEFT - 5, y=up.place(value) + 3.5, class_="axis end")
    for value in _apart(across, write_x, whole):
        yield element("text", write_x(value), x=across.place(value), y=_BOTTOM + 16, class_="axis middle")
    yield joined([element("path", d=f"M{_LEFT} {_BOTTOM}H{_RIGHT}", class_="base")])


def _apart(across: Scale, write: Callable[[float], str], whole: bool) -> list[float]:
    """Return round figures whose texts do not touch each other."""
    for most in range(5, 1, -1):
        ticks = [value for value in across.ticks(most, whole=whole) if not whole or value >= 1]
        widest = _LETTER * max((len(write(value)) for value in ticks), default=0)
        if all(across.place(right) - across.place(left) > widest for left, right in pairwise(ticks)):
            return ticks
    return ticks[:1]
