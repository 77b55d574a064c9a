"""What the documents say can be done can be done, and nothing tracked speaks of one machine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

#: Absolute paths of somebody's machine, and hosts that serve packages.
PRIVATE = re.compile(
    r"(?<![\w./~-])/(work|root|home|opt|srv|mnt|Users)/\w"
    r"|\b(files\.)?(pypi|pythonhosted|npmjs|anaconda)\.(org|com)\b"
    r"|\bdownload\.pytorch\.org\b"
)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
TABLE_TOOL = Path("tools/plugin_table.py")


@pytest.fixture(scope="module")
def tracked(root) -> list[Path]:
    """The files that git knows or would take."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    return [root / name for name in names if name and (root / name).is_file()]


def private_words(text: str) -> list[str]:
    return [text[found.start() : found.end() + 20].partition("\n")[0] for found in PRIVATE.finditer(text)]


def test_no_tracked_file_names_a_machine(tracked, root):
    found = {}
    for path in tracked:
        if words := private_words(path.read_text(errors="replace")):
            found[str(path.relative_to(root))] = words
    assert not found, f"write relative paths, and name no package index: {found}"


@pytest.mark.parametrize("text", ["see /home" + "/ann/esper", '"/opt' + '/wheels"', "https://pypi" + ".org/simple"])
def test_private_words_are_recognised(text):
    assert private_words(text)


@pytest.mark.parametrize(
    "text", ["docs/work/plan", "../root/x", "/usr/share/datasets", "a pypi-like index", "~/home/x"]
)
def test_public_words_are_left_alone(text):
    assert not private_words(text)


def test_links_lead_somewhere(tracked, root):
    broken = [
        f"{path.relative_to(root)}: {target}"
        for path in tracked
        if path.suffix == ".md"
        for target in LINK.findall(path.read_text())
        if not (path.parent / target).exists()
    ]
    assert not broken, f"correct these links: {broken}"


def test_named_tests_exist(root):
    named = {
        (document.relative_to(root), path)
        for document in sorted((root / "docs").glob("*.md"))
        for path in re.findall(r"`((?:tests/\w+|plugins/[\w-]+/tests)/[\w./-]+\.py)[`\s:]", document.read_text())
    }
    assert len(named) > 20
    missing = [f"{document}: {path}" for document, path in sorted(named) if not (root / path).exists()]
    assert not missing, f"correct these paths: {missing}"


def reading_list(root: Path) -> list[Path]:
    """The modules that docs/reading.md names, in its order; a bare name is beside the one in front of it."""
    found: list[Path] = []
    for line in re.findall(r"^\d+\. .*$", (root / "docs/reading.md").read_text(), re.MULTILINE):
        for name in re.findall(r"`([\w/-]+\.py)`", line):
            found.append(root / name if "/" in name else found[-1].with_name(name))
    return found


def test_files_are_read_in_an_order_in_which_each_needs_those_before_it(root):
    files = reading_list(root)
    assert len(files) > 30
    assert [str(path) for path in files if not path.is_file()] == []
    modules = [
        re.sub(r"^plugins\.[\w-]+\.src\.", "", ".".join(it.relative_to(root).with_suffix("").parts)) for it in files
    ]
    too_early = [
        (modules[index], later)
        for index, path in enumerate(files)
        for later in modules[index + 1 :]
        if re.search(rf"^from {re.escape(later)} import", path.read_text(), re.MULTILINE)
    ]
    assert not too_early, f"put the second of each pair first: {too_early}"


def test_named_make_targets_exist(root):
    makefile = (root / "Makefile").read_text()
    rules = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    assert phony == rules, f"every target is declared .PHONY and has a rule: {phony ^ rules}"
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        named = set(re.findall(r"(?:`|^|\s)make ([a-z-]+)(?=`|$)", (root / name).read_text(), re.MULTILINE))
        assert named <= rules, f"{name} names targets that the Makefile has not: {named - rules}"


def test_ci_does_what_contributors_are_told(root):
    script, text = (root / ".ci/run").read_text(), (root / "CONTRIBUTING.md").read_text()
    assert apt_packages(script) == apt_packages(text), "install the same packages in .ci/run and in CONTRIBUTING.md"
    table = re.findall(r"^\| `(make [a-z-]+)`", text, re.MULTILINE)
    called = re.findall(r"^(?:timeout [^\n]* )?(make .*)$", script, re.MULTILINE)
    assert called == table, ".ci/run runs the commands of the table, in order"


def apt_packages(text: str) -> set[str]:
    lines = re.findall(r"apt-get install (.*)$", text, re.MULTILINE)
    return {word for line in lines for word in line.split() if not word.startswith("-")}


def test_the_documentation_lists_the_plugins(root):
    done = table_tool(root, "--check")
    assert done.returncode == 0, done.stderr


def test_the_table_of_plugins_is_written_between_its_markers(root, plugins, tmp_path):
    document = tmp_path / "document.md"
    document.write_text("before\n<!-- plugins:begin -->\nold\n<!-- plugins:end -->\nafter\n")
    outdated = table_tool(root, "--check", "--file", document)
    assert outdated.returncode == 1
    assert f"run `python {TABLE_TOOL}`" in outdated.stderr
    assert table_tool(root, "--file", document).returncode == 0
    before, *table, after = [line for line in document.read_text().splitlines() if not line.startswith("<!--")]
    assert (before, after) == ("before", "after")
    assert {re.match(r"\| \[([\w-]+)\]", row)[1] for row in table[2:]} == {it.name for it in plugins}
    assert table_tool(root, "--check", "--file", document).returncode == 0


@pytest.mark.parametrize("text", ["no markers\n", "<!-- plugins:end -->\n<!-- plugins:begin -->\n"])
def test_a_document_without_the_markers_is_refused(root, tmp_path, text):
    document = tmp_path / "document.md"
    document.write_text(text)
    refused = table_tool(root, "--file", document)
    assert refused.returncode == 1
    assert "put the lines" in refused.stderr
    assert document.read_text() == text


def table_tool(root: Path, *arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, root / TABLE_TOOL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
