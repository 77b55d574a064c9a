"""One HTML file with tables: its style stands in it, it loads nothing, and its links lead to directories beside it."""

from collections.abc import Sequence
from urllib.parse import quote

from esper_runs.html.document import document
from esper_runs.html.markup import Markup, element, section
from esper_studies import StudyRun

#: How a page begins, so that one can be told from other files.
OPENING = "<!doctype html>\n<!-- study of Esper -->\n"

_STYLE = """body{margin:0 auto;max-width:1180px;padding:16px;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}a{color:var(--grown)}
main>section{margin-top:32px;padding-top:12px;border-top:1px solid var(--rule)}
@media print{body{max-width:none;font-size:11px}.scroll{overflow:visible}}
"""


def page(title: str, parts: Sequence[tuple[str, Sequence[Markup]]]) -> str:
    """Return a page of sections, each a heading and what stands below it."""
    sections = (section(heading, *children, level=2) for heading, children in parts)
    return document(OPENING, title, _STYLE, element("header", element("h1", title)), element("main", *sections))


def run_grid(caption: str, first: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Markup]]]) -> Markup:
    """Return a table whose cells are markup, such as links to runs.

    Args:
        caption: what it shows.
        first: the title of the column of names.
        columns: the titles of the others.
        rows: a name and the cells, row by row.
    """
    head = element("tr", *(element("th", title, scope="col") for title in (first, *columns)))
    body = (
        element("tr", element("th", name, scope="row"), *(element("td", it) for it in cells)) for name, cells in rows
    )
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll", role="region", tabindex="0", aria_label=caption)


def run_link(run: StudyRun, words: str) -> Markup:
    """Return a link to a run's directory, which lies beside the page; to nothing where a failed run has left none."""
    if not run.directory.is_dir():
        return element("span", words, class_="bad", title=run.failure or "")
    style = "bad" if run.failure is not None else None
    return element("a", words, href=f"runs/{quote(run.name)}/", class_=style, title=run.failure)
