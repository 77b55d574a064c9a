"""What is decided without `packaging` is what `packaging` decides."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from esper_core.plugins.installed import Distribution, Installed
from esper_core.plugins.requirements import InstalledVersions, required_name

RELEASES = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda numbers: ".".join(map(str, numbers)))
ENDS = st.sampled_from(["", "", "+cpu", "+local.7", "rc1", ".dev2", ".post3"])
VERSIONS = st.builds("".join, st.tuples(RELEASES, ENDS))
SPACE = st.sampled_from(["", " "])
CLAUSES = st.builds("".join, st.tuples(st.sampled_from([">=", "<=", "==", "!=", "<", ">", "~="]), SPACE, VERSIONS))
MARKERS = st.sampled_from(
    ["", "", " ; extra == 'x'", '; extra=="x-y"', " ; python_version < '3'", " ; python_version > '3'"]
)
REQUIREMENTS = st.builds(
    lambda space, clauses, marker: f"acme-base{space}{','.join(clauses)}{marker}",
    SPACE,
    st.lists(CLAUSES, max_size=3),
    MARKERS,
)


def having(version: str) -> InstalledVersions:
    return InstalledVersions(Installed([Distribution("acme-base", version)]))


@given(version=VERSIONS, requirement=REQUIREMENTS)
def test_it_decides_as_packaging_does(version: str, requirement: str) -> None:
    try:
        theirs = Requirement(requirement)
    except ValueError:  # such as ~=1
        assert "cannot be read" in str(having(version).unmet(requirement))
        return
    applies = theirs.marker is None or theirs.marker.evaluate({"extra": ""})
    holds = not applies or theirs.specifier.contains(version, prereleases=True)
    assert (having(version).unmet(requirement) is None) == holds


@pytest.mark.parametrize(
    ("requirement", "why"),
    [
        ("acme-base>=2,<3", "it needs acme-base<3,>=2, but 1.5 is installed"),
        ("acme-other", "it needs acme-other, which is not installed"),
        ("acme-base=>2", "cannot be read"),
    ],
)
def test_what_does_not_hold_is_told(requirement: str, why: str) -> None:
    assert why in str(having("1.5").unmet(requirement))


@pytest.mark.parametrize("text", ["a.b-c", "a.b-c>=1", " a.b-c [x]", "a.b-c(>1)", "a.b-c@ https://x", "a.b-c;x"])
def test_the_name_is_what_comes_first(text: str) -> None:
    assert required_name(text) == "a.b-c"


def test_the_usual_requirements_need_no_packaging() -> None:
    code = (
        "import sys; from esper_core.plugins.requirements import InstalledVersions as V; v = V()\n"
        "plain = ('esper-core>=0.1,<1', 'attrs >= 24.2', 'torch', 'a>1 ; extra == \"x\"')\n"
        "assert [v.unmet(requirement) for requirement in plain] == [None] * 4\n"
        "assert not {'packaging', 'importlib.metadata', 'email'} & set(sys.modules)\n"
        "assert v.unmet('attrs~=1.0') and 'packaging' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
