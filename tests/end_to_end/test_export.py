"""`esper export`: what a run has grown leaves Esper, and computes the same where there is none."""

import json
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from esper_app.api import rebuild_network
from esper_app.cli.root import cli
from esper_core.plugins.loader import load_plugins
from esper_core.tolaria.host import GrowingHost
from esper_runs.run_directory import find_run
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

torch.set_num_threads(1)

#: Both slots hold a fossilized seed within twelve epochs.
SETTINGS = [
    "epochs=12",
    "twin=epochs",
    "host.widths=[4, 8]",
    "policy.germinate_until=0.5",
    "policy.fit_accuracy=1.0",
    "lifecycle.ramp_epochs=1",
    "gates.name=permissive",
]
FORMATS = {"torch-export": ".pt2", "onnx": ".onnx", "safetensors": ".safetensors"}


def esper(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def run(runs, *settings, blueprints='["conv-light", "depthwise"]', options=()):
    sets = (*SETTINGS, f"policy.blueprints={blueprints}", f"runs={runs}", *settings)
    done = esper("run", "digits", *options, *(part for setting in sets for part in ("--set", setting)))
    assert done.exit_code == 0, done.output
    return runs / "digits-1"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, and the test split with the network's own outputs as one file."""
    runs = tmp_path_factory.mktemp("runs")
    seen = []
    finish = GrowingHost.finish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GrowingHost, "finish", lambda host: seen.append(host) or finish(host))
        directory = run(runs)
    test = seen[0].plan.splits.test
    with torch.no_grad():
        outputs = rebuild_network(find_run(directory), load_plugins())(test.inputs)
    images = runs / "images.npz"
    np.savez(images, inputs=test.inputs.numpy(), targets=test.targets.numpy(), outputs=outputs.numpy())
    return directory, images


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the run, for tests that change it."""
    return shutil.copytree(finished[0], tmp_path / "digits-1", ignore=shutil.ignore_patterns("export"))


BARE = """
    import json, sys
    from importlib.abc import MetaPathFinder

    class NoEsper(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0].startswith("esper"):
                raise ImportError(f"{name} must not be needed")

    sys.meta_path.insert(0, NoEsper())
    import numpy as np

    file, images = sys.argv[1:]
    saved = np.load(images)
    if file.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        classify = lambda inputs: session.run(None, {"inputs": inputs})[0]
        assert "torch" not in sys.modules
    else:
        import torch

        torch.set_num_threads(1)
        network = torch.export.load(file).module()
        classify = lambda inputs: network(torch.from_numpy(inputs)).detach().numpy()
    assert not [name for name in sys.modules if name.startswith("esper")]
    outputs = classify(saved["inputs"])
    alone = np.concatenate([classify(saved["inputs"][i : i + 1]) for i in range(8)])
    print(json.dumps({
        "difference": float(np.abs(outputs - saved["outputs"]).max()),
        "difference_alone": float(np.abs(alone - saved["outputs"][:8]).max()),
        "same_classes": bool((outputs.argmax(1) == saved["outputs"].argmax(1)).all()),
        "accuracy": float((outputs.argmax(1) == saved["targets"]).mean()),
    }))
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch-export", "onnx"])
def test_real_images_are_classified_the_same_where_there_is_no_esper(finished, tmp_path, form):
    directory, images = finished
    file = tmp_path / f"network{FORMATS[form]}"
    done = esper("export", directory, "--format", form, "--output", file)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"exported: {file}\n"
    command = [sys.executable, "-c", textwrap.dedent(BARE), str(file), str(images)]
    bare = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert bare.returncode == 0, bare.stderr
    found = json.loads(bare.stdout)
    assert found["difference"] < 1e-5
    assert found["difference_alone"] < 1e-5
    assert found["same_classes"]
    result = json.loads((directory / "result.json").read_text())
    assert found["accuracy"] == pytest.approx(result["hosts"]["grown"]["test_accuracy"])
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert f"`{file.name}` was run once: on random inputs it differs from the network by at most" in card
    assert "takes batches of" not in card


@pytest.fixture(scope="module")
def exported(finished):
    """The folder of the run's exports, with its tensors in it."""
    done = esper("export", finished[0], "--format", "safetensors")
    assert done.exit_code == 0, done.output
    return finished[0] / "export"


