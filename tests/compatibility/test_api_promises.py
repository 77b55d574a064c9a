"""What a version of the plugin API promises is kept by every later one of the same major version."""

import json
import re
from copy import deepcopy
from typing import Any

import pytest

import esper_core
from esper_core.leyline.deprecation import DEPRECATIONS, Deprecation


@pytest.fixture
def versions(api_golden: Any) -> dict[tuple[int, int], Any]:
    """The golden files of the present major version, by version, in order."""
    found = {}
    for path in sorted(api_golden.FOLDER.glob("api-*.json")):
        major, minor = map(int, re.fullmatch(r"api-(\d+)\.(\d+)", path.stem).groups())
        if major == esper_core.API[0]:
            found[major, minor] = json.loads(path.read_text())
    return dict(sorted(found.items()))


def test_the_present_version_is_written_down(api_golden: Any, versions: dict[tuple[int, int], Any]) -> None:
    fix = (
        "the plugin API has changed: raise the minor number of esper_core.API if it was released, name what is new in "
        "docs/api-history.md, and run `python tools/api_golden.py`"
    )
    assert versions[esper_core.API] == json.loads(json.dumps(api_golden.live())), fix


def test_every_promise_is_kept(api_golden: Any, versions: dict[tuple[int, int], Any]) -> None:
    for version, promised in versions.items():
        broken = [*api_golden.broken(promised, api_golden.live())]
        assert not broken, (
            f"plugins written for {version} would break: {broken}; deprecate first, remove in a major one"
        )


def test_every_addition_is_documented(api_golden: Any, versions: dict[tuple[int, int], Any]) -> None:
    sections = history(api_golden)
    assert {version for version in sections if version[0] == esper_core.API[0]} == set(versions)
    for (before, promised), (version, present) in zip([*versions.items()], [*versions.items()][1:], strict=False):
        missing = undocumented([*api_golden.additions(promised, present)], sections[version])
        assert not missing, f"name in docs/api-history.md what {version} has and {before} has not: {missing}"


def history(api_golden: Any) -> dict[tuple[int, int], str]:
    text = (api_golden.FOLDER.parents[1] / "docs" / "api-history.md").read_text()
    parts = re.split(r"^## (\d+)\.(\d+)$", text, flags=re.MULTILINE)[1:]
    return {(int(major), int(minor)): body for major, minor, body in zip(*[iter(parts)] * 3, strict=True)}


def undocumented(names: list[str], section: str) -> list[str]:
    return [name for name in names if f"`{name}`" not in section]


def change(promises: Any, *path: str, to: Any = None) -> Any:
    changed = deepcopy(promises)
    *way, last = path
    place = changed
    for step in way:
        place = place[step]
    if to is None:
        del place[last]
    else:
        place[last] = to
    return changed


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("hooks", "esper_tasks"), None, "esper_tasks is gone"),
        (("hooks", "esper_epoch_end", "argument host"), None, "esper_epoch_end: argument host is gone"),
        (("hooks", "esper_adapt_host", "firstresult"), "False", "esper_adapt_host: firstresult was True, and is False"),
        (("descriptors", "SinkSpec"), None, "SinkSpec is gone"),
        (("descriptors", "SinkSpec", "field since"), None, "SinkSpec: field since is gone"),
        (("descriptors", "SinkSpec", "field since"), "required", "SinkSpec: field since was '1.0', and is required"),
        (("descriptors", "SinkSpec", "field place"), "required", "SinkSpec: field place is new and has no default"),
    ],
)
def test_a_broken_promise_is_noticed(api_golden: Any, path: tuple[str, ...], to: Any, message: str) -> None:
    assert [*api_golden.broken(api_golden.live(), change(api_golden.live(), *path, to=to))] == [message]


@pytest.mark.parametrize(
    ("path", "to", "name"),
    [
        (("hooks", "esper_more"), {"firstresult": False}, "esper_more"),
        (("hooks", "esper_epoch_end", "argument twin"), "None", "esper_epoch_end.twin"),
        (("descriptors", "SinkSpec", "field place"), "None", "SinkSpec.place"),
    ],
)
def test_an_addition_breaks_nothing_and_must_be_named(
    api_golden: Any, path: tuple[str, ...], to: Any, name: str
) -> None:
    before, now = api_golden.live(), change(api_golden.live(), *path, to=to)
    assert [*api_golden.broken(before, now)] == []
    assert [*api_golden.additions(before, now)] == [name]
    assert undocumented([name], "nothing") == [name]
    assert undocumented([name], f"- `{name}` says more") == []


def unfit(deprecation: Deprecation, promises: Any) -> str | None:
    owner, _, member = deprecation.name.partition(".")
    details = promises["hooks"].get(owner) or promises["descriptors"].get(owner)
    if details is None or (member and member not in {detail.split()[-1] for detail in details}):
        return "there is no such thing"
    major, minor = map(int, deprecation.removal.split("."))
    return None if minor == 0 and major > esper_core.API[0] else "it is removed in a later major version only"


def test_what_is_deprecated_is_still_there_and_goes_in_a_major_version(api_golden: Any) -> None:
    promises = api_golden.live() | {}
    promises["descriptors"] = promises["descriptors"] | {"ComponentSpec": promises["descriptors"]["SinkSpec"]}
    assert {it.name: why for it in DEPRECATIONS if (why := unfit(it, promises))} == {}
    fields = {"since": "2.1", "instead": "something"}
    assert unfit(Deprecation(name="esper_epoch_end.host", removal="3.0", **fields), promises) is None
    assert unfit(Deprecation(name="esper_epoch_end.hots", removal="3.0", **fields), promises)
    assert unfit(Deprecation(name="esper_epoch_end.host", removal="2.9", **fields), promises)
