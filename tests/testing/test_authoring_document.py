"""docs/authoring.md names checks that exist, for every kind, and says of each kind what its factory is."""

import re
from pathlib import Path

import pytest

from esper_core.leyline.kinds import PluginKind
from esper_core.plugins.kinds import KINDS
from esper_testing import CHECKS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "authoring.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
NAMED = re.compile(r"`((?:plugin|component|host|blueprint|gate|evaluator|reward-term|policy|sink|task)-[a-z-]+)`")
every_kind = pytest.mark.parametrize("kind", [it for it in KINDS if not it.provisional], ids=lambda it: it.name)


def section(kind: PluginKind) -> str:
    return SECTIONS[kind.name.replace("-", " ").capitalize()]


def test_every_check_that_is_named_exists():
    named, known = set(NAMED.findall(DOCUMENT)), {check.id for check in CHECKS}
    assert named
    assert named <= known, f"no such checks: {sorted(named - known)}"


@every_kind
def test_every_kind_has_at_least_three_mistakes_and_the_checks_that_find_them(kind):
    rows = [row for row in section(kind).splitlines() if row.startswith("| ") and not row.startswith("| mistake")]
    assert len(rows) >= 3
    for row in rows:
        assert NAMED.search(row), row


@every_kind
def test_every_kind_says_what_its_factory_is(kind):
    signature = re.search(r"^`(factory\(.+)`$", section(kind), re.MULTILINE)[1]
    assert signature == kind.call