class TestSafetensors:
    def test_it_is_written_into_the_runs_directory_beside_a_card(self, exported):
        names = {"digits-1.safetensors", "digits-1.topology.json", "MODEL_CARD.md"}
        assert {path.name for path in exported.iterdir()} == names

    def test_the_tensors_are_the_networks(self, finished, exported):
        ours = load_file(exported / "digits-1.safetensors")
        theirs = load_file(finished[0] / "weights.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        topology = json.loads((exported / "digits-1.topology.json").read_text())
        assert topology == json.loads((finished[0] / "topology.json").read_text())

    def test_the_card_tells_what_was_measured(self, finished, exported):
        card = (exported / "MODEL_CARD.md").read_text()
        result = json.loads((finished[0] / "result.json").read_text())
        manifest = json.loads((finished[0] / "manifest.json").read_text())
        grown, twin = result["hosts"]["grown"], result["hosts"]["twin"]
        difference = 100 * (grown["test_accuracy"] - twin["test_accuracy"])
        row = (
            f"| {100 * twin['test_accuracy']:.1f} % | {100 * grown['test_accuracy']:.1f} % | {difference:+.1f} points |"
        )
        assert f"| test accuracy {row}" in card
        assert f"| parameters | {grown['parameters']:,} | {twin['parameters']:,} |" in card
        assert f"{grown['forward_flops'] / 1000:.1f} kFLOP" in card
        for seed in result["seeds"]:
            assert f"| {seed['seed_id']} | {seed['blueprint']} | {seed['parameters']} |" in card
        for split in manifest["data"]["splits"].values():
            assert split["sha256"] in card
        assert verdict_in_words(verdict(result)) in card
        assert f"torch {torch.__version__}" in card
        assert "esper-host-cnn 0.1.0" in card
        assert "| `block0` | `blocks.0` | NCHW, 4 | `" in card
        assert 'load_file("digits-1.safetensors")' in card
        assert "digits-1.onnx" not in card
        assert str(finished[0].parent) not in card


class TestPlaces:
    def export(self, directory, *options):
        return esper("export", directory, "--format", "safetensors", *options)

    def test_a_folder_gets_the_file_under_the_runs_name(self, finished, tmp_path):
        done = self.export(finished[0], "--output", tmp_path)
        assert done.exit_code == 0, done.output
        assert (tmp_path / "digits-1.safetensors").is_file()

    def test_folders_are_made(self, finished, tmp_path):
        assert self.export(finished[0], "--output", tmp_path / "a" / "b" / "net.st").exit_code == 0
        assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {
            "net.st",
            "net.topology.json",
            "MODEL_CARD.md",
        }
        assert 'load_file("net.st")' in (tmp_path / "a" / "b" / "MODEL_CARD.md").read_text()

    def test_a_place_that_cannot_be_written_is_named(self, finished, tmp_path):
        (tmp_path / "file").write_text("in the way")
        done = self.export(finished[0], "--output", tmp_path / "file" / "net.safetensors")
        assert done.exit_code == 2
        assert "E513" in done.stderr
        assert "net.safetensors" in done.stderr

    def test_the_card_of_something_else_is_not_overwritten(self, finished, tmp_path):
        card = tmp_path / "MODEL_CARD.md"
        card.write_text("# My other network\n")
        done = self.export(finished[0], "--output", tmp_path)
        assert done.exit_code == 2
        assert "E513" in done.stderr
        assert card.read_text() == "# My other network\n"
        assert not (tmp_path / "digits-1.safetensors").exists()

    def test_a_network_does_not_bear_the_name_of_its_card(self, finished, tmp_path):
        done = self.export(finished[0], "--output", tmp_path / "MODEL_CARD.md")
        assert (done.exit_code, "E513" in done.stderr, [*tmp_path.iterdir()]) == (2, True, [])

    def test_ones_own_card_is(self, finished, tmp_path):
        assert self.export(finished[0], "--output", tmp_path).exit_code == 0
        assert self.export(finished[0], "--output", tmp_path / "again.safetensors").exit_code == 0
        assert 'load_file("again.safetensors")' in (tmp_path / "MODEL_CARD.md").read_text()

    def test_a_run_is_found_by_its_path_only_if_it_is_there(self, tmp_path):
        done = self.export(tmp_path / "digits-7")
        assert done.exit_code == 2
        assert "E505" in done.stderr

    def test_the_other_files_of_the_same_name_stay_on_the_card(self, copied):
        (copied / "export").mkdir()
        (copied / "export" / "digits-1.onnx").write_bytes(b"written earlier")
        assert self.export(copied).exit_code == 0
        card = (copied / "export" / "MODEL_CARD.md").read_text()
        assert 'load_file("digits-1.safetensors")' in card
        assert 'InferenceSession("digits-1.onnx")' in card


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A run whose seeds have shares, which training has made differ from sample to sample, and its test images."""
    seen = []
    finish = GrowingHost.finish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GrowingHost, "finish", lambda host: seen.append(host) or finish(host))
        directory = run(tmp_path_factory.mktemp("gated"), "policy.blend=gated", "policy.ramp_epochs=0", "twin=none")
    return directory, seen[0].plan.splits.test, seen[0].model.eval()


class TestGatedBlends:
    def test_the_network_is_rebuilt_with_its_shares(self, gated):
        directory, test, network = gated
        topology = json.loads((directory / "topology.json").read_text())
        assert {row["blend"] for row in topology["slots"]} == {"gated"}
        rebuilt = rebuild_network(find_run(directory), load_plugins())
        share = rebuilt.esper["block1"].seed.share
        with torch.no_grad():
            assert torch.equal(rebuilt(test.inputs), network(test.inputs))
            assert float(share(torch.randn(50, 8, 2, 2)).std()) > 1e-4

    def test_what_is_exported_computes_the_same(self, gated, tmp_path):
        directory, test, network = gated
        done = esper("export", directory, "--format", "torch-export", "--output", tmp_path)
        assert done.exit_code == 0, done.output
        exported = torch.export.load(tmp_path / "digits-1.pt2").module()
        with torch.no_grad():
            torch.testing.assert_close(exported(test.inputs), network(test.inputs), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A run that ends while its seeds are blended in."""
    return run(tmp_path_factory.mktemp("live"), "epochs=8", "lifecycle.ramp_epochs=8", "twin=none")


class TestLiveSeeds:
    def test_they_are_refused_by_name(self, live):
        done = esper("export", live, "--format", "safetensors")
        assert done.exit_code == 2
        assert "E507" in done.stderr
        assert "block1 (isolated, alpha" in done.stderr
        assert "--live remove" in done.stderr
        assert not (live / "export").exists()

    def test_they_are_left_out_on_request(self, live, tmp_path):
        done = esper("export", live, "--format", "safetensors", "--live", "remove", "--output", tmp_path)
        assert done.exit_code == 0, done.output
        tensors = load_file(tmp_path / "digits-1.safetensors")
        assert tensors
        assert not [name for name in tensors if name.startswith("esper")]
        topology = json.loads((tmp_path / "digits-1.topology.json").read_text())
        assert {(row["stage"], row["blueprint"]) for row in topology["slots"]} == {("DORMANT", None)}
        card = (tmp_path / "MODEL_CARD.md").read_text()
        assert "The seeds in `block0`, `block1` were still live" in card
        assert "the network was not measured" in card
        assert "No twin was trained." in card
        assert "| parameters | 438 | - |" in card


class TestWhatIsWrong:
    def test_a_run_that_never_ended(self, copied):
        (copied / "result.json").unlink()
        done = esper("export", copied)
        assert done.exit_code == 1
        assert "E508" in done.stderr
        assert "esper run --resume" in done.stderr

    def test_damaged_weights(self, copied):
        path = copied / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:-9])
        done = esper("export", copied)
        assert done.exit_code == 1
        assert "weights.safetensors" in done.stderr

    def test_a_damaged_configuration(self, copied):
        (copied / "config.toml").write_text("= nothing")
        done = esper("export", copied)
        assert done.exit_code == 1
        assert "E508" in done.stderr
        assert "config.toml" in done.stderr

    def test_a_blocked_plugin(self, finished):
        done = esper("export", finished[0], "--no-plugin", "host-cnn")
        assert done.exit_code == 2
        assert "E204" in done.stderr
        assert "cnn" in done.stderr

    def test_another_version_is_told(self, copied, tmp_path):
        path = copied / "manifest.json"
        path.write_text(path.read_text().replace('"version": "0.1.0"', '"version": "0.0.9"'))
        done = esper("export", copied, "--format", "safetensors", "--output", tmp_path / "out.safetensors")
        assert done.exit_code == 0, done.output
        assert "warning: esper-host-cnn is 0.1.0, the run began with 0.0.9" in done.stderr
        assert "esper-host-cnn is 0.1.0, the run began with 0.0.9" in (tmp_path / "MODEL_CARD.md").read_text()


