"""Events of kinds that a plugin has registered: told by its observers, described, and read by every view."""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_core.leyline.events import EventKind

FROZEN = Path(__file__).parents[1] / "compatibility"
SOUND = [*(FROZEN / "v1_0" / f"v1_{name}.py" for name in ("task", "host", "blueprint", "gates", "sink"))]

PLUGIN = '''
from attrs import field, frozen

from esper_core.hooks import hookimpl
from esper_core.leyline.events import Level
from esper_nissa.event_kinds import EventSpec

ESPER_API = "2.0"


@frozen(kw_only=True)
class Verdict:
    """A part of the forge, and not the core's verdict."""

    heat: float
    parts: frozenset[str]


@frozen(kw_only=True)
class Kept:
    """What the forge has kept."""

    slot: str
    verdicts: tuple[Verdict, ...] = ()
    unknown: object = None


@frozen(kw_only=True)
class Detail:
    """What nobody needs."""

    number: int


class Strange:
    pass


@hookimpl
def esper_events():
    yield EventSpec(name="kept", summary="A part was kept.", factory=Kept)
    yield EventSpec(name="detail", summary="A detail.", factory=Detail, level=Level.DEBUG)


@hookimpl
def esper_run_start(manifest):
    return Detail(number=-1)


@hookimpl
def esper_epoch_end(host, evidence):
    if evidence.epoch == 2:
        return RETURNED
    verdict = Verdict(heat=float("nan"), parts=frozenset({"x"}))
    return [Kept(slot="a", verdicts=(verdict,)), Detail(number=evidence.epoch)]
'''


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def invoke(*settings: str, returned: str = "None") -> Any:
        # Files of one name in two folders are two plugins, which one process does not have both of.
        monkeypatch.delitem(sys.modules, "forge", raising=False)
        path = tmp_path / "forge.py"
        path.write_text(PLUGIN.replace("RETURNED", returned))
        paths = [part for file in (*SOUND, path) for part in ("--plugin-path", str(file))]
        always = ("epochs=3", "policy.name=null", "gates.name=v1", 'sinks.names=["v1", "jsonl", "sqlite"]')
        sets = [part for it in (*always, f"runs={tmp_path / 'runs'}", *settings) for part in ("--set", it)]
        return CliRunner().invoke(cli, ["run", "v1", *paths, *sets])

    return invoke


def events(tmp_path: Path, name: str = "v1-1") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "runs" / name / "events.jsonl").read_text().splitlines()]


def schema(tmp_path: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(cli, ["events", "schema", "--plugin-path", str(tmp_path / "forge.py"), *arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_what_an_observer_returns_is_in_the_log_with_its_place(run: Any, tmp_path: Path) -> None:
    done = run()
    assert done.exit_code == 0, done.output
    told = [it for it in events(tmp_path) if "." in it["kind"]]
    assert [(it["kind"], it["host"], it["epoch"]) for it in told] == [
        ("forge.kept", host, epoch) for epoch in (0, 1) for host in ("twin", "grown")
    ]
    assert told[0]["slot"] == "a"
    assert told[0]["run"] == "v1-1"
    assert told[0]["data"] == {"slot": "a", "verdicts": [{"heat": "NaN", "parts": ["x"]}], "unknown": None}
    assert [it["sequence"] for it in events(tmp_path)] == [*range(len(events(tmp_path)))]


def test_a_kind_has_a_level_of_its_own(run: Any, tmp_path: Path) -> None:
    assert run("telemetry=debug").exit_code == 0
    told = [it for it in events(tmp_path) if it["kind"] == "forge.detail"]
    assert [it["data"]["number"] for it in told] == [-1, 0, 0, 1, 1]
    assert (told[0]["host"], told[0]["epoch"]) == ("", None)


@pytest.mark.parametrize("returned", ["Strange()", "[Kept(slot='a'), 3]", "Kept(slot='a', unknown=Strange())"])
def test_what_is_not_registered_is_a_failure_of_the_plugin(run: Any, tmp_path: Path, returned: str) -> None:
    done = run(returned=returned)
    assert done.exit_code == 0, done.output
    failed = [it for it in events(tmp_path) if it["kind"] == "plugin_failed"]
    assert [(it["data"]["place"], it["epoch"]) for it in failed] == [("observer", None)] * 2
    assert "forge" in failed[0]["data"]["error"]
    result = json.loads((tmp_path / "runs" / "v1-1" / "result.json").read_text())
    assert result["observer_failures"] == {"forge": 2}


def test_the_schema_describes_it_and_every_event_fits(run: Any, tmp_path: Path) -> None:
    assert run("telemetry=debug").exit_code == 0
    whole = schema(tmp_path, "--closed")
    assert {*EventKind, "forge.kept", "forge.detail"} <= set(whole["$defs"])
    assert schema(tmp_path, "--kind", "forge.kept")["properties"]["slot"] == {"type": "string"}
    validator = jsonschema.Draft202012Validator(whole)
    for event in events(tmp_path):
        validator.validate(event)
    strange = next(it for it in events(tmp_path) if it["kind"] == "forge.kept")
    assert not validator.is_valid(strange | {"data": {"slot": 3}})
    assert validator.is_valid(strange | {"kind": "forge.unheard-of", "data": {"slot": 3}})


def test_every_view_reads_it_without_the_plugin(run: Any, tmp_path: Path) -> None:
    assert run().exit_code == 0
    path = str(tmp_path / "runs" / "v1-1")
    for command in (
        ("show", path),
        ("show", path, "--json"),
        ("events", "search", path, "--kind", "forge.kept"),
        ("report", path, "--output", str(tmp_path / "report.html")),
        ("runs", "--runs", str(tmp_path / "runs")),
    ):
        done = CliRunner().invoke(cli, [*command])
        assert done.exit_code == 0, (command, done.output)
    found = CliRunner().invoke(cli, ["events", "search", path, "--kind", "forge.kept", "--json"])
    assert len(found.output.splitlines()) >= 4
