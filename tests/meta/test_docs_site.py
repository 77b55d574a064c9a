"""The documentation is built from the code, without a warning, and holds everything that it is to hold."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import attrs
import click
import pytest

from esper_app.cli.root import cli
from esper_app.configuration.config import RunSettings
from esper_app.configuration.config_text import template_toml
from esper_app.configuration.option_docs import attribute_docs
from esper_app.configuration.places import CORE_SECTIONS
from esper_app.execution.manifest import CoreEntry, Manifest, PluginEntry
from esper_app.locks.lock import LockedPlugin
from esper_core import hooks
from esper_core.leyline.errors import CODES
from esper_core.leyline.stages import TRANSITIONS
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.resolve import config_class
from esper_core.plugins.verify import hook_arguments
from esper_testing.all_checks import CHECKS

pytestmark = pytest.mark.slow

BUILD = ("-q", "-W", "--keep-going", "-n", "-b", "html")


class Text(HTMLParser):
    """The text of a page, without its navigation."""

    def __init__(self):
        super().__init__()
        self.pieces, self.rows, self.links = [], [], []
        self.inside = self.in_cell = False

    def handle_starttag(self, tag, attributes):
        self.inside = self.inside or tag == "article"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True
        if tag == "a" and (target := dict(attributes).get("href")):
            self.links.append(target)

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "article"
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.pieces.append(data)
            if self.in_cell:
                self.rows[-1][-1] += data

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.pieces))


class Site:
    """The built pages."""

    def __init__(self, folder):
        self.folder = folder

    def page(self, name):
        parser = Text()
        parser.feed((self.folder / f"{name}.html").read_text())
        return parser

    def text(self, name):
        return self.page(name).text

    def rows(self, name):
        """The cells of the rows of all tables of a page, by their first cell; a name may stand in several tables."""
        found = {}
        for row in self.page(name).rows:
            found.setdefault(row[0].strip(), []).append([cell.strip() for cell in row[1:]])
        return found


def sphinx(source, target):
    command = [sys.executable, "-m", "sphinx", *BUILD, source, target]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = sphinx(root / "docs", folder)
    assert done.returncode == 0, done.stderr
    return Site(folder)


def specification(hook):
    return next(vars(it)[hook] for it in hooks.SPECIFICATIONS if hook in vars(it))


@pytest.mark.parametrize("hook", hook_arguments())
def test_a_hook_has_a_page_with_its_exact_signature_and_its_example(site, hook):
    text = site.text(f"generated/hooks/{hook}")
    (line,) = re.findall(rf"@hookimpl (def {hook}\(.*?\) -> .*?: \.\.\.)", text)
    (shown,) = ast.parse(line).body
    expected = inspect.signature(specification(hook))
    assert [it.arg for it in shown.args.args] == list(expected.parameters)[1:]
    annotations = [plain_annotation(it.annotation) for it in list(expected.parameters.values())[1:]]
    assert [ast.unparse(it.annotation) for it in shown.args.args] == annotations
    assert ast.unparse(shown.returns) == plain_annotation(expected.return_annotation)
    documentation, _, example = inspect.getdoc(specification(hook)).partition(">>> ")
    assert spaced(documentation) in text
    assert spaced(re.sub(r"^\.\.\. ?", "", example, flags=re.MULTILINE)) in text


def plain_annotation(annotation):
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(esper_core|collections|typing)(\.\w+)*\.(?=\w)", "", text)


def spaced(text):
    return re.sub(r"\s+", " ", text.replace("`", "")).strip()


def test_every_check_is_there_with_its_level_and_what_it_demands(site):
    text = site.text("generated/checks")
    for check in CHECKS:
        start = text.index(f"{check.id}¶")
        assert f"level {check.level.name.lower()}; since plugin API {check.since}" in text[start : start + 200]
        assert spaced(check.documentation) in text[start:]


def test_every_error_code_is_there(site):
    text = site.text("errors")
    missing = [code for code, (meaning, _) in CODES.items() if f"{code}: {meaning}" not in text]
    assert not missing


def test_every_plugin_has_its_page(site, plugins):
    listed = site.page("generated/plugins").links
    for plugin in plugins:
        assert f"pip install {plugin.name}" in site.text(f"generated/plugins/{plugin.name}")
        assert f"plugins/{plugin.name}.html" in listed


def test_every_kind_is_there_with_the_fields_of_its_descriptor(site):
    rows, text = site.rows("generated/kinds"), site.text("generated/kinds")
    for spec in (kind.spec for kind in KINDS):
        assert f": {spec.__name__}" in text
        assert {field.name for field in attrs.fields(spec)} <= set(rows)


def test_every_option_is_there_with_its_default_and_what_it_means(site):
    rows = site.rows("generated/configuration")
    for cls in (RunSettings, *CORE_SECTIONS.values()):
        docs = attribute_docs(cls)
        for field in attrs.fields(cls):
            if field.name != "options":
                assert spaced(docs[field.name]) in [row[-1] for row in rows[field.name]]
    assert [row[1] for row in rows["epochs"]] == ["20"]
    assert ["tuple[str, ...]", '["console", "jsonl"]'] in [row[:2] for row in rows["names"]]


def test_the_default_of_an_option_is_what_esper_config_writes(site):
    rows = site.rows("generated/configuration")
    written = re.findall(r'^# (\w+) = ("auto"|"none")$', template_toml(), re.MULTILINE)
    assert {value for _, value in written} == {'"auto"', '"none"'}
    for key, value in written:
        assert value in [row[1] for row in rows[key]], key


def test_every_option_of_a_bundled_component_is_there(site, plugins):
    rows, own = site.rows("generated/options"), {it.name for it in plugins}
    for record in load_plugins(tolerant=True).records:
        for registered in record.components if record.origin.distribution in own else ():
            cls = config_class(registered)
            for field in attrs.fields(cls) if cls else ():
                meaning = spaced(attribute_docs(cls).get(field.name, ""))
                assert meaning, f"{cls.__name__}.{field.name} is not described in its class's docstring"
                assert meaning in [row[-1] for row in rows[field.name]]


def test_every_command_is_there_with_its_options(site):
    text = site.text("generated/command-line")

    def told(command, path):
        assert f"Usage: {path} " in text
        for parameter in command.params:
            assert all(name in text for name in parameter.opts if name.startswith("-"))
        for name in command.list_commands(click.Context(command)) if isinstance(command, click.Group) else ():
            told(command.resolve_command(click.Context(command), [name])[1], f"{path} {name}")

    told(cli, "esper")


def test_the_manifest_is_described_field_by_field(site):
    rows = site.rows("generated/manifest")
    for cls in (Manifest, LockedPlugin, PluginEntry, CoreEntry):
        for field in attrs.fields(cls):
            assert spaced(attribute_docs(cls)[field.name]) in [row[-1] for row in rows[field.name]]


def test_the_concepts_show_every_transition(site):
    shown = [row[:2] for row in site.page("concepts").rows]
    assert all([source.name, target.name] in shown for source, target in TRANSITIONS)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("grow", ["esper_core.grow", "GrowthHandle", "epoch_end", "export"]),
        ("esper_core.api", ["Site", "PairedDifference", "lower_bound", "Actor", "Sink"]),
        ("esper_core.specs", ["HostSpec", "Capability"]),
        ("esper_core.nn", ["BoundedGain", "group_count"]),
        ("esper_testing", ["CheckFailure", "run_checks"]),
    ],
)
def test_the_public_names_are_described(site, page, names):
    text = site.text(f"generated/api/{page}")
    assert all(name in text for name in names)


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.folder.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', page.read_text())
        assert not fetched, f"{page.name} fetches {fetched}"


def test_a_broken_link_is_an_error(root, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(root / "docs" / "conf.py", docs)
    conf = (docs / "conf.py").read_text().replace(', "reference"', "")
    (docs / "conf.py").write_text(conf)
    (docs / "index.md").write_text("# Title\n\n[nowhere](absent.md)\n")
    refused = sphinx(docs, tmp_path / "out")
    assert refused.returncode == 1
    assert "absent.md" in refused.stderr


@pytest.fixture
def documents(root, monkeypatch):
    """The module that turns documents into pages."""
    monkeypatch.syspath_prepend(str(root / "docs" / "_ext"))
    import reference_documents

    return reference_documents


@pytest.mark.parametrize(
    ("document", "link", "mended"),
    [
        ("docs/plugins.md", "[x](errors.md#e101)", "[x](/errors.md#e101)"),
        ("docs/plugins.md", "[x](../plugins/esper-host-cnn)", "[x](/generated/plugins/esper-host-cnn.md)"),
        ("plugins/esper-host-cnn/README.md", "[x](../../docs/errors.md)", "[x](/errors.md)"),
        (
            "plugins/esper-host-cnn/README.md",
            "[x](../esper-host-hf/README.md)",
            "[x](/generated/plugins/esper-host-hf.md)",
        ),
        ("CONTRIBUTING.md", "[x](CHANGELOG.md)", "[x](/generated/changelog.md)"),
        ("CONTRIBUTING.md", "[x](Makefile)", "x"),
        ("CONTRIBUTING.md", "[x](https://example.org) [y](#z)", "[x](https://example.org) [y](#z)"),
    ],
)
def test_links_lead_into_the_site_or_nowhere(documents, root: Path, document, link, mended):
    assert documents.with_links_into_the_site(link, root / document, root) == mended