OWN = """
from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Capability

ESPER_API = "2.0"


def build(site, config):
    from torch import nn
    from esper_core.nn import BoundedGain

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(site.width, site.width, 3, padding=1)
            self.gain = BoundedGain(site.width, site.layout)

        def forward(self, h):
            delta = self.gain(self.conv(h).tanh(), h)
            return delta if {condition} else -delta

    return Own()


@hookimpl
def esper_blueprints():
    yield BlueprintSpec(name="own", summary="Mine.", layouts=["NCHW"], factory=build, capabilities={capabilities})
"""


class TestNetworksWithoutAProgram:
    def grown(self, tmp_path, **options):
        plugin = tmp_path / f"{tmp_path.name}.py"
        plugin.write_text(OWN.replace("{condition}", options["condition"]).replace("{capabilities}", options["has"]))
        path = ["--plugin-path", str(plugin)]
        return run(tmp_path / "runs", "twin=none", blueprints='["own"]', options=path), path

    def test_what_declares_itself_is_named(self, tmp_path):
        directory, path = self.grown(tmp_path, condition="True", has="{Capability.NO_EXPORT}")
        for form in ("torch-export", "onnx"):
            done = esper("export", directory, "--format", form, *path)
            assert done.exit_code == 2
            assert "E512" in done.stderr
            assert 'blueprint "own"' in done.stderr
            assert "no-export" in done.stderr
        assert not (directory / "export").exists()
        assert esper("export", directory, "--format", "safetensors", *path).exit_code == 0

    def test_without_its_file_the_run_cannot_be_exported(self, tmp_path):
        directory, path = self.grown(tmp_path, condition="True", has="()")
        done = esper("export", directory)
        assert done.exit_code == 2
        assert f"fix: {' '.join(path)}" in done.stderr

    @pytest.mark.slow
    def test_what_torch_cannot_export_is_refused_with_its_reason(self, tmp_path):
        directory, path = self.grown(tmp_path, condition="h.is_meta or h.sum() == h.sum()", has="()")
        done = esper("export", directory, *path)
        assert done.exit_code == 2
        assert "E512" in done.stderr
        assert "because" in done.stderr
        assert not (directory / "export").exists()


