"""A whole page in one file: its style and script stand in it, and it may load nothing."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from esper_runs.html.markup import Markup, element, raw


def document(opening: str, title: str, style: str, *body: Markup, script: str = "") -> str:
    """Return a page whose policy lets it use what stands in it, and nothing else.

    Args:
        opening: how it begins, so that such files can be told from others.
        title: of the page.
        style: of its own; that of all pages comes before it.
        body: what it shows.
        script: of its own; "": it has none.
    """
    style = asset("esper_runs.html", "common.css") + style
    scripts = f"script-src '{_digest(script)}'; " if script else ""
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; {scripts}img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", raw(style)),
    )
    shown = element("body", *body, element("script", raw(script)) if script else None)
    return f"{opening}{element('html', head, shown, lang='en')}\n"


def asset(package: str, name: str) -> str:
    """Return a file of text that is part of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"
