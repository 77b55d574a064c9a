"""Runs with seeds that are shown their site's submodule, or its input: rebuilt, resumed and exported exactly."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from esper_app.api import rebuild_network
from esper_app.cli.root import cli
from esper_core.plugins.loader import load_plugins
from esper_core.tolaria.host import GrowingHost
from esper_export import export_network
from esper_runs.run_directory import find_run

torch.set_num_threads(1)

SETTINGS = [
    "task.context=16",
    "task.train_sequences=64",
    "task.validation_sequences=32",
    "task.test_sequences=32",
    "host.width=8",
    "host.layers=1",
    "policy.first_epoch=1",
    "policy.every_epochs=20",
    "policy.slots=9",
    "gates.name=permissive",
    "lifecycle.ramp_epochs=1",
    "twin=none",
    "checkpoints.every=1",
    "checkpoints.keep=99",
    "epochs=9",
]

CASES = [("block", "block"), ("copy", "block"), ("lora", "linear")]


def invoke(*arguments):
    done = CliRunner().invoke(cli, ["run", *arguments])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0])
def run(request, tmp_path_factory):
    """A finished run in whose slots all is fossilized or on its way, with its last outputs on the test split."""
    blueprint, sites = request.param
    folder = tmp_path_factory.mktemp(blueprint)
    text = folder / "text.txt"
    text.write_text("".join(f"{n} squared is {n * n}, and {n} cubed is {n**3}.\n" for n in range(1500)))
    settings = [*SETTINGS, f'task.path="{text}"', f'policy.blueprints=["{blueprint}"]', f'host.sites=["{sites}"]']
    seen = []
    finish = GrowingHost.finish

    def watched(host):
        final = finish(host)
        inputs = host.plan.splits.test.inputs
        with torch.no_grad():
            seen.append((inputs, host.model.eval()(inputs)))
        return final

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GrowingHost, "finish", watched)
        sets = [part for setting in (*settings, f"runs={folder / 'runs'}") for part in ("--set", setting)]
        invoke("text", "--policy", "periodic", *sets)
    return blueprint, find_run(folder / "runs" / "last"), *seen[0]


def seeds(directory):
    topology = json.loads((directory.path / "topology.json").read_text())
    return {slot["slot"]: slot["blueprint"] for slot in topology["slots"] if slot.get("blueprint")}


def test_every_slot_grew_in_one_epoch(run):
    blueprint, directory, *_ = run
    grown = seeds(directory)
    assert len(grown) == (4 if blueprint == "lora" else 1)
    assert set(grown.values()) == {blueprint}
    events = [json.loads(line) for line in (directory.path / "events.jsonl").read_text().splitlines()]
    germinated = {it["epoch"] for it in events if it["kind"] == "action_decided" and it["data"]["blueprint"]}
    assert germinated == {1}


def test_its_files_give_the_network_back(run):
    _, directory, inputs, outputs = run
    network = rebuild_network(directory, load_plugins())
    with torch.no_grad():
        assert torch.equal(network(inputs), outputs)


def test_a_run_that_goes_on_from_a_checkpoint_ends_alike(run, tmp_path):
    _, directory, *_ = run
    expected = load_file(directory.path / "weights.safetensors")
    files = sorted((directory.path / "checkpoints").glob("epoch-*.safetensors"))
    kept = files[3]
    for path in files[4:]:
        path.unlink()
    (directory.path / "result.json").unlink()
    invoke("--resume", str(directory.path))
    actual = load_file(directory.path / "weights.safetensors")
    assert kept.exists()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_exported_it_computes_the_same(run):
    blueprint, directory, inputs, outputs = run
    plain = export_network(rebuild_network(directory, load_plugins()), live="remove")
    topology = json.loads((directory.path / "topology.json").read_text())
    stages = {slot["stage"] for slot in topology["slots"] if slot.get("blueprint")}
    assert stages == {"FOSSILIZED"}
    with torch.no_grad():
        torch.testing.assert_close(plain(inputs), outputs, rtol=1e-5, atol=1e-5)
    names = [name for name, _ in plain.named_modules()]
    if blueprint == "lora":
        assert not any("seed" in name for name in names)