@pytest.mark.slow
def test_a_file_that_would_compute_something_else_is_not_written(finished, tmp_path, monkeypatch):
    def wrong(data):
        return lambda inputs: torch.zeros(len(inputs), 10)

    monkeypatch.setattr("esper_app_export.export_files.program_runner", wrong)
    done = esper("export", finished[0], "--output", tmp_path / "network.pt2")
    assert done.exit_code == 2
    assert "would not compute what the network computes" in done.stderr
    assert not (tmp_path / "network.pt2").exists()


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run with two hosts."""
    return run(tmp_path_factory.mktemp("runs"), options=("--hosts", "2", "--executor", "serial"))


class TestSeveralHosts:
    def test_each_has_its_own_network_and_card(self, several):
        networks = []
        for number in (1, 2):
            done = esper("export", several, "--host", f"grown-{number}", "--format", "safetensors")
            assert done.exit_code == 0, done.output
            folder = several / "export" / f"grown-{number}"
            networks.append(load_file(folder / "digits-1.safetensors"))
            expected = rebuild_network(find_run(several), load_plugins(), f"grown-{number}").state_dict()
            assert all(torch.equal(tensor, networks[-1][name]) for name, tensor in expected.items())
            card = (folder / "MODEL_CARD.md").read_text()
            result = json.loads((several / "result.json").read_text())["hosts"][f"grown-{number}"]
            assert f"seed {number - 1})" in card
            assert f"host `grown-{number}` of run" in card
            assert f"{result['test_loss']:.3f}" in card
        assert not torch.equal(networks[0]["head.weight"], networks[1]["head.weight"])

    @pytest.mark.parametrize(("options", "text"), [((), "2 hosts grew"), (("--host", "grown-3"), 'no host "grown-3"')])
    def test_one_of_them_must_be_named(self, several, options, text):
        done = esper("export", several, *options)
        assert done.exit_code == 2
        assert text in done.output
        assert "grown-1, grown-2" in done.output

    def test_a_name_leads_nowhere_else(self, several, tmp_path):
        copy = shutil.copytree(several, tmp_path / "runs" / "digits-1")
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["hosts"][0]["name"] = "../../elsewhere"
        (copy / "manifest.json").write_text(json.dumps(manifest))
        done = esper("export", copy, "--host", "../../elsewhere")
        assert done.exit_code == 2
        assert "no host" in done.output


def test_a_host_is_not_named_where_one_grew(finished):
    done = esper("export", finished[0], "--host", "grown-1")
    assert "leave --host out" in done.output
