"""Percentages are written alike everywhere: a number, a blank and the sign."""

import ast
import re
from pathlib import Path

import pytest

#: Text that no reader sees as prose: style sheets in which a width is `96%`.
_STYLES = re.compile(r"(?:width|height|left|right|top|size|max-\w+)\"?\s*[:=]\s*\"?[\d.]+%")
#: A number, or what stands for one, with the sign next to it.
_NEXT_TO_IT = re.compile(r"[\d.]%(?![\dA-Fa-f(]|\s*[\d(])")

#: What every wrong place holds; most files have none, and parsing them all would take seconds.
_WORTH_PARSING = re.compile(r"[\d}]%")


def wrong_in_source(path: Path) -> list[str]:
    """Places where a source writes a percentage without a blank."""
    text, found = path.read_text(), []
    if not _WORTH_PARSING.search(text):
        return found
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            wrong = ast.unparse(node.format_spec).rstrip("'\"").endswith("%")
        elif isinstance(node, ast.JoinedStr):
            wrong = any(
                isinstance(before, ast.FormattedValue) and isinstance(after, ast.Constant) and after.value[:1] == "%"
                for before, after in zip(node.values, node.values[1:], strict=False)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            wrong = bool(_NEXT_TO_IT.search(_STYLES.sub("", node.value)) or re.search(r"\{[^{}]*%\}", node.value))
        else:
            continue
        if wrong:
            found.append(f"{path}:{node.lineno}")
    return found


def wrong_in_document(text: str) -> list[str]:
    """What a document writes without a blank; blocks of code are of others' making."""
    return _NEXT_TO_IT.findall(re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL))


def test_sources_write_percentages_with_a_blank(root):
    sources = [it for where in ("esper_core", "plugins", "tools", "examples") for it in (root / where).rglob("*.py")]
    found = [place for path in sources for place in wrong_in_source(path)]
    assert not found, f'write f"{{100 * share:.1f}} %": {found}'
    assert len(sources) > 500


def test_documents_write_percentages_with_a_blank(root):
    documents = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("plugins/*/README.md")]
    assert not {it.name: wrong for it in documents if (wrong := wrong_in_document(it.read_text()))}


@pytest.mark.parametrize("line", ['f"{x:.0%}"', 'f"{x:+.1%} of"', 'f"{x}% of"', '"50% of"', '"{:.1%}".format(x)'])
def test_the_rule_finds_what_it_looks_for(tmp_path, line):
    (path := tmp_path / "a.py").write_text(line)
    assert wrong_in_source(path)


@pytest.mark.parametrize("line", ['f"{x:.0f} %"', '"max-width: 96%;"', "x = 7 % 5", '"a%20b"', '"%d" % 5'])
def test_what_is_no_percentage_is_left_alone(tmp_path, line):
    (path := tmp_path / "a.py").write_text(line)
    assert not wrong_in_source(path)


def test_a_document_is_read_without_its_code():
    assert wrong_in_document("growth of 5% a year")
    assert not wrong_in_document("5 %, `99%`\n```\n50%\n```")
