"""Turns documents elsewhere in the repository into pages, and makes links lead to pages."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from reference_markdown import page

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#|/generated/)([^)#\s]+)(#[^)\s]*)?\)")

#: The guide, in reading order; documents that are not named here come last.
_GUIDE = (
    "tutorial",
    "own-model",
    "demo",
    "comparing",
    "growing-pays",
    "growth-plan",
    "watch",
    "report",
    "concepts",
    "verdict",
    "events",
    "alerts",
    "risk",
    "wire",
    "plugins",
    "conformance",
    "errors",
    "security",
    "systems",
    "architecture",
)

_REFERENCE = ("hooks", "kinds", "configuration", "options", "command-line", "manifest", "checks", "api")

_COPIES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def copied_pages(root: Path, plugins: Sequence[str]) -> dict[str, str]:
    """Return the README of every plugin, the changelog and the notes for contributors as pages."""
    sources = {f"plugins/{name}.md": root / "plugins" / name / "README.md" for name in plugins}
    sources |= {page: root / name for name, page in _COPIES.items()}
    pages = {name: with_links_into_the_site(path.read_text(), path, root) for name, path in sources.items()}
    listed = "\n".join(f"plugins/{name}" for name in plugins)
    pages["plugins.md"] = page("Bundled plugins", f"```{{toctree}}\n{listed}\n```")
    return pages


def contents(docs: Path, pages: Iterable[str]) -> str:
    """Return the tables of contents: the guide is in `docs`, the reference is generated."""
    written = sorted(path.stem for path in docs.glob("*.md") if path.stem != "index")
    guide = [*(name for name in _GUIDE if name in written), *(name for name in written if name not in _GUIDE)]
    trees = {
        "Guide": [f"/{name}" for name in guide],
        "Reference": [f"/generated/{name}" for name in (*_REFERENCE, "plugins")],
        "Project": [f"/generated/{name.removesuffix('.md')}" for name in _COPIES.values()],
    }
    assert {f"{name}.md" for name in _REFERENCE} <= set(pages)
    return "\n\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(names) + "\n```"
        for caption, names in trees.items()
    )


def with_links_into_the_site(text: str, document: Path, root: Path) -> str:
    """Return a document whose relative links lead to pages; if there is no page, the link becomes plain text."""

    def corrected(link: re.Match[str]) -> str:
        text, target, fragment = link[1], link[2], link[3] or ""
        found = _page((document.parent / target).resolve(), root)
        return f"[{text}]({found}{fragment})" if found else text

    return _LINK.sub(corrected, text)


def _page(target: Path, root: Path) -> str | None:
    if not target.is_relative_to(root):
        return None
    path = target.relative_to(root)
    if path.parts[0] == "docs" and path.suffix == ".md":
        return f"/{path.relative_to('docs').as_posix()}"
    if path.parts[0] == "plugins" and len(path.parts) > 1 and path.parts[2:] in ((), ("README.md",)):
        return f"/generated/plugins/{path.parts[1]}.md"
    copy = _COPIES.get(path.as_posix())
    return f"/generated/{copy}" if copy else None
