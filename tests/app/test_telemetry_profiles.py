"""The section ``telemetry``: profiles, what is set beside them, and a run whose level changes, resumed or not."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_app.configuration.layers import Layer, Origin, merge
from esper_app.configuration.telemetry_profiles import with_profile
from esper_core.leyline.errors import EsperError
from esper_core.plugins.kinds import KINDS
from esper_nissa.profiles import PROFILES, Profile

FROZEN = Path(__file__).parents[1] / "compatibility"
SOUND = [FROZEN / "v1_0" / f"v1_{name}.py" for name in ("task", "host", "blueprint", "gates", "sink")]


def merged(*data: dict[str, Any]) -> Any:
    layers = [Layer(origin=Origin.DEFAULT, source="defaults", data={"diagnostics": {"names": []}})]
    layers += [Layer(origin=Origin.FILE, source=f"file {index}", data=one) for index, one in enumerate(data)]
    return merge(with_profile(layers, KINDS), KINDS)


def test_a_profile_that_is_not_named_sets_nothing() -> None:
    assert merged({}).tree == {"diagnostics": {"names": []}}
    assert not PROFILES[Profile.STANDARD]


def test_what_is_set_goes_before_the_profile() -> None:
    found = merged({"telemetry": {"profile": "research"}}, {"telemetry": {"level": "normal"}})
    assert found.tree["telemetry"] == {"profile": "research", "level": "normal"}
    assert found.tree["diagnostics"]["names"] == ["standard", "memory"]
    assert found.source("diagnostics.names") == 'the telemetry profile "research"'
    assert merged({"telemetry": {"profile": "research"}, "diagnostics": {"names": []}}).tree["diagnostics"] == {
        "names": []
    }


@pytest.mark.parametrize("name", ["diagnostics", "", 3, ["minimal"]])
def test_a_profile_that_is_not_known_is_refused_with_those_that_are(name: Any) -> None:
    with pytest.raises(EsperError) as caught:
        merged({"telemetry": {"profile": name}})
    assert (caught.value.code, caught.value.where) == ("E202", "file 0")
    assert any(it in str(caught.value.fix) for it in Profile)


def test_a_text_is_the_level() -> None:
    assert merged({"telemetry": "debug"}).tree["telemetry"] == {"level": "debug"}


@pytest.mark.parametrize("setting", ["telemetry.escalation_epochs=3", "telemetry.max_events=10"])
def test_what_the_level_leaves_nothing_to_do_is_refused(setting: str) -> None:
    sets = ("--set", "telemetry.level=off", "--set", setting)
    done = CliRunner().invoke(cli, ["config", "show", "digits", *sets])
    assert done.exit_code == 2, done.output
    assert "error[E202]" in done.output
    assert setting.partition("=")[0] in done.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small run with each profile, called by its name."""
    folder = tmp_path_factory.mktemp("runs")
    paths = [part for file in SOUND for part in ("--plugin-path", str(file))]
    for profile in Profile:
        always = ("epochs=6", "policy.name=null", "gates.name=v1", 'sinks.names=["jsonl"]', f"runs={folder}")
        sets = [part for it in (*always, f"name={profile}", f"telemetry.profile={profile}") for part in ("--set", it)]
        done = CliRunner().invoke(cli, ["run", "v1", *paths, *sets])
        assert done.exit_code == 0, done.output
    return folder


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("profile", [*Profile])
def test_what_is_told_changes_nothing_in_the_network(runs: Path, profile: Profile) -> None:
    weights = [(runs / name / "weights.safetensors").read_bytes() for name in (profile, Profile.STANDARD)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("profile", "looked"),
    [("minimal", []), ("standard", []), ("diagnostic", [0, 5]), ("research", [0, 1, 2, 3, 4, 5])],
)
def test_a_profile_says_what_is_told(runs: Path, profile: str, looked: list[int]) -> None:
    told = events(runs / profile)
    found = [it for it in told if it["kind"] == "diagnosed"]
    grown = [(it["epoch"], it["data"]["diagnostic"]) for it in found if it["host"] == "grown"]
    assert grown == [(epoch, name) for epoch in looked for name in ("standard", "memory")]
    findings = [it["data"]["finding"] for it in found]
    assert all(it["narrative"].startswith("loss ") for it in findings[::2])
    assert all(it["peak_resident"] >= it["resident"] > 1 << 20 and it["allocated"] is None for it in findings[1::2])
    assert any(it["kind"] == "epoch_completed" for it in told) == (profile != "minimal")
    result = json.loads((runs / profile / "result.json").read_text())
    config = json.loads((runs / profile / "manifest.json").read_text())["config"]
    level = {"minimal": "MINIMAL", "research": "DEBUG"}.get(profile, "NORMAL")
    assert result["telemetry"] == {"level": level, "events": len(told), "left_out": 0, "escalations": 0}
    assert (config["telemetry"]["profile"], config["telemetry"]["level"]) == (profile, level.lower())


def test_a_limit_leaves_out_and_counts(runs: Path) -> None:
    paths = [part for file in SOUND for part in ("--plugin-path", str(file))]
    always = ("epochs=6", "policy.name=null", "gates.name=v1", 'sinks.names=["jsonl"]', f"runs={runs}")
    sets = [part for it in (*always, "name=limited", "telemetry.max_events=5") for part in ("--set", it)]
    assert CliRunner().invoke(cli, ["run", "v1", *paths, *sets]).exit_code == 0
    told, all_of_it = events(runs / "limited"), events(runs / "standard")
    result = json.loads((runs / "limited" / "result.json").read_text())["telemetry"]
    assert result["left_out"] == len(all_of_it) - (len(told) - 1)  # one says that events are left out
    assert result["left_out"] > 0
    assert [it["data"]["level"] for it in told if it["kind"] == "telemetry_changed"] == ["MINIMAL"]
    assert told[-1]["kind"] == "run_finished"
    shown = CliRunner().invoke(cli, ["show", str(runs / "limited")])
    assert shown.exit_code == 0, shown.output
    assert f"{result['left_out']} events" in " ".join(shown.output.split())
