"""Plugins that were written for earlier plugin APIs load and work, or are refused with a clear word.

Those of ``v1_0`` whose kinds are called as before work; its policy and its reward term are refused by name.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from torch import nn

from esper_app.cli.root import cli
from esper_core.leyline.errors import EsperError
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Status
from esper_core.plugins.selection import Selection
from esper_testing import CheckLevel, find_plugins, run_checks
from esper_testing.expectations import Expectations
from esper_testing.runner import BAD

#: Digests of the frozen files. A line is added with a new file, and never changed: these files are other people's
#: plugins, which nobody edits when the core changes.
DIGESTS = {
    "v1_blueprint.py": "3c26d86c6686ea22eee9b6208a02ca84296fc14b92c8ea4ffc78685a013170a1",
    "v1_gates.py": "383cb336e06ad63c85f4fa19b2041a76b4d8997f379a1ae2c0ed1fcb9b5aa7f8",
    "v1_host.py": "820b38eccf4e4674911cde3998d572188a57e2f9e5e081d3c9267c7dce60fd7a",
    "v1_observer.py": "ce5bd9eb9613d24ec0e08aebf98eadab44a675fa6906775c066f67a9f20eea68",
    "v1_policy.py": "97eb81ac9a1e22be20386d32604be0d8f7e18d1c03d4464361fd1ec1a3f480da",
    "v1_reward_term.py": "3063f5edf5341d04ae0dbf50f1ca18e9f6eb2ec46c783841175d4cd3e1775e41",
    "v1_sink.py": "e714c1d916fa01779cb965b84b9a8f76858724afad8ed74a4412a4073454336b",
    "v1_task.py": "c535fc8bd0db98a17958fec79624a6152f00754f3c0f52311826b920980f2364",
    "v2_evaluator.py": "1af28da8e2edd7df3082c65ac789ff07c1fd53bedab2a0810a216a8d888b0ec2",
    "v2_policy.py": "5d8ddfed2b9d3ffcceac6e06162213ba925860d96278d1aa6258afb67408dd6e",
    "v2_reward_term.py": "9e27c39c7a0988fa6b3f18c5fc9c79bca4f3197395679f98faf23c76a92f5a83",
}

#: What plugin API 2.0 calls in another way than 1.0 did.
REFUSED = {"v1-policy": "policies", "v1-reward-term": "reward terms"}

#: The gate set that keeps everything fails this by its nature, as `permissive` does.
EXPECTED = {
    "v1_gates": Expectations.of({"v1-g5": {"gate-useless-seed": "it keeps what does no harm, so that a run grows"}})
}


def test_nobody_has_edited_them(frozen_files: list[Path]) -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in frozen_files}
    assert found == DIGESTS, "put the frozen plugins back as they were; write new ones in a folder of their own"


def test_there_is_one_of_every_kind_and_each_is_active(frozen_files: list[Path], frozen_plugins: PluginSet) -> None:
    records = [record for record in frozen_plugins.records if record.origin.plugin.startswith(("v1-", "v2-"))]
    assert len(records) == len(frozen_files)
    sound = [record for record in records if record.origin.plugin not in REFUSED]
    assert {record.status for record in sound} == {Status.ACTIVE}
    # Commands are declared in another way now; the observers and the adapter of the same plugin still work.
    problems = {record.origin.plugin: [problem.code for problem in record.problems] for record in sound}
    assert {plugin: codes for plugin, codes in problems.items() if codes} == {"v1-observer": ["E124"]}
    assert {kind for record in sound for kind in record.kinds} == {
        *(kind.name for kind in KINDS if not kind.provisional),
        *("adapter", "observer"),
    }


@pytest.mark.parametrize(("plugin", "offers"), REFUSED.items())
def test_what_is_called_in_another_way_now_is_refused_by_name(
    frozen_plugins: PluginSet, plugin: str, offers: str
) -> None:
    (record,) = (record for record in frozen_plugins.records if record.origin.plugin == plugin)
    assert (record.status, record.problems[0].code) == (Status.INCOMPATIBLE, "E121")
    said = str(record.problems[0])
    assert f'plugin "{plugin}"' in said
    assert f"was written for plugin API 1.0, and offers {offers}" in said
    assert f"because plugin API 2.0 calls {offers} in another way" in said
    assert 'port it (docs/api-history.md) and declare ESPER_API = "2.0"' in said


def test_undeclared_counts_as_1_0(tmp_path: Path) -> None:
    path = tmp_path / "undeclared.py"
    text = (Path(__file__).parent / "v2_0" / "v2_policy.py").read_text()
    path.write_text(text.replace('ESPER_API = "2.0"', ""))
    with pytest.raises(EsperError, match=r"written for plugin API 1\.0, and offers policies") as caught:
        load_plugins(Selection(paths=[path]))
    assert caught.value.code == "E121"


SOUND = [
    path
    for version in ("v1_0", "v2_0")
    for path in sorted((Path(__file__).parent / version).glob("*.py"))
    if path.stem.replace("_", "-") not in REFUSED
]


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_they_pass_the_suite(path: Path) -> None:
    results = [*run_checks(find_plugins(path), CheckLevel.CONTRACT, expected=EXPECTED.get(path.stem))]
    assert [(it.case.target, it.case.check.id, it.message) for it in results if it.outcome in BAD] == []


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Run with every frozen plugin that works: task, host, blueprint, gates, reward, policy, sink and observers."""

    def invoke(*settings: str, also: tuple[str, ...]) -> Path:
        paths = [part for path in SOUND for part in ("--plugin-path", str(path))]
        wanted = (f"runs={tmp_path}", *settings) if settings else ()
        sets = [part for setting in wanted for part in ("--set", setting)]
        done = CliRunner().invoke(cli, ["run", *also, *paths, *sets])
        assert done.exit_code == 0, done.output
        return max(tmp_path.glob("v1-*"))

    return invoke


