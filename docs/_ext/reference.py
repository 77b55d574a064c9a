"""The Sphinx extension that generates documentation from the code: it writes ``docs/generated`` in every build."""

from pathlib import Path
from typing import Any

from reference_api import api_pages
from reference_commands import command_pages
from reference_components import component_pages
from reference_concepts import concept_parts
from reference_configuration import configuration_pages
from reference_documents import contents, copied_pages, with_links_into_the_site
from reference_hooks import hook_pages
from reference_manifest import manifest_pages
from reference_testing import check_pages
from sphinx.application import Sphinx

from esper_core.plugins.loader import load_plugins

ROOT = Path(__file__).resolve().parents[2]


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before Sphinx looks for documents, and correct links that lead out of the documentation."""
    app.connect("config-inited", lambda app, config: write_pages(Path(app.srcdir) / "generated"))
    app.connect("source-read", _correct_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(folder: Path) -> None:
    """Write the pages that have changed, and remove those that no longer exist."""
    own = [path.parent.name for path in sorted(ROOT.glob("plugins/*/README.md"))]
    plugins = load_plugins(tolerant=True)
    pages = {
        **hook_pages(),
        **component_pages(plugins, own),
        **check_pages(),
        **manifest_pages(),
        **configuration_pages(plugins, own),
        **command_pages(),
        **api_pages(),
        **copied_pages(ROOT, own),
        **concept_parts(plugins, own),
    }
    pages["parts/contents.md"] = contents(folder.parent, pages)
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
    for path in set(folder.rglob("*.md")) - {folder / name for name in pages}:
        path.unlink()


def _correct_links(app: Sphinx, name: str, source: list[str]) -> None:
    if not name.startswith("generated/"):
        source[0] = with_links_into_the_site(source[0], Path(app.srcdir) / f"{name}.md", ROOT)
