"""What colours mean."""

from collections.abc import Sequence

from esper_runs.html.markup import Markup, element


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """Return a list of titles, each beside its colour."""
    swatch = element("rect", width=12, height=12, rx=2)
    return element(
        "ul",
        *(
            element(
                "li", element("svg", swatch, viewBox="0 0 12 12", class_=f"swatch {style}", aria_hidden="true"), title
            )
            for title, style in entries
        ),
        class_="legend",
    )