SETTINGS = (
    "policy.name=v2",
    "twin=epochs",
    'policy.blueprints=["v1"]',
    "gates.name=v1",
    'rewards.terms=[{name="v2"}]',
    'governor.evaluators=["v2"]',
    'sinks.names=["v1"]',
    "lifecycle.ramp_epochs=1",
)


def test_a_run_is_made_of_them(run: Callable[..., Path]) -> None:
    directory = run(*SETTINGS, also=("v1", "--plugins", "auto,v1-observer"))
    events = [json.loads(line) for line in (directory / "v1.log").read_text().splitlines()]
    targets = {event["data"]["target"] for event in events if event["kind"] == "seed_transition"}
    assert {"GERMINATED", "TRAINING", "BLENDING", "PROBATIONARY", "FOSSILIZED"} <= targets
    rewards = [event["data"]["terms"]["v2"] for event in events if event["kind"] == "reward_computed"]
    assert len(rewards) == 10
    assert any(rewards)
    result = json.loads((directory / "result.json").read_text())
    assert result["outcome"] == "completed"
    assert result["observer_failures"] == {}
    assert result["sinks"]["v1"]["errors"] == 0

    observed = json.loads((directory / "v1-observed.json").read_text())
    assert (observed[0], observed[-1]) == ("start v1-1", "finish completed")
    assert {"grown epoch 9", "twin epoch 9", "grown DORMANT -> GERMINATED"} <= set(observed)


def test_a_run_of_them_can_be_resumed(run: Callable[..., Path]) -> None:
    whole = run(*SETTINGS, "checkpoints.keep=99", "checkpoints.every=1", also=("v1",))
    part = run(*SETTINGS, "checkpoints.keep=99", "checkpoints.every=1", also=("v1",))
    for name in ("weights.safetensors", "result.json"):
        (part / name).unlink()
    for checkpoint in (part / "checkpoints").iterdir():
        if int(checkpoint.stem.removeprefix("epoch-")) > 4:
            checkpoint.unlink()
    run(also=("--resume", str(part)))
    assert (part / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert timeless(part / "v1.log") == timeless(whole / "v1.log")


def timeless(log: Path) -> list[Any]:
    """The events of the log behind the first, which names the run; without what clocks say."""
    events = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    return [
        without(event, {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}) for event in events
    ]


def without(data: Any, names: set[str]) -> Any:
    if isinstance(data, dict):
        return {name: without(value, names) for name, value in data.items() if name not in names}
    return [without(item, names) for item in data] if isinstance(data, list) else data


def test_a_model_is_understood(frozen_plugins: PluginSet) -> None:
    class VersionOne(nn.Module):
        pass

    sites, origin = frozen_plugins.adapt_host(VersionOne())
    assert ([site.path for site in sites], origin.plugin) == (["body"], "v1-observer")
    assert frozen_plugins.adapt_host(nn.Linear(1, 1)) is None
