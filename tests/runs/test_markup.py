"""Markup: as HTML every text is escaped, as a tree it is a text."""

import pytest

from esper_runs.html.markup import MOST_ROWS, details, element, joined, raw, table, text, tree
from esper_runs.tables import Column, Table

HOSTILE = "<script>alert('\"&\x1b[31m"


def test_texts_and_attributes_are_escaped():
    html = str(element("p", HOSTILE, joined(["a", None, element("b", 3)]), aria_label=HOSTILE, hidden=True, id=None))
    escaped = "&lt;script&gt;alert(&#x27;&quot;&amp;\ufffd[31m"
    assert html == f'<p aria-label="{escaped}" hidden>{escaped}a<b>3</b></p>'


def test_a_tree_has_the_same_content_as_data():
    markup = details("more", element("td", HOSTILE, class_="x", data_title=HOSTILE))
    shown = HOSTILE.replace("\x1b", "\ufffd")
    assert tree(markup) == [
        ["details", {}, [["summary", {}, ["more"]], ["td", {"class": "x", "data-title": shown}, [shown]]]]
    ]


def test_a_tree_holds_no_style_and_no_script():
    with pytest.raises(TypeError):
        tree(element("script", raw("alert(1)")))
    assert str(element("script", raw("1 < 2"))) == "<script>1 < 2</script>"


def test_long_texts_and_tables_end():
    assert str(text("x" * 5000)).endswith("… (4,000 more characters)")
    data = Table(columns=(Column("a"),), rows=(("1",),) * (MOST_ROWS + 5))
    html = str(table(data, "many", labelled=True))
    assert html.count('<td data-title="a">') == MOST_ROWS
    assert "5 further rows are left out" in html
    assert "data-title" not in str(table(data, "many"))
