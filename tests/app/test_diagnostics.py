"""A run with a diagnostic of somebody else's: configured, asked in the growing hosts, and in the log."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli

FROZEN = Path(__file__).parents[1] / "compatibility"
SOUND = [*(FROZEN / "v1_0" / f"v1_{name}.py" for name in ("task", "host", "blueprint", "gates", "sink"))]

PLUGIN = """
import torch
from attrs import field, frozen, validators

from esper_core.hooks import hookimpl
from esper_core.specs import DiagnosticSpec

ESPER_API = "2.0"


@frozen(kw_only=True)
class Options:
    share: float = field(default=0.9, validator=validators.le(1.0))


@frozen(kw_only=True)
class Rank:
    ranks: dict[str, int]
    share: float


class Ranks:
    def __init__(self, config):
        self.share = config.share

    def examine(self, view):
        matrices = {name: p for name, p in view.model.named_parameters() if p.ndim == 2}
        return Rank(ranks={name: int(torch.linalg.matrix_rank(p)) for name, p in matrices.items()}, share=self.share)


@hookimpl
def esper_diagnostics():
    yield DiagnosticSpec(name="ranks", summary="Ranks of weights.", factory=Ranks, config=Options)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    # Files of one name in two folders are two plugins, which one process does not have both of.
    monkeypatch.delitem(sys.modules, "ranks_plugin", raising=False)
    path = tmp_path / "ranks_plugin.py"
    path.write_text(PLUGIN)

    def invoke(*settings: str) -> Any:
        paths = [part for file in (*SOUND, path) for part in ("--plugin-path", str(file))]
        always = ("epochs=3", "policy.name=null", "gates.name=v1", 'sinks.names=["v1"]', f"runs={tmp_path / 'runs'}")
        sets = [part for setting in (*always, *settings) for part in ("--set", setting)]
        return CliRunner().invoke(cli, ["run", "v1", *paths, *sets])

    return invoke


def test_what_it_finds_is_in_the_log_of_every_host_and_changes_nothing(run: Any, tmp_path: Path) -> None:
    bare = run()
    assert bare.exit_code == 0, bare.output
    done = run('diagnostics.names=["ranks"]', "diagnostics.ranks.share=0.5")
    assert done.exit_code == 0, done.output
    one, other = tmp_path / "runs" / "v1-1", tmp_path / "runs" / "v1-2"
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    events = [json.loads(line) for line in (other / "v1.log").read_text().splitlines()]
    found = [event for event in events if event["kind"] == "diagnosed"]
    assert [(it["host"], it["epoch"]) for it in found] == [(h, e) for e in range(3) for h in ("twin", "grown")]
    assert {it["data"]["diagnostic"] for it in found} == {"ranks"}
    assert found[0]["data"]["finding"]["share"] == 0.5
    assert found[0]["data"]["finding"]["ranks"]["first.0.weight"] == 4
    manifest = json.loads((other / "manifest.json").read_text())
    assert {it["file"]: it["used"] for it in manifest["plugins"] if it["file"]}[str(tmp_path / "ranks_plugin.py")]


@pytest.mark.parametrize(
    ("setting", "code"),
    [('diagnostics.names=["rank"]', "E204"), ("diagnostics.ranks.share=0.5", "E201")],
)
def test_what_is_not_there_or_not_used_is_refused(run: Any, setting: str, code: str) -> None:
    done = run(setting)
    assert done.exit_code == 2, done.output
    assert f"error[{code}]" in done.output
